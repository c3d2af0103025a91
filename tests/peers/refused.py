"""What Twilio's Python SDK makes of a refusal."""

import json

from twilio.base.exceptions import TwilioException, TwilioRestException


def refused(status, code, call):
    try:
        call()
    except TwilioRestException as error:
        assert (error.status, error.code) == (status, code), error
    except TwilioException as error:  # of a page that can not be had, with the answer
        answer = error.args[1]
        assert (answer.status_code, json.loads(answer.text)["code"]) == (status, code), error
    else:
        raise AssertionError(f"expected {status} {code}")

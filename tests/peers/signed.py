"""Twilio's Python SDK with its client for signed requests, against a sandbox that enforces them; and the newer APIs.

Reads where the sandbox is, and its credentials, as JSON from standard input.
"""

import json
import sys

import twilio
from twilio.http.validation_client import ValidationClient
from twilio.rest import Client

from refused import refused

told = json.load(sys.stdin)
account = told["account"]


def client(user, password, http_client=None):
    made = Client(user, password, account_sid=account, http_client=http_client)
    for product in (made.api, made.accounts, made.iam):
        product.base_url = told["url"]
    return made


def signing(user, password):
    validation = ValidationClient(account, user, told["public_key"], told["private_key"])
    return client(user, password, validation)


main = signing(*told["main"])

# Keys of the older API, over several pages.
made = [main.new_keys.create(friendly_name=f"signed {n}") for n in range(3)]
assert {key.sid for key in made} < {key.sid for key in main.keys.list(page_size=2)}
assert main.keys(made[0].sid).fetch().friendly_name == "signed 0"

# IAM: a Restricted key.
policy = {"allow": ["/twilio/messaging/messages/list"]}
restricted = main.iam.v1.new_api_key.create(
    account_sid=account, friendly_name="few", key_type="restricted", policy=json.dumps(policy))
assert (restricted.policy, len(restricted.secret)) == (policy, 32), restricted.policy
assert main.iam.v1.api_key(restricted.sid).fetch().policy == policy
listed = {key.sid: key.flags for key in main.iam.v1.get_api_keys.list(account_sid=account, page_size=2)}
assert listed[restricted.sid] == ["restricted", "rest_api", "signing"], listed
few = signing(restricted.sid, restricted.secret)
assert len(few.messages.list()) == 3
refused(401, 70051, lambda: few.incoming_phone_numbers.list())

# Public keys.
public = main.accounts.v1.credentials.public_key
other = public.create(public_key=told["public_pem"], friendly_name="other")
assert other.sid in [key.sid for key in public.list()]
assert public(other.sid).update(friendly_name="renamed").friendly_name == "renamed"
assert public(other.sid).fetch().account_sid == account
assert public(other.sid).delete()
refused(404, 20404, lambda: public(other.sid).fetch())

# A blank in a query: this library signs it as `+`, Twilio's docs say `%20`.
blank = lambda: main.api.v2010.accounts.list(friendly_name="no such name")  # noqa: E731
if told["tolerant"]:
    assert blank() == []
else:
    refused(401, 70156, blank)

# Without a signature, and with an auth token.
refused(401, 70052, lambda: client(*told["main"]).keys.list())
refused(401, 70052, lambda: client(account, told["token"]).keys.list())

for key in made:
    assert main.keys(key.sid).delete()
assert main.iam.v1.api_key(restricted.sid).delete()

print(f"twilio {twilio.__version__}: all signed")

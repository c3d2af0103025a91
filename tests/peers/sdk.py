"""Twilio's Python SDK against the sandbox: everything rekeyd needs from Twilio, as Twilio's own client sees it.

Reads where the sandbox is, and its credentials, as JSON from standard input.
"""

import datetime
import json
import sys
import urllib.request

import twilio
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from refused import refused

told = json.load(sys.stdin)
account, subaccount = told["account"], told["subaccount"]


def client(user, password):
    made = Client(user, password, account_sid=account)
    made.api.base_url = told["url"]
    return made


def next_create_meets(fault):
    body = json.dumps([{"operation": "create_key", "fault": fault}]).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(told["url"] + "/_sandbox/script", body, headers)).close()


main = client(*told["main"])

# Keys: create, list over several pages, fetch, update.
names = [f"python {n}" for n in range(5)]
made = [main.new_keys.create(friendly_name=name) for name in names]
assert [key.friendly_name for key in made] == names
assert all(len(key.secret) == 32 and key.sid.startswith("SK") for key in made)
assert isinstance(made[0].date_created, datetime.datetime), made[0].date_created
listed = main.keys.list(page_size=2)
assert [key.sid for key in listed] == [key.sid for key in reversed(made)] + [told["main"][0]], listed
first = made[0]
assert main.keys(first.sid).fetch().friendly_name == "python 0"
assert main.keys(first.sid).update(friendly_name="renamed").friendly_name == "renamed"

# The same resource under its other name.
signing = main.new_signing_keys.create(friendly_name="signing")
assert signing.sid in [key.sid for key in main.signing_keys.list()]

# Accounts: fetch and list. An API key does not see tokens, a token does.
own = main.api.v2010.accounts(account).fetch()
assert (own.status, own.auth_token) == ("active", ""), own.auth_token
assert main.api.v2010.accounts(subaccount).fetch().owner_account_sid == account
assert {found.sid for found in main.api.v2010.accounts.list()} == {account, subaccount}
opened = main.api.v2010.accounts.create(friendly_name="opened")
assert (opened.friendly_name, opened.status, opened.owner_account_sid) == ("opened", "active", account)
assert main.api.v2010.accounts(opened.sid).update(status="suspended").status == "suspended"
assert [found.sid for found in main.api.v2010.accounts.list(status="suspended")] == [opened.sid]
assert main.api.v2010.accounts(opened.sid).update(status="closed", friendly_name="gone").friendly_name == "gone"
token = client(account, told["token"])
assert token.api.v2010.accounts(account).fetch().auth_token == told["token"]
assert token.api.v2010.accounts(subaccount).new_keys.create().friendly_name is None

# Ordinary resources with the new key, page by page; what it may not do.
consumer = client(first.sid, first.secret)
assert len(consumer.messages.list(page_size=1)) == 3
assert len(consumer.incoming_phone_numbers.list(limit=1)) == 1
refused(401, 20003, consumer.api.v2010.accounts(account).fetch)
try:
    consumer.keys.list()
    raise AssertionError("a Standard key listed keys")
except TwilioException as error:
    # For a list this SDK hands over the answer instead of its code.
    assert error.args[1].status_code == 401, error.args

# Refusals.
refused(400, 70001, lambda: main.new_keys.create(friendly_name="x" * 65))
refused(400, 70002, main.keys(account).fetch)
refused(404, 20404, main.keys("SK" + "0" * 32).fetch)
next_create_meets("rate_limited")
refused(429, 20429, main.new_keys.create)

# The end of a key.
assert main.keys(first.sid).delete()
refused(404, 20404, main.keys(first.sid).delete)
try:
    consumer.messages.list()
    raise AssertionError("a deleted key still works")
except TwilioException as error:
    assert error.args[1].status_code == 401, error.args

print(f"twilio {twilio.__version__}: all checks passed")

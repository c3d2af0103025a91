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
    made.api.base_url = made.accounts.base_url = made.monitor.base_url = told["url"]
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

# Auth tokens: a second one beside the first, deleted, made anew and promoted. Two changes of four are told by mail.
tokens = token.accounts.v1.secondary_auth_token
refused(401, 20003, main.accounts.v1.secondary_auth_token().create)
second = tokens().create(suppress_email_notification=True)
assert (second.account_sid, len(second.secondary_auth_token)) == (account, 32)
assert isinstance(second.date_created, datetime.datetime), second.date_created
refused(400, 70002, tokens().create)
assert tokens().delete(suppress_email_notification=True)
refused(404, 20404, tokens().delete)
refused(404, 20404, token.accounts.v1.auth_token_promotion().update)
second = tokens().create()
beside = client(account, second.secondary_auth_token)
assert beside.api.v2010.accounts(account).fetch().auth_token == told["token"]
assert beside.accounts.v1.auth_token_promotion().update().auth_token == second.secondary_auth_token
assert beside.api.v2010.accounts(account).fetch().auth_token == second.secondary_auth_token
refused(401, 20003, token.api.v2010.accounts(account).fetch)

# Events, page by page: what became of the first key, and of the tokens.
events = main.monitor.v1.events
story = [(event.event_type, event.source) for event in events.list(resource_sid=first.sid, page_size=2)]
kinds = ["account-api-keys." + word for word in ("deleted", "updated", "created")]
assert story == [(kind, "api") for kind in kinds], story
promoted = events.list(event_type="account-auth-token.promoted")
assert [(event.actor_sid, event.actor_type, event.resource_sid) for event in promoted] == [(account, "account", account)]
shown = events(promoted[0].sid).fetch()
assert shown.event_date == promoted[0].event_date and isinstance(shown.event_date, datetime.datetime)
assert events.list(start_date=shown.event_date + datetime.timedelta(seconds=1)) == []
assert len(events.list(end_date=shown.event_date, actor_sid=account)) > 10
refused(404, 20404, events("AE" + "f" * 32).fetch)

print(f"twilio {twilio.__version__}: all checks passed")

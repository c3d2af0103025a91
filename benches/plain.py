"""What one would write without rekeyd: Twilio's SDK and boto3, no journal, nothing read back, no care for a crash.

    python plain.py TWILIO SECRETS_MANAGER ACCOUNT MAIN_KEY ROTATIONS THREADS LATENCY_MS

It makes a key, tries it three times, puts the pair and deletes the old key. `benches/run` starts it beside rekeyd, against
the same sandbox and the same emulator; setting up is not measured.
"""

import json
import os
import sys
import threading
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

TWILIO, EMULATOR, ACCOUNT, MAIN_KEY = sys.argv[1:5]
ROTATIONS, THREADS, LATENCY = (int(argument) for argument in sys.argv[5:8])
RUN = uuid.uuid4().hex
calls = threading.local()
counted = []


class Here(TwilioHttpClient):
    """The SDK's own client, with its pool of connections, led to the sandbox."""

    def request(self, method, url, *arguments, **named):
        counted.append(1)
        return super().request(method, url.replace("https://api.twilio.com", TWILIO), *arguments, **named)


def twilio(user, secret):
    if not hasattr(calls, "client"):
        calls.client = Here()
    return Client(user, secret, ACCOUNT, http_client=calls.client)


def secrets():
    if not hasattr(calls, "secrets"):
        session = boto3.session.Session(region_name="eu-west-1")
        calls.secrets = session.client("secretsmanager", endpoint_url=EMULATOR, config=Config(retries={"max_attempts": 1}))
    return calls.secrets


def control(method, path, body):
    request = urllib.request.Request(f"{TWILIO}/_sandbox/{path}", json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    return json.load(urllib.request.urlopen(request))


def prepare(number):
    """An old key, and a secret that serves it."""
    key = control("POST", "keys", {"account": ACCOUNT, "type": "standard", "friendly_name": f"old {number}"})
    pair = {"accountSid": ACCOUNT, "apiKeySid": key["sid"], "apiKeySecret": key["secret"]}
    secrets().create_secret(Name=f"{RUN}/{number}", SecretString=json.dumps(pair))
    return number, key["sid"]


def rotate(job):
    number, old = job
    main = twilio(MAIN_KEY, os.environ["MAIN_SECRET"])
    new = main.new_keys.create(friendly_name=f"plain {number}")
    for _ in range(3):
        twilio(new.sid, new.secret).incoming_phone_numbers.page(page_size=1)
    pair = {"accountSid": ACCOUNT, "apiKeySid": new.sid, "apiKeySecret": new.secret}
    secrets().put_secret_value(SecretId=f"{RUN}/{number}", SecretString=json.dumps(pair))
    main.keys(old).delete()


with ThreadPoolExecutor(THREADS) as pool:
    jobs = list(pool.map(prepare, range(ROTATIONS)))
    control("PUT", "faults", {"latency_ms": LATENCY})
    start, cpu = time.monotonic(), time.process_time()
    list(pool.map(rotate, jobs))
    took, cpu = time.monotonic() - start, time.process_time() - cpu
control("PUT", "faults", {"latency_ms": 0})
print(json.dumps({"seconds": took, "cpu": cpu, "calls": len(counted)}))

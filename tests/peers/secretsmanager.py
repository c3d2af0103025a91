"""AWS Secrets Manager for tests: moto, held to the rules that AWS documents and moto 5.2.5 lets through.

    python secretsmanager.py PORT

The rules are those of the API reference: CreateSecret, PutSecretValue, UpdateSecretVersionStage, GetSecretValue,
RotateSecret, DeleteSecret and "Common errors". Where AWS is silent, the emulator refuses. Tests look at error codes,
never at texts.

Some access key ids stand for a fault, so that a test chooses it by signing with that id: see FAULTS. Which calls were
signed with which id is told at /calls.
"""

import json
import re
import sys
import threading
import time

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.secretsmanager import exceptions as errors
from moto.secretsmanager.models import FakeSecret, SecretsManagerBackend
from werkzeug.serving import WSGIRequestHandler, run_simple

# An access key id under which the first version of a secret is not made current by itself.
FORGETFUL = "FORGETFUL"
signing = threading.local()

LIMIT = 65536  # bytes, "Quotas": size of a secret value
CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"

# Access key id: the operations that were called with it.
calls = {}

# Access key id: status and error code ("Common errors"; Secrets Manager speaks JSON, with the code in __type).
FAULTS = {
    "DENIED": (400, "AccessDeniedException"),
    "UNKNOWN": (400, "UnrecognizedClientException"),
    "EXPIRED": (400, "ExpiredTokenException"),
    "THROTTLED": (400, "ThrottlingException"),
    "BROKEN": (500, "InternalServiceError"),
}


def holder(secret, label):
    """The id of the version that carries a label; each label is on one version at most."""
    return next((id for id, version in secret.versions.items() if label in version["version_stages"]), None)


def attach(secret, label, id):
    """Moves a label, and AWSPREVIOUS behind AWSCURRENT."""
    before = holder(secret, label)
    if before == id:
        return
    if before:
        secret.versions[before]["version_stages"].remove(label)
    secret.versions[id]["version_stages"].append(label)
    if label == CURRENT:
        secret.set_default_version_id(id)
        if PREVIOUS in secret.versions[id]["version_stages"]:
            secret.versions[id]["version_stages"].remove(PREVIOUS)
        if before:
            attach(secret, PREVIOUS, before)


def check_value(text, binary):
    if text is not None and binary is not None:
        raise errors.InvalidParameterException("SecretString and SecretBinary exclude each other.")
    if len((text or "").encode()) > LIMIT or len(binary or "") * 3 // 4 > LIMIT:
        raise errors.InvalidParameterException("The secret value is too long.")


def value(version):
    return version.get("secret_string"), version.get("secret_binary")


def answer(secret, version):
    id, stages = version["version_id"], version["version_stages"]
    return json.dumps({"ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": stages})


def living(backend, secret_id):
    if secret_id not in backend.secrets:
        raise errors.SecretNotFoundException()
    secret = backend.secrets[secret_id]
    if secret.is_deleted():
        raise errors.InvalidRequestException("The secret is marked for deletion.")
    return secret


moto_create = SecretsManagerBackend.create_secret
moto_get = SecretsManagerBackend.get_secret_value


def create_secret(self, name, secret_string, secret_binary, client_request_token, **rest):
    check_value(secret_string, secret_binary)
    if name in self.secrets:
        secret = living(self, name)
        version = secret.versions.get(client_request_token)
        if version is None or value(version) != (secret_string, secret_binary):
            raise errors.ResourceExistsException("There is a secret of that name.")
        return answer(secret, version)
    return moto_create(
        self,
        name=name,
        secret_string=secret_string,
        secret_binary=secret_binary,
        client_request_token=client_request_token,
        **rest,
    )


def put_secret_value(self, secret_id, secret_string, secret_binary, client_request_token, version_stages):
    check_value(secret_string, secret_binary)
    if secret_string is None and secret_binary is None:
        raise errors.InvalidParameterException("There is no secret value.")
    secret = living(self, secret_id)
    id = self._from_client_request_token(client_request_token)
    version = secret.versions.get(id)
    if version is None:
        # Labels move only when a version is made: a repeated call "succeeds but does nothing".
        version = {"createdate": int(time.time()), "version_id": id, "version_stages": []}
        version |= {"secret_string": secret_string} if secret_string is not None else {"secret_binary": secret_binary}
        first = not secret.versions and signing.id != FORGETFUL
        secret.versions[id] = version
        for label in list(version_stages) + ([CURRENT] if first and CURRENT not in version_stages else []):
            attach(secret, label, id)
    elif value(version) == (None, None):
        # RotateSecret made it: "Secrets Manager creates an AWSPENDING version ID before creating the new secret version".
        version |= {"secret_string": secret_string} if secret_string is not None else {"secret_binary": secret_binary}
    elif value(version) != (secret_string, secret_binary):
        raise errors.ResourceExistsException("This ClientRequestToken is in use for another value.")
    return answer(secret, version)


def update_secret_version_stage(self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
    secret = living(self, secret_id)
    held_by = holder(secret, version_stage)
    for id in (remove_from_version_id, move_to_version_id):
        if id and id not in secret.versions:
            raise errors.InvalidParameterException("There is no such version.")
    if remove_from_version_id and remove_from_version_id != held_by:
        raise errors.InvalidParameterException("The label is not on the version of RemoveFromVersionId.")
    if move_to_version_id:
        if held_by == move_to_version_id:
            raise errors.InvalidParameterException("The label is there already.")
        if held_by and not remove_from_version_id:
            raise errors.InvalidParameterException("The label is on another version: name it in RemoveFromVersionId.")
        attach(secret, version_stage, move_to_version_id)
    elif version_stage == CURRENT:
        raise errors.InvalidParameterException("AWSCURRENT can be moved, not removed.")
    elif held_by:
        secret.versions[held_by]["version_stages"].remove(version_stage)
    return secret.arn, secret.name


def get_secret_value(self, secret_id, version_id, version_stage):
    living(self, secret_id)
    return moto_get(self, secret_id, version_id, version_stage or (None if version_id else CURRENT))


def rotate_secret(self, secret_id, client_request_token, rotate_immediately, **rest):
    """What AWS does before the steps of a rotation, which are the caller's here; no function is needed."""
    secret = living(self, secret_id)
    pending = holder(secret, PENDING)
    if pending and pending != holder(secret, CURRENT):
        raise errors.InvalidRequestException("A previous rotation request is still in progress.")
    secret.rotation_requested = secret.rotation_enabled = True
    if not rotate_immediately:
        return secret.to_short_dict()
    version = {"createdate": int(time.time()), "version_id": client_request_token, "version_stages": []}
    secret.versions[client_request_token] = version
    attach(secret, PENDING, client_request_token)
    return answer(secret, version)


def cancel_rotate_secret(self, secret_id):
    secret = living(self, secret_id)
    secret.rotation_enabled = False
    return secret.to_short_dict()


def labelled_versions(self):
    """DescribeSecret shows the versions that have a label."""
    return {id: version["version_stages"] for id, version in self.versions.items() if version["version_stages"]}


def answer_400(error):
    """AWS answers what is missing with status 400, moto with 404."""
    init = error.__init__

    def with_code(self, *arguments):
        init(self, *arguments)
        self.code = 400

    error.__init__ = with_code


def with_faults(app):
    """Answers the access key ids of FAULTS, and lets one request in at a time: moto keeps no locks."""
    lock = threading.Lock()

    def serve(environ, start_response):
        if environ["PATH_INFO"] == "/calls":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({id: sorted(names) for id, names in calls.items()}).encode()]
        credential = re.search(r"Credential=([A-Z]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        signing.id = credential and credential[1]
        if signing.id:
            calls.setdefault(signing.id, set()).add(environ.get("HTTP_X_AMZ_TARGET", "").removeprefix("secretsmanager."))
        if signing.id in FAULTS:
            status, code = FAULTS[signing.id]
            body = json.dumps({"__type": code, "Message": f"The emulator was asked for {code}."}).encode()
            headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
            start_response(f"{status} Fault", headers)
            return [body]
        with lock:
            return list(app(environ, start_response))

    return serve


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *arguments):
        pass


def main(port):
    for rule in (
        create_secret,
        put_secret_value,
        update_secret_version_stage,
        get_secret_value,
        rotate_secret,
        cancel_rotate_secret,
    ):
        setattr(SecretsManagerBackend, rule.__name__, rule)
    FakeSecret._form_version_ids_to_stages = labelled_versions
    for name in ("ResourceNotFound", "SecretNotFound", "SecretHasNoValue", "SecretStageVersionMismatch"):
        answer_400(getattr(errors, f"{name}Exception"))
    app = with_faults(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", port, app, threaded=True, request_handler=Handler)


if __name__ == "__main__":
    main(int(sys.argv[1]))

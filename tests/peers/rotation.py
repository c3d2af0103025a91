"""A rotation as AWS makes one of a secret of its type `TwilioApiKey`, step by step (user guide, "How rotation works").

    python rotation.py SECRETS_MANAGER SECRET_NAME TWILIO ADMIN_SID ADMIN_SECRET

What AWS itself does is closed; this holds the value to the members that AWS documents for the type, takes the four steps
of AWS's template for rotations, and leaves the labels as its last step does. The displaced key is deleted, as with
`"retainPreviousKey": "false"`.
"""

import json
import sys
import time
import uuid

import boto3
import requests

MEMBERS = {"accountSid", "apiKeySid", "apiKeySecret", "validationUrl"}


def main(endpoint, name, twilio, admin_sid, admin_secret):
    aws = boto3.client(
        "secretsmanager",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="GOOD",
        aws_secret_access_key="x",
    )
    token = str(uuid.uuid4())
    aws.rotate_secret(SecretId=name, ClientRequestToken=token)
    secret = aws.describe_secret(SecretId=name)
    assert secret["RotationEnabled"] and secret["VersionIdsToStages"][token] == ["AWSPENDING"], secret

    # createSecret, setSecret
    value = json.loads(aws.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")["SecretString"])
    assert set(value) == MEMBERS, f"these are not the members of a TwilioApiKey: {sorted(value)}"
    keys = f"{twilio}/2010-04-01/Accounts/{value['accountSid']}/Keys"
    admin = (admin_sid, admin_secret)
    made = requests.post(f"{keys}.json", auth=admin, data={"FriendlyName": f"aws-sm-api-key-{token[:8]}"}, timeout=10)
    assert made.status_code == 201, made.text
    old, new = value["apiKeySid"], value | {"apiKeySid": made.json()["sid"], "apiKeySecret": made.json()["secret"]}
    text = json.dumps(new)
    aws.put_secret_value(SecretId=name, ClientRequestToken=token, SecretString=text, VersionStages=["AWSPENDING"])

    # testSecret
    pair = (new["apiKeySid"], new["apiKeySecret"])
    url = new["validationUrl"].replace("https://api.twilio.com", twilio)
    for _ in range(50):
        tried = requests.get(url, auth=pair, timeout=10)
        if tried.status_code == 200:
            break
        time.sleep(0.1)
    assert tried.status_code == 200, tried.text

    # finishSecret
    versions = aws.describe_secret(SecretId=name)["VersionIdsToStages"]
    current = next(id for id, labels in versions.items() if "AWSCURRENT" in labels)
    aws.update_secret_version_stage(
        SecretId=name, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=current
    )
    aws.update_secret_version_stage(SecretId=name, VersionStage="AWSPENDING", RemoveFromVersionId=token)
    assert requests.delete(f"{keys}/{old}.json", auth=admin, timeout=10).status_code == 204


main(*sys.argv[1:])

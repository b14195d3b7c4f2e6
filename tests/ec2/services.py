"""KMS and Service Quotas, as far as a plan asks them: JSON over HTTP, "AWS JSON 1.1 protocol".

`keys` of a cloud's settings: key id, ARN or alias → what KMS API Reference's KeyMetadata says of it.
`quotas`: quota code → value; codes that are not there have AWS's default.
"""

import json

JSON = "application/x-amz-json-1.1"
# "Amazon EBS endpoints and quotas": TiB of each type. Processors have more here than in a new account.
STORAGE = 50.0


def refused(action):
    # "Common errors" of both references.
    return 400, {"__type": "AccessDeniedException",
                 "message": f"User: arn:aws:iam::1:user/tests is not authorized to perform: {action}"}


def answers(cloud, body):
    """Whether a key is of the settings, and not one of moto's own."""
    return json.loads(body or b"{}").get("KeyId") in cloud.keys or "kms:DescribeKey" in cloud.denied


def answer(cloud, target, body):
    """The status and the JSON of an answer."""
    service, operation = target.split(".")
    asked = json.loads(body or b"{}")
    action = ("kms:" if service == "TrentService" else "servicequotas:") + operation
    cloud.calls.append({"service": service, "action": operation, "params": asked, "status": 200})
    if action in cloud.denied:
        return refused(action)
    if action == "kms:DescribeKey":
        # API Reference, DescribeKey: aliases and ids alike; NotFoundException.
        key = cloud.keys.get(asked["KeyId"])
        if key is None:
            return 400, {"__type": "NotFoundException", "message": f"Key '{asked['KeyId']}' does not exist"}
        metadata = {"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Enabled": True, "KeyState": "Enabled",
                    "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", **key}
        metadata["Enabled"] = metadata["KeyState"] == "Enabled"
        return 200, {"KeyMetadata": metadata}
    code = asked["QuotaCode"]
    if action == "servicequotas:GetServiceQuota":
        # API Reference, GetServiceQuota: NoSuchResourceException where nothing was ever applied.
        if code not in cloud.quotas:
            return 400, {"__type": "NoSuchResourceException", "message": "The quota has no applied value"}
        return 200, {"Quota": {"QuotaCode": code, "Value": cloud.quotas[code]}}
    if action == "servicequotas:GetAWSDefaultServiceQuota":
        value = 1e6 if asked["ServiceCode"] == "ec2" else STORAGE
        return 200, {"Quota": {"QuotaCode": code, "Value": value}}
    return 400, {"__type": "UnknownOperationException", "message": target}

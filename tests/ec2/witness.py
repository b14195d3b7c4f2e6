#!/usr/bin/env python3
"""boto3 as a witness: what it lists of a cloud. Reads a line of JSON for each question, {"url",
"region", "key", "secret"}, and writes the answer as one."""

import json
import sys

import boto3

session = boto3.session.Session()
for line in sys.stdin:
    asked = json.loads(line)
    ec2 = session.client("ec2", endpoint_url=asked["url"], region_name=asked["region"],
                         aws_access_key_id=asked["key"], aws_secret_access_key=asked["secret"])
    instances = [instance for page in ec2.get_paginator("describe_instances").paginate()
                 for reservation in page["Reservations"] for instance in reservation["Instances"]]
    for instance in instances:
        if instance["State"]["Name"] != "terminated":
            data = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
            instance["UserData"] = data["UserData"].get("Value")
    volumes = [volume for page in ec2.get_paginator("describe_volumes").paginate() for volume in page["Volumes"]]
    snapshots = [snapshot for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
                 for snapshot in page["Snapshots"]]
    images = ec2.describe_images(Owners=["self"])["Images"]
    answer = {"instances": instances, "volumes": volumes, "snapshots": snapshots, "images": images}
    print(json.dumps(answer, default=str), flush=True)

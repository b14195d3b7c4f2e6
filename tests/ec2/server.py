#!/usr/bin/env python3
"""moto's EC2 with what it leaves out (rules.py), for tests: many clouds in one server, one for each
access key, so that tests do not see each other.

    server.py           prints the URL that it listens on

PUT  /_cloud/KEY        makes the cloud of an access key, or changes its settings; JSON:
    delay       seconds that each change of state takes
    hide        how many calls do not know a new id yet
    stuck       states that are never left, as long as this is set
    forgets     whether client tokens are forgotten
    kill        {"at", "after", "pid"}: the n-th call from now ends the process whose id the file `pid`
                holds, by kill -9, before its effect or after it and before its reply
    page        most items of one page, whatever is asked for
    type, zone, image  of the access node
    devices     directory in which the access node's devices and sysfs are imitated (node.py)
    loops       whether those devices are loop devices, and not files
    surprise    what somebody else does to volumes (node.py)
    faults      {"seed", "throttled", "unavailable", "lost"}: each but the seed in a thousand calls
    impaired    instance ids whose guests never answer ("*": all)
    ebs_impaired  instance ids that cannot reach their volumes ("*": all)
    console     what consoles show
    screenshot  whether there are screenshots
    platform_details  of images that are registered
    fails       what launches and starts come to: {"launch" | "start": {"code", "message"}}
    deprecated  ids of images that are deprecated
    denied      IAM's actions that the caller may not do, as "ec2:AttachVolume"
    conditions  whether the caller's policy has conditions on tags, which what does not exist never meets
    profiles    instance profiles that there are
    associate   instance ids to the profiles that somebody else gives them
    keys        KMS keys by id, ARN or alias (services.py)
    quotas      applied quotas by code (services.py)
POST /_cloud/KEY        one of moto's own calls in that cloud, past all rules: {"action", "params"}
GET  /_cloud/KEY        the calls so far: [{"action", "params", "status"}]
"""

import hashlib
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.environ["MOTO_AMIS_PATH"] = str(HERE / "amis.json")

from moto.ec2.models.amis import AMIS, Ami  # noqa: E402
from moto.ec2.utils import filter_dict_attribute_mapping  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402

import services  # noqa: E402
import wire  # noqa: E402
from node import Node  # noqa: E402
from rules import Cloud  # noqa: E402
from wire import Call, EC2Error  # noqa: E402

REGION = "eu-central-1"
ACCESS_NODE_IMAGE = "ami-0a2000000000000b1"

for ami in AMIS:
    owner = "999999999999" if ami["name"].startswith("somebody") else "137112412989"
    ami.update(state="available", public=True, owner_id=owner, image_type="machine", hypervisor="xen",
               virtualization_type="hvm", root_device_type="ebs", image_location=ami["name"])

# moto knows fewer filters of DescribeImages than EC2 (API, DescribeImages).
known_filters = Ami.get_filter_value


def ami_filter(self, name, method_name=None):
    more = {"root-device-type": self.root_device_type, "image-type": self.image_type, "boot-mode": self.boot_mode}
    return more[name] if name in more else known_filters(self, name, method_name)


Ami.get_filter_value = ami_filter
# API, DescribeInstances.
filter_dict_attribute_mapping["client-token"] = "client_token"


class Faults:
    """Which calls fail: by seed, action and how many there were of that action."""

    def __init__(self, settings):
        self.settings, self.counts = settings, {}

    def draw(self, action):
        count = self.counts[action] = self.counts.get(action, 0) + 1
        digest = hashlib.sha256(f"{self.settings.get('seed', 0)}/{action}/{count}".encode()).digest()
        drawn = int.from_bytes(digest[:4], "little") % 1000
        for kind in ("throttled", "unavailable", "lost"):
            if drawn < self.settings.get(kind, 0):
                return kind
            drawn -= self.settings.get(kind, 0)
        return None


class Server:
    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.clouds, self.lock = {}, threading.Lock()

    def __call__(self, environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_cloud/"):
            return self.control(environ, path.removeprefix("/_cloud/"), body, start_response)
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        key = authorization.partition("Credential=")[2].partition("/")[0]
        service = authorization.partition("/aws4_request")[0].rpartition("/")[2]
        if service == "sts":
            return self.sts(environ, key, body, start_response)
        cloud = self.clouds.get(key)
        if cloud is None:
            # API, error codes.
            error = EC2Error("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
            return self.answer(start_response, error.status, error.body())
        if service == "servicequotas" or (service == "kms" and services.answers(cloud, body)):
            with cloud.lock:
                status, value = services.answer(cloud, environ.get("HTTP_X_AMZ_TARGET", ""), body)
            return self.answer(start_response, status, json.dumps(value).encode(), services.JSON)
        if "HTTP_X_AMZ_TARGET" in environ:
            return self.json(cloud, environ, body, start_response)
        return self.serve(cloud, Call(body.decode()), environ, start_response)

    def json(self, cloud, environ, body, start_response):
        """Services that speak JSON (KMS) are moto's as they are."""
        action = environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2]
        status, answer = self.ask_moto(environ, cloud.account, body, environ.get("CONTENT_TYPE"))
        cloud.calls.append({"action": action, "params": json.loads(body or b"{}"), "status": status})
        return self.answer(start_response, status, answer, environ.get("CONTENT_TYPE"))

    def sts(self, environ, key, body, start_response):
        """Assumed roles are keys like any other: they see the cloud of who took the role."""
        call = Call(body.decode())
        status, answer = self.ask_moto(environ, "000000000000", body)
        made = wire.ET.fromstring(answer)
        for element in made.iter():
            if element.tag.endswith("AccessKeyId") and element.text and key in self.clouds:
                self.clouds[element.text] = self.clouds[key]
        if key in self.clouds:
            self.clouds[key].calls.append({"action": call.action, "params": call.params, "status": status})
        return self.answer(start_response, status, answer)

    def control(self, environ, key, body, start_response):
        if environ["REQUEST_METHOD"] == "GET":
            return self.answer(start_response, 200, json.dumps(self.clouds[key].calls).encode(), "application/json")
        settings = json.loads(body or b"{}")
        if environ["REQUEST_METHOD"] == "POST":
            root = self.ask(environ, self.clouds[key], settings["action"], settings["params"])
            return self.answer(start_response, 200, wire.to_bytes(root))
        with self.lock:
            cloud = self.clouds.get(key)
            is_new = cloud is None
            if is_new:
                account = str(int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10**12).zfill(12)
                cloud = self.clouds[key] = Cloud(account, REGION)
                cloud.faults = Faults({})
                cloud.ask = lambda action, params: self.ask(environ, cloud, action, params)
        with cloud.lock:
            if is_new:
                self.make_access_node(environ, cloud, settings)
            for name in ("delay", "hide", "page", "forgets", "conditions", "keys", "quotas", "profiles"):
                setattr(cloud, name, settings.get(name, getattr(cloud, name)))
            cloud.stuck = set(settings.get("stuck", cloud.stuck))
            cloud.kill = settings.get("kill")
            cloud.impaired = set(settings.get("impaired", cloud.impaired))
            cloud.ebs_impaired = set(settings.get("ebs_impaired", cloud.ebs_impaired))
            cloud.denied = set(settings.get("denied", cloud.denied))
            if "surprise" in settings:
                cloud.node.surprise = settings["surprise"]
            cloud.deprecated = set(settings.get("deprecated", cloud.deprecated))
            for name in ("console", "screenshot", "platform_details", "fails"):
                setattr(cloud, name, settings.get(name, getattr(cloud, name)))
            for id, name in settings.get("associate", {}).items():
                cloud.associate(id, f"arn:aws:iam::{cloud.account}:instance-profile/{name}")
            if "faults" in settings:
                cloud.faults = Faults(settings["faults"])
            subnets = {subnet.availability_zone: [subnet.id, subnet.cidr_block]
                       for subnet in cloud.backend.describe_subnets()}
            volumes = list(cloud.backend.volumes)
            vpcs = {subnet.id: subnet.vpc_id for subnet in cloud.backend.describe_subnets()}
        made = {"vpcs": vpcs, "access_node": cloud.access_node, "account": cloud.account, "subnets": subnets, "volumes": volumes}
        return self.answer(start_response, 200, json.dumps(made).encode(), "application/json")

    def make_access_node(self, environ, cloud, settings):
        kind = settings.get("type", "m6i.large")
        call = Call("")
        call.action = "RunInstances"
        call.params = {
            "Action": "RunInstances", "ImageId": settings.get("image", ACCESS_NODE_IMAGE), "InstanceType": kind,
            "MinCount": "1", "MaxCount": "1", "Placement.AvailabilityZone": settings.get("zone", REGION + "a"),
            "TagSpecification.1.ResourceType": "instance",
            "TagSpecification.1.Tag.1.Key": "Name", "TagSpecification.1.Tag.1.Value": "access node",
        }
        cloud.before(call)
        _, answer = self.ask_moto(environ, cloud.account, call.body())
        root = wire.parse(answer)
        cloud.after(call, root)
        cloud.access_node = wire.text(wire.items(root, "instancesSet")[0][0], "instanceId")
        if settings.get("devices"):
            cloud.node = Node(settings["devices"], cloud.type(kind)["Hypervisor"] == "nitro",
                              settings.get("loops", False), cloud.access_node)

    def serve(self, cloud, call, environ, start_response):
        record = {"action": call.action, "params": call.params.copy(), "status": 200}
        cloud.calls.append(record)
        with cloud.lock:
            fault = cloud.faults.draw(call.action)
            killed = self.is_last(cloud)
            if killed and not killed["after"]:
                record["status"] = "killed"
                self.kill(killed, environ)
            try:
                if fault == "throttled":
                    # API, "Request throttling for the Amazon EC2 API": 503.
                    raise EC2Error("RequestLimitExceeded", "Request limit exceeded.", 503)
                if fault == "unavailable":
                    raise EC2Error("InternalError", "An internal error has occurred", 500)
                status, body = self.perform(cloud, call, environ)
            except EC2Error as error:
                status, body = error.status, error.body()
        record["status"] = status
        if killed:
            self.kill(killed, environ)
        if fault == "lost" and status == 200:
            record["status"] = "lost"
            # The effect is there; nobody hears of it.
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        return self.answer(start_response, status, body)

    @staticmethod
    def is_last(cloud):
        """Counts a call; what ends its caller now."""
        if cloud.kill is None:
            return None
        cloud.kill["at"] -= 1
        return None if cloud.kill["at"] > 0 else cloud.kill

    @staticmethod
    def kill(killed, environ):
        """What the caller still sends on its other connections goes nowhere either."""
        if killed["at"] == 0:
            os.kill(int(Path(killed["pid"]).read_text()), signal.SIGKILL)
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError

    def perform(self, cloud, call, environ):
        token, most = call.params.pop("NextToken", None), call.params.pop("MaxResults", None)
        cloud.check_permission(call)
        answer = cloud.before(call)
        if answer is not None:
            status, root, call.is_answered = 200, wire.parse(answer), True
        else:
            status, body = self.ask_moto(environ, cloud.account, call.body())
            if status >= 500:
                print(call.params, body.decode(), file=sys.stderr)
            if status != 200:
                return status, body
            root = wire.parse(body)
        cloud.after(call, root)
        if call.action.startswith("Describe"):
            self.cut(cloud, root, token, most)
        return status, wire.to_bytes(root)

    def cut(self, cloud, root, token, most):
        """API, "Paginating results": a token goes on where a page ended."""
        size = min(int(most or 1000), cloud.page or 1000)
        for path in ("volumeSet", "reservationSet", "snapshotSet", "imagesSet", "instanceTypeSet", "subnetSet",
                     "networkInterfaceSet", "securityGroupInfo", "instanceTypeOfferingSet"):
            items, parent = wire.items(root, path)
            start = int((token or "page-0").removeprefix("page-"))
            for number, item in enumerate(items):
                if not start <= number < start + size:
                    parent.remove(item)
            if len(items) > start + size:
                wire.set_text(root, "nextToken", f"page-{start + size}")

    def ask(self, environ, cloud, action, params):
        call = Call("")
        call.action, call.params = action, {"Action": action, "Version": "2016-11-15", **params}
        _, body = self.ask_moto(environ, cloud.account, call.body())
        return wire.parse(body)

    def ask_moto(self, environ, account, body, kind="application/x-www-form-urlencoded; charset=utf-8"):
        asked = {name: value for name, value in environ.items() if name.startswith(("SERVER_", "wsgi.", "HTTP_"))}
        asked.setdefault("HTTP_AUTHORIZATION",
                         f"AWS4-HMAC-SHA256 Credential=k/20260101/{REGION}/ec2/aws4_request, SignedHeaders=h, Signature=s")
        asked.update({
            "REQUEST_METHOD": "POST", "PATH_INFO": "/", "SCRIPT_NAME": "", "QUERY_STRING": "",
            "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body), "HTTP_X_MOTO_ACCOUNT_ID": account,
        })
        asked.pop("HTTP_TRANSFER_ENCODING", None)
        got = {}

        def start(status, headers, exc_info=None):
            got["status"] = int(status.split()[0])

        app = self.moto.get_application(asked)
        return_body = b"".join(app(asked, start))
        return got["status"], return_body

    @staticmethod
    def answer(start_response, status, body, kind="text/xml;charset=UTF-8"):
        start_response(f"{status} X", [("Content-Type", kind), ("Content-Length", str(len(body))),
                                       ("x-amzn-requestid", str(uuid.uuid4()))])
        return [body]


class Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, Server(), threaded=True, request_handler=Handler)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()

"""What EC2 does and moto leaves out. Each rule names the page of EC2's documentation that has it;
"API" is the EC2 API Reference, "guide" the EC2 User Guide, "EBS" the EBS User Guide.

A cloud is one account of moto in one region. A rule runs before moto sees a call, and may refuse
it or change its parameters; what is under way is laid over moto's answers afterwards, since moto
completes everything at once. What is still laxer or simpler than EC2 stands in README.md.
"""

import base64
import ipaddress
import math
import threading
import time

import moto.ec2.models as ec2_models
from moto.core.utils import utcnow

import wire
import options
from images import Images
from node import Node
from options import Options
from permissions import Permissions
from profiles import Profiles
from volumes import Volumes, check_device_name
from wire import EC2Error

# What DescribeInstanceTypes says, by name: looking through all of them takes long.
TYPES = {}
CONSOLE = "Linux version 6.1\r\nDebian GNU/Linux 12 web ttyS0\r\n\r\nweb login: "


def not_found_volume(volume):
    return EC2Error("InvalidVolume.NotFound", f"The volume '{volume}' does not exist.")


def not_found_instance(instance):
    return EC2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance}' does not exist")


def slot(device):
    name = device.removeprefix("/dev/")
    for prefix in ("xvd", "sd"):
        if name.startswith(prefix):
            return "xvd" + name.removeprefix(prefix)
    return name


class Cloud(Images, Options, Permissions, Profiles, Volumes):
    def __init__(self, account, region):
        super().__init__()
        self.account, self.region = account, region
        self.lock = threading.RLock()
        self.delay = 0.0
        self.hide = 0
        self.page = 0
        # States that are never left.
        self.stuck = set()
        # Which call ends its caller: {"at", "after", "pid"}.
        self.kill = None
        # Whether client tokens are forgotten, as they are after a day.
        self.forgets = False
        self.impaired, self.ebs_impaired = set(), set()
        self.console = CONSOLE
        self.screenshot = True
        # What launches and starts come to: {"launch" | "start": {"code", "message"}}.
        self.fails = {}
        # instance → why its state changed
        self.reasons = {}
        # Images that are described only to whoever asks for deprecated ones.
        self.deprecated = set()
        # Interfaces that were there before the instance that they are attached to.
        self.brought = set()
        self.platform_details = "Linux/UNIX"
        self.calls = []
        # (action, token) → (parameters without what may differ, id)
        self.tokens = {}
        # id → (state, until)
        self.passing = {}
        # volume → (instance, device, delete on termination, until)
        self.detaching = {}
        # volume → until
        self.attaching = {}
        # instance → when its checks pass
        self.checking = {}
        # id → how many calls do not know it yet
        self.hidden = {}
        # instance → options that moto does not keep
        self.options = {}
        self.access_node = None
        self.node = None
        # Of KMS and Service Quotas (services.py).
        self.keys, self.quotas = {}, {}

    @property
    def backend(self):
        return ec2_models.ec2_backends[self.account][self.region]

    # What there is.

    def volume(self, id):
        volume = self.backend.volumes.get(id)
        if volume is None:
            raise not_found_volume(id)
        return volume

    def instance(self, id):
        instance = self.backend.get_instance_by_id(id)
        if instance is None:
            raise not_found_instance(id)
        return instance

    def _until(self, state=None):
        return math.inf if state in self.stuck else time.monotonic() + self.delay

    def pass_through(self, id, state):
        self.passing[id] = (state, self._until(state))

    def state(self, id, settled):
        state, until = self.passing.get(id, (settled, 0))
        # What was stuck goes on when nothing is stuck any more.
        is_so = time.monotonic() < until and (until < math.inf or state in self.stuck)
        return state if is_so else settled

    def give_up(self):
        for volume in list(self.backend.volumes.values()):
            if time.monotonic() > getattr(volume, "given_up", float("inf")):
                self.backend.volumes.pop(volume.id)

    def volume_state(self, volume):
        return self.state(volume.id, "in-use" if self.attachment(volume) else "available")

    def attachment(self, volume):
        """(instance, device, state, delete on termination) of a volume, None when it is free."""
        held = self.detaching.get(volume.id)
        if held and time.monotonic() < held[3] and (held[3] < math.inf or "detaching" in self.stuck):
            return held[0], held[1], "detaching", held[2]
        if volume.attachment is None:
            return None
        until = self.attaching.get(volume.id, 0)
        is_attaching = time.monotonic() < until and (until < math.inf or "attaching" in self.stuck)
        state = "attaching" if is_attaching else "attached"
        instance, device = volume.attachment.instance, volume.attachment.device
        return instance.id, device, state, instance.block_device_mapping[device].delete_on_termination

    def instance_state(self, instance):
        return self.state(instance.id, instance.state)

    def type(self, name):
        if not TYPES:
            for info in self.backend.describe_instance_types([], {}):
                TYPES[info["InstanceType"]] = info
        if name not in TYPES:
            raise EC2Error("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
        return TYPES[name]

    # Before moto.

    def before(self, call):
        """Refuses a call, or changes it; gives an answer of its own instead of moto's, or None."""
        self.check_hidden(call)
        self.give_up()
        rule = getattr(self, "before_" + call.action, None)
        return rule(call) if rule else None

    def check_hidden(self, call):
        """guide, "Eventual consistency in the Amazon EC2 API": a new id may not be known yet."""
        if call.action.startswith("Describe"):
            return
        for name in ("VolumeId", "InstanceId", "InstanceId.1", "ResourceId.1", "SnapshotId", "ImageId"):
            id = call.get(name)
            if id and self.hidden.get(id, 0) > 0:
                self.hidden[id] -= 1
                if id.startswith("ami-"):
                    raise EC2Error("InvalidAMIID.NotFound", f"The image id '[{id}]' does not exist")
                raise not_found_volume(id) if id.startswith("vol-") else (
                    not_found_instance(id) if id.startswith("i-") else
                    EC2Error("InvalidSnapshot.NotFound", f"The snapshot '{id}' does not exist."))

    def remembered(self, call, ignored):
        """API, "Ensuring idempotency in Amazon EC2 API requests": the same token with the same
        parameters gives what the first call made, with others an error."""
        token = call.get("ClientToken")
        if token is None or self.forgets:
            return None
        known = self.tokens.get((call.action, token))
        if known is None:
            return None
        same = {name: value for name, value in call.params.items() if name not in ignored}
        if known[0] != same:
            raise EC2Error(
                "IdempotentParameterMismatch",
                f"The client token '{token}' was used with other parameters")
        return known[1]

    def remember(self, call, id):
        if call.get("ClientToken"):
            self.tokens[(call.action, call.get("ClientToken"))] = (dict(call.original), id)

    def check_tags(self, tags, already=()):
        """guide, "Tag your Amazon EC2 resources": restrictions."""
        for key in tags:
            if key.lower().startswith("aws:"):
                raise EC2Error("InvalidParameterValue", f"Value ( {key} ) for parameter key is invalid. "
                               "Tag keys starting with 'aws:' are reserved for internal use")
        if len({*tags, *already}) > 50:
            raise EC2Error("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")

    def check_zone(self, zone):
        """API, error codes: InvalidZone.NotFound."""
        if zone not in {zone.name for zone in self.backend.describe_availability_zones([])}:
            raise EC2Error("InvalidZone.NotFound", f"The zone '{zone}' does not exist.")

    def number(self, call, name):
        value = call.get(name)
        return None if value is None else int(value)

    def before_CreateVolume(self, call):
        made = self.remembered(call, ())
        call.original = dict(call.params)
        if made in self.backend.volumes:
            return self.described("CreateVolume", made)
        self.check_zone(call.get("AvailabilityZone"))
        self.check_tags(call.tags("TagSpecification.1.Tag"))
        if self.backend.ebs_encryption_by_default:
            # EBS, "Enable EBS encryption by default": whatever is asked for.
            call.params["Encrypted"] = "true"
        kind = call.get("VolumeType", "gp2")
        self.check_shape(kind, int(call.get("Size", 0)), self.number(call, "Iops"), self.number(call, "Throughput"))
        return None

    def before_DeleteVolume(self, call):
        volume = self.volume(call.get("VolumeId"))
        attached = self.attachment(volume)
        if attached:
            raise EC2Error("VolumeInUse", f"Volume {volume.id} is currently attached to {attached[0]}")
        if self.volume_state(volume) == "creating":
            raise EC2Error("IncorrectState", f"Volume '{volume.id}' is being created.")
        self.begin_deletion(volume.id)
        return None

    def before_AttachVolume(self, call):
        """API, AttachVolume and error codes; EBS, "Attach an Amazon EBS volume"."""
        volume, instance = self.volume(call.get("VolumeId")), self.instance(call.get("InstanceId"))
        device = call.get("Device")
        check_device_name(device)
        attached = self.attachment(volume)
        if attached:
            raise EC2Error("VolumeInUse", f"{volume.id} is already attached to an instance")
        if self.volume_state(volume) != "available":
            raise EC2Error("IncorrectState", f"Volume '{volume.id}' is not 'available'.")
        if self.instance_state(instance) not in ("running", "stopped"):
            raise EC2Error("IncorrectState", f"Instance '{instance.id}' is not 'running' or 'stopped'.")
        if volume.zone.name != instance.placement.zone:
            raise EC2Error("InvalidVolume.ZoneMismatch",
                           f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'")
        holding = self.holding(instance)
        if any(slot(taken) == slot(device) for _, taken in holding):
            raise EC2Error("InvalidDevice.InUse",
                           f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use")
        # guide, "Amazon EBS volume limits for Amazon EC2 instances": by type; 39 on Xen.
        info = self.type(instance.instance_type)
        most = info.get("EbsInfo", {}).get("MaximumEbsAttachments") or 39
        if info["Hypervisor"] == "nitro" and info["EbsInfo"].get("AttachmentLimitType") == "shared":
            # The first interface and instance stores are counted in it (seen: 26 for m5d.large).
            most -= max(len(instance.nics) - 1, 0)
        if len(holding) >= most:
            raise EC2Error("AttachmentLimitExceeded", f"{instance.id} has {len(holding)} volumes attached")
        return None

    def holding(self, instance):
        """Volumes on an instance with their devices, those being detached too."""
        found = []
        for volume in list(self.backend.volumes.values()):
            attached = self.attachment(volume)
            if attached and attached[0] == instance.id:
                found.append((volume, attached[1]))
        return found

    def before_DetachVolume(self, call):
        """API, DetachVolume: instance and device may be left out; EBS, "Detach an Amazon EBS volume":
        the root of an instance that is not stopped stays."""
        volume = self.volume(call.get("VolumeId"))
        attached = self.attachment(volume)
        if attached is None:
            raise EC2Error("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
        if call.get("InstanceId", attached[0]) != attached[0]:
            raise EC2Error("InvalidAttachment.NotFound",
                           f"{volume.id} is attached to {attached[0]}, not to {call.get('InstanceId')}")
        if attached[2] == "detaching":
            raise EC2Error("IncorrectState", f"Volume '{volume.id}' is in the 'detaching' state.")
        instance = self.instance(attached[0])
        if attached[1] == instance.root_device_name and self.instance_state(instance) != "stopped":
            raise EC2Error("OperationNotPermitted",
                           f"Unable to detach root volume '{attached[1]}' from instance '{instance.id}'")
        call.params["InstanceId"], call.params["Device"] = attached[0], attached[1]
        call.deleting = attached[3]
        return None

    def before_RunInstances(self, call):
        """API, RunInstances."""
        made = self.remembered(call, ())
        call.original = dict(call.params)
        if made:
            instance = self.backend.get_instance_by_id(made)
            if instance is None or self.instance_state(instance) in ("terminated",):
                # API, error codes.
                raise EC2Error("IdempotentInstanceTerminated",
                               "The client token was used for an instance that has been terminated.")
            return self.described("RunInstances", made)
        image = call.get("ImageId", "")
        if not image.startswith("ami-"):
            raise EC2Error("InvalidAMIID.Malformed", f"Invalid id: \"{image}\" (expecting \"ami-...\")")
        ami = self.backend.amis.get(image)
        if ami is None:
            raise EC2Error("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        info = self.type(call.get("InstanceType", "m1.small"))
        architectures = info["ProcessorInfo"]["SupportedArchitectures"]
        if ami.architecture not in architectures:
            raise EC2Error("InvalidParameterValue",
                           f"The architecture '{','.join(architectures)}' of the specified instance type does not "
                           f"match the architecture '{ami.architecture}' of the specified AMI.")
        if ami.boot_mode in ("uefi", "legacy-bios") and ami.boot_mode not in info["SupportedBootModes"]:
            raise EC2Error("InvalidParameterCombination",
                           f"The instance type {call.get('InstanceType')} does not support {ami.boot_mode}.")
        for number in range(1, 4):
            self.check_tags(call.tags(f"TagSpecification.{number}.Tag"))
        options.checked(self, call)
        call.profile = self.profile_of(call)
        call.ami, call.info = ami, info
        if options.check_interfaces(self, call):
            return None
        subnet = self.subnet_of(call)
        address = call.get("PrivateIpAddress")
        if address:
            if ipaddress.ip_address(address) not in ipaddress.ip_network(subnet.cidr_block):
                raise EC2Error("InvalidParameterValue",
                               f"Address {address} does not fall within the subnet's address range")
            for other in self.backend.all_instances():
                if other.state != "terminated" and other.private_ip == address:
                    raise EC2Error("InvalidIPAddress.InUse", f"Address {address} is in use.")
        call.params["SubnetId"] = subnet.id
        call.params.pop("Placement.AvailabilityZone", None)
        self.map_image(call, ami)
        return None

    def subnet_of(self, call):
        """Without a subnet, the zone's default subnet (API, RunInstances: SubnetId)."""
        if call.get("SubnetId"):
            return self.backend.get_subnet(call.get("SubnetId"))
        zone = call.get("Placement.AvailabilityZone", self.region + "a")
        self.check_zone(zone)
        return next(subnet for subnet in self.backend.describe_subnets()
                    if subnet.availability_zone == zone and subnet.default_for_az)

    def before_StartInstances(self, call):
        """guide, "Start and stop Amazon EC2 instances": from which states; a root is needed."""
        for id in call.list("InstanceId"):
            instance = self.instance(id)
            state = self.instance_state(instance)
            if state not in ("stopped", "running", "pending"):
                raise EC2Error("IncorrectInstanceState",
                               f"The instance '{id}' is not in a state from which it can be started.")
            if state != "stopped":
                continue
            if instance.root_device_name not in instance.block_device_mapping:
                raise EC2Error("InvalidParameterValue",
                               f"Invalid value '{id}' for instanceId. Instance does not have a volume attached "
                               f"at root ({instance.root_device_name})")
            for volume, _ in self.holding(instance):
                if self.attachment(volume)[2] != "attached":
                    raise EC2Error("IncorrectState", f"Volume '{volume.id}' of '{id}' is not 'attached'.")
            call.starting = True
        return None

    def before_StopInstances(self, call):
        for id in call.list("InstanceId"):
            instance = self.instance(id)
            if instance.disable_api_stop in (True, "true"):
                raise EC2Error("OperationNotPermitted",
                               f"The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance "
                               "attribute and try again.")
            state = self.instance_state(instance)
            if state in ("pending", "shutting-down", "terminated"):
                raise EC2Error("IncorrectInstanceState",
                               f"The instance '{id}' is not in a state from which it can be stopped.")
            call.stopping = state == "running"
        return None

    def before_TerminateInstances(self, call):
        for id in call.list("InstanceId"):
            instance = self.instance(id)
            if instance.disable_api_termination in (True, "true"):
                raise EC2Error("OperationNotPermitted",
                               f"The instance '{id}' may not be terminated. Modify its 'disableApiTermination' "
                               "instance attribute and try again.")
            call.ending = {
                id: [volume.id for volume, device in self.holding(instance)
                     if self.attachment(volume)[3]]
                for id in call.list("InstanceId") if instance.state != "terminated"
            }
        return None

    def before_ModifyInstanceAttribute(self, call):
        """API, ModifyInstanceAttribute: type and user data of a stopped instance only."""
        instance = self.instance(call.get("InstanceId"))
        state = self.instance_state(instance)
        if state in ("shutting-down", "terminated"):
            raise EC2Error("IncorrectInstanceState", f"The instance '{instance.id}' is not in a valid state.")
        kind, data = call.get("InstanceType.Value"), call.get("UserData.Value")
        if (kind or data is not None) and state != "stopped":
            raise EC2Error("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
        if kind:
            info, before = self.type(kind), self.type(instance.instance_type)
            modes = {self.boot_mode(instance)}
            if info["ProcessorInfo"]["SupportedArchitectures"] != before["ProcessorInfo"]["SupportedArchitectures"] \
                    or not modes <= set(info["SupportedBootModes"]):
                raise EC2Error("InvalidParameterCombination",
                               f"The instance configuration of '{instance.id}' is not supported by {kind}.")
        if data is not None and len(base64.b64decode(data)) > 16 << 10:
            raise EC2Error("InvalidParameterValue", "User data is limited to 16384 bytes")
        if data is not None:
            # moto decodes it twice.
            instance.user_data = data
            root = wire.ET.Element(wire.tag("ModifyInstanceAttributeResponse"))
            wire.set_text(root, "return", "true")
            return wire.to_bytes(root)
        device = call.get("BlockDeviceMapping.1.DeviceName")
        if device and device not in instance.block_device_mapping:
            raise EC2Error("InvalidInstanceAttributeValue", f"No device is currently mapped at {device}")
        return None

    def before_CreateTags(self, call):
        for id in call.list("ResourceId"):
            self.known(id)
            already = [tag["key"] for tag in self.backend.describe_tags({"resource-id": [id]})]
            self.check_tags(call.tags("Tag"), already)
        return None

    def known(self, id):
        if id.startswith("vol-"):
            return self.volume(id)
        if id.startswith("i-"):
            return self.instance(id)
        return None

    def before_CreateSnapshot(self, call):
        volume = self.volume(call.get("VolumeId"))
        if self.volume_state(volume) not in ("available", "in-use"):
            raise EC2Error("IncorrectState", f"Volume '{volume.id}' is not 'available' or 'in-use'.")
        return None

    def before_DeleteSnapshot(self, call):
        if call.get("SnapshotId") not in self.backend.snapshots:
            raise EC2Error("InvalidSnapshot.NotFound", f"The snapshot '{call.get('SnapshotId')}' does not exist.")
        # API, DeleteSnapshot.
        image = self.image_of(call.get("SnapshotId"))
        if image:
            raise EC2Error("InvalidSnapshot.InUse",
                           f"The snapshot {call.get('SnapshotId')} is currently in use by {image}")
        return None

    def before_GetConsoleOutput(self, call):
        """API, GetConsoleOutput: `Latest` is for Nitro instances."""
        instance = self.instance(call.get("InstanceId"))
        if call.get("Latest") == "true" and self.type(instance.instance_type)["Hypervisor"] != "nitro":
            raise EC2Error("UnsupportedOperation", "This instance type does not support retrieving the latest console")
        root = wire.ET.Element(wire.tag("GetConsoleOutputResponse"))
        wire.set_text(root, "instanceId", instance.id)
        wire.set_text(root, "output", base64.b64encode(self.console.encode()).decode())
        return wire.to_bytes(root)

    def before_GetConsoleScreenshot(self, call):
        """API, GetConsoleScreenshot: a JPG. moto answers 500."""
        instance = self.instance(call.get("InstanceId"))
        if not self.screenshot:
            raise EC2Error("UnsupportedOperation", "This instance type does not support console screenshots")
        root = wire.ET.Element(wire.tag("GetConsoleScreenshotResponse"))
        wire.set_text(root, "instanceId", instance.id)
        wire.set_text(root, "imageData", base64.b64encode(b"\xff\xd8\xff\xd9").decode())
        return wire.to_bytes(root)

    # What moto answers to the repetition of a call: the description of what the first made.

    def described(self, action, id):
        if action == "CreateVolume":
            root = self.ask("DescribeVolumes", {"VolumeId.1": id})
            answer = wire.ET.Element(wire.tag("CreateVolumeResponse"))
            for item in wire.items(root, "volumeSet")[0]:
                answer.extend(list(item))
        else:
            root = self.ask("DescribeInstances", {"InstanceId.1": id})
            answer = wire.ET.Element(wire.tag("RunInstancesResponse"))
            for item in wire.items(root, "reservationSet")[0]:
                answer.extend(list(item))
        return wire.to_bytes(answer)

    # After moto.

    def after(self, call, root):
        """Notes what began, and lays it over moto's answer."""
        rule = getattr(self, "after_" + call.action, None)
        if rule and not call.is_answered:
            rule(call, root)
        self.lay_over(call, root)
        if call.action.startswith("Describe"):
            self.hide_new(root)

    def begun(self, id):
        if self.hide:
            self.hidden[id] = self.hide

    def after_CreateVolume(self, call, root):
        id = wire.text(root, "volumeId")
        volume = self.volume(id)
        # API, CreateVolume: gp3 has 125 MiB/s, gp2 3 IOPS for each GiB and 100 at least.
        if volume.volume_type == "gp3":
            volume.throughput = volume.throughput or 125
            wire.set_text(root, "throughput", str(volume.throughput))
        self.derive_iops(volume)
        if volume.iops is not None:
            wire.set_text(root, "iops", str(volume.iops))
        self.pass_through(id, "creating")
        self.remember(call, id)
        self.begun(id)
        if self.node:
            self.node.create(id, volume.size)
        # API, CreateVolume (KmsKeyId): with a key that cannot be used "the action can appear to
        # complete, but eventually fails".
        if self.keys.get(call.get("KmsKeyId"), {}).get("KeyState", "Enabled") != "Enabled":
            volume.given_up = self._until()
            self.passing[id] = ("creating", self._until() + 3600)

    def after_DeleteVolume(self, call, root):
        if self.node:
            self.node.delete(call.get("VolumeId"))

    def after_AttachVolume(self, call, root):
        self.attaching[call.get("VolumeId")] = self._until("attaching")
        if self.node and call.get("InstanceId") == self.access_node:
            self.node.attach(call.get("VolumeId"), call.get("Device"))

    def after_DetachVolume(self, call, root):
        id = call.get("VolumeId")
        self.detaching[id] = (call.get("InstanceId"), call.get("Device"), call.deleting, self._until("detaching"))
        if self.node:
            self.node.detach(id)

    def after_RunInstances(self, call, root):
        item = wire.items(root, "instancesSet")[0][0]
        id = wire.text(item, "instanceId")
        instance = self.instance(id)
        # moto puts every root at /dev/sda1, whatever the image says.
        name = call.ami.root_device_name
        for device in list(instance.block_device_mapping):
            if device == "/dev/sda1" and name != device:
                block = instance.block_device_mapping.pop(device)
                instance.block_device_mapping[name] = block
                self.volume(block.volume_id).attachment.device = name
        instance.root_device_name = name
        for block in instance.block_device_mapping.values():
            volume = self.volume(block.volume_id)
            volume.volume_type = "gp3" if volume.volume_type is None else volume.volume_type
            self.derive_iops(volume)
            if self.node:
                self.node.create(volume.id, volume.size)
        instance.replant_ami = call.ami
        self.fill_image_volumes(instance, call.ami)
        options.launched(self, call, id)
        self.associate(id, call.profile)
        self.pass_through(id, "pending")
        self.checking[id] = self._until() + self.delay
        self.remember(call, id)
        self.begun(id)
        if "launch" in self.fails:
            # guide, "Troubleshoot Amazon EC2 instance launch issues": from pending to terminated.
            self.reasons[id] = self.fails["launch"]
            for block in instance.block_device_mapping.values():
                if self.node:
                    self.node.delete(block.volume_id)
            self.ask("TerminateInstances", {"InstanceId.1": id})
        # The mapping is filled in while the instance is launched.
        wire.remove(item, "blockDeviceMapping")

    def after_StartInstances(self, call, root):
        if getattr(call, "starting", False):
            for id in call.list("InstanceId"):
                self.instance(id).launch_time = utcnow()
                self.pass_through(id, "pending")
                self.reasons.pop(id, None)
                if "start" in self.fails:
                    # EBS, "Troubleshoot key access": from pending back to stopped.
                    self.reasons[id] = self.fails["start"]
                    self.ask("StopInstances", {"InstanceId.1": id})
                self.checking[id] = self._until() + self.delay

    def after_StopInstances(self, call, root):
        if getattr(call, "stopping", False):
            for id in call.list("InstanceId"):
                self.pass_through(id, "stopping")

    def after_TerminateInstances(self, call, root):
        for id, volumes in getattr(call, "ending", {}).items():
            self.pass_through(id, "shutting-down")
            # guide, "Delete a network interface": the primary one ends with its instance, and its
            # address is free again. moto keeps both.
            nics = list(self.instance(id).nics.items())
            for nic in [nic for _, nic in nics if nic.id in self.brought]:
                # One that was there before is free again.
                nic.status, nic.instance, nic.attachment_id, nic.device_index = "available", None, None, None
            for nic in [nic for index, nic in nics if int(index) == 0 and nic.id not in self.brought]:
                nic.subnet.del_subnet_ip(nic.private_ip_address)
                self.backend.enis.pop(nic.id, None)
            if self.node:
                for volume in volumes:
                    self.node.delete(volume)

    def after_CreateSnapshot(self, call, root):
        id = wire.text(root, "snapshotId")
        self.pass_through(id, "pending")
        self.begun(id)
        wire.set_text(root, "status", self.state(id, "completed"))
        if self.node:
            self.node.copy(call.get("VolumeId"), id)

    def boot_mode(self, instance):
        """guide, "Instance boot modes"."""
        ami = getattr(instance, "replant_ami", None)
        mode = ami.boot_mode if ami else None
        arm = ami is not None and ami.architecture == "arm64"
        if mode == "uefi-preferred":
            return "uefi" if "uefi" in self.type(instance.instance_type)["SupportedBootModes"] else "legacy-bios"
        return mode or ("uefi" if arm else "legacy-bios")

    def lay_over(self, call, root):
        if call.action == "DescribeVolumes":
            self.add_deleting(call, root)
        for item in wire.items(root, "volumeSet")[0]:
            self.lay_over_volume(item)
        if call.action == "CreateVolume":
            self.lay_over_volume(root)
        for reservation in wire.items(root, "reservationSet")[0]:
            for item in wire.items(reservation, "instancesSet")[0]:
                self.lay_over_instance(item)
        if call.action == "RunInstances":
            for item in wire.items(root, "instancesSet")[0]:
                self.lay_over_instance(item)
        for item in wire.items(root, "imagesSet")[0] if call.action == "DescribeImages" else []:
            # API, DescribeImages; moto does not say it.
            wire.set_text(item, "enaSupport", "true")
        snapshots, parent = wire.items(root, "snapshotSet")
        for item in snapshots:
            id = wire.text(item, "snapshotId")
            # API, DescribeSnapshots: moto does not look at the owner.
            if call.get("Owner.1") == "self" and wire.text(item, "ownerId") != self.account:
                parent.remove(item)
            wire.set_text(item, "status", self.state(id, wire.text(item, "status") or "completed"))
        images, parent = wire.items(root, "imagesSet")
        for item in images:
            # API, DescribeImages: IncludeDeprecated.
            if wire.text(item, "imageId") in self.deprecated:
                wire.set_text(item, "deprecationTime", "2026-06-30T00:00:00.000Z")
                if call.get("IncludeDeprecated") != "true":
                    parent.remove(item)
                    continue
            self.lay_over_image(item)
        for item in wire.items(root, "instanceStatusSet")[0]:
            self.lay_over_status(item)

    def lay_over_volume(self, item):
        volume = self.backend.volumes.get(wire.text(item, "volumeId"))
        if volume is None:
            return
        wire.set_text(item, "status", self.volume_state(volume))
        wire.remove(item, "attachmentSet")
        attached = self.attachment(volume)
        if attached:
            instance, device, state, delete = attached
            entry = wire.ET.SubElement(wire.ET.SubElement(item, wire.tag("attachmentSet")), wire.tag("item"))
            for name, value in (("volumeId", volume.id), ("instanceId", instance), ("device", device),
                                ("status", state), ("deleteOnTermination", str(delete).lower())):
                wire.set_text(entry, name, value)

    def lay_over_instance(self, item):
        instance = self.backend.get_instance_by_id(wire.text(item, "instanceId"))
        if instance is None:
            return
        state = self.instance_state(instance)
        codes = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
        wire.set_text(item, "instanceState/name", state)
        wire.set_text(item, "instanceState/code", str(codes[state]))
        ami = getattr(instance, "replant_ami", None)
        if ami and ami.boot_mode:
            wire.set_text(item, "bootMode", ami.boot_mode)
        wire.set_text(item, "currentInstanceBootMode", self.boot_mode(instance))
        options.lay_over(self, item, instance.id)
        self.lay_over_profile(item, instance.id)
        reason = self.reasons.get(instance.id)
        if reason and state in ("stopped", "terminated"):
            wire.set_text(item, "stateReason/code", reason["code"])
            wire.set_text(item, "stateReason/message", reason["message"])
        # A volume on its way out is still described.
        if state != "terminated":
            described = {wire.text(entry, "deviceName") for entry in wire.items(item, "blockDeviceMapping")[0]}
            for volume, device in self.holding(instance):
                if device not in described and wire.child(item, "blockDeviceMapping") is not None:
                    entry = wire.ET.SubElement(wire.child(item, "blockDeviceMapping"), wire.tag("item"))
                    wire.set_text(entry, "deviceName", device)
                    wire.set_text(entry, "ebs/volumeId", volume.id)
                    wire.set_text(entry, "ebs/status", "detaching")

    def lay_over_status(self, item):
        """guide, "Status checks": initializing at first; impaired when the guest does not answer."""
        id = wire.text(item, "instanceId")
        instance = self.backend.get_instance_by_id(id)
        if instance is None:
            return
        state = self.instance_state(instance)
        wire.set_text(item, "instanceState/name", state)
        if state != "running":
            system = guest = "not-applicable" if state != "pending" else "initializing"
        elif time.monotonic() < self.checking.get(id, 0):
            system = guest = "initializing"
        else:
            system, guest = "ok", "impaired" if id in self.impaired or "*" in self.impaired else "ok"
        # guide, "Attached EBS status checks": of Nitro instances.
        if self.type(instance.instance_type)["Hypervisor"] == "nitro":
            unreachable = id in self.ebs_impaired or "*" in self.ebs_impaired
            volumes = "impaired" if system == "ok" and unreachable else system
            wire.set_text(item, "attachedEbsStatus/status", volumes)
        wire.set_text(item, "systemStatus/status", system)
        wire.set_text(item, "instanceStatus/status", guest)

    def hide_new(self, root):
        for path, name in (("volumeSet", "volumeId"), ("snapshotSet", "snapshotId"), ("imagesSet", "imageId")):
            items, parent = wire.items(root, path)
            for item in items:
                self.hide_item(parent, item, wire.text(item, name))
        reservations, parent = wire.items(root, "reservationSet")
        for reservation in reservations:
            for item in wire.items(reservation, "instancesSet")[0]:
                self.hide_item(parent, reservation, wire.text(item, "instanceId"))

    def hide_item(self, parent, item, id):
        if self.hidden.get(id, 0) > 0:
            self.hidden[id] -= 1
            parent.remove(item)

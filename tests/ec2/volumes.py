"""Volumes: their limits, changes of them, and how they go.

Pages as in rules.py.
"""

import copy
import re
import time

import wire
from wire import EC2Error

# EBS, "Amazon EBS volume types": GiB, IOPS by type.
SIZES = {
    "gp2": (1, 16384), "gp3": (1, 65536), "io1": (4, 16384), "io2": (4, 65536),
    "st1": (125, 16384), "sc1": (125, 16384), "standard": (1, 1024),
}
IOPS = {"gp3": (3000, 80000, 500), "io1": (100, 64000, 50), "io2": (100, 256000, 1000)}
# EBS, "Requirements and limitations for EBS volume modifications": in 24 hours.
CHANGES = 4


def check_device_name(device):
    """guide, "Device names for volumes on Amazon EC2 instances"."""
    if not re.fullmatch(r"(/dev/)?(sd[a-z]([1-9]|1[0-5])?|xvd[a-z]|xvd[a-d][a-z])", device or ""):
        raise EC2Error("InvalidParameterValue",
                       f"Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name.")


class Volumes:
    """What a cloud knows of its volumes beside moto."""

    def __init__(self):
        # volume → until when each change is under way
        self.changes = {}
        # volume → (its last description, until)
        self.deleting = {}

    def check_shape(self, kind, size, iops, throughput):
        """EBS, "Amazon EBS volume types"; API, CreateVolume."""
        least, most = SIZES[kind]
        if not least <= size <= most:
            raise EC2Error("InvalidParameterValue", f"Volume of {size}GiB is not valid for {kind}: {least} to {most}")
        if kind in ("io1", "io2") and iops is None:
            raise EC2Error("MissingParameter", "The parameter iops must be specified for io1 and io2 volumes.")
        if iops is not None and kind not in IOPS:
            raise EC2Error("InvalidParameterCombination", f"The parameter iops is not supported for {kind} volumes.")
        if iops is not None:
            low, high, ratio = IOPS[kind]
            if not low <= iops <= high or (iops > low and iops > ratio * size):
                raise EC2Error("InvalidParameterValue", f"Volume iops of {iops} is not valid.")
        if throughput is not None:
            if kind != "gp3":
                raise EC2Error("InvalidParameterCombination", f"The parameter throughput is not supported for {kind}.")
            if not 125 <= throughput <= 2000 or throughput > (iops or 3000) // 4:
                raise EC2Error("InvalidParameterValue", f"Throughput (MiBps) {throughput} is not valid.")

    def before_ModifyVolume(self, call):
        volume = self.volume(call.get("VolumeId"))
        size = self.number(call, "Size") or volume.size
        if size < volume.size:
            # API, ModifyVolume: a volume only grows.
            raise EC2Error("InvalidParameterValue",
                           f"New size cannot be smaller than existing size: {size}GiB < {volume.size}GiB")
        kind = call.get("VolumeType", volume.volume_type)
        same = kind == volume.volume_type
        iops = self.number(call, "Iops") or (volume.iops if same and kind in IOPS else None)
        throughput = self.number(call, "Throughput") or (volume.throughput if same else None)
        self.check_shape(kind, size, iops, throughput)
        # EBS, "Requirements and limitations for EBS volume modifications".
        made = self.changes.setdefault(volume.id, [])
        if made and time.monotonic() < made[-1]:
            raise EC2Error("IncorrectModificationState",
                           f"Volume {volume.id} cannot be modified in modification state OPTIMIZING")
        if len(made) >= CHANGES:
            raise EC2Error("VolumeModificationRateExceeded",
                           "You've reached the maximum modification rate per volume limit.")
        made.append(self._until() + self.delay)
        return None

    def derive_iops(self, volume):
        """API, CreateVolume: gp2 has 3 IOPS for each GiB and 100 at least."""
        if volume.volume_type == "gp2":
            volume.iops, volume.throughput = min(max(100, 3 * volume.size), 16000), None
        elif volume.volume_type not in IOPS:
            volume.iops = volume.throughput = None

    def after_ModifyVolume(self, call, root):
        volume = self.volume(call.get("VolumeId"))
        self.derive_iops(volume)
        if self.node:
            self.node.grow(volume.id, volume.size)

    def begin_deletion(self, id):
        """EBS, "Amazon EBS volume lifecycle": described as deleting for a while."""
        for item in wire.items(self.ask("DescribeVolumes", {"VolumeId.1": id}), "volumeSet")[0]:
            self.deleting[id] = (copy.deepcopy(item), self._until())

    def add_deleting(self, call, root):
        parent = wire.child(root, "volumeSet")
        for id, (item, until) in list(self.deleting.items()):
            if time.monotonic() < until and parent is not None and self.is_asked_for(call, id, item):
                item = copy.deepcopy(item)
                wire.set_text(item, "status", "deleting")
                parent.append(item)

    @staticmethod
    def is_asked_for(call, id, item):
        tags = {wire.text(tag, "key"): wire.text(tag, "value") or "" for tag in wire.items(item, "tagSet")[0]}
        number = 1
        while f"Filter.{number}.Name" in call.params:
            name, values = call.params[f"Filter.{number}.Name"], call.list(f"Filter.{number}.Value")
            is_so = {
                "volume-id": lambda: id in values,
                "tag-key": lambda: any(value in tags for value in values),
            }.get(name, lambda: tags.get(name.removeprefix("tag:")) in values)
            if not is_so():
                return False
            number += 1
        return not call.list("VolumeId") or id in call.list("VolumeId")

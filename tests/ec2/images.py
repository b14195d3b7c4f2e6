"""Images: moto's RegisterImage takes a name and a description, and nothing else. "API" and "guide" as
in rules.py."""

from moto.ec2.models.amis import Ami

import wire
from wire import EC2Error

ARCHITECTURES = ("i386", "x86_64", "arm64")

own_mappings = Ami.block_device_mappings.fget
Ami.block_device_mappings = property(
    lambda self: self.replant_mappings if hasattr(self, "replant_mappings") else own_mappings(self))


def mappings(call, prefix="BlockDeviceMapping"):
    """[{"DeviceName", "Ebs": {…}}] of a call's parameters."""
    found, number = [], 1
    while f"{prefix}.{number}.DeviceName" in call.params:
        at = f"{prefix}.{number}.Ebs."
        ebs = {name.removeprefix(at): value for name, value in call.params.items() if name.startswith(at)}
        found.append({"DeviceName": call.params[f"{prefix}.{number}.DeviceName"], "Ebs": ebs})
        number += 1
    return found


class Images:
    """What of a cloud is about images."""

    def before_RegisterImage(self, call):
        """API, RegisterImage; guide, "Create an AMI from a snapshot"."""
        name = call.get("Name", "")
        if not 3 <= len(name) <= 128 or not all(c.isalnum() or c in "()[] ./-'@_" for c in name):
            raise EC2Error("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long")
        for ami in self.backend.amis.values():
            if ami.name == name and ami.owner_id == self.account:
                raise EC2Error("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {ami.id}")
        if call.get("Architecture") not in ARCHITECTURES:
            raise EC2Error("InvalidParameterValue", f"Invalid architecture '{call.get('Architecture')}'")
        if call.get("BootMode") not in (None, "legacy-bios", "uefi", "uefi-preferred"):
            raise EC2Error("InvalidParameterValue", f"Invalid boot mode '{call.get('BootMode')}'")
        self.check_tags(call.tags("TagSpecification.1.Tag"))
        disks = mappings(call)
        if call.get("RootDeviceName") not in [disk["DeviceName"] for disk in disks]:
            raise EC2Error("InvalidBlockDeviceMapping", "the root device has no snapshot")
        for disk in disks:
            ebs = disk["Ebs"]
            # API, EbsBlockDevice: of a snapshot's mapping both must be left out.
            if "Encrypted" in ebs or "KmsKeyId" in ebs:
                raise EC2Error("InvalidBlockDeviceMapping", "the encrypted flag cannot be given with a snapshot")
            snapshot = self.backend.snapshots.get(ebs.get("SnapshotId"))
            if snapshot is None:
                raise EC2Error("InvalidSnapshot.NotFound", f"The snapshot '{ebs.get('SnapshotId')}' does not exist.")
            if self.state(snapshot.id, "completed") != "completed":
                raise EC2Error("IncorrectState", f"Snapshot '{snapshot.id}' is not 'completed'.")
            size = int(ebs.get("VolumeSize", snapshot.volume.size))
            if size < snapshot.volume.size:
                raise EC2Error("InvalidBlockDeviceMapping", f"Volume of size {size}GB is smaller than snapshot "
                               f"'{snapshot.id}', expect size >= {snapshot.volume.size}GB")
            number = lambda name: int(ebs[name]) if name in ebs else None  # noqa: E731
            self.check_shape(ebs.get("VolumeType", "gp2"), size, number("Iops"), number("Throughput"))
        return None

    def after_RegisterImage(self, call, root):
        id = wire.text(root, "imageId")
        ami = self.backend.amis[id]
        # moto makes a snapshot that nobody asked for.
        self.backend.snapshots.pop(ami.ebs_snapshot.id, None)
        ami.owner_id = self.account
        ami.architecture, ami.boot_mode = call.get("Architecture"), call.get("BootMode")
        ami.root_device_name, ami.root_device_type = call.get("RootDeviceName"), "ebs"
        ami.virtualization_type, ami.hypervisor = call.get("VirtualizationType"), "xen"
        ami.ena_support = call.get("EnaSupport") == "true"
        # guide, "AMI billing information fields".
        ami.platform_details = self.platform_details
        ami.replant_mappings = [
            {"DeviceName": disk["DeviceName"], "Ebs": {
                **disk["Ebs"], "VolumeSize": int(disk["Ebs"]["VolumeSize"]),
                "DeleteOnTermination": disk["Ebs"].get("DeleteOnTermination") == "true",
                **{name: int(disk["Ebs"][name]) for name in ("Iops", "Throughput") if name in disk["Ebs"]}}}
            for disk in mappings(call)]
        ami.add_tags(call.tags("TagSpecification.1.Tag"))
        self.pass_through(id, "pending")
        self.begun(id)

    def image_of(self, snapshot):
        for ami in self.backend.amis.values():
            for disk in getattr(ami, "replant_mappings", []):
                if disk["Ebs"].get("SnapshotId") == snapshot:
                    return ami.id
        return None

    def map_image(self, call, ami):
        """guide, "Block device mappings": an instance has the volumes of its image."""
        if self.state(ami.id, "available") != "available":
            raise EC2Error("InvalidAMIID.Unavailable", f"The image ID '[{ami.id}]' is no longer available")
        for number, disk in enumerate(getattr(ami, "replant_mappings", []), 1):
            at, ebs = f"BlockDeviceMapping.{number}.", disk["Ebs"]
            source = self.backend.snapshots[ebs["SnapshotId"]]
            call.params[at + "DeviceName"] = disk["DeviceName"]
            for name in ("SnapshotId", "VolumeSize", "VolumeType"):
                call.params[f"{at}Ebs.{name}"] = str(ebs[name])
            call.params[at + "Ebs.DeleteOnTermination"] = str(ebs["DeleteOnTermination"]).lower()
            # EBS, "Amazon EBS encryption": what comes from an encrypted snapshot is encrypted.
            if source.volume.encrypted:
                call.params[at + "Ebs.Encrypted"] = "true"
                if source.volume.kms_key_id:
                    call.params[at + "Ebs.KmsKeyId"] = source.volume.kms_key_id

    def fill_image_volumes(self, instance, ami):
        for disk in getattr(ami, "replant_mappings", []):
            volume = self.volume(instance.block_device_mapping[disk["DeviceName"]].volume_id)
            if "Iops" in disk["Ebs"]:
                volume.iops = disk["Ebs"]["Iops"]
            elif volume.volume_type == "gp3":
                volume.iops = 3000
            if volume.volume_type == "gp3":
                volume.throughput = disk["Ebs"].get("Throughput", 125)
            if self.node:
                self.node.restore(disk["Ebs"]["SnapshotId"], volume.id, volume.size)

    def lay_over_image(self, item):
        id = wire.text(item, "imageId")
        wire.set_text(item, "imageState", self.state(id, wire.text(item, "imageState") or "available"))

"""The access node's kernel: which devices it shows for the volumes that are attached to it.

A volume's content is a sparse file. While it is attached to the access node, that very file (its
only name) lies in the device directory under the name that Linux would give the device, and sysfs
says which volume it is: for NVMe by the serial number and model ("Amazon EBS volumes and NVMe"), for
Xen by the name it was attached under. With `loops` the device is a block device: a loop device over
the file.

`surprise` is what somebody else does to a volume before its first attachment: "table" (writes a
partition table), "filesystem", "btrfs", "xfs", "lvm", "zfs", "raid" (md's superblock at the start), "raid-end" (at
the end), "swap" (makes one of these on it), "swapon" (and swaps to it), "mounted" (mounts a
filesystem on it), "looped" (shows it by another loop device), "held", "partition-held" (sysfs says that
device-mapper or md is built on it, or on a partition of it; this kernel has neither), "busy" (holds the device
exclusively, as they do), "larger",
"smaller" (the device is not the volume's size), "twins" (another device has its serial number),
"model" (the device is no EBS volume). A copy of what is then on it is kept beside it.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path

GIB = 1 << 30
MODEL = "Amazon Elastic Block Store"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Node:
    def __init__(self, directory, nitro, loops=False, instance=None):
        self.root = Path(directory)
        self.nitro, self.loops, self.surprise, self.held = nitro, loops, None, []
        for name in ("dev", "sys/block", "volumes"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if nitro and instance:
            # guide, "Detect whether a host is an EC2 instance": Nitro shows the id in the firmware.
            tag = self.root / "sys/devices/virtual/dmi/id/board_asset_tag"
            tag.parent.mkdir(parents=True, exist_ok=True)
            tag.write_text(instance + "\n")

    def _rest(self, volume):
        return self.root / "volumes" / f"{volume}.raw"

    def _name(self, volume):
        """The device that shows a volume now."""
        marker = self.root / "volumes" / f"{volume}.device"
        return marker.read_text() if marker.exists() else None

    def path(self, volume):
        """Where a volume's content is now."""
        name = self._name(volume)
        return self.root / "dev" / name if name and not self.loops else self._rest(volume)

    def create(self, volume, gib):
        with open(self._rest(volume), "wb") as file:
            file.truncate(gib * GIB)

    def grow(self, volume, gib):
        with open(self.path(volume), "r+b") as file:
            file.truncate(max(gib * GIB, os.fstat(file.fileno()).st_size))
        if self.loops and self._name(volume):
            run("losetup", "--set-capacity", self._loop(volume))

    def _loop(self, volume):
        return run("losetup", "--noheadings", "--output", "NAME", "--associated", str(self._rest(volume)))

    def copy(self, volume, snapshot):
        target = self.root / "volumes" / f"{snapshot}.raw"
        run("cp", "--sparse=always", "--reflink=auto", str(self.path(volume)), str(target))

    def restore(self, snapshot, volume, gib):
        source = self.root / "volumes" / f"{snapshot}.raw"
        run("cp", "--sparse=always", "--reflink=auto", str(source), str(self._rest(volume)))
        os.truncate(self._rest(volume), gib * GIB)

    def delete(self, volume):
        self.detach(volume)
        self._rest(volume).unlink(missing_ok=True)

    def attach(self, volume, device):
        if not self._rest(volume).exists() or self._name(volume):
            return
        if self.nitro:
            taken = {entry.name for entry in (self.root / "dev").iterdir()}
            name = next(f"nvme{n}n1" for n in range(1, 1000) if f"nvme{n}n1" not in taken)
        else:
            name = "xvd" + device.removeprefix("/dev/").removeprefix("xvd").removeprefix("sd")
        node, number = self.root / "dev" / name, "259:0"
        (self.root / "volumes" / f"{volume}.device").write_text(name)
        if self.surprise in ("larger", "smaller"):
            by = (1 if self.surprise == "larger" else -1) << 20
            os.truncate(self._rest(volume), os.stat(self._rest(volume)).st_size + by)
        if self.loops:
            loop = run("losetup", "--find", "--show", str(self._rest(volume)))
            device = os.stat(loop).st_rdev
            os.mknod(node, 0o600 | 0o060000, device)
            number = f"{os.major(device)}:{os.minor(device)}"
            self.surprised(volume, loop)
        else:
            os.rename(self._rest(volume), node)
        block = self.root / "sys/block" / name
        (block / "device").mkdir(parents=True)
        (block / "dev").write_text(number + "\n")
        if self.nitro:
            (block / "device/serial").write_text(volume.replace("-", "", 1) + "\n")
            model = "Amazon EC2 NVMe Instance Storage" if self.surprise == "model" else MODEL
            (block / "device/model").write_text(model.ljust(40) + "\n")
        if self.surprise == "held":
            (block / "holders/dm-0").mkdir(parents=True)
        elif self.surprise == "partition-held":
            (block / "holders").mkdir()
            (block / f"{name}p1/holders/md127").mkdir(parents=True)
            (block / f"{name}p1/partition").write_text("1\n")
        if self.surprise == "twins":
            shutil.copytree(block, self.root / "sys/block/nvme999n1")

    def detach(self, volume):
        name = self._name(volume)
        if name is None:
            return
        shutil.rmtree(self.root / "sys/block" / name)
        shutil.rmtree(self.root / "sys/block/nvme999n1", ignore_errors=True)
        while self.held:
            os.close(self.held.pop())
        if self.loops:
            (self.root / "dev" / name).unlink()
            if os.path.ismount(self.root / "mounted"):
                run("umount", str(self.root / "mounted"))
            loop = self._loop(volume)
            if any(line.split()[0] == loop for line in Path("/proc/swaps").read_text().splitlines()):
                run("swapoff", loop)
            above = run("losetup", "--noheadings", "--output", "NAME", "--associated", loop)
            for other in above.split():
                run("losetup", "--detach", other)
            run("losetup", "--detach", loop)
        else:
            os.rename(self.root / "dev" / name, self._rest(volume))
        (self.root / "volumes" / f"{volume}.device").unlink()

    def surprised(self, volume, loop):
        if self.surprise == "table":
            subprocess.run(["sfdisk", "--quiet", loop], input="label: gpt\n,,\n", text=True, check=True)
        elif self.surprise == "filesystem":
            run("mkfs.ext4", "-q", "-F", loop)
        elif self.surprise == "lvm":
            # Its label and metadata area, as lvm2's sources have them, without a daemon or a lock.
            with open(loop, "r+b") as device:
                device.seek(512)
                device.write(b"LABELONE" + bytes([1, 0, 0, 0, 0, 0, 0, 0]) + bytes(8) + b"LVM2 001")
        elif self.surprise == "btrfs":
            run("mkfs.btrfs", "--quiet", "--nodiscard", loop)
        elif self.surprise == "xfs":
            run("mkfs.xfs", "-q", "-K", loop)
        elif self.surprise == "zfs":
            self.made(loop, "zfs_member", zfs(os.stat(self._rest(volume)).st_size))
        elif self.surprise in ("raid", "raid-end"):
            size = os.stat(self._rest(volume)).st_size
            at = 4096 if self.surprise == "raid" else (size // 512 - 16) // 8 * 8 * 512
            self.made(loop, "linux_raid_member", {at: raid(at, size)})
        elif self.surprise in ("swap", "swapon"):
            run("mkswap", loop)
            if self.surprise == "swapon":
                run("swapon", loop)
        elif self.surprise == "looped":
            run("losetup", "--find", loop)
        elif self.surprise == "busy":
            self.held.append(os.open(loop, os.O_RDONLY | os.O_EXCL))
        elif self.surprise == "mounted":
            run("mkfs.ext4", "-q", "-F", loop)
            (self.root / "mounted").mkdir(exist_ok=True)
            run("mount", "-o", "ro", loop, str(self.root / "mounted"))
        if self.surprise:
            run("cp", "--sparse=always", str(self._rest(volume)), str(self.root / "volumes" / f"{volume}.before"))

    @staticmethod
    def made(loop, kind, blocks):
        """Writes blocks of bytes, and asks libblkid what they are."""
        with open(loop, "r+b") as device:
            for at, data in blocks.items():
                device.seek(at)
                device.write(data)
        assert run("blkid", "--probe", "--output", "value", "--match-tag", "TYPE", loop) == kind


def zfs(size):
    """The uberblocks of a pool's four labels ("ZFS On-Disk Specification", 1.2 and 1.3)."""
    label, ring = 256 << 10, 128 << 10
    end = size // label * label
    labels = (0, label, end - 2 * label, end - label)
    uberblock = struct.pack("<QQQQQ", 0x00BAB10C, 5000, 4, 1, 0)
    return {at + ring + slot * 1024: uberblock for at in labels for slot in range(8)}


def raid(at, size):
    """A superblock of md, version 1 ("RAID superblock formats", Linux Raid Wiki)."""
    data = bytearray(256 + 2 * 2)
    struct.pack_into("<IIII", data, 0, 0xA92B4EFC, 1, 0, 0)
    data[16:32], data[32:64] = bytes(range(16)), b"node:0".ljust(32, b"\0")
    # Level, layout, size in sectors, chunk, devices.
    struct.pack_into("<IIQII", data, 72, 1, 0, size // 512 - 2048, 0, 2)
    struct.pack_into("<QQQ", data, 128, 2048, size // 512 - 2048, at // 512)
    struct.pack_into("<I", data, 220, 2)
    words = sum(struct.unpack(f"<{len(data) // 4}I", data))
    struct.pack_into("<I", data, 216, ((words & 0xFFFFFFFF) + (words >> 32)) & 0xFFFFFFFF)
    return bytes(data)

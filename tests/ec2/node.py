"""The access node's kernel: which devices it shows for the volumes that are attached to it.

A volume's content is a sparse file. While it is attached to the access node, that very file (its
only name) lies in the device directory under the name that Linux would give the device, and sysfs
says which volume it is: for NVMe by the serial number and model ("Amazon EBS volumes and NVMe"), for
Xen by the name it was attached under.
"""

import os
import shutil
from pathlib import Path

GIB = 1 << 30
MODEL = "Amazon Elastic Block Store"


class Node:
    def __init__(self, directory, nitro):
        self.root = Path(directory)
        self.nitro = nitro
        for name in ("dev", "sys/block", "volumes"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def _rest(self, volume):
        return self.root / "volumes" / f"{volume}.raw"

    def _name(self, volume):
        """The device that shows a volume now."""
        marker = self.root / "volumes" / f"{volume}.device"
        return marker.read_text() if marker.exists() else None

    def path(self, volume):
        name = self._name(volume)
        return self.root / "dev" / name if name else self._rest(volume)

    def create(self, volume, gib):
        with open(self._rest(volume), "wb") as file:
            file.truncate(gib * GIB)

    def grow(self, volume, gib):
        with open(self.path(volume), "r+b") as file:
            file.truncate(max(gib * GIB, os.fstat(file.fileno()).st_size))

    def copy(self, volume, snapshot):
        target = self.root / "volumes" / f"{snapshot}.raw"
        os.system(f"cp --sparse=always --reflink=auto '{self.path(volume)}' '{target}'")

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
        node = self.root / "dev" / name
        (self.root / "volumes" / f"{volume}.device").write_text(name)
        os.rename(self._rest(volume), node)
        block = self.root / "sys/block" / name
        (block / "device").mkdir(parents=True)
        (block / "dev").write_text("259:0\n")
        (block / "size").write_text(f"{os.stat(node).st_size // 512}\n")
        if self.nitro:
            (block / "device/serial").write_text(volume.replace("-", "", 1) + "\n")
            (block / "device/model").write_text(MODEL.ljust(40) + "\n")

    def detach(self, volume):
        name = self._name(volume)
        if name is None:
            return
        shutil.rmtree(self.root / "sys/block" / name)
        os.rename(self.root / "dev" / name, self._rest(volume))
        (self.root / "volumes" / f"{volume}.device").unlink()

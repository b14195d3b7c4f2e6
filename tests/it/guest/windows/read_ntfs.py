"""Prints every file and directory of an NTFS as dissect.ntfs reads it, as JSON: path -> [kind, content's SHA-256 or
nothing, owner, group, entries of the access list]; and whether Windows is to check the volume.
read_ntfs.py IMAGE [OFFSET SIZE]"""

import hashlib
import json
import sys

from dissect.ntfs import NTFS
from dissect.ntfs.secure import SecurityDescriptor
from dissect.util.stream import RangeStream

file = open(sys.argv[1], "rb")
if len(sys.argv) > 2:
    file = RangeStream(file, int(sys.argv[2]), int(sys.argv[3]))
fs = NTFS(file)
found = {}


def security(record):
    identifier = record.attributes[0x10][0].security_id
    if identifier:
        read = fs.secure.lookup(identifier)
    else:
        read = SecurityDescriptor(record.open("", 0x50))
    entries = []
    for ace in read.dacl.ace if read.dacl else []:
        entries.append(f"{ace.header.AceType.value:x} {ace.header.AceFlags.value:02x} {ace.mask:x} {ace.sid}")
    return [read.owner, read.group, entries]


def walk(record, path):
    for name, entry in sorted(record.listdir(ignore_dos=True).items()):
        below = entry.dereference() if hasattr(entry, "dereference") else entry
        if name == "." or below.segment < 24:
            continue
        at = f"{path}/{name}"
        if below.is_reparse_point():
            found[at] = ["reparse", None, *security(below)]
        elif below.is_dir():
            found[at] = ["directory", None, *security(below)]
            walk(below, at)
        else:
            digest = hashlib.sha256()
            stream = below.open()
            while piece := stream.read(1 << 20):
                digest.update(piece)
            found[at] = ["file", digest.hexdigest(), *security(below)]


walk(fs.mft.root, "")
flags = fs.mft.get(3).open("", 0x70).read()[10]
json.dump([found, bool(flags & 1)], sys.stdout)

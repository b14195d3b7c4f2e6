"""Writes a $LogFile of an NTFS that is in use: two restart pages with a client, after the structures that
linux-ntfs documents ("NTFS documentation", $LogFile); version 2.0 is what Windows 8 and later write while they run.
log_in_use.py SIZE FILE [1|2]"""

import struct
import sys

size = int(sys.argv[1])
page = bytearray(4096)
page[0:4] = b"RSTR"
major, minor = (2, 0) if sys.argv[3:] == ["2"] else (1, 1)
# Update sequence of 9 words at 30; pages of 4096; the restart area at 64; the version.
struct.pack_into("<HHQIIHHH", page, 4, 30, 9, 0, 4096, 4096, 64, minor, major)
# One client, in use; flags say that the volume is not clean.
struct.pack_into("<QHHHHIHHQIHHI", page, 64, 1 << 20, 1, 0xFFFF, 0, 0, 67 - size.bit_length(), 48 + 160, 48, size, 0, 48, 64, 1)
struct.pack_into("<QQHHH", page, 112, 1 << 20, 1 << 20, 0xFFFF, 0xFFFF, 0)
struct.pack_into("<I", page, 112 + 28, 8)
page[112 + 32:112 + 40] = "NTFS".encode("utf-16le")
struct.pack_into("<H", page, 30, 1)
for sector in range(8):
    end = (sector + 1) * 512 - 2
    page[32 + 2 * sector:34 + 2 * sector] = page[end:end + 2]
    struct.pack_into("<H", page, end, 1)
with open(sys.argv[2], "wb") as file:
    file.write(bytes(page) * 2 + b"\xff" * (size - 8192))

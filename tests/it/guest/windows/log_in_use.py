"""Writes a $LogFile of an NTFS that is in use, after the structures that linux-ntfs documents ("NTFS
documentation", $LogFile); version 2.0 is what Windows 8 and later write while they run.

log_in_use.py SIZE FILE 1|2 [IMAGE OFFSET INODE OLD NEW]

Without more: two restart pages with a client, and nothing behind them. With it: a transaction that was
committed, and whose change has not reached the volume yet: the content OLD of a small file becomes NEW.
"""

import struct
import sys

PAGE = 4096
size, name, major = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
# A record's number: how often the log was begun anew, and its place in words of 8 bytes.
ROUND = 1 << (size.bit_length() - 3)


def sealed(page, at):
    """An update sequence of 1 over a page, its words at `at`."""
    struct.pack_into("<H", page, at, 1)
    for sector in range(PAGE // 512):
        end = (sector + 1) * 512 - 2
        page[at + 2 + 2 * sector : at + 4 + 2 * sector] = page[end : end + 2]
        struct.pack_into("<H", page, end, 1)
    return bytes(page)


def restart(current, oldest):
    page = bytearray(PAGE)
    page[0:4] = b"RSTR"
    # Update sequence of 9 words at 30; pages of 4096; the restart area at 64; the version.
    versions = (1, 1) if major == 1 else (0, 2)
    struct.pack_into("<HHQIIHHH", page, 4, 30, 9, 0, PAGE, PAGE, 64, *versions)
    # One client, in use; flags say that the volume is not clean.
    bits = 67 - size.bit_length()
    struct.pack_into("<QHHHHIHHQIHHI", page, 64, current, 1, 0xFFFF, 0, 0, bits, 48 + 160, 48, size, 0, 48, 64, 1)
    struct.pack_into("<QQHHH", page, 112, oldest, current, 0xFFFF, 0xFFFF, 0)
    struct.pack_into("<I", page, 112 + 28, 8)
    page[112 + 32 : 112 + 40] = "NTFS".encode("utf-16le")
    return sealed(page, 30)


def records(number, end, content, position):
    """A page of records: the number of the last one, where they end."""
    page = bytearray(PAGE)
    page[0:4] = b"RCRD"
    struct.pack_into("<HHQIHHHHHHQ", page, 4, 40, 9, position, 1, 1, 1, end, 0, 0, 0, number)
    page[64 : 64 + len(content)] = content
    return sealed(page, 40)


def record(number, kind, transaction, body):
    body += bytes(-len(body) % 8)
    return struct.pack("<QQQIHHIIHHHH", number, 0, 0, len(body), 0, 0, kind, transaction, 0, 0, 0, 0) + body


def change(image, offset, inode, old, new):
    """What an update of a resident value says: redo and undo, where, and the bytes."""
    with open(image, "rb") as file:
        file.seek(offset)
        boot = file.read(512)
        cluster = int.from_bytes(boot[11:13], "little") * boot[13]
        mft = int.from_bytes(boot[48:56], "little")
        # 2 to the power of 10 bytes, as 256 - 10 says.
        assert boot[64] == 246
        file.seek(offset + mft * cluster + inode * 1024)
        entry = file.read(1024)
    assert entry[:4] == b"FILE" and int.from_bytes(entry[44:48], "little") == inode
    at = int.from_bytes(entry[20:22], "little")
    while int.from_bytes(entry[at : at + 4], "little") != 0x80:
        at += int.from_bytes(entry[at + 4 : at + 8], "little")
    assert entry[at + 8] == 0, "a small file is in its record"
    value = int.from_bytes(entry[at + 20 : at + 22], "little")
    assert entry[at + value : at + value + len(old)] == old and len(old) == len(new)
    place = inode * 1024
    width = len(new) + -len(new) % 8
    head = struct.pack(
        "<HHHHHHHHHHHHQQ",
        *(7, 7, 0x28, len(new), 0x28 + width, len(old), 0x18, 1),
        *(at, value, place % cluster // 512, 2, place // cluster, mft + place // cluster),
    )
    return head + new.ljust(width, b"\0") + old.ljust(width, b"\0")


log = bytearray(b"\xff" * size)
current = oldest = ROUND
if sys.argv[4:]:
    image, offset, inode = sys.argv[4], int(sys.argv[5]), int(sys.argv[6])
    old, new = (text.encode() for text in sys.argv[7:9])
    # The page that the last records belong on, and the one before it, whose records are in place.
    target = 40
    number = lambda at: 5 * ROUND + (target * PAGE + at) // 8
    content, numbers = b"", []
    for kind, transaction, body in (
        # A checkpoint; the change; the transaction's end (its redo is ForgetTransaction).
        (2, 0, bytes(0x68)),
        (1, 0x18, change(image, offset, inode, old, new)),
        (1, 0x18, struct.pack("<HHHHHHHH", 27, 1, 0x28, 0, 0x28, 0, 0, 0) + bytes(24)),
    ):
        numbers.append(number(64 + len(content)))
        content += record(numbers[-1], kind, transaction, body)
    oldest, current = numbers[0], numbers[-1]
    before = 5 * ROUND + ((target - 1) * PAGE + 64) // 8
    log[(target - 1) * PAGE : target * PAGE] = records(before, PAGE - 32, b"", before)
    # While a page is being filled it is in one at the log's begin: of version 1 with its target's place,
    # later with the number of its last record.
    position = target * PAGE if major == 1 else current
    log[2 * PAGE : 3 * PAGE] = records(current, 64 + len(content), content, position)
    if major == 1:
        log[3 * PAGE : 4 * PAGE] = records(before, PAGE - 32, b"", (target - 1) * PAGE)
log[: 2 * PAGE] = restart(current, oldest) * 2
with open(name, "wb") as file:
    file.write(log)

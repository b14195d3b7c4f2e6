#!/usr/bin/env python3
"""How fast `replant write` is, beside other people's programs and the medium's own limit.

Prints a table for each target (a file, a loop device with direct I/O over a file, a loop device
over tmpfs): seconds of wall clock with the final flush, CPU seconds, MiB/s of data, peak memory.
All sources are in the page cache; every run gets a new, empty target; ours hashes every block.

    bench/copy.py [--size MIB] [--repeat N] [--directory DIR] [--images NAMES] [--targets NAMES] [--replant PROGRAM]

Needs root (loop devices), qemu-utils; nbdcopy (libnbd-bin, nbdkit) where it is installed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def real_bytes():
    """The bytes of real files, so that they compress as a guest's files do."""
    for root in ("/usr/lib", "/usr/share", "/usr/bin", "/usr"):
        for directory, names, files in os.walk(root):
            names.sort()
            for name in sorted(files):
                path = Path(directory, name)
                try:
                    if path.is_file() and not path.is_symlink():
                        yield path.read_bytes()
                except OSError:
                    continue


def make_disk(path, size):
    """A raw disk about half of which is data, in runs of 64 KiB to 32 MiB between holes."""
    want, runs = size // 2, [64 << 10, MIB, 300 << 10, 32 * MIB, 4 * MIB, 8 * MIB]
    feed, piece = real_bytes(), memoryview(b"")
    with open(path, "wb") as disk:
        disk.truncate(size)
        offset, written, turn = 0, 0, 0
        while written < want and offset < size:
            length = left = min(runs[turn % len(runs)], size - offset, want - written)
            disk.seek(offset)
            while left:
                if not piece:
                    piece = memoryview(next(feed, b""))
                    if not piece:
                        feed = real_bytes()
                    continue
                taken = disk.write(piece[:left])
                left, piece = left - taken, piece[taken:]
            # Runs begin at 4 KiB, as a filesystem's do.
            offset += (length * 2 + 4095) // 4096 * 4096
            written += length
            turn += 1
    return written


def make_images(directory, size):
    raw = directory / "disk.raw"
    marker = directory / f"made-{size}"
    images = {
        "streamOptimized": ("vmdk", directory / "stream.vmdk"),
        "raw": ("raw", raw),
        "vmdk sparse": ("vmdk", directory / "sparse.vmdk"),
        "qcow2": ("qcow2", directory / "plain.qcow2"),
        "qcow2 zlib": ("qcow2", directory / "zlib.qcow2"),
        "qcow2 zstd": ("qcow2", directory / "zstd.qcow2"),
        "vhdx": ("vhdx", directory / "disk.vhdx"),
    }
    if not marker.exists():
        print(f"making images of {size // MIB} MiB in {directory} …", file=sys.stderr)
        data = make_disk(raw, size)
        convert = ("qemu-img", "convert", "-f", "raw")
        for name, options in {
            "streamOptimized": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
            "vmdk sparse": ("-O", "vmdk", "-o", "subformat=monolithicSparse"),
            "qcow2": ("-O", "qcow2"),
            "qcow2 zlib": ("-O", "qcow2", "-c"),
            "qcow2 zstd": ("-O", "qcow2", "-c", "-o", "compression_type=zstd"),
            "vhdx": ("-O", "vhdx"),
        }.items():
            run(*convert, *options, str(raw), str(images[name][1]))
        marker.write_text(str(data))
    return images, int(marker.read_text())


class Target:
    """A new, empty target each time."""

    def __init__(self, kind, directory, size):
        self.kind, self.size = kind, size
        self.backing = (Path("/dev/shm") if "tmpfs" in kind else directory) / "replant-bench.target"

    def __enter__(self):
        with open(self.backing, "wb") as file:
            file.truncate(self.size)
        self.path = str(self.backing)
        if "loop" in self.kind:
            direct = [] if "tmpfs" in self.kind else ["--direct-io=on"]
            self.path = run("losetup", "--find", "--show", *direct, str(self.backing))
        return self.path

    def __exit__(self, *_):
        if "loop" in self.kind:
            run("losetup", "--detach", self.path)
        self.backing.unlink()


def measure(command):
    """Wall and CPU seconds and peak memory in MiB of one command; None when it failed."""
    run("sync")
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # Not ru_maxrss: that counts what this program had when it forked.
    peak, ended = 0, 0
    while not ended:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max([peak] + [int(line.split()[1]) for line in lines if line.startswith("VmHWM")])
        except OSError:
            pass
        time.sleep(0.02)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    wall = time.monotonic() - begun
    error = process.stderr.read().decode(errors="replace")
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        print(f"  failed: {' '.join(command)}: {error.strip()[:300]}", file=sys.stderr)
        return None
    return wall, usage.ru_utime + usage.ru_stime, peak / 1024


def commands(replant, image, format_, path):
    """Every program that can do it, as (name, command)."""
    tuned = ["--target-is-zero", "-W", "-m", "16", "-t", "none"]
    convert = ["qemu-img", "convert", "-f", format_, "-O", "raw", "-n"]
    yield "replant write", [replant, "write", str(image), path]
    yield "qemu-img default", [*convert, str(image), path]
    yield "qemu-img tuned", [*convert, *tuned, str(image), path]
    if shutil.which("nbdcopy") and shutil.which("nbdkit"):
        copy = ["nbdcopy", "--flush", "--destination-is-zero"]
        # Other formats are served to it by qemu-nbd, which it starts and ends itself.
        server = ["[", "qemu-nbd", "-r", "-f", format_, str(image), "]"]
        yield "nbdcopy", [*copy, *([str(image)] if format_ == "raw" else ["--", *server]), path]


def change(path, share):
    """Changes one byte in each of so many of a raw disk's blocks of 1 MiB that hold data; says how many."""
    blocks = []
    with open(path, "r+b") as disk:
        size, at = os.fstat(disk.fileno()).st_size, 0
        while at < size:
            try:
                at = os.lseek(disk.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            blocks.append(at)
            at = (at // MIB + 1) * MIB
        for place in blocks[:: round(1 / share)]:
            disk.seek(place)
            byte = disk.read(1)
            disk.seek(place)
            disk.write(bytes([byte[0] ^ 1]))
        disk.flush()
        os.fsync(disk.fileno())
    return len(blocks[:: round(1 / share)])


def incremental(replant, directory, images, target, repeat):
    """A target that was written before, brought up to an image of which 1 % of the blocks differ."""
    raw, base, top = images["raw"][1], images["qcow2"][1], directory / "top.qcow2"
    newer, manifest = directory / "newer.raw", directory / "manifest"
    run("cp", "--sparse=always", str(raw), str(newer))
    changed = change(newer, 0.01)
    # The same change as an overlay: what differs from the base is written into it.
    run("qemu-img", "convert", "-O", "qcow2", "-B", base.name, "-F", "qcow2", str(newer), str(top))
    for path in (newer, base, top):
        with open(path, "rb") as file:
            while file.read(8 * MIB):
                pass
    read = ["dd", f"if={newer}", "of=/dev/null", "bs=1M"]
    yield "reading the source (dd)", best(measure(read) for _ in range(repeat))
    for name, before, after in (
        (f"raw, {changed} blocks of 1 MiB changed", raw, newer),
        ("qcow2 overlay with these changes", base, top),
    ):
        with target as path:
            run(replant, "write", str(before), path, "--manifest", str(manifest))
            update = [replant, "write", str(after), path, "--manifest", str(manifest)]
            yield f"{name}: replant write --manifest", measure(update)
        manifest.unlink()
    newer.unlink()
    top.unlink()


def best(runs):
    return min((r for r in runs if r), key=lambda r: r[0], default=None)


def row(name, result, data, limit):
    if result is None:
        return f"| {name} | – | – | – | – | – |"
    wall, cpu, memory = result
    times = f"{wall / limit[0]:.2f}×" if limit else "–"
    return f"| {name} | {wall:.2f} | {times} | {cpu:.2f} | {data / MIB / wall:.0f} | {memory:.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, metavar="MIB")
    parser.add_argument("--repeat", type=int, default=2, metavar="N", help="the best of N counts")
    parser.add_argument("--directory", type=Path, default=Path("target/bench"))
    parser.add_argument("--images", default="", metavar="NAMES", help="only these, as in raw,qcow2,incremental")
    parser.add_argument("--targets", default="", metavar="NAMES", help="only these, as in file,loop tmpfs")
    parser.add_argument("--replant", default="target/release/replant")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    size = arguments.size * MIB
    images, data = make_images(arguments.directory, size)
    kinds = arguments.targets.split(",") if arguments.targets else ["file", "loop direct", "loop tmpfs"]
    names = arguments.images.split(",") if arguments.images else [*images, "incremental"]

    print(f"{arguments.size} MiB, {data // MIB} MiB of it data; best of {arguments.repeat}; "
          f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for kind in kinds:
        print(f"\n### {kind}\n\n| program | seconds | of the limit | CPU | MiB/s | peak MiB |\n|---|---|---|---|---|---|")
        target = Target(kind, arguments.directory, size)

        def timed(make):
            with target as path:
                return measure(make(path))

        def write_limit(path):
            count = data // MIB
            return ["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={count}", "oflag=direct", "conv=notrunc,fsync"]

        limit = best([timed(write_limit) for _ in range(arguments.repeat)])
        print(row("write limit (dd, direct)", limit, data, limit), flush=True)
        for name in (name for name in names if name in images):
            format_, image = images[name]
            # Into the page cache.
            with open(image, "rb") as file:
                while file.read(8 * MIB):
                    pass
            programs = [program for program, _ in commands(arguments.replant, image, format_, "")]
            results = {program: [] for program in programs}
            # In turn, so that a machine that slows down or speeds up does so for all of them.
            for _ in range(arguments.repeat):
                for program in programs:
                    def make(path, program=program):
                        return dict(commands(arguments.replant, image, format_, path))[program]
                    results[program].append(timed(make))
            for program in programs:
                print(row(f"{name}: {program}", best(results[program]), data, limit), flush=True)
        if "incremental" in names:
            for name, result in incremental(arguments.replant, arguments.directory, images, target,
                                            arguments.repeat):
                print(row(f"incremental: {name}", result, data, limit), flush=True)


if __name__ == "__main__":
    main()

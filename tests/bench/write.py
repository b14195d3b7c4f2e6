"""`replant write` beside `qemu-img convert`: a 4 GiB streamOptimized VMDK, half of it data, onto a sparse file.

The data is a real guest's (tests/guests, bios-ext4), three times, so that its compression is a real disk's too. Each
program runs three times, in turn; what counts is the middle one, with the data flushed to the disk at the end, and for
Replant with its digests. Memory is the most that was resident.

    python3 tests/bench/write.py TARGET_DIRECTORY
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 3
GIB = 1 << 30


def make_image(work: Path) -> Path:
    image = work / "bench.vmdk"
    if image.exists():
        return image
    built = subprocess.run(["tests/guests/build", "bios-ext4"], check=True, stdout=subprocess.PIPE, text=True)
    guest = Path(built.stdout.strip()) / "guest.raw"
    raw, unfinished = work / "bench.raw", work / "bench.vmdk.unfinished"
    # The guest's disk has its data in its first GiB or so; three of them fill half of 4 GiB.
    with open(guest, "rb") as source, open(raw, "wb") as target:
        target.truncate(4 * GIB)
        for third in range(3):
            base, at = third * (4 * GIB // 3) // 65536 * 65536, 0
            while at < 4 * GIB // 3 - 65536:
                try:
                    start = os.lseek(source.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                end = min(os.lseek(source.fileno(), start, os.SEEK_HOLE), 4 * GIB // 3 - 65536)
                for offset in range(start, end, 1 << 20):
                    block = os.pread(source.fileno(), min(1 << 20, end - offset), offset)
                    os.pwrite(target.fileno(), block, base + offset)
                at = max(end, start + 1)
    convert = ["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(unfinished)]
    subprocess.run(convert, check=True)
    unfinished.rename(image)
    return image


def run(command: list[str], target: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and MiB of memory of one run, flushed."""
    target.unlink(missing_ok=True)
    with open(target, "wb") as file:
        file.truncate(4 * GIB)
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"failed: {' '.join(command)}")
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    target_directory = Path(sys.argv[1])
    work = target_directory / "bench"
    work.mkdir(parents=True, exist_ok=True)
    image, target, raw = make_image(work), work / "target.raw", work / "bench.raw"
    replant = str(target_directory / "release" / "replant")
    source, destination = str(image), str(target)
    qemu = ["qemu-img", "convert", "-n", "-f", "vmdk", "-O", "raw"]
    programs = {
        "replant write": [replant, "write", source, destination],
        "qemu-img convert -n": [*qemu, source, destination],
        "qemu-img convert, tuned": [*qemu, "--target-is-zero", "-W", "-m", "16", "-t", "none", source, destination],
    }
    data = os.stat(raw).st_blocks * 512 / (1 << 20)
    print(f"{image.stat().st_size >> 20} MiB of VMDK, {data:.0f} MiB of data on a 4096 MiB disk, {os.cpu_count()} processors")
    with open(image, "rb") as file:  # into the page cache, for everyone
        while file.read(1 << 24):
            pass
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for _ in range(RUNS):
        for name, command in programs.items():
            results[name].append(run(command, target))
    subprocess.run([replant, "write", source, destination], check=True, stdout=subprocess.DEVNULL)
    compared = subprocess.run(["qemu-img", "compare", "-f", "vmdk", "-F", "raw", source, destination], stdout=subprocess.DEVNULL)
    print("what replant wrote is " + ("what qemu-img reads in the image" if compared.returncode == 0 else "DIFFERENT"))
    middle = {name: statistics.median(run[0] for run in runs) for name, runs in results.items()}
    print(f"{'':28}{'seconds':>9}{'all runs':>22}{'processor s':>13}{'MiB':>7}{'times':>7}")
    for name, runs in results.items():
        every = " ".join(f"{run[0]:.1f}" for run in runs)
        processor = statistics.median(run[1] for run in runs)
        memory = max(run[2] for run in runs)
        ratio = middle[name] / middle["replant write"]
        print(f"{name:28}{middle[name]:>9.1f}{every:>22}{processor:>13.1f}{memory:>7.0f}{ratio:>7.2f}")
    target.unlink()


main()

#!/usr/bin/env python3
"""How long `replant plan` takes with an image of 2 TiB, by format: all metadata read, no data.

Prints wall clock and CPU seconds of the best of some runs, beside `qemu-img map` of the same
image, which reads the same metadata.

    bench/planning.py [--repeat N] [--directory DIR] [--replant PROGRAM]

Needs qemu-utils.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

KINDS = [
    ("vmdk", "subformat=monolithicSparse", "2T"),
    ("vmdk", "subformat=streamOptimized", "2T"),
    ("vmdk", "subformat=twoGbMaxExtentSparse", "2T"),
    ("vmdk", "subformat=twoGbMaxExtentFlat", "2T"),
    ("qcow2", "cluster_size=64k", "2T"),
    ("qcow2", "cluster_size=64k,preallocation=metadata", "2T"),
    ("qcow2", "cluster_size=2M,preallocation=metadata", "2T"),
    ("vpc", "subformat=dynamic", "2040G"),
    ("vhdx", "subformat=dynamic", "2T"),
    ("vhdx", "subformat=dynamic,block_size=1M", "2T"),
]

CONFIGURATION = """instance "web" {
  image         = "disk"
  instance_type = "m6i.large"
  state         = "standby"
  guest { drivers = "none" }
}
"""


def measured(command, directory, repeat):
    """The quickest run: wall clock and CPU seconds."""
    best = None
    for _ in range(repeat):
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{command[0]} failed: {process.returncode}")
        run = (wall, usage.ru_utime + usage.ru_stime)
        best = run if best is None else min(best, run)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--replant", default="target/release/replant")
    arguments = parser.parse_args()
    program = str(Path(arguments.replant).resolve())
    print(f"{'2 TiB of':50} {'plan':>18}   {'qemu-img map':>18}")
    for driver, options, size in KINDS:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            directory = Path(name)
            (directory / "main.replant.hcl").write_text(CONFIGURATION)
            create = ["qemu-img", "create", "-q", "-f", driver, "-o", options, "disk", size]
            subprocess.run(create, cwd=directory, check=True)
            ours = measured([program, "plan"], directory, arguments.repeat)
            peer = measured(["qemu-img", "map", "--output=json", "disk"], directory, arguments.repeat)
            figures = "   ".join(f"{wall:6.2f} s {cpu:5.2f} CPU" for wall, cpu in (ours, peer))
            print(f"{driver + ' ' + options:50} {figures}", flush=True)


if __name__ == "__main__":
    main()

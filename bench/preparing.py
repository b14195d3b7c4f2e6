#!/usr/bin/env python3
"""How long it takes to prepare a guest with three kernels, by compression of its initramfs and by
format of its image.

Prints wall clock and CPU seconds (the quickest of some runs) of `replant inspect`, which starts the
sandbox, looks at the guest, makes every edit, and reads the result back; beside what the ordinary
tools take on the mounted files for the three archives alone (unmkinitramfs, cpio, the compressor),
and beside `qemu-img convert` of the same image.

    bench/preparing.py [--repeat N] [--directory DIR] [--compressions NAMES] [--replant PROGRAM]

Needs root (mkinitramfs works on a bind mount), e2fsprogs, initramfs-tools, qemu-utils.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

COMPRESSORS = {
    "gzip": "gzip -n",
    "xz": "xz --check=crc32 -T0",
    "zstd": "zstd -q -9 -T0",
    "lz4": "lz4 -l -9",
}
KERNELS = 3

# Kernel and modules of Debian's package under three releases, each with an archive that has the
# drivers of every disk and file system but NVMe's and Xen's, as an installation's own has most of them.
MAKE = r"""
mkdir -p package root/boot/grub root/etc/network root/usr/{bin,sbin} root/usr/lib/{modules,systemd/system} root/var tree
cd package
name=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\S*\).*/\1/p' | head -1)
chown _apt . || true
ls ./*.deb > /dev/null 2>&1 || apt-get -qq download "$name"
dpkg-deb -x ./*.deb .
cd ..
release=${name#linux-image-}
ln -sfn usr/bin root/bin; ln -sfn usr/sbin root/sbin; ln -sfn usr/lib root/lib
cp /bin/dash root/usr/bin/sh; cp /bin/true root/usr/bin/env; cp /bin/true root/usr/sbin/sshd
cp /bin/true root/usr/sbin/dhclient; cp /bin/true root/usr/lib/systemd/systemd
printf 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n' > root/etc/os-release
printf '/dev/sda1 / ext4 errors=remount-ro 0 1\n' > root/etc/fstab
printf 'auto ens192\niface ens192 inet dhcp\n' > root/etc/network/interfaces
echo web01 > root/etc/hostname
cp -rT /etc/initramfs-tools conf
printf 'MODULES=list\nBUSYBOX=auto\nCOMPRESS=gzip\nRESUME=none\n' > conf/initramfs.conf
rm -f conf/conf.d/*
modules=package/lib/modules/$release
depmod -b package "$release"
(cd "$modules" && find kernel/drivers/{ata,scsi,virtio,usb/host,usb/storage,net/ethernet,md,hid,message} kernel/fs \
    -name '*.ko' | sed 's,.*/,,; s,\.ko$,,') > conf/modules
mkdir -p /lib/modules
unshare -m bash -euc "mount --make-rprivate /; mount --bind package/lib/modules /lib/modules
    mount --bind package/boot /boot; mkinitramfs -d $PWD/conf -o $PWD/plain.gz $release" 2> /dev/null
(cd tree && zcat ../plain.gz | cpio -id --quiet)
: > root/boot/grub/grub.cfg
last=$release
for number in $(seq 71 $((70 + KERNELS))); do
    # As long as the other: it stands in the kernel's own header.
    own=$(sed "s/-[0-9]*-amd64$/-$number-amd64/" <<< "$release")
    cp -r "$modules" "root/usr/lib/modules/$own"
    sed -b "s/$release/$own/g" "package/boot/vmlinuz-$release" > "root/boot/vmlinuz-$own"
    cp "package/boot/config-$release" "root/boot/config-$own"
    mv "tree/usr/lib/modules/$last" "tree/usr/lib/modules/$own"
    last=$own
    (cd tree && find . | cpio -o --quiet -H newc) > "plain-$own"
    printf "menuentry 'Debian, %s' {\nlinux /boot/vmlinuz-%s root=/dev/sda1 ro quiet\ninitrd /boot/initrd.img-%s\n}\n" \
        "$own" "$own" "$own" >> root/boot/grub/grub.cfg
done
rm -r plain.gz tree
touch made
"""

IMAGE = r"""
for plain in plain-*; do COMPRESSOR < "$plain" > "root/boot/initrd.img-${plain#plain-}"; done
rm -f NAME.raw NAME.vmdk
truncate -s 4G NAME.raw
printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q NAME.raw
mke2fs -q -F -t ext4 -d root -E offset=1048576 NAME.raw $(((4 << 20) - 1024))k
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized NAME.raw NAME.vmdk
"""

# What an administrator does by hand to the three archives, mounting and copying the drivers apart.
TOOLS = r"""
for archive in root/boot/initrd.img-*; do
    rm -rf work; mkdir work
    unmkinitramfs "$archive" work
    (cd work && find . | cpio -o --quiet -H newc) | COMPRESSOR > work.new
done
rm -rf work work.new
"""


def shell(script, directory):
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=directory, check=True, stdout=subprocess.DEVNULL)


def measured(command, directory, repeat):
    """The quickest run: wall clock and CPU seconds, those of its children too."""
    best = None
    for _ in range(repeat):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise SystemExit(f"{command[0]} failed: {done.returncode} {done.stderr.decode()[-500:]}")
        run = (wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        best = run if best is None else min(best, run)
    return best


def row(name, best):
    print(f"{name:58} {best[0]:6.2f} s {best[1]:6.2f} CPU", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the quickest of N counts")
    parser.add_argument("--directory", type=Path, default=Path("target/bench/preparing"))
    parser.add_argument("--compressions", default="gzip,zstd", metavar="NAMES", help=", ".join(COMPRESSORS))
    parser.add_argument("--replant", default="target/release/replant")
    arguments = parser.parse_args()
    program = str(Path(arguments.replant).resolve())
    directory = arguments.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "made").exists():
        shell(MAKE.replace("KERNELS", str(KERNELS)), directory)
    print(f"\nA guest with {KERNELS} kernels; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for name in arguments.compressions.split(","):
        compressor = COMPRESSORS[name]
        raw, vmdk = directory / f"{name}.raw", directory / f"{name}.vmdk"
        if not vmdk.exists():
            shell(IMAGE.replace("COMPRESSOR", compressor).replace("NAME", name), directory)
        size = sum(path.stat().st_size for path in (directory / "root/boot").glob("initrd.img-*"))
        label = f"{name}, {size >> 20} MiB of initramfs"
        for kind, image in (("raw", raw), ("streamOptimized", vmdk)):
            with open(image, "rb") as file:
                while file.read(8 << 20):
                    pass
            with tempfile.TemporaryDirectory() as empty:
                command = [program, "inspect", "--json", str(image)]
                row(f"{label}, {kind}: replant", measured(command, empty, arguments.repeat))
        tools = ["bash", "-euo", "pipefail", "-c", TOOLS.replace("COMPRESSOR", compressor)]
        row(f"{label}: unmkinitramfs, cpio, {name}", measured(tools, directory, 1))
        convert = ["qemu-img", "convert", "-O", "raw", str(vmdk), str(directory / "copy.raw")]
        row(f"{label}: qemu-img convert of the VMDK", measured(convert, directory, arguments.repeat))
        (directory / "copy.raw").unlink()


if __name__ == "__main__":
    main()

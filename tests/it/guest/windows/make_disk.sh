#!/bin/bash
# make_disk.sh bios|uefi IMAGE WINDOWS SYSTEM [SECTORS]: a disk with NTFS partitions from two directories, the
# volume of Windows with so many sectors.
set -euo pipefail
how=$1 image=$2 windows=$3 system=$4 sectors=${5:-163840}
work=$(mktemp -d)
loops=()
finish() {
    mountpoint -q "$work/at" && umount "$work/at"
    for loop in "${loops[@]}"; do losetup -d "$loop"; done
    rm -rf "$work"
}
trap finish EXIT
mkdir "$work/at"
truncate -s $(((26624 + sectors) * 512 + (3 << 20))) "$image"
if [ "$how" = bios ]; then
    sfdisk --quiet "$image" <<T
label: dos
label-id: 0x1b2c3d4e
start=2048, size=24576, type=7, bootable
start=26624, size=$sectors, type=7
T
    first=2048 first_size=24576 second=26624 second_size=$sectors
else
    sfdisk --quiet "$image" <<T
label: gpt
start=2048, size=20480, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=22528, size=4096, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE
start=26624, size=$sectors, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=8A3F2E10-77C4-4D0B-9E6A-5512F0C3D9B1
T
    first=2048 first_size=20480 second=26624 second_size=$sectors
fi

# part START SIZE: a loop device over a partition.
part() {
    loop=$(losetup --find --show --offset $(($1 * 512)) --sizelimit $(($2 * 512)) "$image")
    loops+=("$loop")
}

# fill DIRECTORY: a directory's files on NTFS, each with a security descriptor as ntfs-3g gives it.
ntfs() {
    mkntfs --quick --force --quiet --partition-start "$2" --label "$3" "$loop" >/dev/null 2>&1
    ntfs-3g "$loop" "$work/at"
    cp -r "$1/." "$work/at/"
    umount "$work/at"
    # The program lets go of the device a moment after.
    while fuser -s "$loop" 2>/dev/null; do sleep 0.05; done
}

part $first $first_size
if [ "$how" = bios ]; then
    ntfs "$system" $first "System Reserved"
else
    mkfs.vfat -F 16 "$loop" >/dev/null
    mcopy -i "$loop" -s "$system"/* ::/
fi
part $second $second_size
ntfs "$windows" $second ""
sync

#!/bin/bash
# read_disk.sh bios|uefi IMAGE TO: the files of a disk that make_disk.sh made, after ntfsfix looked at it.
set -euo pipefail
how=$1 image=$2 to=$3
work=$(mktemp -d)
loops=()
finish() {
    mountpoint -q "$work" && umount "$work"
    for loop in "${loops[@]}"; do losetup -d "$loop"; done
    rmdir "$work"
}
trap finish EXIT
mkdir "$to/windows" "$to/system"
part() {
    loop=$(losetup --find --show --read-only --offset $(($1 * 512)) --sizelimit $(($2 * 512)) "$image")
    loops+=("$loop")
}
ntfs() {
    ntfsfix --no-action "$loop" >/dev/null
    ntfs-3g.probe --readwrite "$loop" || [ $? = 19 ]
    ntfs-3g -o ro "$loop" "$work"
    cp -r "$work/." "$1/"
    umount "$work"
    while fuser -s "$loop" 2>/dev/null; do sleep 0.05; done
}
if [ "$how" = bios ]; then
    part 2048 24576
    ntfs "$to/system"
else
    part 2048 20480
    fsck.vfat -n "$loop" >/dev/null
    mcopy -i "$loop" -s -n ::/* "$to/system/"
fi
part 26624 163840
ntfs "$to/windows"

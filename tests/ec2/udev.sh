#!/bin/sh
# What this machine's udev rules make of volumes: udev.sh SERIAL [RULE], in a mount namespace and a
# directory of its own. Prints DISK:PROPERTY=VALUE for each disk.
set -eu
here=$(dirname "$0")
here=$(cd "$here" && pwd)
serial=$1 rule=${2:-}
MODEL='Amazon Elastic Block Store'

made() {
    truncate --size 64M "$1.img"
    case $1 in
        raid) PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here" python3 -c '
import node, os
with open("raid.img", "r+b") as disk:
    disk.seek(4096)
    disk.write(node.raid(4096, os.stat("raid.img").st_size))' ;;
        ext4 | part) mkfs.ext4 -q -F "$1.img" ;;
    esac
}

# Loop devices by the real sysfs, before ours lies over it.
disks='lvm raid ext4 part other'
loops=
trap 'for loop in $loops; do losetup --detach $loop; done' EXIT
rm -rf sys && mkdir sys
mount -t tmpfs sys sys
mkdir -p sys/class/block sys/class/nvme sys/bus sys/dev/block
nodes=
number=1
for disk in $disks; do
    made $disk
    loop=$(losetup --find --show "$disk.img")
    loops="$loops $loop"
    case $disk in
        lvm | other) pvcreate --quiet --quiet --yes --config 'devices { use_devicesfile = 0 }' "$loop" >&2 ;;
    esac
    major=$(stat --format %Hr "$loop") minor=$(stat --format %Lr "$loop")
    place=sys/devices/pci0000:00/0000:00:1f.0/nvme/nvme$number
    name=nvme${number}n1 kind=disk
    mkdir -p $place/$name
    is=$serial
    [ $disk != other ] || is=vol0fffffffffffffff0
    # NVMe pads them.
    printf '%-20s\n' "$is" > $place/serial
    printf '%-40s\n' "$MODEL" > $place/model
    : > $place/uevent
    ln -s ../../../../../class/nvme $place/subsystem
    at=$place/$name up=../../../../../..
    if [ $disk = part ]; then
        printf 'MAJOR=7\nMINOR=255\nDEVNAME=%s\nDEVTYPE=disk\n' $name > $at/uevent
        echo 7:255 > $at/dev
        ln -s $up/class/block $at/subsystem
        at=$at/${name}p1 name=${name}p1 kind=partition up=$up/..
        mkdir $at
        echo 1 > $at/partition
    fi
    printf 'MAJOR=%s\nMINOR=%s\nDEVNAME=%s\nDEVTYPE=%s\n' $major $minor $name $kind > $at/uevent
    echo $major:$minor > $at/dev
    ln -s $up/class/block $at/subsystem
    ln -s ../../${at#sys/} sys/class/block/$name
    ln -s ../../${at#sys/} sys/dev/block/$major:$minor
    nodes="$nodes $disk:$name:$major:$minor"
    number=$((number + 1))
done

# Below what hides it, when it lies in /run.
[ -z "$rule" ] || cp "$rule" sys/rule
mount -t tmpfs run /run
mkdir -p /run/udev/rules.d
[ -z "$rule" ] || mv sys/rule "/run/udev/rules.d/$(basename "$rule")"
mkdir dev 2>/dev/null || true
mount -t tmpfs dev dev
mknod dev/null c 1 3
mknod dev/urandom c 1 9
for node in $nodes; do
    IFS=: read -r disk name major minor <<END
$node
END
    mknod "dev/$name" b "$major" "$minor"
done
mount --bind sys /sys
(
    mount --bind dev /dev
    export SYSTEMD_DEVICE_VERIFY_SYSFS=0
    for node in $nodes; do
        disk=${node%%:*} name=${node#*:}
        name=${name%%:*}
        udevadm test --action=add "/sys/class/block/$name" 2>/dev/null | sed -n "s/^\([A-Z_]*=.*\)/$disk:\1/p"
    done
)
umount /dev
umount /sys

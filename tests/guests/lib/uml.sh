# Filesystems are made and filled by user-mode Linux: a kernel of our own that sees the new disk as /dev/ubda and the
# guest's tree as a tar archive in /dev/ubdb (hostfs is too slow for 13,000 files). It has what the host may lack (LVM,
# RAID, JFS), and nothing is mounted on the host.

# in_uml IMAGE COMMANDS [IMAGE…]: runs shell commands with IMAGE as /dev/ubda and further ones as /dev/ubdc, /dev/ubdd …;
# $mnt is an empty directory to mount it on, `unpack DIRECTORY` puts the tree there, `module NAME` loads one of its
# kernel's modules, and `volumes COMMAND` is one of LVM's, which leaves nothing on the host.
in_uml() {
    local image=$1 commands=$2 disks=() disk
    shift 2
    for disk; do disks+=("ubd$((${#disks[@]} + 2))=$disk"); done
    mkdir -p "$work/mnt"
    # Newer kernels are linked from /usr/lib/modules to /boot, which may be a filesystem of its own.
    tar --create --hard-dereference --numeric-owner --xattrs --xattrs-include='*' --file="$work/tree.tar" --directory="$tree" .
    cat >"$work/uml-init" <<INIT
#!/bin/bash
unpack() { tar --extract --numeric-owner --xattrs --xattrs-include='*' --file=/dev/ubdb --directory="\$1"; }
module() {
    local from=/usr/lib/uml/modules/\$(uname -r) line file
    line=\$(grep "/\$1\.ko:" \$from/modules.dep)
    for file in \$(echo "\${line#*:}" | tr ' ' '\n' | tac) "\${line%%:*}"; do
        insmod "\$from/\$file" 2>/dev/null || true
    done
}
volumes() {
    local command=\$1
    shift
    LVM_SYSTEM_DIR='' lvm "\$command" --config 'devices { obtain_device_list_from_udev=0 use_devicesfile=0 }
        backup { backup=0 archive=0 } activation { udev_sync=0 udev_rules=0 monitoring=0 }' "\$@"
}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=$(printf %q "$work") mnt=$(printf %q "$work/mnt")
(
    set -e
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mountpoint -q /dev || mount -t devtmpfs dev /dev
    mount -t tmpfs run /run
    mkdir /run/lock
    $commands
    sync
    touch "\$work/uml-done"
)
perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'
INIT
    chmod 755 "$work/uml-init"
    rm -f "$work/uml-done"
    # Its memory is a file: in memory where there is room (containers may have a small /dev/shm).
    local memory=/tmp
    [ "$(df --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 600000 ] 2>/dev/null && memory=/dev/shm
    HOME=$work TMPDIR=$memory linux.uml mem=512M root=/dev/root rootfstype=hostfs rootflags=/ rw \
        ubd0="$image" ubd1r="$work/tree.tar" "${disks[@]}" init="$work/uml-init" con=null con0=null,fd:1 quiet </dev/null >"$work/uml.log" 2>&1 || true
    rm "$work/tree.tar"
    if [ ! -e "$work/uml-done" ]; then
        cat "$work/uml.log" >&2
        echo "user-mode Linux did not fill $image" >&2
        return 1
    fi
}

# GRUB 2 as its installer leaves it, without a loop device: the guest's own tools, run in the guest's tree.

# A stand-in for one of the guest's programs, for the time of one call: answer_for PROGRAM, with the script on stdin.
answer_for() {
    mv "$tree/usr/$1" "$tree/usr/$1.real"
    cat >"$tree/usr/$1"
    chmod 755 "$tree/usr/$1"
}

# grub_config: the guest's own grub-mkconfig writes grub.cfg. It asks grub-probe and grub-mkrelpath about disks that
# exist only as a tree yet, so scripts of ours answer for them during this one run, from the layout.
grub_config() {
    local ROOT_DEVICE ROOT_FS boot_device boot_fs boot_uuid=${UUIDS[$BOOT]} ROOT_ABSTRACTION='' ROOT_HINT=''
    local ROOT_ARGUMENT=UUID=$ROOT_UUID PARTMAP=gpt
    [ "$TABLE" = gpt ] || PARTMAP=msdos
    ROOT_DEVICE=$(guest_device "$ROOT") ROOT_FS=$(grub_filesystem "$ROOT")
    boot_device=$(guest_device "$BOOT") boot_fs=$(grub_filesystem "$BOOT")
    case $ROOT in
        */*) ROOT_ABSTRACTION=lvm ROOT_HINT=lvmid/$ROOT ROOT_ARGUMENT=$ROOT_DEVICE ;;
        md*) ROOT_ABSTRACTION='diskfilter mdraid1x' ROOT_HINT=mduuid/${ARRAYS[$ROOT]} ;;
    esac
    cat >"$tree/etc/default/grub" <<GRUB
GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=\`lsb_release -i -s 2> /dev/null || echo Debian\`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX="$ARGUMENTS"
GRUB
    answer_for sbin/grub-probe <<PROBE
#!/bin/sh
target=fs dev=$ROOT_DEVICE fs=$ROOT_FS uuid=$ROOT_UUID
abstraction='$ROOT_ABSTRACTION' hint='$ROOT_HINT'
while [ \$# -gt 0 ]; do
    case \$1 in
        --target=*) target=\${1#--target=} ;;
        -t) target=\$2; shift ;;
        $ROOT_DEVICE) ;;
        /boot*|$boot_device)
            dev=$boot_device fs=$boot_fs uuid=$boot_uuid
            [ "\$dev" = $ROOT_DEVICE ] || abstraction='' hint=''
            ;;
    esac
    shift
done
number=\${dev##*[a-z]}
case \$target in
    device) echo "\$dev" ;;
    fs_uuid) echo "\$uuid" ;;
    fs) echo "\$fs" ;;
    partmap) echo "$PARTMAP" ;;
    drive) echo "(hd0,$PARTMAP\$number)" ;;
    compatibility_hint) echo "\${hint:-hd0,$PARTMAP\$number}" ;;
    abstraction) echo "\$abstraction" ;;
    hints_string) [ -z "\$hint" ] || { echo "--hint=\$hint"; exit; }
        echo "--hint-bios=hd0,$PARTMAP\$number --hint-efi=hd0,$PARTMAP\$number --hint-baremetal=ahci0,$PARTMAP\$number" ;;
    partuuid|cryptodisk_uuid) ;;
    *) exit 1 ;;
esac
PROBE
    answer_for bin/grub-mkrelpath <<RELPATH
#!/bin/sh
for path do :; done
case \$path in
    /boot*) [ "$boot_device" = "$ROOT_DEVICE" ] || { path=\${path#/boot}; echo "\${path:-/}"; exit; } ;;
esac
echo "${ROOT_SUBVOLUME:+/$ROOT_SUBVOLUME}\$path" | sed 's#\(.\)/\$#\1#'
RELPATH
    mkdir -p "$tree/dev/disk/by-uuid" "$tree/boot/grub"
    touch "$tree/dev/disk/by-uuid/$ROOT_UUID" "$tree/dev/disk/by-uuid/$boot_uuid"
    # A root on LVM is named by its device, where that is there.
    if [ "$ROOT_ABSTRACTION" = lvm ]; then
        mkdir -p "$tree/dev/mapper"
        touch "$tree$ROOT_DEVICE"
    fi
    chroot "$tree" grub-mkconfig -o /boot/grub/grub.cfg >&2
    rm -rf "$tree/dev/disk" "$tree/dev/mapper"
    mv "$tree/usr/sbin/grub-probe.real" "$tree/usr/sbin/grub-probe"
    mv "$tree/usr/bin/grub-mkrelpath.real" "$tree/usr/bin/grub-mkrelpath"
    grep -q "root=$ROOT_ARGUMENT" "$tree/boot/grub/grub.cfg"
}

# GRUB's module for a device's filesystem.
grub_filesystem() {
    case ${TYPES[$1]} in
        ext*) echo ext2 ;;
        xfs*) echo xfs ;;
        *) echo "${TYPES[$1]}" ;;
    esac
}

# How GRUB names what /boot is on, and the modules that it needs to get there.
grub_prefix() {
    local number=${BOOT##*[a-z]} directory=/grub
    [ "$BOOT" != "$ROOT" ] || directory=${ROOT_SUBVOLUME:+/$ROOT_SUBVOLUME}/boot/grub
    case $BOOT in
        */*) echo "(lvm/$(basename "$(guest_device "$BOOT")"))$directory" ;;
        md*) echo "(mduuid/${ARRAYS[$BOOT]})$directory" ;;
        *) echo "(hd0,$([ "$TABLE" = mbr ] && echo msdos || echo gpt)$number)$directory" ;;
    esac
}
grub_needs() {
    [ "$TABLE" = mbr ] && echo part_msdos || echo part_gpt
    case $BOOT in
        */*) echo lvm ;;
        md*) echo mdraid1x ;;
    esac
    grub_filesystem "$BOOT"
}

# grub_modules PLATFORM: what grub-install copies to /boot/grub.
grub_modules() {
    mkdir -p "$tree/boot/grub/$1"
    cp "$tree/usr/lib/grub/$1/"*.mod "$tree/usr/lib/grub/$1/"*.lst "$tree/boot/grub/$1/"
    chroot "$tree" grub-editenv /boot/grub/grubenv create
}

# grub_core PREFIX MODULE…: the BIOS core image, as grub-install names it.
grub_core() {
    local prefix=$1
    shift
    cp "$tree/usr/lib/grub/i386-pc/boot.img" "$tree/boot/grub/i386-pc/boot.img"
    chroot "$tree" grub-mkimage -O i386-pc -p "$prefix" -o /boot/grub/i386-pc/core.img biosdisk "$@"
    cp "$tree/boot/grub/i386-pc/boot.img" "$tree/boot/grub/i386-pc/core.img" "$work/"
}

# poke FILE OFFSET NUMBER COUNT: writes a little-endian number of COUNT bytes.
poke() {
    local number=$3 count=$4 text=
    while [ "$count" -gt 0 ]; do
        text+=$(printf '\\x%02x' $((number & 255)))
        number=$((number >> 8))
        count=$((count - 1))
    done
    # shellcheck disable=SC2059
    printf "$text" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# grub_embed DISK SECTOR: what grub-bios-setup does. boot.img goes into the first 440 bytes (the partition table stays)
# and is told where core.img begins (offset 0x5c); the first sector of core.img is told where the rest of it lies
# (offset 0x1f4). 0x66 is the jump that grub-bios-setup blanks for hard disks. Reads boot.img and core.img from $work,
# where grub_core put them (the tree's /boot may be a filesystem of its own by now).
grub_embed() {
    poke "$work/core.img" $((0x1f4)) $(($2 + 1)) 8
    dd if="$work/core.img" of="$1" bs=512 seek="$2" conv=notrunc status=none
    dd if="$work/boot.img" of="$1" bs=1 count=440 conv=notrunc status=none
    poke "$1" $((0x5c)) "$2" 8
    poke "$1" $((0x66)) $((0x9090)) 2
}

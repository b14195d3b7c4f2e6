# GRUB 2 as its installer leaves it, without a loop device: the guest's own tools, run in the guest's tree.

# grub_config ROOT_UUID ROOT_FS DEVICE [BOOT_UUID BOOT_FS]: the guest's own grub-mkconfig writes grub.cfg. It asks
# grub-probe about disks that exist only as a tree yet, so a script of ours answers for it during this one run.
grub_config() {
    local root_uuid=$1 root_fs=$2 root_device=$3 boot_uuid=${4:-$1} boot_fs=${5:-$2} boot_device=${6:-$3}
    local probe=$tree/usr/sbin/grub-probe
    mv "$probe" "$probe.real"
    cat >"$probe" <<PROBE
#!/bin/sh
target=fs device= path=/
while [ \$# -gt 0 ]; do
    case \$1 in
        --target=*) target=\${1#--target=} ;;
        -t) target=\$2; shift ;;
        --device|-d) device=1 ;;
        /boot*|$boot_device) path=/boot ;;
    esac
    shift
done
if [ \$path = /boot ]; then uuid=$boot_uuid fs=$boot_fs dev=$boot_device; else uuid=$root_uuid fs=$root_fs dev=$root_device; fi
case \$target in
    device) echo "\$dev" ;;
    fs_uuid) echo "\$uuid" ;;
    fs) echo "\$fs" ;;
    partmap) echo "$PARTMAP" ;;
    drive) echo "(hd0,$PARTMAP\${dev##*[a-z]})" ;;
    compatibility_hint) echo "hd0,$PARTMAP\${dev##*[a-z]}" ;;
    hints_string) echo "--hint-bios=hd0,$PARTMAP\${dev##*[a-z]} --hint-efi=hd0,$PARTMAP\${dev##*[a-z]} --hint-baremetal=ahci0,$PARTMAP\${dev##*[a-z]}" ;;
    abstraction|partuuid|cryptodisk_uuid) ;;
    *) exit 1 ;;
esac
PROBE
    chmod 755 "$probe"
    mkdir -p "$tree/dev/disk/by-uuid" "$tree/boot/grub"
    touch "$tree/dev/disk/by-uuid/$root_uuid" "$tree/dev/disk/by-uuid/$boot_uuid"
    chroot "$tree" grub-mkconfig -o /boot/grub/grub.cfg >&2
    rm -rf "$tree/dev/disk"
    mv "$probe.real" "$probe"
    # On a btrfs subvolume or a /boot of its own, mkconfig must have seen the same paths that GRUB will.
    grep -q "root=UUID=$root_uuid" "$tree/boot/grub/grub.cfg"
}

# grub_modules PLATFORM: what grub-install copies to /boot/grub.
grub_modules() {
    mkdir -p "$tree/boot/grub/$1"
    cp "$tree/usr/lib/grub/$1/"*.mod "$tree/usr/lib/grub/$1/"*.lst "$tree/boot/grub/$1/"
    cp "$tree/usr/share/grub/unicode.pf2" "$tree/boot/grub/unicode.pf2" 2>/dev/null || true
    chroot "$tree" grub-editenv /boot/grub/grubenv create
}

# grub_core PREFIX MODULE…: the BIOS core image, as grub-install names it.
grub_core() {
    local prefix=$1
    shift
    cp "$tree/usr/lib/grub/i386-pc/boot.img" "$tree/boot/grub/i386-pc/boot.img"
    chroot "$tree" grub-mkimage -O i386-pc -p "$prefix" -o /boot/grub/i386-pc/core.img biosdisk "$@"
}

# bytes NUMBER COUNT: little-endian, as printf escapes.
bytes() {
    local number=$1 count=$2 text=
    while [ "$count" -gt 0 ]; do
        text+=$(printf '\\x%02x' $((number & 255)))
        number=$((number >> 8))
        count=$((count - 1))
    done
    echo "$text"
}

poke() { printf "$(bytes "$3" "$4")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# grub_embed DISK SECTOR: what grub-bios-setup does. boot.img goes into the first 440 bytes (the partition table stays)
# and is told where core.img begins (offset 0x5c); the first sector of core.img is told where the rest of it lies
# (offset 0x1f4). 0x66 is the jump that grub-bios-setup blanks for hard disks.
grub_embed() {
    local disk=$1 sector=$2
    local boot=$tree/boot/grub/i386-pc/boot.img core=$work/core.img
    cp "$tree/boot/grub/i386-pc/core.img" "$core"
    poke "$core" $((0x1f4)) $((sector + 1)) 8
    dd if="$core" of="$disk" bs=512 seek="$sector" conv=notrunc status=none
    dd if="$boot" of="$disk" bs=1 count=440 conv=notrunc status=none
    poke "$disk" $((0x5c)) "$sector" 8
    poke "$disk" $((0x66)) $((0x9090)) 2
}

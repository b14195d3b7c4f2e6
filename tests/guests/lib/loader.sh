# Boot loaders. `loader_KIND configure` runs while the guest is a tree, `loader_KIND disk` when its disks are filled.

# GRUB 2 by BIOS.
loader_grub() {
    local number=1 file
    case $1 in
        configure)
            grub_modules i386-pc
            # shellcheck disable=SC2046
            grub_core "$(grub_prefix)" $(grub_needs)
            grub_config ;;
        disk)
            [ -z "$BIOS_BOOT" ] || number=2048
            # A machine that boots from an array can start from each member.
            for file in "$out"/guest*.raw; do
                case $file:$BOOT in */guest.raw:*|*:md*) grub_embed "$file" $number ;; esac
            done ;;
    esac
}

# GRUB 2 by BIOS with entries in files of their own, as EL 8 and 9 have them; GRUB itself can since 2.14.
loader_bls() {
    loader_grub "$1"
    [ "$1" = configure ] || return 0
    mkdir -p "$tree/boot/loader/entries"
    cat >"$tree/boot/loader/entries/4c0f5bd2f8d64a2c9d83f1d0b4a6e37c-$KERNEL.conf" <<ENTRY
title Debian GNU/Linux ($KERNEL)
version $KERNEL
linux $(boot_path)/vmlinuz-$KERNEL
initrd $(boot_path)/initrd.img-$KERNEL
options \$kernelopts
grub_users \$grub_users
grub_arg --unrestricted
grub_class debian
ENTRY
    chroot "$tree" grub-editenv /boot/grub/grubenv set \
        "kernelopts=root=$(guest_device "$ROOT") ro ${ROOT_SUBVOLUME:+rootflags=subvol=$ROOT_SUBVOLUME }$ARGUMENTS" "saved_entry=4c0f5bd2f8d64a2c9d83f1d0b4a6e37c-$KERNEL"
    cat >"$tree/boot/grub/grub.cfg" <<CONFIG
set pager=1
if [ -f \${config_directory}/grubenv ]; then
  load_env -f \${config_directory}/grubenv
elif [ -s \$prefix/grubenv ]; then
  load_env
fi
set default="\${saved_entry}"
insmod part_$([ "$TABLE" = gpt ] && echo gpt || echo msdos)
insmod $(grub_filesystem "$BOOT")
search --no-floppy --fs-uuid --set=root ${UUIDS[$BOOT]}
set timeout=1
insmod blsuki
blscfg
CONFIG
}
boot_path() { [ "$BOOT" != "$ROOT" ] || echo "${ROOT_SUBVOLUME:+/$ROOT_SUBVOLUME}/boot"; }

# GRUB 0.97, with the menu that Debian's update-grub keeps.
loader_legacy() {
    local number=${BOOT#sda}
    case $1 in
        configure)
            mkdir -p "$tree/boot/grub"
            cp "$tree/usr/lib/grub/x86_64-pc/"* "$tree/boot/grub/"
            cat >"$tree/boot/grub/menu.lst" <<MENU
default 0
timeout 1

### BEGIN AUTOMAGIC KERNELS LIST
## lines between the AUTOMAGIC KERNELS LIST markers will be modified
## by the debian update-grub script except for the default options below

## ## Start Default Options ##
# kopt=root=$(guest_device "$ROOT") ro $ARGUMENTS
# groot=(hd0,$((number - 1)))
# defoptions=quiet
## ## End Default Options ##

title		Debian GNU/Linux, kernel $KERNEL
root		(hd0,$((number - 1)))
kernel		$(boot_path)/vmlinuz-$KERNEL root=$(guest_device "$ROOT") ro $ARGUMENTS quiet
initrd		$(boot_path)/initrd.img-$KERNEL

### END DEBIAN AUTOMAGIC KERNELS LIST
MENU
            ;;
        disk)
            # Its own shell writes its stages; the disk is a file to it.
            ln "$out/guest.raw" "$tree/disk"
            echo '(hd0) /disk' >"$tree/map"
            printf 'root (hd0,%d)\nsetup (hd0)\nquit\n' $((number - 1)) |
                chroot "$tree" grub --batch --no-floppy --device-map=/map | tee "$work/legacy.log"
            rm "$tree/disk" "$tree/map"
            grep -q succeeded "$work/legacy.log" ;;
    esac
}

# UEFI with Debian's signed shim. The boot entry lives in the machine's NVRAM, so the ESP has no EFI/BOOT: elsewhere
# the untouched disk starts nothing at all.
loader_shim() {
    [ "$1" = configure ] || return 0
    local debian=$tree/boot/efi/EFI/debian
    mkdir -p "$debian"
    grub_modules x86_64-efi
    cp "$tree/usr/lib/shim/shimx64.efi.signed" "$debian/shimx64.efi"
    cp "$tree/usr/lib/shim/mmx64.efi.signed" "$debian/mmx64.efi"
    cp "$tree/usr/lib/shim/fbx64.efi.signed" "$debian/fbx64.efi"
    cp "$tree/usr/lib/shim/BOOTX64.CSV" "$debian/BOOTX64.CSV"
    cp "$tree/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$debian/grubx64.efi"
    cat >"$debian/grub.cfg" <<STUB
search.fs_uuid ${UUIDS[$BOOT]} root hd0,gpt${BOOT#sda}
set prefix=(\$root)'$(boot_path)/grub'
configfile \$prefix/grub.cfg
STUB
    grub_config
}

# UEFI with a GRUB that grub-install made and nobody signed.
loader_efi() {
    [ "$1" = configure ] || return 0
    mkdir -p "$tree/boot/efi/EFI/debian"
    grub_modules x86_64-efi
    cat >"$tree/load.cfg" <<LOAD
search.fs_uuid ${UUIDS[$BOOT]} root
set prefix=(\$root)'$(boot_path)/grub'
LOAD
    # shellcheck disable=SC2046
    chroot "$tree" grub-mkimage -O x86_64-efi -c /load.cfg -p "$(boot_path)/grub" -o /boot/efi/EFI/debian/grubx64.efi \
        $(grub_needs) search_fs_uuid
    rm "$tree/load.cfg"
    grub_config
}

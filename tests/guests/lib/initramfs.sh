# The initramfs as it is on a VMware machine that was installed there: it has the drivers of that machine only.

MACHINE_DRIVERS='ata_piix ata_generic ahci mptspi vmw_pvscsi sd_mod'

# initramfs_prepare: the generator's configuration, in $work/overlay before the packages are installed.
initramfs_prepare() {
    local drivers=$MACHINE_DRIVERS device filesystems=
    for device in "${!TYPES[@]}"; do
        case ${TYPES[$device]} in
            ext2|ext3|ext4|xfs|xfs4|btrfs|jfs) filesystems+=" $(filesystem_type "${TYPES[$device]}")" ;;
            raid:*) drivers+=' raid1' ;;
            pv:*) drivers+=' dm_mod' ;;
        esac
    done
    drivers+=" $(tr ' ' '\n' <<<"$filesystems" | sort -u | xargs)"
    "initramfs_${INITRAMFS//-/_}" "$drivers"
}

# The installer's "targeted" image would be MODULES=dep, which looks at the machine it runs on; the list says what it
# would have found.
initramfs_initramfs_tools() {
    local etc=$work/overlay/etc/initramfs-tools resume=none
    mkdir -p "$etc/conf.d" "$etc/hooks"
    echo 'MODULES=list' >"$etc/conf.d/driver-policy"
    tr ' ' '\n' <<<"$1" >"$etc/modules"
    case ${RESUME:-} in
        '') ;;
        */*) resume=$(guest_device "$RESUME") ;;
        *) resume=UUID=${UUIDS[$RESUME]} ;;
    esac
    echo "RESUME=$resume" >"$etc/conf.d/resume"
    [ -z "$COMPRESS" ] || echo "COMPRESS=$COMPRESS" >"$etc/conf.d/compress"
    [ -n "${MICROCODE:-}" ] || return 0
    # What intel-microcode's hook does, with what is no microcode for any processor.
    cat >"$etc/hooks/microcode" <<'HOOK'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
early=$(mktemp -d)
mkdir -p "$early/kernel/x86/microcode"
head -c 20000 /dev/zero >"$early/kernel/x86/microcode/GenuineIntel.bin"
(cd "$early" && find kernel | sort | cpio --quiet -o -H newc) >/tmp/microcode.cpio
prepend_earlyinitramfs /tmp/microcode.cpio
HOOK
    chmod 755 "$etc/hooks/microcode"
}

# A host-only image would describe the machine that builds it.
initramfs_dracut() {
    local omit='nvmf dmraid crypt multipath network network-manager nfs iscsi plymouth' type
    mkdir -p "$work/overlay/etc/dracut.conf.d"
    case " ${TYPES[*]}" in *' pv:'*) ;; *) omit+=' lvm' ;; esac
    case " ${TYPES[*]}" in *' raid:'*) ;; *) omit+=' mdraid' ;; esac
    cat >"$work/overlay/etc/dracut.conf.d/10-machine.conf" <<DRACUT
hostonly="no"
drivers="$1"
filesystems="$(sed 's/.*sd_mod//; s/raid1//; s/dm_mod//' <<<"$1" | xargs)"
omit_dracutmodules+=" $omit "
${COMPRESS:+compress="$COMPRESS"}
DRACUT
    [ -n "${MICROCODE:-}" ] || return 0
    mkdir -p "$work/overlay/usr/lib/firmware/intel-ucode"
    head -c 20000 /dev/zero >"$work/overlay/usr/lib/firmware/intel-ucode/06-55-04"
}

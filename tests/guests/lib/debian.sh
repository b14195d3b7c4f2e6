# The guest's files: Debian 12 by mmdebstrap from Debian's packages, then what an administrator would have set.

PASSWORD=replant
HOSTNAME_=web01

# Packages of every variant; a variant adds its own.
COMMON_PACKAGES=(linux-image-amd64 zstd systemd-sysv udev dbus login openssh-server iproute2 kmod nano less)

# install_debian: fills $tree. Uses PACKAGES (array) and files already in $work/overlay, which are put in place
# before any package is installed, so that the one run of the initramfs generator already sees them.
install_debian() {
    local options=(--variant=minbase --mode=root --format=directory --quiet
        --include="$(IFS=,; echo "${COMMON_PACKAGES[*]},${PACKAGES[*]}")"
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*'
        --dpkgopt=force-confold --dpkgopt=force-unsafe-io
        --skip=download/empty --skip=essential/unlink
        --setup-hook="mkdir -p \"\$1/var/cache/apt/archives\"; cp '$cache/packages/'*.deb \"\$1/var/cache/apt/archives/\" 2>/dev/null || true"
        --setup-hook="cp -a '$work/overlay/.' \"\$1/\""
        --customize-hook="'$here/lib/keep-packages' \"\$1/var/cache/apt/archives\" '$cache/packages'")
    mmdebstrap "${options[@]}" bookworm "$tree" ${REPLANT_DEBIAN_MIRROR:+"$REPLANT_DEBIAN_MIRROR"} >&2
}

# What every variant has: a host name, root's password, ssh host keys of its own, the kernel's version in $KERNEL.
configure_common() {
    KERNEL=$(basename "$(echo "$tree"/lib/modules/*)")
    echo "$HOSTNAME_" >"$tree/etc/hostname"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n' "$HOSTNAME_" >"$tree/etc/hosts"
    echo "root:$PASSWORD" | chroot "$tree" chpasswd
    # As long as it takes to see that nothing hangs; a guest under an emulator need not wait for a key either.
    echo "Restored guests are known by this file." >"$tree/root/README"
}

# A file that gives the guest some data that is neither zero nor highly compressible: fill NAME MEBIBYTES
fill() {
    head -c "$(($2 * 1048576))" /dev/urandom >"$tree/$1"
}

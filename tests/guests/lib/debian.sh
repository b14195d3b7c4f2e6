# The guest's files: Debian by mmdebstrap from Debian's packages, then what an administrator would have set.

PASSWORD=replant
HOSTNAME_=web01

# install_debian: fills $tree. Uses PACKAGES (array) and files already in $work/overlay, which are put in place
# before any package is installed, so that the one run of the initramfs generator already sees them.
install_debian() {
    local mirror=${REPLANT_DEBIAN_MIRROR:-http://deb.debian.org/debian} include
    include=$KERNEL_PACKAGE,$(init_package),udev,dbus,login,openssh-server,iproute2,kmod,less
    include+=$(printf ',%s' "${PACKAGES[@]}")
    local options=(--variant=minbase --mode=root --format=directory --quiet --include="$include"
        # Caches of mirrors lag behind: a list that is no longer new is signed all the same.
        --aptopt='Acquire::Check-Valid-Until "false"'
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*'
        --dpkgopt=force-confold --dpkgopt=force-unsafe-io
        --skip=download/empty --skip=essential/unlink
        --setup-hook="mkdir -p \"\$1/var/cache/apt/archives\"; cp --link '$cache/packages/'*.deb \"\$1/var/cache/apt/archives/\" 2>/dev/null || true"
        --setup-hook="cp -a '$work/overlay/.' \"\$1/\""
        --customize-hook="'$here/lib/keep-packages' \"\$1/var/cache/apt/archives\" '$cache/packages'")
    mmdebstrap "${options[@]}" "$SUITE" "$tree" "deb $mirror $SUITE main" >&2
    # The newest, where a release has several.
    KERNEL=$(find "$tree/lib/modules/" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V | tail -n 1)
}

init_package() {
    case $INIT in
        systemd) echo systemd-sysv ;;
        sysvinit) echo sysvinit-core ;;
    esac
}

# What every guest has: a host name, root's password, the fstab of its layout, its network, and something to say.
configure_common() {
    echo "$HOSTNAME_" >"$tree/etc/hostname"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n' "$HOSTNAME_" >"$tree/etc/hosts"
    echo "root:$PASSWORD" | chroot "$tree" chpasswd
    echo "Restored guests are known by this file." >"$tree/root/README"
    layout_fstab >"$tree/etc/fstab"
    # mmdebstrap may leave that of the machine that builds the guest.
    [ -L "$tree/etc/resolv.conf" ] || echo 'nameserver 192.168.40.2' >"$tree/etc/resolv.conf"
    "network_$NETWORK"
    say_on_console
}

# The guest tells its console what it came to: its address and how it got it, and what is mounted. The prompt alone
# would not show a network; and a network card that asks nobody has no address at all in the tests.
say_on_console() {
    cat >"$tree/usr/local/sbin/say" <<'SAY'
#!/bin/sh
limit=${1:-150}
while [ "$limit" -gt 0 ]; do
    address=$(ip -4 -o address show scope global | sed 's/ *brd [^ ]*//; s/ *valid_lft.*//; s/\\//')
    [ -z "$address" ] || break
    limit=$((limit - 1))
    sleep 1
done
{
    echo "guest has address: ${address:-none}"
    echo "guest has mounted:" $(grep -v '^#' /etc/fstab | while read -r what where rest; do
        case $where in /*) ! mountpoint -q "$where" || echo "$where" ;; esac
    done)
    echo "guest has swap:" $(tail -n +2 /proc/swaps | while read -r device rest; do echo "$device"; done)
    # [UU] is an array with both of its members.
    [ ! -e /proc/mdstat ] || echo "guest has arrays:" $(grep -o '\[[U_]*\]' /proc/mdstat)
    echo "guest has said all"
} >/dev/console
SAY
    chmod 755 "$tree/usr/local/sbin/say"
    "say_by_$INIT"
}

say_by_systemd() {
    cat >"$tree/etc/systemd/system/say.service" <<'UNIT'
[Unit]
Description=What this guest came to
After=local-fs.target swap.target

[Service]
ExecStart=/usr/local/sbin/say

[Install]
WantedBy=multi-user.target
UNIT
    chroot "$tree" systemctl --quiet enable say.service
}

# Its table starts what systemd knows by itself: a prompt on the serial console.
say_by_sysvinit() {
    cat >>"$tree/etc/inittab" <<'TABLE'
T0:2345:respawn:/sbin/getty -L ttyS0 115200 vt100
say:2345:once:/usr/local/sbin/say
TABLE
}

# Filesystems are made in files of their own or at an offset, never on loop devices.
new_uuid() { cat /proc/sys/kernel/random/uuid; }

# put FILE DISK SECTOR: a partition's content in its place, holes kept.
put() { dd if="$1" of="$2" bs=1M seek=$(($3 * 512)) oflag=seek_bytes conv=notrunc,sparse status=none; }

# swap_partition DISK SECTOR SECTORS UUID
swap_partition() {
    truncate -s $(($3 * 512)) "$work/swap"
    mkswap --quiet -U "$4" "$work/swap"
    put "$work/swap" "$1" "$2"
    rm "$work/swap"
}

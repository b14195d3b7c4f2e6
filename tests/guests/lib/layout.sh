# A guest's disks as its variant's LAYOUT says, one row for what holds data:
#
#     DEVICE SIZE TYPE [MOUNT POINT] [SUBVOLUMES]
#
# DEVICE is a partition (sda1, sdb2), a logical volume (GROUP/NAME) or a RAID 1 (md0); SIZE is in MiB, `-` is what is
# left. TYPE is a filesystem (ext2, ext3, ext4, xfs, btrfs, jfs), xfs4 (XFS as it was before its checksums), swap, esp,
# bios (where GRUB's core lies), pv:GROUP or raid:ARRAY. SUBVOLUMES are those of btrfs and where they are mounted, as
# @=/,@home=/home. DISKS has the size of each disk in MiB. All filesystems are made and filled by user-mode Linux.

new_uuid() { cat /proc/sys/kernel/random/uuid; }

# rows COMMAND: calls it with every row's device, size, type, mount point and rest.
rows() {
    local row fields
    for row in "${LAYOUT[@]}"; do
        read -ra fields <<<"$row"
        "$1" "${fields[0]}" "${fields[1]}" "${fields[2]}" "${fields[3]:-}" "${fields[4]:-}"
    done
}

# The guest's name for a row's device.
guest_device() {
    case $1 in
        */*) printf '/dev/mapper/%s-%s\n' "$(sed 's/-/--/g' <<<"${1%/*}")" "$(sed 's/-/--/g' <<<"${1#*/}")" ;;
        *) echo "/dev/$1" ;;
    esac
}

# layout_look: gives every filesystem its UUID (UUIDS, by device) and finds what is booted from: ROOT, BOOT, ESP
# (devices), their types, and the subvolume of the root.
layout_look() {
    declare -gA UUIDS=() TYPES=() ARRAYS=()
    ROOT='' BOOT='' ESP='' ROOT_SUBVOLUME='' BIOS_BOOT=''
    look_at_row() {
        local device=$1 type=$3 mount=$4 rest=$5
        TYPES[$device]=$type
        UUIDS[$device]=$(new_uuid)
        case $type in
            esp) UUIDS[$device]=$(head -c 4 /dev/urandom | od -An -tx4 | tr -d ' ' | tr a-f A-F | sed 's/..../&-/') ESP=$device ;;
            bios) BIOS_BOOT=$device ;;
            raid:*) ARRAYS[${type#raid:}]=$(new_uuid | tr -d -) ;;
        esac
        case $mount in
            /) ROOT=$device ;;
            /boot) BOOT=$device ;;
        esac
        case ,$rest in *=/,*|*=/) ROOT_SUBVOLUME=$(sed -n 's|.*,\([^,]*\)=/\(,.*\)\?$|\1|p' <<<",$rest") ;; esac
    }
    rows look_at_row
    BOOT=${BOOT:-$ROOT}
    ROOT_UUID=${UUIDS[$ROOT]}
}

filesystem_type() {
    case $1 in
        xfs4) echo xfs ;;
        esp) echo vfat ;;
        *) echo "$1" ;;
    esac
}

# What an administrator or an old installer wrote: devices by the names of that machine.
layout_fstab() {
    fstab_row() {
        local device type=$3 mount=$4 subvolume
        device=$(guest_device "$1")
        [ -z "${FSTAB_BY_UUID:-}" ] || device=UUID=${UUIDS[$1]}
        case $type in
            bios|pv:*|raid:*) ;;
            swap) echo "$device none swap sw 0 0" ;;
            btrfs)
                for subvolume in $(tr , ' ' <<<"$5"); do
                    echo "$device ${subvolume#*=} btrfs defaults,subvol=${subvolume%=*} 0 0"
                done ;;
            esp) echo "$device $mount vfat umask=0077 0 1" ;;
            xfs*) echo "$device $mount xfs defaults 0 0" ;;
            *) echo "$device $mount $type defaults 0 $([ "$mount" = / ] && echo 1 || echo 2)" ;;
        esac
    }
    echo '# <file system> <mount point> <type> <options> <dump> <pass>'
    rows fstab_row
}

# The partition tables; in an MBR, what has a number above 4 is in an extended partition that the first such begins.
layout_partition() {
    local index=0 size letter
    for size in "${DISKS[@]}"; do
        letter=$(printf '%b' "\\x$(printf %x $((97 + index)))")
        index=$((index + 1))
        local file=$out/guest$([ $index = 1 ] || echo $index).raw start=1 extended=
        truncate -s "${size}M" "$file"
        partition_row() {
            local type length=$2
            case $1 in sd$letter*) ;; *) return 0 ;; esac
            local number=${1#sd?} last=$size
            [ "$TABLE" = mbr ] || last=$((size - 1))
            if [ "$TABLE" = mbr ] && [ "$number" -gt 4 ]; then
                [ -n "$extended" ] || echo "$file-extended : start=${start}MiB, size=$((last - start))MiB, type=5"
                extended=1 start=$((start + 1))
            fi
            [ "$length" != - ] || length=$((last - start))
            case $TABLE:$3 in
                mbr:swap) type=82 ;;
                mbr:pv:*) type=8e ;;
                mbr:raid:*) type=fd ;;
                mbr:*) type=83 ;;
                gpt:swap) type=swap ;;
                gpt:esp) type=uefi ;;
                gpt:bios) type=21686148-6449-6E6F-744E-656564454649 ;;
                gpt:pv:*) type=lvm ;;
                gpt:raid:*) type=raid ;;
                gpt:*) type=linux ;;
            esac
            echo "$file$number : start=${start}MiB, size=${length}MiB, type=$type$([ "$TABLE:$number" != mbr:1 ] || echo ', bootable')"
            start=$((start + length))
        }
        {
            echo "label: $([ "$TABLE" = mbr ] && echo dos || echo gpt)"
            # The extended partition takes the number that is free.
            rows partition_row | sed "s|-extended |$(($(rows count_primary | wc -l) + 1)) |"
        } | sfdisk --quiet "$file"
    done
}
count_primary() { case $1 in sda[1-4]) echo "$1" ;; esac; }

# layout_fill: makes what LAYOUT says on the partitioned disks and puts the tree there.
layout_fill() {
    local first=$out/guest.raw others=() file
    for file in "$out"/guest[2-9].raw; do [ ! -e "$file" ] || others+=("$file"); done
    in_uml "$first" "$(fill_script)" "${others[@]}"
}

# The disks are ubda, ubdc, ubdd … there: ubdb is the tree.
machine_device() {
    case $1 in
        sda*) echo "/dev/ubda${1#sda}" ;;
        sdb*) echo "/dev/ubdc${1#sdb}" ;;
        sdc*) echo "/dev/ubdd${1#sdc}" ;;
        *) guest_device "$1" ;;
    esac
}

fill_script() {
    stack_row() {
        case $3 in
            pv:*) echo "module dm-mod; groups[${3#pv:}]+=' $(machine_device "$1")'" ;;
            raid:*) echo "module raid1; arrays[${3#raid:}]+=' $(machine_device "$1")'" ;;
        esac
        case $1 in
            */*) echo "[ -e /dev/${1%/*} ] || make_group ${1%/*}
                volumes lvcreate -qq -y $([ "$2" = - ] && echo '-l 100%FREE' || echo "-L $2M") -n ${1#*/} ${1%/*}" ;;
            md*) local id=${ARRAYS[$1]}
                echo "mdadm --create /dev/$1 --run --quiet --level=1 --raid-devices=2 --metadata=1.2 --assume-clean \\
                    --bitmap=none --homehost=$HOSTNAME_ --name=${1#md} \\
                    --uuid=${id:0:8}:${id:8:8}:${id:16:8}:${id:24:8} \${arrays[$1]}" ;;
        esac
    }
    make_row() {
        local device uuid=${UUIDS[$1]}
        device=$(machine_device "$1")
        case $3 in
            ext2) echo "mkfs.ext2 -q ${EXT_OPTIONS:-} -U $uuid $device" ;;
            ext3|ext4) echo "mkfs.$3 -q -U $uuid $device" ;;
            xfs) echo "mkfs.xfs -q -m uuid=$uuid $device" ;;
            xfs4) echo "mkfs.xfs -q -m crc=0,uuid=$uuid $device" ;;
            btrfs) echo "mkfs.btrfs -q -U $uuid $device" ;;
            jfs) echo "mkfs.jfs -q $device >/dev/null; jfs_tune -U $uuid $device >/dev/null" ;;
            swap) echo "mkswap -q -U $uuid $device" ;;
            esp) echo "module vfat; module nls_cp437; module nls_iso8859-1; module nls_ascii; mkfs.vfat -F 32 -i ${uuid/-/} -n ESP $device >/dev/null" ;;
        esac
    }
    mount_row() {
        local device subvolume
        device=$(machine_device "$1")
        case $3:$4 in
            *:) ;;
            btrfs:*)
                echo "mount -t btrfs $device \$mnt"
                for subvolume in $(tr , ' ' <<<"$5"); do echo "mkdir -p \$(dirname \$mnt/${subvolume%=*}); btrfs -q subvolume create \$mnt/${subvolume%=*} >/dev/null"; done
                echo "umount \$mnt"
                for subvolume in $(tr , ' ' <<<"$5"); do
                    echo "mkdir -p \$mnt${subvolume#*=}; mount -t btrfs -o subvol=${subvolume%=*} $device \$mnt${subvolume#*=}"
                done ;;
            esp:*) echo "mkdir -p \$mnt$4; mount -t vfat -o quiet $device \$mnt$4" ;;
            *) echo "mkdir -p \$mnt$4; mount -t $(filesystem_type "$3") $device \$mnt$4" ;;
        esac
    }
    cat <<'START'
declare -A groups=() arrays=()
make_group() { volumes pvcreate -qq ${groups[$1]}; volumes vgcreate -qq $1 ${groups[$1]}; }
START
    rows stack_row
    rows make_row
    # What is mounted into something comes after it.
    local all=("${LAYOUT[@]}") LAYOUT
    mapfile -t LAYOUT < <(printf '%s\n' "${all[@]}" | LC_ALL=C sort -b -k4,4)
    rows mount_row
    echo 'unpack $mnt; umount -R $mnt; for group in "${!groups[@]}"; do volumes vgchange -qq -an $group; done
        for array in "${!arrays[@]}"; do mdadm --stop --quiet /dev/$array; done'
}

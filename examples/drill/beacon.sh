#!/bin/sh
# Runs once in the restored machine, when it is up. What it says is on the serial console and in
# /var/log/replant-first-boot.log.
set -eu

fail() {
    echo "beacon of drill ${drill}: $1"
    exit 1
}

findmnt / >/dev/null || fail "no root filesystem"
touch /var/tmp/drill || fail "the root filesystem is read-only"
echo "host $(hostname), machine $(cat /etc/machine-id)"
for key in /etc/ssh/ssh_host_*_key.pub; do
    ssh-keygen -l -f "$key"
done
echo "beacon of drill ${drill}: ok"

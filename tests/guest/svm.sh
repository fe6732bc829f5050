# SPDX-License-Identifier: GPL-2.0-or-later
#
# Functions for the scripts that run in the test guest (sourced by init).
#
# Copyright (c) 2026 QEMU SVM contributors

# ask WORD: send WORD to the host, wait for the reply, and print it.
ask() {
    echo "svm: ask $1" > /dev/ttyS1
    read -r answer < /dev/ttyS1
    echo "$answer"
}

# net_up INTERFACE ADDRESS/LENGTH: bring an interface up.
net_up() {
    ip addr add "$2" dev "$1" && ip link set "$1" up
}

# net_of PCI-ADDRESS: print the network interface of a virtio function.
net_of() {
    for net in /sys/bus/pci/devices/"$1"/virtio*/net/*; do
        [ -e "$net" ] && echo "${net##*/}" && return 0
    done
    return 1
}

# wait_until SECONDS COMMAND...: repeat a command until it succeeds.
wait_until() {
    tenths=$(($1 * 10))
    shift
    while ! "$@" > /dev/null 2>&1; do
        tenths=$((tenths - 1))
        [ $tenths -gt 0 ] || return 1
        sleep 0.1
    done
}

# config_hex PCI-ADDRESS OFFSET SIZE: print bytes of configuration space.
config_hex() {
    xxd -p -s "$2" -l "$3" /sys/bus/pci/devices/"$1"/config | tr -d '\n'
}

# config16/config32 PCI-ADDRESS OFFSET: print a little-endian field as a number,
# or 0 beyond the 256 bytes of a conventional function.
config16() {
    set -- $(config_hex "$1" "$2" 2 | sed 's/../& /g')
    echo $((0x${2:-0}${1:-0}))
}
config32() {
    set -- $(config_hex "$1" "$2" 4 | sed 's/../& /g')
    echo $((0x${4:-0}${3:-0}${2:-0}${1:-0}))
}

# extended_capability PCI-ADDRESS ID: print the offset of a PCIe extended
# capability (PCIe 5.0, 7.6.3); fail if there is none.
extended_capability() {
    offset=256
    hops=0
    while [ $offset -ge 256 ] && [ $hops -lt 64 ]; do
        header=$(config32 "$1" $offset)
        [ $((header & 0xffff)) -eq $(($2)) ] && echo $offset && return 0
        offset=$(((header >> 20) & 0xffc))
        hops=$((hops + 1))
    done
    return 1
}

# ats_control PCI-ADDRESS: print the ATS Control register (PCIe 5.0, 10.5.1.3),
# or "none" if the function has no ATS capability.
ats_control() {
    if capability=$(extended_capability "$1" 0x0f); then
        config16 "$1" $((capability + 6))
    else
        echo none
    fi
}

# exchange HOST SINK-PORT SOURCE-PORT MIB: send random data to the host, which
# replies with its checksum, and receive data from the host.
exchange() {
    dd if=/dev/urandom of=/tmp/sent bs=1M count="$4" 2> /dev/null
    echo "guest sent $(sha256sum < /tmp/sent | cut -d ' ' -f 1)"
    echo "host received $(nc "$1" "$2" < /tmp/sent)"
    rm /tmp/sent
    nc "$1" "$3" < /dev/null > /tmp/received
    echo "guest received $(sha256sum < /tmp/received | cut -d ' ' -f 1)"
    rm /tmp/received
}

# provoke begin|end NAME: mark the kernel messages that the script provokes, as
# "svm test" does for each of its cases.  Before the end, each processor takes
# its pending interrupts, which report faults.
provoke() {
    if [ "$1" = end ]; then
        for cpu in $(seq 0 $(($(nproc) - 1))); do
            taskset $((1 << cpu)) true
        done
    fi
    echo "<4>svm: $1 $2" > /dev/kmsg
}

# svm_setup: load the driver of the svm device, and set up swap space and a
# directory on a disk, which some cases of the program need.
svm_setup() {
    modprobe -a svm zram ext4 || return 1
    echo 128M > /sys/block/zram0/disksize
    mkswap /dev/zram0 > /dev/null && swapon /dev/zram0 || return 1
    disk=/dev/zram$(cat /sys/class/zram-control/hot_add)
    echo 64M > /sys/block/"${disk##*/}"/disksize
    mkdir -p /disk
    mke2fs -b 4096 "$disk" > /dev/null && mount "$disk" /disk || return 1
    export SVM_FILES=/disk
}

# dsa_queue D.N MODE TYPE [ATTRIBUTE=VALUE...]: configure work queue N of DSA D,
# in a group with engine N; MODE is shared or dedicated, TYPE kernel or user.
dsa_queue() {
    queue=$1 settings="group_id=${1#*.} size=16 priority=10 mode=$2 type=$3
                       name=test driver_name=$3"
    [ "$3" = user ] || settings="$settings driver_name=dmaengine"
    [ "$2" = dedicated ] || settings="$settings threshold=8"
    shift 3
    echo "${queue#*.}" > /sys/bus/dsa/devices/engine"$queue"/group_id || return 1
    for setting in $settings "$@"; do
        echo "${setting#*=}" > /sys/bus/dsa/devices/wq"$queue"/"${setting%%=*}" ||
            return 1
    done
}

# dsa_enable D D.N...: enable a DSA and some of its work queues.
dsa_enable() {
    echo "dsa$1" > /sys/bus/dsa/drivers/idxd/bind || return 1
    shift
    for queue; do
        read -r driver < /sys/bus/dsa/devices/wq"$queue"/driver_name
        echo "wq$queue" > /sys/bus/dsa/drivers/"$driver"/bind || return 1
    done
}

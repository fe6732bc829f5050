#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run by udhcpc when the interactive guest gets an address.
#
# Copyright (c) 2026 QEMU SVM contributors

case $1 in
bound|renew)
    ip addr add "$ip/${mask:-24}" dev "$interface"
    [ -z "$router" ] || ip route add default via "${router%% *}"
    [ -z "$dns" ] || echo "nameserver ${dns%% *}" > /etc/resolv.conf
    ;;
esac

# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's part of scripts/demo-ats: moves data from one network card to the
# other and back.  Each card has its own network namespace, so that all data
# leaves the guest through one card and comes back through the other.
#
# Copyright (c) 2026 QEMU SVM contributors

# first_net COMMAND... / second_net COMMAND...: run it in the card's namespace.
first_net() { "$@"; }
second_net() { nsenter -t "$second" -n "$@"; }

now() { cut -d ' ' -f 1 /proc/uptime; }

# move FROM TO ADDRESS: print the seconds, and bytes and checksum at both ends.
move() {
    $2 nc -l -p 4000 < /dev/ttyS0 > /tmp/received &
    receiver=$!
    wait_until 10 listening "$2" || return 1
    begin=$(now)
    "$1" nc "$3" 4000 < /tmp/data || return 1
    wait $receiver
    end=$(now)
    echo "moved $begin $end $(stat -c %s /tmp/data /tmp/received | xargs)" \
         "$(sha256sum /tmp/data /tmp/received | cut -d ' ' -f 1 | xargs)"
    rm /tmp/received
}
listening() { $1 netstat -lnt | grep -q :4000; }

# packets WHEN: print the packets that each card has sent and received.
packets() {
    echo "packets $1 $(card_packets "$one" first_net)" \
         "$(card_packets "$two" second_net)"
}
card_packets() {
    "$2" awk -v card="$1:" '$1 == card { print $11, $3 }' /proc/net/dev
}

unshared() {
    [ "$(readlink /proc/$second/ns/net)" != "$(readlink /proc/$$/ns/net)" ]
}

# demo MIB: run the demo; the host counts events between "begin" and "end".
demo() {
    one=$(net_of 0000:01:00.0) && two=$(net_of 0000:02:00.0) || return 1
    unshare -n sleep 100000 &
    second=$!
    wait_until 10 unshared || return 1
    ip link set "$two" netns $second
    net_up "$one" 192.0.2.1/24
    second_net ip addr add 192.0.2.2/24 dev "$two"
    second_net ip link set "$two" up
    echo "booted $(uname -r) ats $(ats_control 0000:01:00.0)" \
         "$(ats_control 0000:02:00.0)"
    # Address resolution comes first, before the measurement.
    wait_until 20 ping -c 1 -W 1 192.0.2.2 || return 1
    dd if=/dev/urandom of=/tmp/data bs=1M count="$1" 2> /dev/null
    packets begin
    ask begin
    move first_net second_net 192.0.2.2 || return 1
    move second_net first_net 192.0.2.1 || return 1
    ask end
    packets end
}

# SPDX-License-Identifier: GPL-2.0-or-later
#
# Start the domains in /test as root and as a user: sh libvirt.sh SUITE, with
# the libvirt of that suite.
#
# Copyright (c) 2026 QEMU SVM contributors
set -eux
export DEBIAN_FRONTEND=noninteractive

get() {
    apt-get install -y -q -o Dpkg::Use-Pty=0 --no-install-recommends "$@"
}

# as_user COMMAND...: run a command as the user of qemu:///session
as_user() {
    setpriv --reuid tester --regid tester --clear-groups \
        env HOME=/home/tester XDG_RUNTIME_DIR=/run/tester "$@"
}

# start URI FILE [as_user]: start a domain, whose Linux enables ATS
start() {
    name=$(basename "$2" .xml)
    ${3-} virsh -c "$1" define "$2"
    ${3-} virsh -c "$1" start "$name"
    for _ in $(seq 300); do
        state=$(${3-} virsh -c "$1" qemu-monitor-command "$name" \
                --hmp 'info pci-ats')
        case $state in
        *'"net0"'*'ATS: on'*'"dsa0"'*)
            ${3-} virsh -c "$1" destroy "$name"
            echo "$name ${1#qemu:///}: ATS enabled"
            return
            ;;
        esac
        sleep 1
    done
    exit 1
}

get /test/qemu-system-x86-svm*.deb qemu-utils
get -t "$1" libvirt-daemon-system libvirt-clients
useradd -m tester
mkdir -p /run/tester
chown tester /run/tester
qemu-img create -f qcow2 /var/lib/libvirt/images/guest.qcow2 1M
chmod 666 /var/lib/libvirt/images/guest.qcow2
chmod 711 /var/lib/libvirt/images

# This is a container without control groups and devices of its own.
printf 'namespaces = []\ncgroup_controllers = []\n' >>/etc/libvirt/qemu.conf
mount -t proc proc /proc
virtlogd -d
libvirtd -d
until virsh -c qemu:///system version; do
    sleep 1
done
for domain in /test/svm-*.xml; do
    start qemu:///system "$domain"
    start qemu:///session "$domain" as_user
done
echo case passed

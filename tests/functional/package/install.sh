# SPDX-License-Identifier: GPL-2.0-or-later
#
# Install, use, remove and purge the package in a fresh Debian 13.
#
# Copyright (c) 2026 QEMU SVM contributors
set -eux
export DEBIAN_FRONTEND=noninteractive
package=qemu-system-x86-svm
emulator=qemu-system-x86_64-svm
modules=/usr/lib/x86_64-linux-gnu/qemu-svm

install() {
    apt-get install -y -q -o Dpkg::Use-Pty=0 "$@"
}

fail() {
    echo "failed: $*"
    exit 1
}

# The emulator works without the libraries that the package only recommends.
install --no-install-recommends /test/$package*.deb
ldd $modules/ui-gtk.so | grep 'not found'
version=$(dpkg-query -W -f '${Version}' $package)
$emulator --version | grep "Debian $version"
eval "timeout 300 $emulator -machine q35 -cpu max -m 512 -smp 2 -nodefaults \
    -display none -no-reboot -device intel-iommu,svm=on -device svm \
    -serial file:/test/console -serial stdio \
    -fw_cfg name=opt/svm/script,file=/test/script $(cat /test/command)"

# dpkg refuses a file that another package has.  With Debian's modules and the
# recommended packages, all libraries are there.
# shellcheck disable=SC2046
install --no-install-recommends qemu-system-x86 qemu-system-gui qemu-utils \
    qemu-system-modules-spice qemu-system-modules-opengl qemu-block-extra \
    lintian $(dpkg-query -W -f '${Recommends}' $package |
              sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g')
dpkg --verify $package
for module in "$modules"/*.so; do
    ! ldd "$module" | grep 'not found' || fail "$module"
done
$emulator -machine q35 -device help >/tmp/devices 2>/tmp/errors
[ ! -s /tmp/errors ] || fail "$(cat /tmp/errors)"
for device in dsa svm intel-iommu amd-iommu qxl virtio-vga-gl usb-host \
              usb-redir virtio-9p-pci vhost-user-fs-pci vfio-pci; do
    grep "\"$device\"" /tmp/devices
done
for option in 'display gtk' 'display spice-app' 'display dbus' 'netdev user' \
              'netdev vhost-user' 'audiodev pipewire' 'accel kvm'; do
    $emulator "-${option% *}" help | grep -w -e "${option#* }"
done
echo quit | $emulator -machine q35 -sandbox on -vnc unix:/tmp/vnc -monitor stdio \
    -spice unix=on,addr=/tmp/spice,disable-ticketing=on -device qxl \
    -device virtio-serial-pci -chardev spicevmc,id=agent,name=vdagent \
    -device virtserialport,chardev=agent

lintian --fail-on error --allow-root /test/$package*.deb

# After removal a configuration file is left, and after purging nothing.
dpkg -L $package >/tmp/paths
apt-get remove -y -q $package
dpkg-query -W -f '${db:Status-Status}\n' $package | grep config-files
apt-get purge -y -q $package
while read -r path; do
    [ -d "$path" ] || [ ! -e "$path" ] || fail "$path is left"
done </tmp/paths
for folder in /usr/share/doc/$package $modules; do
    [ ! -e "$folder" ] || fail "$folder is left"
done
qemu-system-x86_64 --version
echo case passed

# SPDX-License-Identifier: GPL-2.0-or-later
#
# The QEMU command line of the machine of the test guest.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Parts of the command line, shared by run-guest, demos and tests."""

import os
from pathlib import Path

from report import Failure

REPO = Path(__file__).resolve().parent.parent
# Folders of Debian's seabios, qemu-system-data and ipxe-qemu.
# Debian 12 and 13 have different folders for the boot ROMs of ipxe-qemu.
FIRMWARE_FOLDERS = ('/usr/share/seabios', '/usr/share/qemu',
                    '/usr/lib/ipxe/qemu')
FIRMWARE = {
    'seabios': 'bios-256k.bin',
    'qemu-system-data': 'linuxboot_dma.bin',
    'ipxe-qemu': 'efi-virtio.rom',
}
IOMMUS = ('intel', 'amd', 'virtio', 'none')
# Those with a property svm, for shared virtual memory
SVM_IOMMUS = ('intel', 'amd')


def find_emulator(given=None):
    """The emulator: given, in $QEMU_SVM_QEMU, or built here."""
    for candidate in (given, os.environ.get('QEMU_SVM_QEMU'),
                      REPO / 'build' / 'qemu-system-x86_64'):
        if candidate:
            break
    if not os.access(candidate, os.X_OK):
        raise Failure(f'there is no emulator at {candidate}: build it '
                           'with "make", or name another one with --qemu')
    return str(candidate)


def firmware_arguments():
    """-L options for the directories of Debian's firmware packages."""
    missing = [package for package, name in FIRMWARE.items()
               if not any(Path(folder, name).exists()
                          for folder in FIRMWARE_FOLDERS)]
    if missing:
        raise Failure('firmware is missing: install it with '
                      f'"apt-get install {" ".join(missing)}"')
    return [argument for folder in FIRMWARE_FOLDERS
            for argument in ('-L', folder)]


def machine_arguments(accel='tcg', memory='512M', cpus=2, iommu='intel',
                      cpu='max'):
    """A q35 machine without default devices."""
    if accel == 'kvm' and not os.access('/dev/kvm', os.R_OK | os.W_OK):
        raise Failure('/dev/kvm is not accessible: use --accel=tcg, or join '
                           'the group kvm')
    machine = 'q35'
    if accel == 'kvm' and iommu in ('intel', 'amd'):
        # Interrupt remapping needs the messages of the I/O APIC.
        machine += ',kernel-irqchip=split'
    return ['-machine', machine, '-accel', accel,
            '-cpu', 'host' if accel == 'kvm' else cpu,
            '-m', str(memory), '-smp', str(cpus),
            '-nodefaults', '-display', 'none', '-no-reboot']


def boot_arguments(guest, append=''):
    """Kernel, initramfs and kernel command line of a guest_image.Guest."""
    # A busy host delivers the first timer interrupts late; Linux would give up.
    # The watchdog of the TSC in Linux 7.3 waits for another processor, with
    # interrupts disabled and for a limited time.  At boot, jiffies measure the
    # time: it stands still, and the guest hangs unless the other one responds.
    # The tests of the crypto algorithms take a seventh of the time of a boot.
    command_line = ('console=ttyS0 panic=-1 no_timer_check tsc=nowatchdog '
                    'cryptomgr.notests intel_iommu=on ' + append).strip()
    return ['-kernel', str(guest.kernel), '-initrd', str(guest.initramfs),
            '-append', command_line]


def script_arguments(channel, script):
    """A script for the guest, and its serial port (guest_channel.py)."""
    return ['-chardev', f'socket,id=script,path={channel},server=on,wait=off',
            '-serial', 'chardev:script',
            '-fw_cfg', f'name=opt/svm/script,file={script}']


def iommu_arguments(kind='intel', device_iotlb=True, caching_mode=False,
                    scalable=False, svm=False, extra=''):
    """The IOMMU of the devices that follow."""
    if kind == 'none':
        return []
    device = {'intel': 'intel-iommu', 'amd': 'amd-iommu',
              'virtio': 'virtio-iommu-pci'}[kind]
    if svm:
        if kind not in SVM_IOMMUS:
            raise Failure(f'{device} does not support shared virtual memory')
        device += ',svm=on'
    if kind in SVM_IOMMUS and device_iotlb and not svm:
        device += ',device-iotlb=on'
    if kind == 'intel':
        if caching_mode:
            device += ',caching-mode=on'
        if scalable:
            device += ',x-scalable-mode=on'
    return ['-device', device + extra]


def _behind_port(index, device):
    """A device behind its own root port, at PCI bus index + 1."""
    return ['-device', f'pcie-root-port,id=port{index},bus=pcie.0,'
            f'chassis={index + 1},slot={index + 1}',
            '-device', f'{device},bus=port{index}']


def network_arguments(index=0, backend='user', ats=True, iommu=True,
                      device_extra=''):
    """A virtio network card behind its own root port, at PCI bus index + 1.

    backend is the value of -netdev without its id.  With 256 entries each part
    of a ring fits into a page, which DPDK needs behind an IOMMU
    (docs/devel/vhost-user-iotlb.rst).
    """
    device = (f'virtio-net-pci,id=net{index},'
              f'netdev=link{index},disable-legacy=on,romfile=')
    if iommu:
        device += ',iommu_platform=on'
    if ats:
        device += ',ats=on'
    kind, comma, rest = backend.partition(',')
    if kind == 'vhost-user':
        device += ',max-queue-size=256'
    return ['-netdev', f'{kind},id=link{index}{comma}{rest}',
            *_behind_port(index, device + device_extra)]


def svm_arguments(index=0, device_extra=''):
    """An svm device behind its own root port, at PCI bus index + 1."""
    return _behind_port(index, f'svm,id=svm{index}{device_extra}')


def dsa_arguments(index=0, device_extra=''):
    """A DSA behind its own root port, at PCI bus index + 1."""
    return _behind_port(index, f'dsa,id=dsa{index}{device_extra}')

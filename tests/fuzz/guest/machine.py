# SPDX-License-Identifier: GPL-2.0-or-later
#
# The machines of the hostile guest.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Machines from a seed: an IOMMU, ports, a switch, a bridge and devices, their
addresses, and the command line."""

import random

import layout

# (weight, arguments) of the IOMMU; virtio's is a device
IOMMUS = (
    (10, 'intel-iommu,svm=on'),
    (2, 'intel-iommu,svm=on,caching-mode=on'),
    (1, 'intel-iommu,svm=on,intremap=off'),
    (2, 'intel-iommu,device-iotlb=on,intremap=on'),
    (1, 'intel-iommu,device-iotlb=on,aw-bits=39'),
    (1, 'intel-iommu,x-scalable-mode=on,device-iotlb=on'),
    (1, 'intel-iommu,x-scalable-mode=on,x-flts=on,aw-bits=48'),
    (1, 'intel-iommu'),
    (3, 'amd-iommu,device-iotlb=on,intremap=on'),
    (5, 'amd-iommu,svm=on,intremap=on'),
    (1, 'amd-iommu,svm=on,intremap=on,xtsup=on'),
    (2, 'virtio-iommu-pci,id=iommu0,bus=pcie.0,addr=6'),
    (1, None),
)
# PCI classes of registers that differ
BRIDGES = ('pcie-root-port', 'x3130-upstream', 'xio3130-downstream',
           'pcie-pci-bridge')
TYPES = {'on': True, 'off': False}


class Device:
    """A device: driver and properties, the bus it is on (0 to 15), the slot
    there, and for a bridge the bus behind it and the last one behind that."""

    def __init__(self, driver, name, parent, bus, slot, properties='',
                 behind=0, last=0, fixed=False):
        self.driver = driver
        self.name = name
        self.parent = parent
        self.bdf = bus << 8 | slot << 3
        self.properties = properties
        self.behind = behind
        self.last = last
        self.fixed = fixed              # cannot be plugged again
        self.present = True
        self.leaving = False            # the guest was asked to eject it
        self.index = 0
        self.select = 0                 # its bus, for ACPI
        self.capacity = 0               # outstanding page requests
        self.caps = {}                  # capability: offset
        self.ext_caps = {}              # extended capability: offset

    @property
    def is_bridge(self):
        return self.driver in BRIDGES

    @property
    def bar(self):
        """Address of its registers."""
        return layout.BARS + self.index * layout.BAR_SIZE

    def words(self):
        """Its properties as words for the command line."""
        words = {'id': self.name, 'bus': self.parent,
                 'addr': f'{self.bdf >> 3 & 31:#x}'}
        for word in filter(None, self.properties.split(',')):
            key, _, value = word.partition('=')
            words[key] = value
        return words

    def option(self):
        """As an option of the command line."""
        return ','.join([self.driver, *(f'{key}={value}' for key, value in
                                        self.words().items())])

    def arguments(self):
        """As a dictionary with types, for device_add."""
        return {'driver': self.driver,
                **{key: TYPES.get(value, int(value) if value.isdigit()
                                  else value)
                   for key, value in self.words().items()}}


class Machine:
    """A q35 machine from a seed."""

    def __init__(self, seed):
        rng = random.Random(f'machine {seed}')
        weights = [weight for weight, _ in IOMMUS]
        self.iommu, = rng.choices([iommu for _, iommu in IOMMUS], weights)
        self.native = rng.random() < 0.4        # native PCIe hot-plug
        self.lost_buses = False                 # a bridge was ejected
        self.devices = self._devices(rng)
        for index, device in enumerate(self.devices):
            device.index = index

    @property
    def kind(self):
        """The kind of IOMMU: intel, amd, virtio or none."""
        return self.iommu.split('-')[0] if self.iommu else 'none'

    @property
    def svm(self):
        return 'svm=on' in (self.iommu or '')

    @property
    def scalable(self):
        return self.svm or 'x-scalable-mode=on' in (self.iommu or '')

    def _devices(self, rng):
        log = f'event-log={rng.choice(("on", "off"))}'
        pasid = f'pri-response-pasid={rng.choice(("on", "off"))}'
        net = 'netdev=net0,ats=on,iommu_platform=on,romfile='
        # 00:14.0 belongs to amd-iommu,svm=on
        first = 0x16 if self.svm and self.kind == 'amd' else 0x14
        devices = [
            Device('pcie-root-port', f'rp{bus}', 'pcie.0', 0, bus + 8,
                   f'chassis={bus},slot={bus}', bus, last, fixed=True)
            for bus, last in ((1, 1), (2, 2), (3, 6), (7, 8), (9, 9))]
        devices += [
            Device('x3130-upstream', 'up0', 'rp3', 3, 0, '', 4, 6),
            Device('xio3130-downstream', 'dn0', 'up0', 4, 0,
                   'chassis=20,slot=20', 5, 5, fixed=True),
            Device('xio3130-downstream', 'dn1', 'up0', 4, 1,
                   'chassis=21,slot=21', 6, 6, fixed=True),
            Device('pcie-pci-bridge', 'ppb0', 'rp7', 7, 0, '', 8, 8),
            Device('svm', 'svm0', 'rp1', 1, 0),
            Device('dsa', 'dsa0', 'rp2', 2, 0, log),
            Device('pci-ats-testdev', 'atd0', 'dn0', 5, 0, pasid),
            Device('virtio-net-pci', 'net0', 'dn1', 6, 0, net),
            Device('pci-ats-testdev', 'atd1', 'ppb0', 8, 1),
            Device('pci-ats-testdev', 'atd2', 'rp9', 9, 0,
                   'pri-capacity=4,atc-entries=16'),
            Device('svm', 'svm1', 'pcie.0', 0, first, 'atc-entries=32',
                   fixed=True),
            Device('dsa', 'dsa1', 'pcie.0', 0, 0x15,
                   'engines=2,groups=1,work-queues=2,pri-capacity=8,'
                   f'atc-entries=64,{log}', fixed=True),
        ]
        return devices

    def find(self, *drivers):
        """Plugged devices of these drivers."""
        return [device for device in self.devices
                if device.present and device.driver in drivers]

    def behind(self, bridge):
        """Devices that are unplugged with the secondary bus of a bridge."""
        return [device for device in self.devices if bridge.behind and
                bridge.behind <= device.bdf >> 8 <= bridge.last]

    def command_line(self):
        """The arguments for the machine in its current state."""
        words = ['-M', 'q35', '-nodefaults', '-m', f'{layout.RAM >> 20}',
                 '-no-shutdown', '-drive',
                 'if=none,id=vmstate,format=qcow2,file=FOLDER/snapshot.qcow2',
                 # A hub, with a port that receives the packets of the card
                 '-netdev', 'hubport,id=net0,hubid=0',
                 '-netdev', 'hubport,id=sink,hubid=0']
        if self.native:
            words += ['-global',
                      'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off']
        if self.iommu:
            words += ['-device', self.iommu]
        for device in self.devices:
            if device.present:
                words += ['-device', device.option()]
        return ' '.join(words)

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# virtio-net with ATS under unmodified Debian kernels.
#
# Copyright (c) 2026 QEMU SVM contributors
"""A guest enables ATS if all requirements are met (PCIe 5.0, 10.5.1 and VT-d
4.1); the network works with and without."""

from svm_guest import SvmGuestTest, slow
from guest_machine import iommu_arguments, network_arguments

CARD = '0000:01:00.0'
ATS_ENABLE = 1 << 15
MIB = 8


def exchange_script(server):
    """Return a script that sets up the network, exchanges data, and prints
    ATS Control."""
    return f'''
        bring_up() {{
            wait_until 20 net_of {CARD} || return 1
            net_up $(net_of {CARD}) 10.0.2.15/24 || return 1
            exchange 10.0.2.2 {server.sink_port} {server.source_port} {MIB}
            echo ats=$(ats_control {CARD})
        }}
        bring_up || exit 1
        '''


# The same cases with another kernel
@slow('test_legacy_7', 'test_scalable_7')
class VirtioNetAts(SvmGuestTest):

    def exchange(self, kernel, iommu='intel', ats=True, append='', **options):
        """Boot, move data in both directions, and return the ATS Control
        register, or None if the card has no ATS."""
        self.require_netdev('user')
        server = self.data_server(MIB << 20)
        guest = self.start_guest(
            kernel, exchange_script(server),
            iommu_arguments(iommu, **options)
            + network_arguments(ats=ats, iommu=iommu != 'none'),
            append=append, iommu=iommu)
        self.run_script(guest)
        self.check_exchange(guest, server)
        value = self.value(guest, 'ats')
        return None if value == 'none' else int(value)

    def check_enabled(self, kernel, **options):
        control = self.exchange(kernel, **options)
        self.assertIsNotNone(control, 'the card has no ATS capability')
        self.assertTrue(control & ATS_ENABLE, 'the guest did not enable ATS')

    def check_disabled(self, kernel, **options):
        control = self.exchange(kernel, **options)
        self.assertIsNotNone(control, 'the card has no ATS capability')
        self.assertFalse(control & ATS_ENABLE, 'the guest enabled ATS '
                         'behind an IOMMU that does not support it')

    def test_legacy_strict_6_12(self):
        self.check_enabled('trixie', append='iommu.strict=1')

    def test_legacy_7(self):
        self.check_enabled('backports')

    def test_scalable_7(self):
        self.check_enabled('backports', scalable=True)

    def test_pass_through_legacy(self):
        """VT-d 9.3: a pass-through context entry of legacy mode blocks
        translation requests, so that the guest does not enable ATS."""
        self.check_disabled('trixie', append='iommu=pt')

    def test_pass_through_scalable(self):
        self.check_enabled('trixie', append='iommu=pt', scalable=True)

    def test_caching_mode(self):
        self.check_enabled('trixie', caching_mode=True)

    def test_no_ats_by_default(self):
        self.assertIsNone(self.exchange('trixie', ats=False))

    def test_no_device_iotlb(self):
        """VT-d 10.4.3: without ECAP.DT the guest must not use ATS."""
        self.check_disabled('trixie', device_iotlb=False)

    def test_virtio_iommu(self):
        self.check_disabled('trixie', iommu='virtio')

    def test_no_iommu(self):
        self.check_disabled('trixie', iommu='none')

    def test_amd_iommu(self):
        """The network works, whether this IOMMU supports ATS or not."""
        self.assertIsNotNone(self.exchange('trixie', iommu='amd'))

    def check_replug(self, kernel, **options):
        """ATS is enabled; then unplug the card, and plug it again: ATS is
        enabled again."""
        self.require_netdev('user')
        server = self.data_server(MIB << 20)
        guest = self.start_guest(
            kernel, exchange_script(server) + f'''
                ask unplug
                wait_until 30 test ! -e /sys/bus/pci/devices/{CARD} || exit 1
                echo gone=yes
                ask plug
                bring_up || exit 1
                ''',
            iommu_arguments(**options) + network_arguments())
        self.run_script(guest,
                        self.plug_questions(guest, network_arguments()[-1]))
        self.check_exchange(guest, server, count=2)
        self.assertEqual(self.value(guest, 'gone'), 'yes')
        controls = [line.partition('=')[2] for line in guest.channel.lines
                    if line.startswith('ats=')]
        self.assertEqual([bool(int(control) & ATS_ENABLE)
                          for control in controls], [True, True])

    def test_legacy_6_12(self):
        self.check_replug('trixie')

    def test_scalable_6_12(self):
        self.check_replug('trixie', scalable=True)


if __name__ == '__main__':
    SvmGuestTest.main()

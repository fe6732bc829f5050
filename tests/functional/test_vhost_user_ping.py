#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vhost-user behind an IOMMU, with a back-end that does not wait.
#
# Copyright (c) 2026 QEMU SVM contributors
"""DPDK's testpmd replies to pings, and drops a reply if the translation of the
receive buffer is missing (docs/devel/vhost-user-iotlb.rst).  The cause of a
lost ping is a translation that was late, or was removed while it was valid, or
a packet in a page that the guest had unmapped."""

from svm_guest import SvmGuestTest, TestpmdBackend, alone, slow
from guest_machine import iommu_arguments, network_arguments

CARD = '0000:01:00.0'
ATS_ENABLE = 1 << 15
PINGS = 200
SCRIPT = f'''
    card=$(net_of {CARD}) || exit 1
    group=/sys/bus/pci/devices/{CARD}/iommu_group/type
    [ ! -e $group ] || echo domain=$(cat $group)
    echo ats=$(ats_control {CARD})
    net_up $card 192.0.2.2/24
    ask start
    ping -c {PINGS} -i 0.01 -W 2 192.0.2.1 > /tmp/pings
    # The time of each reply tells which one was the first to be lost
    grep -q ' 0% packet loss' /tmp/pings || cat /tmp/pings
    tail -n 3 /tmp/pings
    '''
ALL = (f'{PINGS} packets transmitted, {PINGS} packets received, '
       '0% packet loss')


class VhostUserPing(SvmGuestTest):

    def ping(self, kernel, iommu='intel', append='', domain=None, ats=False,
             ats_enabled=None, **options):
        """Boot and ping; check that no reply is lost, and the mode of the
        IOMMU."""
        backend = TestpmdBackend(self)
        options.setdefault('device_iotlb', ats)
        guest = self.start_guest(
            kernel, SCRIPT,
            backend.shared_memory('512M') + backend.chardev()
            + iommu_arguments(iommu, **options)
            + network_arguments(backend='vhost-user,chardev=backend', ats=ats,
                                iommu=iommu != 'none'),
            append=append, iommu=iommu)
        self.assertIn(ALL, self.run_script(guest, {'start': backend.start}),
                      guest.tail())
        if domain:
            self.assertEqual(self.value(guest, 'domain'), domain)
        if ats:
            enabled = bool(int(self.value(guest, 'ats')) & ATS_ENABLE)
            self.assertEqual(enabled, ats if ats_enabled is None
                             else ats_enabled)


MODES = {
    'no_iommu': {'iommu': 'none'},
    'unmap_events': {'domain': 'DMA-FQ'},
    'unmap_events_strict': {'append': 'iommu.strict=1', 'domain': 'DMA'},
    'caching_mode': {'caching_mode': True},
    'ats_legacy': {'ats': True, 'domain': 'DMA-FQ'},
    'ats_scalable': {'ats': True, 'scalable': True, 'domain': 'DMA-FQ'},
    # Linux is strict behind a virtual AMD IOMMU
    'amd': {'iommu': 'amd', 'domain': 'DMA'},
    'amd_ats': {'iommu': 'amd', 'domain': 'DMA', 'svm': True, 'ats': True},
    'pass_through': {'append': 'iommu=pt', 'domain': 'identity'},
    # VT-d 9.3: pass-through in a legacy context entry excludes ATS
    'pass_through_ats': {'append': 'iommu=pt', 'domain': 'identity',
                         'ats': True, 'ats_enabled': False},
}


def _add_tests():
    for kernel, label in (('trixie', '6_12'), ('backports', '7')):
        for mode, options in MODES.items():
            def test(self, kernel=kernel, options=options):
                self.ping(kernel, **options)
            setattr(VhostUserPing, f'test_{mode}_{label}', test)
    alone()(VhostUserPing)
    # The modes behave alike with both kernels
    slow(*(f'test_{mode}_6_12' for mode in MODES))(VhostUserPing)


_add_tests()

if __name__ == '__main__':
    SvmGuestTest.main()

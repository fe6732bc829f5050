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

import time

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
    # The kernel warns if nobody takes its packets for five seconds
    ask turn
    net_up $card 192.0.2.2/24
    ask start
    ping -c {PINGS} -i 0.01 -W 2 192.0.2.1 > /tmp/pings
    # The time of each reply tells which one was the first to be lost
    grep -q ' 0% packet loss' /tmp/pings || cat /tmp/pings
    tail -n 3 /tmp/pings
    '''
ALL = (f'{PINGS} packets transmitted, {PINGS} packets received, '
       '0% packet loss')
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
# These boot at the same time, since a boot keeps only one processor busy
PAIRS = (('no_iommu', 'caching_mode'),
         ('unmap_events', 'unmap_events_strict'),
         ('ats_legacy', 'ats_scalable'),
         ('amd', 'amd_ats'),
         ('pass_through', 'pass_through_ats'))


class VhostUserPing(SvmGuestTest):

    # The first guest of a pair waits for the second one
    timeout = 480

    def start(self, kernel, mode):
        """Start a guest in a mode, and its back-end."""
        options = dict(MODES[mode])
        for checked in ('domain', 'ats_enabled'):
            options.pop(checked, None)
        iommu, append, ats = (options.pop(name, default) for name, default in (
            ('iommu', 'intel'), ('append', ''), ('ats', False)))
        options.setdefault('device_iotlb', ats)
        backend = TestpmdBackend(self, mode)
        guest = self.start_guest(
            kernel, SCRIPT,
            backend.shared_memory('512M') + backend.chardev()
            + iommu_arguments(iommu, **options)
            + network_arguments(backend='vhost-user,chardev=backend', ats=ats,
                                iommu=iommu != 'none'),
            append=append, iommu=iommu, name=mode)
        # QEMU drops what a guest says while nobody listens
        guest.channel.connect(time.monotonic() + 30)
        return guest, backend

    def ping(self, mode, guest, backend, before=lambda: None):
        """Call a function when the guest has booted, and let it ping; check
        that no reply is lost, and the mode of the IOMMU."""
        said = self.run_script(guest,
                               {'turn': before, 'start': backend.start})
        backend.stop()
        self.assertIn(ALL, said, guest.tail())
        expected = MODES[mode]
        if 'domain' in expected:
            self.assertEqual(self.value(guest, 'domain'), expected['domain'])
        if 'ats' in expected:
            enabled = bool(int(self.value(guest, 'ats')) & ATS_ENABLE)
            self.assertEqual(enabled, expected.get('ats_enabled', True))

    def ping_pair(self, kernel, modes):
        """Boot two guests, which ping one after the other: neither disturbs
        the other one."""
        first, second = ((mode, *self.start(kernel, mode)) for mode in modes)
        self.ping(*first, before=lambda: self.ping(*second))


def _add_tests():
    assert {mode for pair in PAIRS for mode in pair} == {*MODES}
    older = []
    for kernel, label in (('trixie', '6_12'), ('backports', '7')):
        for modes in PAIRS:
            def test(self, kernel=kernel, modes=modes):
                self.ping_pair(kernel, modes)
            name = f'test_{"_and_".join(modes)}_{label}'
            setattr(VhostUserPing, name, test)
            if kernel == 'trixie':
                older.append(name)
    alone()(VhostUserPing)
    # The modes behave alike with both kernels
    slow(*older)(VhostUserPing)


_add_tests()

if __name__ == '__main__':
    SvmGuestTest.main()

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Data Streaming Accelerator with the driver, tools and tests of Debian.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Linux's idxd, accel-config and its tests, as packaged by Debian: their
programs pass pointers to the device."""

import collections
import json
import re
import sys

from svm_guest import SvmGuestTest, slow
from guest_machine import dsa_arguments, iommu_arguments

TESTS = '/usr/libexec/accel-config/test'
FOUR_LEVELS = 'max,la57=off'
# The cases of dsa_user_test_runner.sh.
OPERATIONS = {'NOOP', 'DRAIN', 'MEMMOVE', 'MEMFILL', 'COMPARE', 'COMPVAL',
              'DUALCAST', 'CRCGEN', 'COPY_CRC', 'CFLUSH'}
SIZES = {1, 4096, 65536, 1 << 20, 2 << 20}
DIF_OPERATIONS = {'DIF_CHECK', 'DIF_INS', 'DIF_STRP', 'DIF_UPDT'}
DIF_SIZES = {512, 1024, 4096}
BATCH = 16
# khugepaged unmaps pages temporarily, and dsa_test does not resume a checksum
# after a fault.  Pages that are allocated as huge pages are not affected.
PREPARE = '''
    wait_until 20 test -e /sys/bus/dsa/devices/dsa0 || exit 1
    cd /sys/kernel/mm/transparent_hugepage/khugepaged || exit 1
    echo 10000000 > scan_sleep_millisecs || exit 1
    cd /
'''
# A group for each of two queues: shared and dedicated.
SETUP = f'''
    accel-config load-config -c {TESTS}/configs/2g2q_user_1.conf || exit 1
    accel-config enable-device dsa0 || exit 1
    accel-config enable-wq dsa0/wq0.0 dsa0/wq0.1 || exit 1
'''


def runner_cases():
    """Return (block on fault, mode, operation, size, batched) of each run."""
    return {(fault, mode, operation, size, batched)
            for operations, sizes in ((OPERATIONS, SIZES),
                                      (DIF_OPERATIONS, DIF_SIZES))
            for operation in operations for size in sizes
            for fault in ('ON', 'OFF') for mode in ('dedicated', 'shared')
            for batched in (False, True)
            if not (batched and operation == 'DRAIN')}


def runner_results(lines):
    """Return the number of verified results of each run."""
    results = collections.Counter()
    fault = case = None
    for line in lines:
        if match := re.search(r"'block on fault' flag (\w+)", line):
            fault = match[1]
        elif match := re.match(r'Performing (\w+) WQ (batched )?(\w+)', line):
            mode, batched, operation = match[1], bool(match[2]), match[3]
        elif match := re.fullmatch(r'Testing (\d+) bytes', line):
            case = (fault, mode, operation, int(match[1]), batched)
        elif match := re.search(r'alloc wq \d+ (\w+) size', line):
            if match[1] != mode:
                case = None
            results[case] += 0
        elif re.search('verifying task result|test with op .* passed', line):
            results[case] += 1
    return results


def wanted_results(case):
    """dsa_test verifies each descriptor of a batch, and all other descriptors
    but single cache flushes."""
    _, _, operation, _, batched = case
    return BATCH if batched else int(operation != 'CFLUSH')


# The same operations on a smaller machine
@slow('test_user_runner_root_bus')
class Dsa(SvmGuestTest):
    """The tests behind -device intel-iommu,svm=on; test_dsa_amd.py runs them
    behind another IOMMU."""

    timeout = 900
    iommu = 'intel'

    def start_dsa(self, script, devices=None, extra='', **options):
        """Start a guest with svm=on, one DSA and accel-config."""
        # On a busy host Linux calibrates the TSC wrongly: time runs too fast.
        return self.start_guest(
            'backports', PREPARE + script,
            iommu_arguments(self.iommu, svm=True, extra=extra)
            + (dsa_arguments() if devices is None else devices),
            dsa=True, memory='1G', append='tsc=unstable', iommu=self.iommu,
            **options)

    def run_dsa(self, guest):
        """Run the script; return the counters of the device in the IOMMU,
        which must not include errors."""
        counters = []

        def count():
            counters.extend(guest.vm.cmd('query-pci-ats'))

        def progress(line):
            if line.startswith(('Testing with', 'Performing')):
                print(f'# {line}', file=sys.__stderr__, flush=True)

        self.run_script(guest, {'count': count}, on_line=progress)
        device, = counters
        self.assertEqual(device['type'], 'dsa')
        pages = device['page-requests']
        for trouble in ('groups-open', 'invalid-request', 'failure',
                        'unexpected'):
            self.assertEqual(pages[trouble], 0, trouble)
        return device

    def check_user_runner(self, **machine):
        """dsa_user_test_runner.sh passes with all of its cases."""
        guest = self.start_dsa(
            f'{TESTS}/dsa_user_test_runner.sh 2>&1 || exit 1; ask count',
            **machine)
        device = self.run_dsa(guest)
        results = runner_results(guest.channel.lines)
        self.assertEqual(set(results), runner_cases())
        missing = [case for case, count in results.items()
                   if count < wanted_results(case)]
        self.assertEqual(missing, [], 'runs without results')
        self.assertGreater(device['translations']['requests'], 0)

    def test_list(self):
        """The device, its queues and engines, before and after a
        configuration is loaded."""
        guest = self.start_dsa(f'''
            accel-config list --idle && echo --- || exit 1
            {SETUP}
            accel-config list && echo --- || exit 1
            ls /dev/dsa && echo ---
            ask count
            ''')
        self.run_dsa(guest)
        said = '\n'.join(guest.channel.lines).split('---')
        idle, = json.loads(said[0])
        self.assertEqual(idle['dev'], 'dsa0')
        self.assertEqual(idle['state'], 'disabled')
        self.assertEqual(idle['pasid_enabled'], 1)
        # Programs select the device by its node
        self.assertEqual(idle['numa_node'], 0)
        self.assertEqual(len(idle['groups']), 4)
        self.assertEqual(len(idle['ungrouped workqueues']), 8)
        self.assertEqual(len(idle['ungrouped_engines']), 4)
        used, = json.loads(said[1][said[1].index('['):])
        self.assertEqual(used['state'], 'enabled')
        queues = {queue['dev']: (queue['mode'], queue['state'])
                  for group in used['groups']
                  for queue in group.get('grouped_workqueues', ())}
        self.assertEqual(queues, {'wq0.0': ('shared', 'enabled'),
                                  'wq0.1': ('dedicated', 'enabled')})
        self.assertEqual(said[2].split(), ['wq0.0', 'wq0.1'])

    def test_user_runner(self):
        """5-level tables, behind a root port."""
        self.check_user_runner()

    def test_user_runner_root_bus(self):
        """1 processor, 4-level tables, no interrupt remapping, an integrated
        endpoint."""
        self.check_user_runner(devices=['-device', 'dsa,addr=5'],
                               extra=',intremap=off', cpus=1, cpu=FOUR_LEVELS)

    def test_other_operations(self):
        """Operations that the runner does not use: delta records, and a dozen
        descriptors at once.  The memory for delta records is untouched: the
        device requests its pages, or stops and is resumed by the program."""
        guest = self.start_dsa(SETUP + f'''
            dsa_test() {{
                {TESTS}/dsa_test "$@" > /tmp/said 2>&1 ||
                    {{ cat /tmp/said; exit 1; }}
            }}
            run() {{
                dsa_test -f 1 "$@"
                echo verified $(grep -c 'verifying task result' /tmp/said)
            }}
            for mode in 0 1; do
                for size in 8 4096 65536 524288; do
                    run -w $mode -l $size -o 7
                    run -w $mode -l $size -o 8
                done
                run -w $mode -l 4096 -o 1 -c {BATCH} -b 7
                run -w $mode -l 4096 -o 1 -c {BATCH} -b 8
                run -w $mode -l 65536 -o 3 -n 12
                dsa_test -w $mode -l 65536 -o 7 -f 0
                grep -q 'PF addr' /tmp/said || exit 1
            done
            ask count
            ''')
        device = self.run_dsa(guest)
        self.assertGreater(device['page-requests']['success'], 0)
        verified = [int(line.split()[1]) for line in guest.channel.lines
                    if line.startswith('verified')]
        self.assertEqual(verified, 2 * (8 * [1] + 2 * [BATCH] + [12]))

    def test_config_runner(self):
        guest = self.start_dsa(
            f'{TESTS}/dsa_config_test_runner.sh --verbose 2>&1 || exit 1\n'
            'ask count')
        self.run_dsa(guest)
        text = '\n'.join(guest.channel.lines)
        for test in ('group', 'engine', 'wq'):
            self.assertIn(f'+ {test}_config_test', text)


if __name__ == '__main__':
    SvmGuestTest.main()

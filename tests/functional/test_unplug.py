#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Devices with threads are unplugged while a processor uses their registers.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The program tests/guest/unplug.c runs without an operating system: one of
two processors ejects a device while the other accesses its registers.  The
test plugs the device in again.

A use after free may go unnoticed, unless QEMU_SVM_QEMU is the path of a QEMU
that is built with AddressSanitizer.  UNPLUG_CYCLES is the number of times that
each device is unplugged (default 100)."""

import os
import re
import subprocess
import time
from pathlib import Path

from qemu.qmp import QMPError
from svm_guest import REPO, SvmGuestTest
from guest_machine import firmware_arguments
from report import Failure

# Time limit for the removal of a device
SECONDS = 60
IOMMU = ('-device', 'intel-iommu,svm=on')
CYCLES = int(os.environ.get('UNPLUG_CYCLES', '100'))


class Unplug(SvmGuestTest):

    def setUp(self):
        super().setUp()
        self.qemu_bin = os.environ.get('QEMU_SVM_QEMU', self.qemu_bin)
        self.output = self.scratch_file('output')

    def compile_bare(self):
        """Compile the program with startup code of tests/tcg; return a path"""
        folder = Path(os.environ['QEMU_BUILD_ROOT'],
                      'tests/tcg/x86_64-softmmu/config-target.mak')
        if not folder.exists():
            self.skipTest('there is no compiler for x86_64: install gcc')
        compiler = re.search(r'^CC=(.*)$', folder.read_text('utf-8'), re.M)[1]
        tcg = REPO / 'build/qemu/tests/tcg'
        program = self.scratch_file('unplug')
        done = subprocess.run(
            [*compiler.split(), '-m64', '-O0', '-Wall', '-Werror',
             '-ffreestanding', '-fno-pie', '-fno-stack-protector',
             '-mgeneral-regs-only', '-mno-red-zone', '-nostdlib', '-static',
             '-no-pie', '-Wl,--build-id=none', '-Wl,-melf_x86_64',
             f'-Wl,-T{tcg}/x86_64/system/kernel.ld', '-Wa,--noexecstack',
             '-isystem', tcg / 'minilib', '-I', REPO / 'include',
             tcg / 'x86_64/system/boot.S', tcg / 'minilib/printf.c',
             REPO / 'tests/guest/unplug.c', '-o', program],
            capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return program

    def start_machine(self, *devices):
        try:
            firmware = firmware_arguments()
        except Failure as error:
            self.skipTest(str(error))
        vm = self.get_vm()
        vm.add_args(*firmware, '-machine', 'q35', '-m', '128', '-smp', '2',
                    '-accel', 'tcg,thread=multi', '-cpu', 'max', '-nodefaults',
                    *devices,
                    '-device', 'pcie-root-port,id=rp,addr=2.0,chassis=1',
                    '-chardev', f'file,id=output,path={self.output}',
                    '-device', 'isa-debugcon,chardev=output',
                    '-kernel', self.compile_bare())
        vm.launch()
        return vm

    def plug_and_wait(self, vm, name):
        """Plug the device in, and wait until it is ejected"""
        vm.cmd('device_add', driver=name, id='dev', bus='rp')
        deadline = time.monotonic() + SECONDS
        gone = False
        while not gone:
            self.assertLess(time.monotonic(), deadline, 'it is not removed')
            # Events are received with the reply
            vm.cmd('query-status')
            gone = any(event['event'] == 'DEVICE_DELETED' and
                       event['data'].get('device') == 'dev'
                       for event in vm.get_qmp_events())
            time.sleep(0.001)

    def unplug(self, name, *devices):
        vm = self.start_machine(*devices)
        for cycle in range(CYCLES):
            try:
                self.plug_and_wait(vm, name)
            except QMPError as error:
                # The log has the report of AddressSanitizer, for example
                vm.kill()
                self.fail(f'cycle {cycle}: {error!r}\n{vm.get_log()}')
        self.assertTrue(vm.cmd('query-status')['running'])
        vm.shutdown()
        self.assertEqual(vm.exitcode(), 0, vm.get_log())
        # No access of the other processor interrupts a register access
        self.assertNotIn('Blocked re-entrant IO', vm.get_log())
        with open(self.output, encoding='utf-8') as output:
            said = re.findall(rf'^{name} (\d+)$', output.read(), re.M)
        # The other processor has found the device in each cycle
        self.assertGreaterEqual(len(said), CYCLES - 1)
        self.assertNotIn('0', said)

    def test_svm(self):
        self.unplug('svm')

    def test_svm_iommu(self):
        self.unplug('svm', *IOMMU)

    def test_dsa(self):
        self.unplug('dsa')

    def test_dsa_iommu(self):
        self.unplug('dsa', *IOMMU)

    def test_testdev(self):
        self.unplug('pci-ats-testdev')

    def test_testdev_iommu(self):
        self.unplug('pci-ats-testdev', *IOMMU)


if __name__ == '__main__':
    SvmGuestTest.main()

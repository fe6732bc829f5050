#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# MOVDIR64B, ENQCMD, XSAVEC and XSAVES without an operating system.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The program tests/tcg/x86_64/system/direct-store.c tests each rule of the
instructions.  test_enqcmd.py tests them with Linux."""

import os
import re
import subprocess

from svm_guest import SvmGuestTest
from guest_machine import firmware_arguments
from report import Failure


class Instructions(SvmGuestTest):

    def run_bare(self, cpu):
        """Run the program without an operating system; return the number of
        cases, all of which must have passed."""
        folder = os.path.join(os.environ['QEMU_BUILD_ROOT'],
                              'tests/tcg/x86_64-softmmu')
        if not os.path.exists(os.path.join(folder, 'config-target.mak')):
            self.skipTest('there is no compiler for x86_64: install gcc')
        # As QEMU's makefiles do: make 4.4 of Debian 13 prefers its own rules
        subprocess.run(['make', '-r', '-C', folder, 'direct-store'], check=True,
                       capture_output=True)
        try:
            firmware = firmware_arguments()
        except Failure as error:
            self.skipTest(str(error))
        done = subprocess.run(
            [self.qemu_bin, *firmware, '-accel', 'tcg', '-cpu', cpu,
             '-smp', '2', '-nodefaults', '-display', 'none',
             '-device', 'direct-store-testdev',
             '-chardev', 'stdio,id=output',
             '-device', 'isa-debugcon,chardev=output',
             '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
             '-kernel', os.path.join(folder, 'direct-store')],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False)
        plan = re.search(r'^1\.\.(\d+)$', done.stdout, re.M)
        self.assertTrue(plan, done.stdout + done.stderr)
        bad = re.findall(r'^(?!ok |1\.\.).*', done.stdout.strip(), re.M)
        self.assertEqual(bad, [])
        self.assertEqual(len(re.findall('^ok ', done.stdout, re.M)),
                         int(plan.group(1)))
        self.assertEqual(done.returncode, 0)
        return int(plan.group(1))

    def test_instructions(self):
        self.assertGreater(self.run_bare('max'), 70)

    def test_disabled(self):
        """Without their CPUID bits, the instructions raise #UD."""
        self.run_bare('max,enqcmd=off,movdiri=off,movdir64b=off,'
                      'xsavec=off,xsaves=off')

    def test_named_model(self):
        """Models that include some of them do not change with TCG..."""
        self.assertLess(self.run_bare('SapphireRapids'), 70)

    def test_named_model_enabled(self):
        """...unless the user enables them."""
        self.assertGreater(self.run_bare('SapphireRapids,enqcmd=on,movdiri=on,'
                                         'movdir64b=on,xsavec=on,xsaves=on'),
                           70)


if __name__ == '__main__':
    SvmGuestTest.main()

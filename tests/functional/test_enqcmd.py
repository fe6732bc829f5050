#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# MOVDIR64B, ENQCMD and the PASID of processes.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Linux detects ENQCMD and the PASID state component on -cpu max (SDM volume
1, 13.5), and switches the PASID between processes.  test_instructions.py tests
the instructions without an operating system."""

from svm_guest import REPO, SvmGuestTest, slow

FLAGS = {'movdiri', 'movdir64b', 'enqcmd', 'xsavec', 'xsaves'}
# Number of cases of the program
CASES = 15


@slow('test_linux_6_12')
class Enqcmd(SvmGuestTest):

    def run_program(self, kernel):
        program = self.compile_program(
            'enqcmd.c', '-mavx', '-menqcmd', '-mmovdir64b', '-mmovdiri',
            f'-I{REPO}/include', '-pthread')
        guest = self.start_guest(kernel, '''
            echo flags=$(grep -m 1 -w flags /proc/cpuinfo)
            echo state=$(dmesg | grep -c "'PASID state'")
            modprobe msr || exit 1
            cat /sys/firmware/qemu_fw_cfg/by_name/opt/svm/enqcmd/raw > /tmp/enqcmd
            chmod +x /tmp/enqcmd
            /tmp/enqcmd
            ''', ['-device', 'direct-store-testdev',
                  '-fw_cfg', f'name=opt/svm/enqcmd,file={program}'],
                                 append='msr.allow_writes=on')
        self.run_script(guest)
        flags = set(self.value(guest, 'flags').split())
        self.assertEqual(FLAGS - flags, set(), 'missing CPU flags')
        self.assertEqual(self.value(guest, 'state'), '1', guest.tail())
        passed = [line for line in guest.channel.lines
                  if line.startswith('ok ')]
        self.assertEqual(len(passed), CASES, guest.tail())

    def test_linux_6_12(self):
        self.run_program('trixie')

    def test_linux_7(self):
        self.run_program('backports')


if __name__ == '__main__':
    SvmGuestTest.main()

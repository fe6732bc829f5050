#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Code that another processor modifies, under Linux.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Linux modifies its own code (static keys, static calls) while other
processors run, and reports an "Oops: int3" if one of them executes old code.
tests/guest/modified-code.c does the same all the time."""

from svm_guest import SvmGuestTest

WRITES = 400000


class ModifiedCode(SvmGuestTest):

    def check(self, guest):
        """Checks the values that one run of the program prints."""
        self.assertEqual(self.value(guest, 'writes'), str(WRITES))
        self.assertGreater(int(self.value(guest, 'calls')), WRITES // 100)
        self.assertEqual(self.value(guest, 'stale'), '0', guest.tail())

    def test_two_processors(self):
        """A processor executes what another one has written (Intel SDM
        volume 3, section 9.1.3)."""
        program = self.compile_program('modified-code.c', '-pthread')
        guest = self.start_guest(
            'backports', f'''
            head -c $(ask size-of-program) /dev/vda > /tmp/modified-code
            chmod +x /tmp/modified-code
            for page in alone shared; do
                for write in mov xchg; do
                    /tmp/modified-code $page $write {WRITES} || exit 1
                    ask check
                done
            done
            ''', [], iommu='none', launch=False)
        questions = self.file_questions(guest, 'program', program)
        questions['check'] = lambda: self.check(guest)
        guest.vm.launch()
        self.run_script(guest, questions)


if __name__ == '__main__':
    SvmGuestTest.main()

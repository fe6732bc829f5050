#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Debian package, and libvirt with its emulator.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Install the package in a fresh Debian 13, run guests with it, and remove it.
Define and start the domains of docs/system/devices/svm-libvirt.rst with the
libvirt of Debian 13 and of its backports.

Each case installs a Debian with mmdebstrap, which downloads some hundred MB,
and runs the script package/CASE.sh inside."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from qemu_test import QemuBaseTest
from svm_guest import REPO

# svm_guest has put the folder scripts into sys.path.
from debian_archive import Archive
from debian_root import RELEASED, install_debian
from guest_image import guest_image
from guest_machine import boot_arguments

HERE = Path(__file__).resolve().parent
DOCUMENT = REPO / 'docs/system/devices/svm-libvirt.rst'
EMULATOR = '/usr/bin/qemu-system-x86_64-svm'
DISK = "<source file='/var/lib/libvirt/images/guest.qcow2'/>"
# The folder with the input of a case, inside Debian
INSIDE = Path('/test')


def domains():
    """The domains in the document: {name: XML}."""
    text = DOCUMENT.read_text(encoding='utf-8')
    found = re.findall(r'^  <domain .*?^  </domain>$', text, re.S | re.M)
    return {re.search('<name>(.*)</name>', xml)[1]: xml for xml in found}


class Package(QemuBaseTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        subprocess.run([sys.executable, REPO / 'scripts/build-deb'],
                       check=True, stdout=sys.stderr)
        cls.package, = (REPO / 'build/deb').glob('qemu-system-x86-svm_*.deb')
        cls.archive = Archive()
        cls.archive.update()

    def setUp(self):
        super().setUp()
        # Any user may read it: mmdebstrap may run as another.
        self.input = Path(tempfile.mkdtemp(prefix='qemu-svm-package-'))
        self.addCleanup(shutil.rmtree, self.input)
        self.input.chmod(0o755)
        shutil.copy(self.package, self.input)
        self.guest = guest_image('backports', svm=True)
        for path in (self.guest.kernel, self.guest.initramfs):
            shutil.copy(path, self.input)

    def run_in_debian(self, script, suite='trixie'):
        """Run a script in a fresh Debian 13 that can use a suite; return its
        output."""
        shutil.copy(HERE / 'package' / script, self.input)
        log = self.log_file('debian.log')
        # The processes that the script starts end with it.
        install_debian(
            self.archive, '/dev/null', log, '--variant=minbase',
            f'--customize-hook=mkdir "$1{INSIDE}"',
            f'--customize-hook=sync-in {self.input} {INSIDE}',
            '--customize-hook=unshare --mount --pid --fork --kill-child '
            f'chroot "$1" sh {INSIDE}/{script} {suite}',
            suites=(*RELEASED, *({suite} - set(RELEASED))))
        return Path(log).read_text(encoding='utf-8')

    def test_install(self):
        """Installed beside Debian's QEMU, and purged, with a guest between."""
        (self.input / 'command').write_text(' '.join(
            f"'{word}'" for word in boot_arguments(self.guest, 'quiet')
        ).replace(str(self.guest.directory), str(INSIDE)), encoding='utf-8')
        (self.input / 'script').write_text(
            'modprobe svm && svm wait 20 && svm show 4M\n', encoding='utf-8')
        output = self.run_in_debian('install.sh')
        self.assertEqual(len(re.findall('^end .* right', output, re.M)), 3)
        self.assertIn('svm: done 0', output)
        self.assertIn('case passed', output)

    def check_libvirt(self, suite):
        """Each domain starts, and Linux enables ATS of its network card."""
        for name, xml in domains().items():
            # Boot the test guest instead of a disk that a user has.
            boot = (f'<kernel>{INSIDE}/{self.guest.kernel.name}</kernel>'
                    f'<initrd>{INSIDE}/{self.guest.initramfs.name}</initrd>'
                    '<cmdline>console=ttyS0 intel_iommu=on,sm_on '
                    'no_timer_check tsc=unstable</cmdline></os>')
            self.assertEqual((xml.count(EMULATOR), xml.count(DISK)), (1, 1))
            (self.input / f'{name}.xml').write_text(
                xml.replace('</os>', boot), encoding='utf-8')
        output = self.run_in_debian('libvirt.sh', suite)
        for name in domains():
            for way in ('system', 'session'):
                self.assertIn(f'{name} {way}: ATS enabled', output)
        self.assertIn('case passed', output)

    def test_libvirt(self):
        self.check_libvirt('trixie')

    def test_libvirt_backports(self):
        self.check_libvirt('trixie-backports')


if __name__ == '__main__':
    QemuBaseTest.main()

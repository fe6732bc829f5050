#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The parts of the guest build for every user.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The svm device's driver builds without a warning for the kernels that it
says it does; and scripts/guest-image works, or says what to do, for a user who
is not root, and without a network."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import pycotap

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / 'scripts'))

# pylint: disable=wrong-import-position
from debian_archive import ArchiveError, cache_dir  # noqa: E402
from guest_image import kernel_toolchain  # noqa: E402

SOURCE = REPO / 'tests' / 'guest' / 'svm'
# No server listens at this address.
NO_NETWORK = {'http_proxy': 'http://127.0.0.1:9',
              'https_proxy': 'http://127.0.0.1:9'}
# A user id without an account
SOMEBODY = 54321
NAMESPACE = ['unshare', '--mount', '--map-root-user']


class DriverTest(unittest.TestCase):
    """One case for each kernel that driver/svm_compat.h makes a difference
    for, and the newest."""

    def build(self, kernel, version):
        try:
            toolchain = kernel_toolchain(kernel)
        except ArchiveError as error:
            self.skipTest(' '.join(str(error).split()))
        with tempfile.TemporaryDirectory() as out:
            toolchain.make(SOURCE, out, 'KCFLAGS=-Werror')
            made = subprocess.run(['modinfo', '-F', 'vermagic',
                                   Path(out, 'svm.ko')], check=True,
                                  capture_output=True, text=True).stdout
        self.assertEqual(made.split()[0], toolchain.release)
        self.assertRegex(toolchain.release, version)

    def test_linux_6_1(self):
        self.build('bookworm', r'^6\.1\.')

    def test_linux_6_12(self):
        self.build('trixie', r'^6\.12\.')

    def test_linux_7(self):
        self.build('backports', r'^7\.')


class GuestImageTest(unittest.TestCase):
    """scripts/guest-image for other users."""

    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix='svm-home-'))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)

    def guest_image(self, *command, options=(), **environment):
        return subprocess.run(
            [*command, REPO / 'scripts' / 'guest-image', '--svm',
             '--kernel=backports', *options], check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.home, env={'PATH': os.environ['PATH'],
                                'HOME': str(self.home), **environment})

    def take_downloads(self):
        """Give the new user a copy of the downloads."""
        mine, theirs = cache_dir(), self.home / '.cache' / 'qemu-svm'
        if not (mine / 'guest' / 'backports.json').exists():
            self.skipTest('nothing has been fetched yet: run '
                          'scripts/guest-image --svm --kernel=backports')
        theirs.mkdir(parents=True)
        shutil.copytree(mine / 'apt', theirs / 'apt', ignore=lambda *_:
                        ['lock', 'partial'])
        shutil.copytree(mine / 'debs', theirs / 'debs')
        (theirs / 'guest').mkdir()
        for path in (mine / 'guest').glob('*.json'):
            shutil.copy(path, theirs / 'guest')

    def give_away(self):
        for path in [self.home, *self.home.rglob('*')]:
            os.chown(path, SOMEBODY, SOMEBODY)

    def test_ordinary_user(self):
        """An unprivileged user builds a guest from existing downloads."""
        become = []
        if os.geteuid() == 0:
            become = ['setpriv', f'--reuid={SOMEBODY}', f'--regid={SOMEBODY}',
                      '--clear-groups', '--inh-caps=-all']
        if subprocess.run([*become, *NAMESPACE, 'true'], check=False,
                          capture_output=True).returncode:
            self.skipTest('users may not have namespaces of their own here: '
                          'sysctl kernel.unprivileged_userns_clone=1')
        self.take_downloads()
        if become:
            self.give_away()
        result = self.guest_image(*become, **NO_NETWORK)
        self.assertEqual(result.returncode, 0, result.stdout)
        for path in result.stdout.splitlines()[-2:]:
            self.assertTrue(path.startswith(str(self.home)), path)
            self.assertEqual(os.stat(path).st_uid,
                             SOMEBODY if become else os.getuid())

    def test_no_namespace(self):
        """Without namespaces, the error names the remedies."""
        refuse = ['unshare', '--user', '--map-root-user', 'sh', '-c',
                  'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv '
                  '--bounding-set=-all --inh-caps=-all "$@"', 'sh']
        if subprocess.run([*refuse, 'true'], check=False,
                          capture_output=True).returncode:
            self.skipTest('what is to be refused is refused already: no '
                          'namespaces for users here')
        result = self.guest_image(*refuse, options=[f'--output={self.home}'],
                                  QEMU_SVM_CACHE=str(cache_dir()))
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn('kernel.unprivileged_userns_clone=1', result.stdout)
        self.assertNotIn('Traceback', result.stdout)

    def test_no_network(self):
        """The first run, without a network."""
        result = self.guest_image(**NO_NETWORK)
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn('Traceback', result.stdout)
        self.assertIn('check the network', result.stdout)


if __name__ == '__main__':
    unittest.main(testRunner=pycotap.TAPTestRunner(
        message_log=pycotap.LogMode.LogToError,
        test_output_log=pycotap.LogMode.LogToError))

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The demos in the README, and their results.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Each demo runs as for a user, with little data if possible."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
import json
import subprocess
import sys

from svm_guest import REPO, SvmGuestTest, alone, slow

PAGES_PER_MIB = 256


@alone('test_ats')
@slow('test_dsa_amd')
class Demo(SvmGuestTest):

    def run_demo(self, name, *options):
        """Run a demo; return its output and its figures."""
        figures = self.scratch_file('figures.json')
        done = subprocess.run(
            [sys.executable, REPO / 'scripts' / name, f'--json={figures}',
             f'--qemu={self.qemu_bin}', *options],
            capture_output=True, text=True, check=False)
        if done.returncode and 'is missing' in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(figures, encoding='utf-8') as file:
            return done.stdout, json.load(file)

    def check_pages(self, passes, mib):
        """Check the passes: no page present, all present, half of them."""
        pages = mib * PAGES_PER_MIB
        self.assertEqual([one['pages'] for one in passes],
                         [pages, 0, pages // 2])
        self.assertTrue(all(one['right'] for one in passes))
        self.assertEqual([one['invalidations'] for one in passes[1:]],
                         [0, mib << 20 >> 17])

    def check_dsa(self, *options):
        said, figures = self.run_demo('demo-dsa', '--size=4', *options)
        self.check_pages(figures['passes'], 4)
        for heading in ('no page there', 'page faults', 'memcpy()'):
            self.assertIn(heading, said)

    def test_dsa(self):
        self.check_dsa()

    def test_dsa_amd(self):
        self.check_dsa('--iommu=amd')

    def test_dsa_documentation(self):
        """The demo uses the commands in the documentation."""
        loader = SourceFileLoader('demo_dsa', str(REPO / 'scripts/demo-dsa'))
        demo = module_from_spec(spec_from_loader('demo_dsa', loader))
        loader.exec_module(demo)
        text = (REPO / 'docs/system/devices/dsa.rst').read_text('utf-8')
        for line in demo.ACCEL_CONFIG.format(size=16 << 20).splitlines():
            self.assertIn(f'  {line}\n', text)

    def check_svm(self, *options):
        picture = self.scratch_file('picture.svg')
        _, figures = self.run_demo('demo', '--size=4', f'--picture={picture}',
                                   *options)
        self.check_pages(figures['passes'], 4)
        with open(picture, encoding='utf-8') as file:
            self.assertIn('half taken back', file.read())

    def test_svm(self):
        self.check_svm()

    def test_svm_amd(self):
        self.check_svm('--iommu=amd')

    def test_ats(self):
        _, figures = self.run_demo('demo-ats', '--size=4', '--mode=ats')
        run, = figures['runs']
        self.assertTrue(all(move['ok'] for move in run['moves']))
        self.assertGreater(run['guest_device'], 0)
        self.assertGreater(run['device_missed'], 0)


if __name__ == '__main__':
    SvmGuestTest.main()

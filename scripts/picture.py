# SPDX-License-Identifier: GPL-2.0-or-later
#
# Pictures of demos and benchmarks, drawn by gnuplot.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Draw pictures with gnuplot."""

import subprocess

from report import Failure, last_lines

# Distinguishable on white, also with colour vision deficiency
COLOURS = ('#4477aa', '#ee6677', '#228833', '#aa8800', '#66ccee', '#aa3377',
           '#888888', '#000000')
WIDTH = 1000


def data(name, rows):
    """Commands that define a block of data, $name, with a line for each row.
    An empty row ends a part, which has an index of its own."""
    lines = ('\t'.join(map(str, row)) if row else '\n' for row in rows)
    return [f'${name} << END_OF_DATA', *lines, 'END_OF_DATA']


def draw(path, height, commands):
    """Write what the commands draw into a file, as SVG."""
    script = [f'set terminal svg size {WIDTH},{height} font "sans,12" '
              'background "white"',
              'set datafile separator "\\t"', 'set datafile missing "-"',
              *commands, '']
    try:
        drawn = subprocess.run(['gnuplot'], input='\n'.join(script),
                               capture_output=True, text=True, check=False)
    except FileNotFoundError as err:
        raise Failure('gnuplot is missing: install gnuplot-nox '
                      '("make packages" does it)') from err
    if drawn.returncode or not drawn.stdout.rstrip().endswith('</svg>'):
        raise Failure(f'gnuplot does not draw {path}:\n'
                      + last_lines(drawn.stderr, 8))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(drawn.stdout, encoding='utf-8')

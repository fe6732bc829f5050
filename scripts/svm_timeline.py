# SPDX-License-Identifier: GPL-2.0-or-later
#
# A timeline of the svm device and the IOMMU, from the emulator's trace.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Read trace events with times (-msg timestamp=on) and draw them."""

import math
import re
from html import escape

TRACE_EVENTS = ('svm_demo_start', 'svm_demo_end',
                'pci_ats_request_translation',
                'pci_pri_request_page', 'pcie_pri_response',
                'iommu_dev_tlb_invalidate')
LINE = re.compile(r'^\d+@(\d+\.\d+):(\w+) (.*)$')
GROUP = re.compile(r'pasid (0x[0-9a-f]+).*? prgi (0x[0-9a-f]+)')
WIDTH, LEFT, RIGHT = 1000, 190, 30
# Of a letter of the labels, to tell which of them would overlap
LETTER = 6
COLOURS = {'operation': '#4477aa', 'translations': '#66ccee',
           'pages': '#ccbb44', 'waits': '#ee6677', 'invalidations': '#aa3377'}


class Operation:
    """From svm_demo_start to svm_demo_end; includes the invalidations before
    it."""

    def __init__(self, begin):
        self.begin = self.end = begin
        self.longest_wait = 0.0
        self.counts = dict.fromkeys(
            ('translations', 'pages', 'groups', 'invalidations'), 0)


class Timeline:
    """The events of one trace file, in the order of time."""

    def __init__(self, path):
        self.operations = []
        self.times = {name: [] for name in ('translations', 'pages',
                                            'invalidations')}
        self.waits = []             # (begin, end) of each group
        self._open = {}             # group -> time of its first request
        self._current = None
        self._invalidations = 0
        with open(path, encoding='utf-8', errors='replace') as trace:
            for line in trace:
                found = LINE.match(line)
                if found:
                    time, event, text = found.groups()
                    self._event(float(time), event, text)

    def _event(self, time, event, text):
        if event == 'svm_demo_start':
            self._current = Operation(time)
            self._current.counts['invalidations'] = self._invalidations
            self._invalidations = 0
            self.operations.append(self._current)
        elif event == 'svm_demo_end' and self._current:
            self._current.end, self._current = time, None
        elif event == 'iommu_dev_tlb_invalidate':
            self.times['invalidations'].append(time)
            self._invalidations += 1
        elif event == 'pci_ats_request_translation':
            self._count(time, 'translations')
        elif event == 'pci_pri_request_page':
            self._count(time, 'pages')
            self._open.setdefault(GROUP.search(text).groups(), time)
        elif event == 'pcie_pri_response':
            self._answer(time, GROUP.search(text).groups())

    def _count(self, time, name):
        self.times[name].append(time)
        if self._current:
            self._current.counts[name] += 1

    def _answer(self, time, group):
        asked = self._open.pop(group, None)
        if asked is None:
            return
        self.waits.append((asked, time))
        if self._current:
            self._current.counts['groups'] += 1
            self._current.longest_wait = max(self._current.longest_wait,
                                             time - asked)

    def svg(self, title, headings):
        """A picture: one lane for each kind of event."""
        picture = _Picture(self.operations[0].begin, self.operations[-1].end)
        picture.text(LEFT, 24, title, 16)
        picture.lane(('device at work',), 18)
        for operation in self.operations:
            picture.bar('operation', operation.begin, operation.end, 18)
        picture.labels((operation.begin, f'{heading}: '
                        f'{(operation.end - operation.begin) * 1000:.1f} ms')
                       for operation, heading in zip(self.operations,
                                                     headings))
        for name, heading in (('invalidations', 'invalidations'),
                              ('translations', 'translation requests'),
                              ('pages', 'page requests')):
            picture.lane((f'{heading} ({len(self.times[name]):,})',), 18)
            picture.ticks(name, self.times[name], 18)
        picture.lane((f'page request groups ({len(self.waits):,})',
                      'one line each, from the', 'first request to the',
                      'response'), 130)
        picture.spans('waits', self.waits, 130)
        return picture.finish()


class _Picture:
    """SVG with time from left to right."""

    def __init__(self, begin, end):
        self._begin = begin
        self._scale = (WIDTH - LEFT - RIGHT) / max(end - begin, 1e-6)
        self._end = end
        self._top, self._next = 0, 50
        self._parts = []

    def _x(self, time):
        time = min(max(time, self._begin), self._end)
        return LEFT + (time - self._begin) * self._scale

    def text(self, x, y, text, size=12, anchor='start'):
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"'
                           f' text-anchor="{anchor}">{escape(text)}</text>')

    def lane(self, titles, height):
        """Begin a lane; the first title is its name, others explain it."""
        self._top, self._next = self._next, self._next + height + 22
        for line, title in enumerate(titles):
            self.text(LEFT - 12, self._top + 14 + 15 * line, title,
                      11 if line else 12, 'end')

    def labels(self, labels):
        """Texts below the lane, one row further down where they collide."""
        ends = []
        for time, text in labels:
            width = LETTER * len(text)
            x = min(self._x(time), WIDTH - width)
            row = next((row for row, end in enumerate(ends) if end < x),
                       len(ends))
            ends[row:row + 1] = [x + width + LETTER]
            self.text(x, self._top + 32 + 14 * row, text, 11)
        self._next += 14 * len(ends)

    def bar(self, name, begin, end, height):
        width = max(self._x(end) - self._x(begin), 0.5)
        self._parts.append(
            f'<rect x="{self._x(begin):.1f}" y="{self._top}" '
            f'width="{width:.1f}" height="{height}" fill="{COLOURS[name]}"/>')

    def _path(self, name, data):
        self._parts.append(f'<path d="{data}" stroke="{COLOURS[name]}" '
                           'stroke-width="0.8" fill="none"/>')

    def ticks(self, name, times, height):
        places = sorted({round(self._x(time), 1) for time in times
                         if self._begin <= time <= self._end})
        self._path(name, ''.join(f'M{x} {self._top}v{height}'
                                 for x in places))

    def spans(self, name, spans, height):
        """One line for each, the first on top."""
        step = height / max(len(spans), 1)
        self._path(name, ''.join(
            f'M{self._x(begin):.1f} {self._top + index * step:.1f}'
            f'H{self._x(end):.1f}'
            for index, (begin, end) in enumerate(sorted(spans))))

    def finish(self):
        """The axis, with a line at each of its numbers, and the whole."""
        bottom = self._next - 8
        seconds = self._end - self._begin
        step = round_step(seconds * 1000 / 10)
        grid = []
        for number in range(int(seconds * 1000 / step) + 1):
            x = self._x(self._begin + number * step / 1000)
            grid.append(f'M{x:.1f} 40V{bottom}')
            self.text(x, bottom + 16, f'{number * step:g}', 11, 'middle')
        self._path('operation', f'M{LEFT} {bottom}H{WIDTH - RIGHT}')
        self.text(LEFT - 12, bottom + 16, 'milliseconds', anchor='end')
        body = '\n'.join([f'<path d="{"".join(grid)}" stroke="#dddddd" '
                          'stroke-width="1" fill="none"/>'] + self._parts)
        return ('<svg xmlns="http://www.w3.org/2000/svg" '
                f'viewBox="0 0 {WIDTH} {bottom + 30}" '
                'font-family="sans-serif">'
                f'\n<rect width="100%" height="100%" fill="white"/>\n{body}\n'
                '</svg>\n')


def round_step(least):
    """The next of 1, 2, 5, 10, 20, 50 ..., or of these below 1."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-6)))
    return next(step * power for step in (1, 2, 5, 10)
                if step * power >= least)

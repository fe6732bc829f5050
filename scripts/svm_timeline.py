# SPDX-License-Identifier: GPL-2.0-or-later
#
# A timeline of the svm device and the IOMMU, from the emulator's trace.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Read trace events with times (-msg timestamp=on) and draw them."""

import re

import picture

TRACE_EVENTS = ('svm_demo_start', 'svm_demo_end',
                'pci_ats_request_translation',
                'pci_pri_request_page', 'pcie_pri_response',
                'iommu_dev_tlb_invalidate')
LINE = re.compile(r'^\d+@(\d+\.\d+):(\w+) (.*)$')
GROUP = re.compile(r'pasid (0x[0-9a-f]+).*? prgi (0x[0-9a-f]+)')
# Lanes of the picture: events, their names and colours
EVENTS = (('invalidations', 'invalidations', picture.COLOURS[5]),
          ('translations', 'translation requests', picture.COLOURS[4]),
          ('pages', 'page requests', picture.COLOURS[3]))
OPERATION, WAIT = picture.COLOURS[:2]
# Height of the lane of page request groups, in lanes
GROUPS = 4


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

    def draw(self, path, title, headings):
        """Draw a picture: a lane for each operation and kind of event."""
        top = len(headings) + len(EVENTS) + GROUPS
        lanes = [(f'{heading}: {(one.end - one.begin) * 1000:.1f} ms',
                  OPERATION, 12, self._spans([(one.begin, one.end)], 1))
                 for heading, one in zip(headings, self.operations)]
        lanes += [(f'{heading} ({len(self.times[name]):,})', colour, 1,
                   self._ticks(self.times[name]))
                  for name, heading, colour in EVENTS]
        lanes.append((f'page request groups ({len(self.waits):,}):\\n'
                      'a line for each, from its\\nfirst request to the '
                      'response', WAIT, 1,
                      self._spans(sorted(self.waits), GROUPS)))
        picture.draw(path, 60 * top, self._commands(title, top, lanes))

    def _place(self, time):
        """The position of a time, in milliseconds since the beginning."""
        begin, end = self.operations[0].begin, self.operations[-1].end
        return round((min(max(time, begin), end) - begin) * 1000, 3)

    def _ticks(self, times):
        """Vertical marks (x, y, dx, dy) in a lane whose top is at 0.  Those in
        the same place are drawn once."""
        begin, end = self.operations[0].begin, self.operations[-1].end
        step = max(end - begin, 1e-6) * 1000 / picture.WIDTH
        places = {round(self._place(time) / step) for time in times
                  if begin <= time <= end}
        return [(round(place * step, 4), -0.85, 0, 0.7)
                for place in sorted(places)]

    def _spans(self, spans, height):
        """Horizontal lines, the first on top."""
        rows = []
        for index, (begin, end) in enumerate(spans):
            x = self._place(begin)
            y = -height * (index + 0.5) / len(spans)
            rows.append((x, round(y, 4), round(self._place(end) - x, 3), 0))
        return rows

    def _commands(self, title, top, lanes):
        """The commands of gnuplot: each lane is a plot of vectors."""
        commands, plots, labels = [], [], []
        for number, (heading, colour, width, rows) in enumerate(lanes):
            low = GROUPS if number == len(lanes) - 1 else 1
            labels.append(f'"{heading}" {top - number - low / 2:g}')
            # gnuplot does not accept a plot without a point
            commands += picture.data(f'lane{number}', rows or [['-'] * 4])
            plots.append(f'$lane{number} using 1:({top - number} + $2):3:4 '
                         f'with vectors nohead linewidth {width} '
                         f'linecolor rgb "{colour}"')
        length = self._place(self.operations[-1].end)
        return [*commands, f'set title "{title}" noenhanced', 'unset key',
                f'set ytics ({", ".join(labels)}) noenhanced scale 0',
                'set grid xtics', 'set xlabel "milliseconds"',
                f'set xrange [0:{max(length, 0.001):g}]',
                f'set yrange [0:{top}]', f'plot {", ".join(plots)}']

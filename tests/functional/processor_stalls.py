# SPDX-License-Identifier: GPL-2.0-or-later
#
# Notice that a processor of the test machine stood still.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The host of a virtual machine can stop its processors, and a kernel thread
can occupy one.  Guests and back-ends that do not run in the meantime lose
packets, although the emulator works."""

import os
import threading
import time

PERIOD = 0.01


class ProcessorStalls:
    """A context in which a thread on each processor wakes up all the time.

    longest is the longest time in seconds for which one of them did not: the
    scheduler prefers a thread that has slept, so that other programs delay it
    by milliseconds only.
    """

    def __init__(self):
        self.longest = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(processor,))
                         for processor in sorted(os.sched_getaffinity(0))]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, processor):
        os.sched_setaffinity(0, {processor})  # of this thread
        last = time.monotonic()
        while not self._stop.is_set():
            time.sleep(PERIOD)
            now = time.monotonic()
            self.longest = max(self.longest, now - last - PERIOD)
            last = now

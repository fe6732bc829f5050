# SPDX-License-Identifier: GPL-2.0-or-later
#
# How the scripts talk to the person who runs them.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Lines of progress, and failures that end in one clear sentence."""

import sys
from pathlib import Path


class Failure(Exception):
    """A sentence for the user: what went wrong and what to do next."""


def say(message=''):
    """Print a line at once, also into a pipe."""
    print(message, flush=True)


def main_guard(main):
    """Run main(); a known failure ends in one clear sentence and status 1."""
    name = Path(sys.argv[0]).name
    try:
        sys.exit(main())
    except Failure as err:
        sys.exit(f'{name}: {err}')
    except OSError as err:
        sys.exit(f'{name}: {err}')
    except KeyboardInterrupt:
        sys.exit(f'{name}: interrupted; run it again to go on')

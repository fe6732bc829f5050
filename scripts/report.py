# SPDX-License-Identifier: GPL-2.0-or-later
#
# Messages of the scripts to the user.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Lines of progress, and failures that end in one clear sentence."""

import subprocess
import sys
from pathlib import Path


class Failure(Exception):
    """A message for the user: the error, and the next step."""


def say(message=''):
    """Print a line at once, also into a pipe."""
    print(message, flush=True)


def last_lines(text, count=4):
    """The last lines of the output of a program, indented."""
    return '\n'.join(f'    {line}' for line in text.splitlines()[-count:])


def failed_program(err):
    """Describe a subprocess.CalledProcessError to the user."""
    words = [err.cmd] if isinstance(err.cmd, str) else map(str, err.cmd)
    said = (err.stderr or '').strip() or 'see its output above'
    return f'"{" ".join(words)}" failed with status {err.returncode}: {said}'


def main_guard(main):
    """Run main(); a known failure ends in one clear sentence and status 1."""
    name = Path(sys.argv[0]).name
    try:
        sys.exit(main())
    except Failure as err:
        sys.exit(f'{name}: {err}')
    except subprocess.CalledProcessError as err:
        sys.exit(f'{name}: {failed_program(err)}')
    except FileNotFoundError as err:
        hint = ('; scripts/install-packages installs the tools'
                if err.filename and '/' not in str(err.filename) else '')
        sys.exit(f'{name}: {err}{hint}')
    except OSError as err:
        sys.exit(f'{name}: {err}')
    except KeyboardInterrupt:
        sys.exit(f'{name}: interrupted; run it again to continue')

"""The command line: ``ocidist``, and ``python -m ocidist``. Needs the extra ``cli``."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDED: Final = ("cyclopts", "rich")
INTERRUPTED: Final = 130
LAST_STANDARD: Final = 2
MISSING: Final = "the command line needs more packages: pip install 'ocidist[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Command line without the program's name; None for the process's own.

    Returns:
        The exit status, see ``docs/reference/cli.md``.
    """
    if any(find_spec(name) is None for name in NEEDED):
        sys.stderr.write(f"error: {MISSING}\n")
        return 1
    if arguments is None:
        _open_standard_streams()
    try:
        from ocidist.cli.dispatch import run  # noqa: PLC0415 -- needs the extra

        status = run(arguments)
    except KeyboardInterrupt:
        # Before anything had begun.
        if sys.stderr is not None:
            sys.stderr.write("interrupted\n")
        status = INTERRUPTED
    if arguments is None and status > 128:
        # Interrupted: a thread that waits for a terminal or a pipe must not hold the process back.
        _flush()
        os._exit(status)
    return status


def _open_standard_streams() -> None:
    # Where one of them is closed, the next socket would take its place.
    while (number := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD:
        continue
    os.close(number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue

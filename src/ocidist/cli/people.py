"""Words for people, on standard error.

Said from a thread: a terminal that somebody has stopped must not hold up the event loop. What is not written when the
command ends is given a moment, and then let go of.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from typing import TYPE_CHECKING, Final, Self

from ocidist.cli.output import document
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PATIENCE_S: Final = 2.0
"""Seconds that a terminal has to take the last words."""

_PAPER: Final = frozenset({"dumb", "unknown"})
"""What terminals that obey no escapes call themselves."""

_SILENT: Final = frozenset({"MirrorFailed", "NamesSkipped", "TransferFailed", "WarningReceived"})
"""Events whose warnings the library logs itself, or that the error at the end tells better."""


class Voice:
    """Says things on standard error, in order. ``with`` begins and ends it.

    Args:
        as_json: Whether words are JSON, too: among lines for programs.

    Attributes:
        write: What writes a text; the view of a progress puts its own here while it is on the screen.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._json = as_json
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # Worker threads log, too.
        self._lock = threading.Lock()
        self.write: Callable[[str], None] = put

    def say(self, text: str, level: str | None = None) -> None:
        """Say something to people, in a line; does not wait for it to be written.

        Args:
            text: What to say.
            level: How grave it is, where it is the library that says it.
        """
        if self._json:
            self.line(document({"message": text} if level is None else {"message": text, "level": level}))
        else:
            self.line(text if level is None else f"{level}: {text}")

    def line(self, text: str) -> None:
        """Write a line as it is; does not wait for it to be written."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._speak, name="ocidist-voice", daemon=True)
                self._thread.start()
        self._texts.put(text)

    def _speak(self) -> None:
        while (text := self._texts.get()) is not None:
            self.write(f"{text}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Let what was said be written; blocks for a moment at most."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._texts.put(None)
            thread.join(PATIENCE_S)


def put(text: str) -> None:
    """Write to standard error, or not, if there is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text.encode(errors="backslashreplace").decode())
        sys.stderr.flush()


def is_terminal() -> bool:
    """Return whether standard error is a terminal that can be drawn on."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in _PAPER


class Telling(logging.Handler):
    """Passes what the library logs on to a voice.

    Args:
        voice: Who says it.
        level: What is worth saying.
    """

    def __init__(self, voice: Voice, level: int) -> None:
        super().__init__(level)
        self._voice = voice

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record in one line."""
        event = getattr(record, "ocidist", None)
        if record.levelno >= logging.WARNING and isinstance(event, dict) and event.get("event") in _SILENT:
            return
        try:
            self._voice.say(clean_text(record.getMessage()), record.levelname.lower())
        except Exception:  # noqa: BLE001 -- as the handlers of the standard library do
            self.handleError(record)

"""Bars on a terminal.

The state is a few numbers that the event loop changes; a thread of rich's draws them. rich's own ``Progress`` draws
whenever a task is added, which is writing to the terminal within the event loop.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ocidist.observe.counting import counted, in_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from ocidist.cli.people import Voice
    from ocidist.cli.progress import Tally
    from ocidist.observe.events import Event

MOST: Final = 8
"""Transfers that are shown at once."""

NARROW: Final = 60
"""Columns below which there is room for numbers only."""


class Bars:
    """Draws what is under way, and clears it in the end.

    Args:
        tally: What is drawn.
        voice: Who says things meanwhile: above the bars.
    """

    def __init__(self, tally: Tally, voice: Voice) -> None:
        self._tally = tally
        self._voice = voice
        # Words and data come from threads of their own, and what is drawn in the midst of one would stay there.
        self._lock = threading.Lock()
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def hook(self, event: Event) -> None:
        """Take an event."""
        self._tally.take(event)

    def expect(self, copies: int) -> None:
        """Take note of how many copies there will be."""
        self._tally.expected = copies

    def begin(self) -> None:
        """Begin to draw; blocks."""
        with self._lock:
            self._live.start()
        self._voice.write = self._above

    def end(self) -> None:
        """Clear what was drawn; blocks."""
        with self._lock:
            self._live.stop()

    def aside(self, write: Callable[[], None]) -> None:
        """Let something else write to the terminal, above the bars; blocks."""
        with self._lock:
            self._live.stop()
            try:
                write()
            finally:
                self._live.start()

    def _above(self, text: str) -> None:
        with self._lock:
            self._console.print(Text(text), soft_wrap=True, end="")

    def _draw(self) -> RenderableType:
        tally = self._tally
        if tally.began is None:
            return Text("")
        rows = tally.shown()[:MOST]
        wide = self._console.width >= NARROW
        table = Table.grid(
            Column(no_wrap=True, overflow="ellipsis", ratio=1),
            *([Column(width=20)] if wide else []),
            Column(no_wrap=True, justify="right"),
            padding=(0, 1),
            expand=True,
        )
        for each in rows:
            bar = [ProgressBar(total=each.size or None, completed=each.done, pulse=not each.size)] if wide else []
            table.add_row(Text(each.label), *bar, Text(f"{in_bytes(each.done)}/{in_bytes(each.size)}"))
        return Group(table, self._sum())

    def _sum(self) -> Text:
        tally = self._tally
        seconds = max(time.monotonic() - (tally.began or 0), 0.001)
        moved = tally.moved
        rate = f"{in_bytes(moved)}, {in_bytes(int(moved / seconds))}/s"
        if not tally.copies:
            text = f"{counted(tally.finished, 'blob')}, {rate}"
        else:
            images = f"{tally.copied}/{max(tally.expected, tally.copies)} images"
            text = f"{images}, {tally.finished} sent, {tally.mounted} mounted, {rate}"
        return Text(text, no_wrap=True, overflow="ellipsis")

"""What people see of what is under way."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest
from rich.console import Console

from ocidist.cli import people
from ocidist.cli.bars import Bars
from ocidist.cli.people import Telling, Voice
from ocidist.cli.progress import Lines, Tally
from ocidist.observe.events import (
    BlobMounted,
    ContentCopied,
    ContentMounted,
    ContentSkipped,
    CopyStarted,
    Event,
    TransferFailed,
    TransferFinished,
    TransferProgressed,
    TransferResumed,
    TransferStarted,
)
from ocidist.server.faults import Fault
from ocidist.testing.registry import serve
from ocidist.wire.endpoints import ListTags

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command

MIB: Final = 1024 * 1024
HOST: Final = "localhost:5000"
FIRST: Final = (HOST, 1, "push blob", f"{HOST}/acme/app@sha256:{'1' * 64}")
SECOND: Final = (HOST, 2, "pull blob", f"{HOST}/acme/größe@sha256:{'2' * 64}")
COPY: Final = (HOST, "a@sha256:1", "b")

EVENTS: Final = (
    CopyStarted(*COPY, 40 * MIB, blobs=3, manifests=1),
    TransferStarted(*FIRST, 10 * MIB),
    TransferStarted(*SECOND, None),
    TransferProgressed(*FIRST, 5 * MIB, 10 * MIB),
    TransferProgressed(*SECOND, 3 * MIB, None),
    ContentMounted(*COPY, MIB, "acme/base"),
    ContentSkipped(*COPY, MIB),
)


def drawn(width: int, *events: Event) -> list[str]:
    """Return the lines that the bars draw on a terminal of this width."""
    bars = Bars(Tally(), Voice())
    bars._console = Console(file=io.StringIO(), width=width, height=25, force_terminal=True, color_system=None)
    for event in events:
        bars.hook(event)
    with bars._console.capture() as captured:
        bars._console.print(bars._draw())
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [100, 60, 40, 20, 8])
def test_bars_fit_into_the_terminal(width: int) -> None:
    lines = drawn(width, *EVENTS)
    assert len(lines) == 3
    assert max(len(line) for line in lines) <= width
    assert ("━" in lines[0]) == (width >= 60)
    if width >= 60:
        assert lines[0].startswith("111111111111 ")
        assert lines[0].endswith("5.0 MiB/10.0 MiB")
        assert lines[1].endswith("3.0 MiB/?")
        assert lines[2].startswith("0/1 images, 0 sent, 1 mounted, 8.0 MiB, "[: width - 1])


def test_what_is_said_does_not_come_in_the_midst_of_data() -> None:
    bars = Bars(Tally(), Voice())
    shown = io.StringIO()
    bars._console = Console(file=shown, force_terminal=True)
    bars._live.console = bars._console
    begun, over = threading.Event(), threading.Event()

    def write() -> None:
        shown.write("first half, ")
        begun.set()
        over.wait(5)
        shown.write("second half\n")

    bars.begin()
    data = threading.Thread(target=bars.aside, args=(write,))
    data.start()
    assert begun.wait(5)
    words = threading.Thread(target=bars._above, args=("words\n",))
    words.start()
    words.join(0.1)
    over.set()
    for thread in (data, words):
        thread.join()
    bars.end()
    assert "first half, second half\n" in shown.getvalue()
    assert "words\n" in shown.getvalue()


def test_many_transfers_take_a_few_lines() -> None:
    many = [TransferStarted(HOST, n, "pull blob", f"a@sha256:{n:064x}"[:90] + str(n), MIB) for n in range(100)]
    assert len(drawn(80, *many)) <= 9


def test_what_is_complete_is_counted_once() -> None:
    tally = Tally()
    for event in (
        *EVENTS,
        TransferResumed(*FIRST, 4 * MIB, "a reason"),
        TransferFinished(*FIRST, 10 * MIB, 10 * MIB, 0.5),
        TransferFinished(*SECOND, 10 * MIB, 10 * MIB, 0.5),
        ContentCopied(*COPY, 10 * MIB),
    ):
        tally.take(event)
    # What was read and sent is what the copy says of it.
    assert (tally.moved, tally.finished, tally.skipped, tally.moving) == (10 * MIB, 1, 1, {})
    tally.take(TransferFailed(*FIRST, 0, "cancelled"))
    plain = Tally()
    plain.take(TransferStarted(*SECOND, MIB))
    plain.take(BlobMounted(*SECOND, "acme/base"))
    plain.take(TransferFinished(*SECOND, MIB, MIB, 0.1))
    assert (plain.moved, plain.finished, plain.mounted, plain.copies) == (MIB, 1, 1, 0)


def test_progress_is_shown_as_it_was_asked_for(
    full_registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(b"x" * 5000)
    words = ("push", f"{full_registry.url}/acme/data:v1", tmp_path / "data")
    # No terminal: nothing is shown unless it is asked for.
    assert ocidist(*words, "--progress", "auto").err == ""
    assert ocidist(*words, "--progress", "none").err == ""
    (tmp_path / "data").write_bytes(b"y" * 5000)
    assert re.search(r": 4\.9 KiB in \d+\.\d s\n", ocidist(*words, "--progress", "plain").err)
    (tmp_path / "data").write_bytes(b"z" * 5000)
    events = [json.loads(line) for line in ocidist(*words, "--progress", "json").err.splitlines()]
    assert {"TransferStarted", "TransferProgressed", "TransferFinished"} <= {each["event"] for each in events}


def test_long_transfers_say_now_and_then_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    voice = Voice()
    monkeypatch.setattr(voice, "say", said.append)
    lines = Lines(voice)
    lines.hook(TransferStarted(*FIRST, 10 * MIB))
    lines.hook(TransferProgressed(*FIRST, MIB, 10 * MIB))
    assert not said
    now = time.monotonic() + 6
    monkeypatch.setattr("ocidist.cli.progress.time.monotonic", lambda: now)
    lines.hook(TransferProgressed(*FIRST, 2 * MIB, 10 * MIB))
    assert said == [f"push blob {FIRST[3]}: 2.0 MiB of 10.0 MiB"]


def test_a_terminal_that_was_stopped_does_not_hold_up_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "PATIENCE_S", 0.05)
    stopped = threading.Event()

    def write(_text: str) -> None:
        stopped.wait(60)

    began = time.monotonic()
    try:
        with Voice() as voice:
            voice.write = write
            for number in range(100):
                voice.say(f"line {number}")
        assert time.monotonic() - began < 30
    finally:
        stopped.set()


def test_a_warning_of_the_registry_is_passed_on(ocidist: Command) -> None:
    headers = (("Warning", '299 - "this registry will close"'), ("Content-Type", "application/json"))
    answer = Fault(on=ListTags, status=200, headers=headers, body=b'{"name":"acme/app","tags":["v1"]}')
    with serve(faults=[answer]) as registry:
        done = ocidist("ls", f"{registry.url}/acme/app")
        assert (done.out, done.err) == (b"v1\n", f"warning: {registry.host}: this registry will close\n")


def test_what_is_logged_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    voice = Voice()
    monkeypatch.setattr(voice, "line", said.append)
    handler = Telling(voice, logging.WARNING)
    handler.handle(logging.LogRecord("ocidist", logging.WARNING, "", 0, "red \x1b[31m%s", ("\u202eword",), None))
    handler.handle(
        logging.makeLogRecord({"levelname": "WARNING", "levelno": 30, "ocidist": {"event": "TransferFailed"}})
    )
    assert said == ["warning: red [31mword"]


def test_several_threads_may_speak_at_once() -> None:
    said: list[str] = []
    for _ in range(50):
        with Voice() as voice:
            voice.write = said.append
            threads = [threading.Thread(target=voice.say, args=("word",)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert said == ["word\n"] * 200

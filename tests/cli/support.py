"""Running commands within the process of the tests, and comparing what they say with what they said."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.cli import main
from ocidist.testing.content import Content
from tests.canary import CANARIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.testing.registry import LoopbackRegistry

SNAPSHOTS: Final = Path(__file__).parent / "snapshots"
REFRESH: Final = "REFRESH_SNAPSHOTS"
"""Set in the environment, the snapshots are written anew."""

_BOXES: Final = re.compile(r"[\u2500-\u257f]+")
_VARYING: Final = (
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), "REGISTRY"),
    (re.compile(r'"seconds": ?[\d.e-]+'), '"seconds": 0.0'),
    (re.compile(r"\d+ ms\b"), "0 ms"),
)


@attrs.frozen
class Done:
    """A command that was carried out."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """What it wrote to standard output."""
        return self.out.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401 -- JSON may be anything
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The documents on standard output, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The error that it told of as JSON."""
        found: dict[str, Any] = json.loads(self.err)["error"]
        return found


@contextmanager
def _streams(stdin: bytes, folder: Path) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    given = folder / ".stdin"
    given.write_bytes(stdin)
    out, err = io.BytesIO(), io.BytesIO()
    before = sys.stdin, sys.stdout, sys.stderr
    with given.open(encoding="utf-8") as source:
        sys.stdin = source
        sys.stdout, sys.stderr = io.TextIOWrapper(out, encoding="utf-8"), io.TextIOWrapper(err, encoding="utf-8")
        try:
            yield out, err
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdin, sys.stdout, sys.stderr = before
    given.unlink()


class Command:
    """Carries out command lines.

    Args:
        folder: A directory of the test's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *words: object, stdin: bytes = b"") -> Done:
        """Carry out a command line without the program's name."""
        with _streams(stdin, self._folder) as (out, err):
            status = main([str(word) for word in words])
            sys.stdout.flush()
            sys.stderr.flush()
            done = Done(status, out.getvalue(), err.getvalue().decode())
        CANARIES.search(f"what {words[:2]} wrote", f"{done.out.decode('latin-1')}\n{done.err}")
        return done


def filled(registry: LoopbackRegistry) -> None:
    """Put in what the snapshots are about: an index of two images, an artifact of two files, and referrers."""
    app = (
        Content()
        .blob("base", b"the base of both\n" * 100)
        .image("amd64", layers=["base"], platform="linux/amd64", tags=["v1-amd64"])
        .image("arm64", layers=["base"], platform="linux/arm64")
        .index("app", ["amd64", "arm64"], tags=["v1", "latest"])
        .artifact("sbom", "application/spdx+json", subject="app", annotations={"made-by": "a scanner"})
        .artifact("signature", "application/vnd.example.signature", subject="sbom")
        .artifact("report", "application/vnd.example.report", subject="app")
    )
    registry.add("acme/app", app)
    registry.add("acme/empty", Content().artifact("nothing", tags=["v1"]))


def tidied(text: str, folder: Path) -> str:
    """Return a text without what differs from one run, one machine and one terminal to the next."""
    text = _BOXES.sub("", text) if "─" in text and "╭" in text else text
    for pattern, constant in _VARYING:
        text = pattern.sub(constant, text)
    text = text.replace(str(folder), "DIR")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def compare(name: str, text: str) -> None:
    """Compare a text with its snapshot; how the words are wrapped is the terminal's business."""
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get(REFRESH):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"there is no snapshot {path.name}: {REFRESH}=1 makes it"
    assert text.split() == path.read_text(encoding="utf-8").split()

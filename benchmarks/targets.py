"""What the project set out to reach, next to what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from benchmarks.plan import LOOPS, RAW, STREAMS
from benchmarks.scenarios.imports import CLIENT, HTTPX, OCIDIST
from benchmarks.scenarios.mirror import SYNC
from benchmarks.scenarios.push import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.figures import Figure, Results

_MINE = "ocidist (asyncio)"
_TRIO = "ocidist (trio)"


@attrs.frozen
class Target:
    """A line of the table.

    Attributes:
        what: What is compared.
        value: What was measured, or None.
        limit: What it should be.
        at_least: Whether more is better.
        unit: Unit of all figures.
        best: The same of the best runs, where that says something.
        bare: What the event loop's own streams reach, which check nothing: no client in Python does better.
    """

    what: str
    value: float | None
    limit: float
    at_least: bool = attrs.field(default=False, kw_only=True)
    unit: str = attrs.field(default="", kw_only=True)
    best: float | None = attrs.field(default=None, kw_only=True)
    bare: float | None = attrs.field(default=None, kw_only=True)

    def row(self) -> list[str]:
        """Return the cells of its line: what, measured, best runs, bare streams, target, whether it is met."""
        wanted = f"{'>=' if self.at_least else '<='} {_number(self.limit)}{self.unit}"
        if self.value is None:
            return [self.what, "not measured", "", "", wanted, ""]
        reached = self.value >= self.limit if self.at_least else self.value <= self.limit
        others = ("" if one is None else f"{_number(one)}{self.unit}" for one in (self.best, self.bare))
        return [self.what, f"{_number(self.value)}{self.unit}", *others, wanted, "met" if reached else "**not met**"]


def targets(results: Results, parsed: Mapping[str, float]) -> list[Target]:
    """Return every target.

    Args:
        results: The runs.
        parsed: Parses per second, by what is parsed.
    """
    return [
        *_transfers(results),
        *_requests(results),
        *_memory(results),
        *_copies(results),
        *_imports(results),
        Target("references parsed in a second", parsed.get("reference, full"), 100_000, at_least=True),
        Target("challenges parsed in a second", parsed.get("challenge"), 50_000, at_least=True),
        Target("digests parsed in a second", parsed.get("digest"), 300_000, at_least=True),
    ]


def _transfers(results: Results) -> Iterator[Target]:
    cases: tuple[tuple[str, str, str, str, Figure, float], ...] = (
        ("pull, CPU / raw socket + sha256 at the same chunk", "pull-nginx", _MINE, RAW, "cpu", 1.05),
        ("pull, CPU / httpx default", "pull-nginx", _MINE, "httpx", "cpu", 0.5),
        ("pull over TLS, CPU / httpx default", "pull-tls", _MINE, "httpx", "cpu", 0.4),
        ("pull from nginx, wall / skopeo", "pull-nginx", _MINE, "skopeo", "wall", 0.6),
        ("pull from docker-registry, wall / skopeo", "pull-registry", _MINE, "skopeo", "wall", 0.6),
        ("push, digest unknown, CPU / raw", "push-sink", _MINE, RAW, "cpu", 1.05),
        (
            "push, digest known, CPU / raw sendfile",
            "push-sink",
            f"{_MINE}{KNOWN}",
            f"raw sendfile{KNOWN}",
            "cpu",
            1.3,
        ),
    )
    for what, key, mine, other, figure, limit in cases:
        best = results.best_ratio(key, mine, other, figure)
        yield Target(what, results.ratio(key, mine, other, figure), limit, best=best)


def _requests(results: Results) -> Iterator[Target]:
    for other, mine, limits in (
        ("aiohttp", _MINE, (1.3, 1.0)),
        ("httpx", _MINE, (4.5, 10)),
        ("httpx (trio)", _TRIO, (3.5, 9)),
    ):
        for concurrency, limit in zip((1, 64), limits, strict=True):
            key = f"small-nginx-{concurrency}"
            what = f"manifest GET, requests/s / {other}, {concurrency} at a time"
            bare = results.ratio(key, STREAMS["trio" if mine == _TRIO else "asyncio"], other, "rate")
            best = results.best_ratio(key, mine, other, "rate")
            yield Target(what, results.ratio(key, mine, other, "rate"), limit, best=best, bare=bare, at_least=True)


def _memory(results: Results) -> Iterator[Target]:
    for loop in LOOPS:
        name = f"ocidist ({loop})"
        for verb, key, names in (("pull", "pull-nginx", (name,)), ("push", "push-sink", (name, f"{name}{KNOWN}"))):
            found = [value for one in names if (value := results.median(key, one, "rss")) is not None]
            yield Target(f"peak RSS of a {verb} ({loop})", max(found, default=None), 40, unit=" MiB")


def _copies(results: Results) -> Iterator[Target]:
    for loop in ("asyncio", "trio"):
        name = f"ocidist ({loop})"
        cases: tuple[tuple[Figure, str, float], ...] = (("wall", "wall", 0.5), ("cpu", "CPU", 0.4))
        for figure, what, limit in cases:
            best = results.best_ratio("mirror", name, SYNC, figure)
            about = f"50 images copied, {what} / {SYNC} ({loop})"
            yield Target(about, results.ratio("mirror", name, SYNC, figure), limit, best=best)
        about = f"50 images copied, requests / as few as possible ({loop})"
        yield Target(about, results.median("mirror", name, "requests"), 1.15)
        about = f"50 images copied, peak RSS ({loop})"
        yield Target(about, results.median("mirror", name, "rss"), 64, unit=" MiB")


def _imports(results: Results) -> Iterator[Target]:
    for statement in (OCIDIST, CLIENT):
        what = f"`{statement}` over `{HTTPX}`"
        cpu, rss = _over(results, statement, "cpu"), _over(results, statement, "rss")
        yield Target(f"{what}, CPU", None if cpu is None else cpu * 1000, 60, unit=" ms")
        yield Target(f"{what}, RSS", rss, 10, unit=" MiB")


def _over(results: Results, statement: str, figure: Figure) -> float | None:
    one, other = (results.median("import", each, figure) for each in (statement, HTTPX))
    return None if one is None or other is None else one - other


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

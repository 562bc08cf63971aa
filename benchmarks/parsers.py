"""How fast what registries and users write is parsed: operations per second on one core, best of several rounds."""

from __future__ import annotations

import argparse
import json
import timeit
from typing import TYPE_CHECKING

from ocidist.model.digest import Digest
from ocidist.model.reference import Reference
from ocidist.wire.challenge import parse_challenges
from ocidist.wire.link import parse_links
from ocidist.wire.scope import ScopeSet

if TYPE_CHECKING:
    from collections.abc import Callable

HEX = "0123456789abcdef" * 4
BEARER = 'Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push"'

CASES: dict[str, Callable[[], object]] = {
    "digest": lambda: Digest.parse(f"sha256:{HEX}"),
    "digest of 1 KiB": lambda: Digest.of(b"x" * 1024),
    "reference, short": lambda: Reference.parse("alpine"),
    "reference, full": lambda: Reference.parse(f"registry.example.com:5000/team/project/app:v1.2.3@sha256:{HEX}"),
    "challenge": lambda: parse_challenges([BEARER]),
    "scopes": lambda: ScopeSet.parse("repository:a/b:pull,push repository:c/d:pull registry:catalog:*"),
    "link": lambda: parse_links(['</v2/a/b/tags/list?last=v9&n=100>; rel="next"']),
}


def rate(case: Callable[[], object], *, seconds: float, rounds: int) -> float:
    """Return calls per second: the best round, each about *seconds* long."""
    timer = timeit.Timer(case)
    number, taken = timer.autorange()
    number = max(1, int(number * seconds / taken))
    return number / min(timer.repeat(rounds, number))


def main() -> None:
    """Measure every case and print it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=0.2, help="length of a round")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--json", action="store_true", help="one JSON object per line")
    options = arguments.parse_args()
    for name, case in CASES.items():
        found = rate(case, seconds=options.seconds, rounds=options.rounds)
        if options.json:
            print(json.dumps({"benchmark": "parsers", "case": name, "per_second": round(found)}))
        else:
            print(f"{name:<20} {found:>12,.0f} /s")


if __name__ == "__main__":
    main()

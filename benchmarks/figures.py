"""Medians of what was measured."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.runner import Record

Figure: TypeAlias = Literal["wall", "cpu", "rss", "whole", "rate", "us", "requests"]


class Results:
    """All runs.

    Args:
        records: The runs.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = tuple(records)
        self._by_contender: dict[tuple[str, str], list[Record]] = {}
        for record in self.records:
            self._by_contender.setdefault((record.scenario, record.contender), []).append(record)

    def values(self, scenario: str, contender: str, figure: Figure) -> list[float]:
        """Return a figure of every run of a contender; ``rate`` is requests per second, ``us`` CPU time of one."""
        return [_value(record, figure) for record in self._by_contender.get((scenario, contender), ())]

    def median(self, scenario: str, contender: str, figure: Figure) -> float | None:
        """Return the median of a figure, or None if the contender did not run."""
        values = self.values(scenario, contender, figure)
        return median(values) if values else None

    def best(self, scenario: str, contender: str, figure: Figure) -> float | None:
        """Return the best run's figure: the highest rate, the lowest of everything else."""
        values = self.values(scenario, contender, figure)
        return (max if figure == "rate" else min)(values) if values else None

    def ratio(self, scenario: str, contender: str, other: str, figure: Figure) -> float | None:
        """Return the ratio of two contenders' medians, or None if one of them did not run."""
        return _ratio(self.median(scenario, contender, figure), self.median(scenario, other, figure))

    def best_ratio(self, scenario: str, contender: str, other: str, figure: Figure) -> float | None:
        """Return the ratio of two contenders' best runs: what is left of it where others use the machine, too."""
        return _ratio(self.best(scenario, contender, figure), self.best(scenario, other, figure))


def _ratio(upper: float | None, lower: float | None) -> float | None:
    return upper / lower if upper is not None and lower else None


def _value(record: Record, figure: Figure) -> float:
    match figure:
        case "rate":
            return record.count / record.wall
        case "us":
            return record.cpu / record.count * 1e6
        case _:
            return float(getattr(record, figure))

"""Sharing work between threads, for the contenders that block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_Client = TypeVar("_Client")
_T = TypeVar("_T")


def share(work: Callable[[_Client, _T], object], items: Iterable[_T], clients: Sequence[_Client]) -> None:
    """Do *work* for each item, in as many threads as there are clients, each with its own."""
    left = iter(items)

    def one(client: _Client, mine: Iterator[_T]) -> None:
        for item in mine:
            work(client, item)

    with ThreadPoolExecutor(len(clients)) as pool:
        for done in [pool.submit(one, client, left) for client in clients]:
            done.result()

"""Which loads there are. What they promise is written where they are measured."""

from __future__ import annotations

from typing import Final, NamedTuple


class Load(NamedTuple):
    """One load.

    Attributes:
        entry: ``module:function`` below ``benchmarks.loads``.
        title: What is done.
        needs: The servers it needs beside the two of one pattern: ``registry``, ``embedded``;
            ``counted`` lets the registry count its requests.
        on_a_loop: Whether it is a coroutine function; others run loops of their own, in processes of their own.
        rounds: How often it runs, where nobody asks for something else.
    """

    entry: str
    title: str
    needs: tuple[str, ...] = ()
    on_a_loop: bool = True
    rounds: int = 1


LOADS: Final = {
    "L01": Load("copies:l01", "1000 repositories with 3 images each are copied, 64 at a time", ("registry", "counted")),
    "L02": Load("streaming:l02", "one blob of 10 GiB from one registry into another, then with 100 cuts"),
    "L03": Load("many:l03", "64 blobs of 64 MiB to files, 16 connections", rounds=5),
    "L04": Load("lists:l04", "20 million tags on 2000 pages, and 100,000 pages of one tag"),
    "L05": Load("lists:l05", "the first ten of 100,000 repositories", rounds=5),
    "L06": Load("lists:l06", "5000 referrers in one answer and on 50 pages; 50 attached at once", ("registry",)),
    "L09": Load("pressure:l09", "64 tasks read from a registry that allows 50 requests a second", on_a_loop=False),
    "L10": Load("pressure:l10", "200 tasks read from a registry that is down for a minute", on_a_loop=False),
    "L11": Load("storm:l11", "1000 transfers that are cancelled at random points"),
    "L12": Load("faults:l12", "a tenth of all requests fails, in many ways", ("registry", "flaky")),
    "L13": Load(
        "kills:l13", "500 pushes with a journal and 500 downloads are killed", ("registry", "embedded"), on_a_loop=False
    ),
    "L14": Load("streaming:l14", "how late others wake while 10 GiB move, helpers are run and passwords are hashed"),
    "L15": Load("copies:l15", "200 operations of all kinds in a second, for ten minutes", ("registry",)),
    "L16": Load("layouts:l16", "a layout with 100,000 blobs and 10,000 tags"),
    "L17": Load("pushers:l17", "64 clients push 100 MiB each to the registry over a directory", on_a_loop=False),
}

"""Numbers for people to read."""

from __future__ import annotations

import pytest

from ocidist.observe.counting import counted, in_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (2**40, "1.0 TiB"),
        (2**52, "4096.0 TiB"),
    ],
)
def test_sizes_are_readable(count: int | None, text: str) -> None:
    assert in_bytes(count) == text


def test_one_is_not_several() -> None:
    assert [counted(count, "blob") for count in (0, 1, 2)] == ["0 blobs", "1 blob", "2 blobs"]

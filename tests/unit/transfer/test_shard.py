from __future__ import annotations

import subprocess
import sys

import pytest

from ocidist import UsageError
from ocidist.transfer.shard import MAX_SHARDS, Shard, owner

NAMES = [f"registry.acme.io/team{number % 7}/app{number}" for number in range(2000)]


def test_every_repository_belongs_to_exactly_one_shard() -> None:
    shards = [Shard(index, 5) for index in range(5)]
    for name in NAMES:
        assert sum(shard.owns(name) for shard in shards) == 1
    assert Shard(0, 1).owns("anything")


def test_shards_are_about_equally_large() -> None:
    sizes = [sum(owner(name, 8) == index for name in NAMES) for index in range(8)]
    assert min(sizes) > 200
    assert max(sizes) < 300


def test_with_another_shard_only_its_own_repositories_change_hands() -> None:
    before = [owner(name, 4) for name in NAMES]
    after = [owner(name, 5) for name in NAMES]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {4}
    assert len(moved) < 500


def test_every_process_comes_to_the_same_result() -> None:
    program = f"from ocidist.transfer.shard import owner; print([owner(n, 3) for n in {NAMES[:20]!r}])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert told.stdout.strip() == str([owner(name, 3) for name in NAMES[:20]])
    # And every version does: a mirror would otherwise be shared out in two ways at once.
    assert [owner(name, 3) for name in NAMES[:8]] == FIRST


FIRST = [0, 1, 2, 0, 2, 0, 1, 0]


def test_a_shard_is_read_and_written() -> None:
    assert Shard.parse("0/4") == Shard(0, 4)
    assert str(Shard.parse("3/4")) == "3/4"
    assert Shard.parse(f"0/{MAX_SHARDS}").count == MAX_SHARDS


@pytest.mark.parametrize(
    "text", ["", "1", "4/4", "-1/4", "0/0", "a/b", "0/4/5", " 0/4", "0 /4", "0/1001", "\N{ARABIC-INDIC DIGIT ZERO}/4"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Shard.parse(text)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError):
        Shard(True, 2)  # noqa: FBT003 -- wrong on purpose
    with pytest.raises(UsageError):
        Shard(0.0, 2)  # type: ignore[arg-type]  # wrong on purpose

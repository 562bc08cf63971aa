"""A small part of each load of the benchmarks, without the figures that depend on what else the machine has to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.loads import harness
from benchmarks.plan import Bench, Options

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.loads.findings import Finding


pytestmark = pytest.mark.in_turn


@pytest.fixture
def loop(anyio_backend: str | tuple[str, dict[str, Any]]) -> str:
    """The event loop of the load's own process."""
    return "uvloop" if isinstance(anyio_backend, tuple) else anyio_backend


def measured(load: str, loop: str, folder: Path) -> dict[str, Finding]:
    """Run a load and return what it found, after checking all that has to hold on any machine."""
    options = Options(size=0, rounds=1, requests=0, images=0, layer=0, only=("loads",), quick=True)
    found = harness.once(Bench(options, folder), load, loop)
    broken = [finding for finding in found if not finding.met and not finding.timed]
    assert broken == []
    return {finding.what: finding for finding in found}


@pytest.mark.timeout(180)
def test_l01_repositories_that_share_layers_are_copied_with_as_few_requests_as_that_takes(
    loop: str, tmp_path: Path
) -> None:
    assert measured("L01", loop, tmp_path)["images that are not the same"].value == 0


@pytest.mark.timeout(180)
def test_l02_a_blob_goes_from_registry_to_registry_in_little_memory_and_over_cuts(loop: str, tmp_path: Path) -> None:
    found = measured("L02", loop, tmp_path)
    assert found["cuts survived (FIN)"].value == 8


@pytest.mark.timeout(180)
def test_l03_many_blobs_at_once_come_over_few_connections_in_little_memory(loop: str, tmp_path: Path) -> None:
    assert measured("L03", loop, tmp_path)["most connections"].value <= 16


@pytest.mark.timeout(180)
def test_l04_a_long_list_of_tags_takes_little_memory_and_misses_none(loop: str, tmp_path: Path) -> None:
    assert measured("L04", loop, tmp_path)["tags missing, of all"].value == 0


def test_l05_who_leaves_a_list_early_asks_for_no_more_of_it(loop: str, tmp_path: Path) -> None:
    assert measured("L05", loop, tmp_path)["requests"].value <= 2


@pytest.mark.timeout(180)
def test_l06_thousands_of_referrers_are_listed_and_none_is_lost(loop: str, tmp_path: Path) -> None:
    assert measured("L06", loop, tmp_path)


@pytest.mark.timeout(180)
def test_l11_a_storm_of_cancellations_leaves_nothing_behind(loop: str, tmp_path: Path) -> None:
    assert measured("L11", loop, tmp_path)["upload sessions left"].value == 0


@pytest.mark.timeout(180)
def test_l12_nothing_is_lost_or_wrong_where_a_tenth_of_all_requests_fails(loop: str, tmp_path: Path) -> None:
    assert measured("L12", loop, tmp_path)["corrupted"].value == 0


@pytest.mark.timeout(180)
def test_l13_what_is_killed_is_gone_on_with(loop: str, tmp_path: Path) -> None:
    measured("L13", loop, tmp_path)


@pytest.mark.timeout(180)
def test_l14_the_loop_gives_way_while_a_blob_moves_and_passwords_are_hashed(loop: str, tmp_path: Path) -> None:
    measured("L14", loop, tmp_path)


@pytest.mark.timeout(180)
def test_l17_the_registry_over_a_directory_takes_many_pushes_at_once_in_little_memory(
    loop: str, tmp_path: Path
) -> None:
    assert measured("L17", loop, tmp_path)["pushes that failed"].value == 0


@pytest.mark.timeout(180)
def test_l15_what_goes_on_for_long_fails_nothing_and_keeps_no_files_open(loop: str, tmp_path: Path) -> None:
    assert measured("L15", loop, tmp_path)["operations that failed"].value == 0


@pytest.mark.timeout(180)
def test_l16_a_large_layout_is_opened_and_cared_for_in_little_memory(loop: str, tmp_path: Path) -> None:
    assert measured("L16", loop, tmp_path)["RSS of the process after gc"].value <= 64

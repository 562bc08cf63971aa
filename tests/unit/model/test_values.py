from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING, TypeVar

import pytest

from ocidist import Challenge, Descriptor, Digest, Hasher, Manifest, PushResult, Tag, UsageError, build_artifact
from ocidist.model.builder import EMPTY_DESCRIPTOR
from ocidist.wire.link import parse_links

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
LAYER = Descriptor.of(b"layer", "application/x")


def pickled(value: T) -> T:
    found: T = pickle.loads(pickle.dumps(value))  # noqa: S301 -- its own
    return found


@pytest.mark.parametrize(
    "change",
    [
        "it['a'] = 'b'",
        "del it['k']",
        "it.update(a='b')",
        "it.setdefault('a', 'b')",
        "it.pop('k')",
        "it.popitem()",
        "it.clear()",
        "it |= {'a': 'b'}",
    ],
)
def test_what_a_frozen_value_maps_cannot_be_changed(change: str) -> None:
    value = Descriptor("a/b", LAYER.digest, 5, annotations={"k": "v"})
    with pytest.raises(TypeError, match="make a dict of it"):
        exec(change, {"it": value.annotations})  # noqa: S102 -- the statements are those above
    assert value.annotations == {"k": "v"}


def test_the_empty_descriptor_that_everybody_shares_stays_empty() -> None:
    with pytest.raises(TypeError):
        EMPTY_DESCRIPTOR.annotations["mine"] = "alone"  # type: ignore[index]  # that is the point
    assert EMPTY_DESCRIPTOR.annotations == {}


def test_mappings_of_values_are_dumped_pickled_and_copied_like_dictionaries() -> None:
    value = Descriptor("a/b", LAYER.digest, 5, annotations={"k": "v"}, extra={"new": {"x": [1]}})
    assert json.dumps(value.annotations) == '{"k": "v"}'
    assert repr(value.annotations) == "{'k': 'v'}"
    assert {**value.annotations, "a": "b"} == {"k": "v", "a": "b"}
    for twin in (pickled(value), copy.copy(value), copy.deepcopy(value)):
        assert twin == value
        assert hash(twin) == hash(value)
        with pytest.raises(TypeError):
            twin.annotations["a"] = "b"  # type: ignore[index]  # that is the point


def test_a_manifest_that_was_read_is_pickled_and_copied() -> None:
    manifest = build_artifact("application/x", [LAYER], subject=LAYER, annotations={"k": "v"})
    manifest.parse()
    for twin in (pickled(manifest), copy.deepcopy(manifest)):
        assert twin == manifest
        assert twin.parse() == manifest.parse()
    assert Manifest.of(manifest.data).as_referrer() == manifest.as_referrer()


def test_a_descriptor_shows_how_much_it_embeds_and_not_what() -> None:
    value = Descriptor("a/b", Digest.of(b"z" * 5000), 5000, data=b"z" * 5000)
    assert "data=<5000 bytes>" in repr(value)
    assert "data=None" in repr(LAYER)


def test_results_can_be_put_in_a_set() -> None:
    result = PushResult(LAYER, (), {Tag("v1"): UsageError("no")})
    assert len({result, copy.copy(result)}) == 1


def test_a_challenge_can_be_kept_in_a_cache_of_another_process() -> None:
    challenge = Challenge("Bearer", {"Realm": "https://auth.example/token"})
    assert pickled(challenge) == challenge
    assert copy.deepcopy(challenge).realm == "https://auth.example/token"


def test_a_link_can_be_pickled() -> None:
    [link] = parse_links(['</v2/x>; rel="next"'])
    assert pickled(link) == link


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_hasher_copied_by_the_copy_module_goes_its_own_way(duplicate: Callable[[Hasher], Hasher]) -> None:
    first = Hasher()
    first.update(b"a")
    second = duplicate(first)
    second.update(b"b")
    assert (first.digest(), first.size) == (Digest.of(b"a"), 1)
    assert (second.digest(), second.size) == (Digest.of(b"ab"), 2)

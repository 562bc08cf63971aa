from __future__ import annotations

import pytest

from ocidist.model import mediatype
from ocidist.model.mediatype import DEFAULT_ACCEPT, MANIFEST_TYPES, bare, manifest_accept


def test_the_default_accept_names_every_manifest_type_in_one_header() -> None:
    assert manifest_accept() == DEFAULT_ACCEPT
    assert DEFAULT_ACCEPT.split(", ") == list(MANIFEST_TYPES)


def test_schema_1_is_never_asked_for_by_default() -> None:
    assert mediatype.DOCKER_SCHEMA1 not in DEFAULT_ACCEPT
    assert mediatype.DOCKER_SCHEMA1_SIGNED not in DEFAULT_ACCEPT


def test_types_named_by_the_caller_are_joined_in_their_order() -> None:
    assert manifest_accept("application/b", "application/a") == "application/b, application/a"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("Application/JSON ;charset=utf-8", "application/json"),
        ("\tapplication/json ", "application/json"),
        ("", ""),
        ("; charset=utf-8", ""),
    ],
)
def test_bare_drops_parameters_and_case(header: str, expected: str) -> None:
    assert bare(header) == expected

"""A suite without any event loop. What it tests is urllib; a real one has a program of its own in its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    from ocidist.testing import BoundContent, LoopbackRegistry


def test_a_program_pulls_by_tag(oci_registry: LoopbackRegistry, oci_content: BoundContent) -> None:
    app = oci_content.image("app", tags=["v1"]).push("demo/app")["app"]
    with urlopen(f"{oci_registry.url}/v2/demo/app/manifests/v1") as answer:  # noqa: S310 -- the registry's own URL
        assert answer.headers["Docker-Content-Digest"] == app.digest
    assert [str(request) for request in oci_registry.requests] == ["GET /v2/demo/app/manifests/v1 -> 200"]


@pytest.mark.parametrize("turn", range(2))
def test_every_registry_is_empty_at_the_beginning(oci_registry: LoopbackRegistry, turn: int) -> None:
    with urlopen(f"{oci_registry.url}/v2/_catalog") as answer:  # noqa: S310 -- see above
        assert json.load(answer) == {"repositories": []}
    oci_registry.add(f"demo/{turn}", {"images": {"app": {"tags": ["v1"]}}})


@pytest.mark.oci_registry(auth=("ci", "s3cret"))
def test_a_registry_asks_who_somebody_is(oci_registry: LoopbackRegistry) -> None:
    asking = Request(f"{oci_registry.url}/v2/", headers={"Authorization": "Basic Y2k6czNjcmV0"})  # noqa: S310 -- see above
    with urlopen(asking) as answer:  # noqa: S310 -- see above
        assert answer.status == 200

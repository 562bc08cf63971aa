"""end-12a, end-12b: listing referrers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import client_for, next_page, pages, push_image, put_manifest, refusal, sha256
from tests.peers import images
from tests.peers.images import Content, Image

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.peers.peer import Peer

SUBJECT = images.image()
SBOM = images.artifact(SUBJECT, "application/vnd.example.sbom")
NOTE = images.artifact(SUBJECT, "application/vnd.example.note")


async def test_referrers_are_listed_as_an_index(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_image(http, fresh_name, SUBJECT)
    await push_image(http, fresh_name, SBOM)
    response = await http.get(f"/v2/{fresh_name}/referrers/{SUBJECT.digest}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    assert "OCI-Filters-Applied" not in response.headers
    expected = SBOM.manifest.descriptor | {"artifactType": "application/vnd.example.sbom"}
    assert response.json() == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [expected],
    }


async def test_type_and_annotations_come_from_the_referrer(http: httpx.AsyncClient, fresh_name: str) -> None:
    subject = SUBJECT.manifest.descriptor
    image = images.image("linux/arm64", fields={"subject": subject, "annotations": {"org.example.k": "v"}})
    index = images.index((), fields={"subject": subject})
    typed = images.index((), fields={"subject": subject, "artifactType": "application/x.index"})
    for each in (image, index, typed):
        await push_image(http, fresh_name, each)
    listed = (await http.get(f"/v2/{fresh_name}/referrers/{SUBJECT.digest}")).json()["manifests"]
    found = {entry["digest"]: entry for entry in listed}
    assert found[image.digest]["artifactType"] == images.OCI_CONFIG
    assert found[image.digest]["annotations"] == {"org.example.k": "v"}
    assert "artifactType" not in found[index.digest]
    assert found[typed.digest]["artifactType"] == "application/x.index"


@pytest.mark.parametrize("query", ["", "?artifactType=application/x"])
async def test_nothing_refers_to_what_is_unknown(http: httpx.AsyncClient, fresh_name: str, query: str) -> None:
    for _ in range(2):
        response = await http.get(f"/v2/{fresh_name}/referrers/{sha256(b'unknown')}{query}")
        assert response.status_code == 200
        assert response.json()["manifests"] == []
        await push_image(http, fresh_name, SUBJECT)


@pytest.mark.parametrize("digest", ["sha256:abc", "v1", "sha256:" + "g" * 64])
async def test_a_malformed_digest_is_refused(http: httpx.AsyncClient, fresh_name: str, digest: str) -> None:
    assert refusal(await http.get(f"/v2/{fresh_name}/referrers/{digest}")) == (400, "DIGEST_INVALID")


async def test_a_filter_is_applied_and_says_so(http: httpx.AsyncClient, fresh_name: str) -> None:
    for each in (SBOM, NOTE):
        await push_image(http, fresh_name, each)
    target = f"/v2/{fresh_name}/referrers/{SUBJECT.digest}"
    for wanted, expected in (
        ("application/vnd.example.sbom", [SBOM.digest]),
        ("application/vnd.example.note", [NOTE.digest]),
        ("application/vnd.example.none", []),
    ):
        response = await http.get(target, params={"artifactType": wanted})
        assert response.headers["OCI-Filters-Applied"] == "artifactType"
        assert [entry["digest"] for entry in response.json()["manifests"]] == expected
    unfiltered = await http.get(target, params={"artifactType": ""})
    assert len(unfiltered.json()["manifests"]) == 2
    assert "OCI-Filters-Applied" not in unfiltered.headers


async def test_a_deleted_referrer_is_listed_no_more(http: httpx.AsyncClient, fresh_name: str) -> None:
    for each in (SBOM, NOTE):
        await push_image(http, fresh_name, each)
    await http.delete(f"/v2/{fresh_name}/manifests/{SBOM.digest}")
    listed = (await http.get(f"/v2/{fresh_name}/referrers/{SUBJECT.digest}")).json()["manifests"]
    assert [entry["digest"] for entry in listed] == [NOTE.digest]


def _indexes(count: int, padding: int = 0) -> dict[str, Image]:
    """Return so many referrers that need no blobs."""
    made = {}
    for number in range(count):
        value = {
            "schemaVersion": 2,
            "mediaType": images.OCI_INDEX,
            "artifactType": f"application/x.{number % 2}",
            "manifests": [],
            "subject": SUBJECT.manifest.descriptor,
            "annotations": {"n": str(number), "padding": "x" * padding},
        }
        image = Image(Content(json.dumps(value).encode(), images.OCI_INDEX))
        made[image.digest] = image
    return made


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("query", ["", "?artifactType=application%2Fx.0"])
async def test_links_lead_through_all_pages(start: Callable[..., Peer], size: int, query: str) -> None:
    made = _indexes(20)
    async with client_for(start(referrers_page=size).origin) as http:
        for image in made.values():
            assert (await put_manifest(http, "a", image.digest, image)).status_code == 201
        found = await pages(http, f"/v2/a/referrers/{SUBJECT.digest}{query}", "manifests")
    wanted = [digest for number, digest in enumerate(made) if not query or number % 2 == 0]
    assert [entry["digest"] for page in found for entry in page] == sorted(wanted)
    assert len(found) == len(wanted) if size == 1 else 1 < len(found) < len(wanted)


async def test_a_page_stays_below_what_clients_read(http: httpx.AsyncClient, fresh_name: str) -> None:
    made = _indexes(5, padding=1024 * 1024)
    for image in made.values():
        assert (await put_manifest(http, fresh_name, image.digest, image)).status_code == 201
    target: str | None = f"/v2/{fresh_name}/referrers/{SUBJECT.digest}"
    seen = []
    while target is not None:
        response = await http.get(target)
        assert len(response.content) <= 4 * 1024 * 1024
        seen += [entry["digest"] for entry in response.json()["manifests"]]
        target = next_page(response)
    assert seen == sorted(made)


async def test_a_filter_may_have_a_plus_sign_that_nobody_escaped(http: httpx.AsyncClient, fresh_name: str) -> None:
    referrer = images.image(fields={"artifactType": "application/spdx+json", "subject": SUBJECT.manifest.descriptor})
    await push_image(http, fresh_name, referrer)
    for query in ("application/spdx+json", "application%2Fspdx%2Bjson"):
        response = await http.get(f"/v2/{fresh_name}/referrers/{SUBJECT.digest}?artifactType={query}")
        assert [entry["digest"] for entry in response.json()["manifests"]] == [referrer.digest]

"""Every kind of content a registry is asked to hold: pushed, listed, pulled, referred to and deleted again."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import push_blob, refusal, sha256
from tests.peers import images
from tests.peers.images import Content, Image

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

EMPTY = Content(b"{}", "application/vnd.oci.empty.v1+json")
MISSING = {"mediaType": images.OCI_MANIFEST, "digest": sha256(b"never pushed"), "size": 12}


def _manifest(config: Content, *layers: Content, **fields: object) -> Image:
    value = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "config": config.descriptor,
        "layers": [each.descriptor for each in layers],
        **fields,
    }
    return Image(Content(json.dumps(value).encode(), images.OCI_MANIFEST), (config, *layers))


def _index(*children: Image, **fields: object) -> Image:
    entries = [child.manifest.descriptor for child in children]
    value = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": entries, **fields}
    return Image(Content(json.dumps(value).encode(), images.OCI_INDEX), children=children)


def _with_data() -> Image:
    layer = Content(b"within the manifest too", "text/plain")
    inline = {**layer.descriptor, "data": base64.b64encode(layer.data).decode()}
    made = _manifest(EMPTY, artifactType="application/vnd.example.inline", layers=[inline])
    return Image(made.manifest, (EMPTY, layer))


def _not_distributed() -> Image:
    own = images.layer({"file": b"ours"})
    kinds = [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ]
    foreign = [
        {"mediaType": kind, "digest": sha256(kind.encode()), "size": 123456, "urls": ["https://store.example.com/x"]}
        for kind in kinds
    ]
    made = _manifest(EMPTY, layers=[*foreign, own.descriptor])
    return Image(made.manifest, (EMPTY, own))


CONTENTS: dict[str, Callable[[], Image]] = {
    "image": images.image,
    "docker": lambda: images.image(docker=True),
    "docker-list": lambda: images.index(docker=True),
    "without-media-type": lambda: images.image(fields={"mediaType": None}),
    "no-layers": lambda: images.image(layers=()),
    "empty-layer": lambda: _manifest(EMPTY, Content(b"", "application/octet-stream")),
    "same-layer-twice": lambda: _manifest(EMPTY, EMPTY, EMPTY),
    "artifact": lambda: _manifest(EMPTY, EMPTY, artifactType="application/vnd.example.nothing"),
    "artifact-by-config": lambda: _manifest(Content(b"{}", "application/vnd.example.config+json")),
    "index": images.index,
    "empty-index": _index,
    "nested-index": lambda: _index(_index(images.image("linux/arm64")), images.index()),
    "artifact-index": lambda: _index(images.image(), artifactType="application/vnd.example.bundle"),
    "data-field": _with_data,
    "not-distributed-layers": _not_distributed,
    "custom-fields": lambda: images.index(fields={"org.example.new": {"x": [1, None, 1.5, "\u00fc"]}}),
    "large-manifest": lambda: images.image(fields={"annotations": {f"n{i}": "A" * 10_000 for i in range(390)}}),
}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", CONTENTS)
async def test_content_is_kept_and_deleted_as_it_was_pushed(
    http: httpx.AsyncClient, fresh_name: str, kind: str, algorithm: str
) -> None:
    image = CONTENTS[kind]()
    root = f"/v2/{fresh_name}"

    def digest_of(data: bytes) -> str:
        return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"

    for blob in image.all_blobs:
        await push_blob(http, fresh_name, blob.data)
    for each in image.walk():
        # What refers to the children says sha256, so they have that name besides.
        for digest in {each.digest, digest_of(each.manifest.data)}:
            pushed = await http.put(
                f"{root}/manifests/{digest}",
                params={"tag": ["v1", "v2"]} if each is image else {},
                content=each.manifest.data,
                headers={"Content-Type": each.manifest.media_type},
            )
            assert pushed.status_code == 201
            assert pushed.headers["Docker-Content-Digest"] == digest
            assert (await http.get(pushed.headers["Location"])).content == each.manifest.data
    assert (await http.get(f"{root}/tags/list")).json()["tags"] == ["v1", "v2"]
    digest = digest_of(image.manifest.data)
    for reference in (digest, image.digest):
        for method in ("HEAD", "GET"):
            found = await http.request(method, f"{root}/manifests/{reference}")
            assert found.status_code == 200
            assert found.headers["Content-Type"] == image.manifest.media_type
            assert found.headers["Content-Length"] == str(len(image.manifest.data))
            assert found.headers["Docker-Content-Digest"] == reference
    assert (await http.get(f"{root}/manifests/v1")).content == image.manifest.data
    for reference in {digest, image.digest}:
        assert (await http.delete(f"{root}/manifests/{reference}")).status_code == 202
    for reference in (digest, image.digest, "v1", "v2"):
        assert (await http.head(f"{root}/manifests/{reference}")).status_code == 404
    assert (await http.get(f"{root}/tags/list")).json()["tags"] == []
    for blob in image.all_blobs:
        assert (await http.delete(f"{root}/blobs/{blob.digest}")).status_code == 202
        assert (await http.head(f"{root}/blobs/{blob.digest}")).status_code == 404


async def test_referrers_of_every_kind_are_listed_in_whatever_order_things_are_pushed(
    http: httpx.AsyncClient, fresh_name: str
) -> None:
    subject = images.image()
    common: dict[str, object] = {"subject": subject.manifest.descriptor}

    def marked(name: str) -> dict[str, object]:
        return {**common, "annotations": {"org.example.name": name}}

    config = Content(b"{}", "application/vnd.example.a")
    made = {
        "by-config": (_manifest(config, EMPTY, **marked("by-config")), "application/vnd.example.a"),
        "empty-type": (_manifest(config, artifactType="", **marked("empty-type")), "application/vnd.example.a"),
        "by-type": (_manifest(EMPTY, artifactType="application/vnd.example.b", **marked("by-type")), None),
        "index": (_index(artifactType="application/vnd.example.b", **marked("index")), None),
        "untyped-index": (_index(**marked("untyped-index")), ""),
    }
    wanted = {name: kind if kind is not None else "application/vnd.example.b" for name, (_, kind) in made.items()}
    await push_blob(http, fresh_name, b"{}")
    for number, (image, _) in enumerate(made.values()):
        if number == 2:
            for blob in subject.all_blobs:
                await push_blob(http, fresh_name, blob.data)
            assert (await _put(http, fresh_name, subject)).status_code == 201
        pushed = await _put(http, fresh_name, image)
        assert pushed.headers["OCI-Subject"] == subject.digest
    elsewhere = _manifest(EMPTY, subject=MISSING)
    assert (await _put(http, fresh_name, elsewhere)).headers["OCI-Subject"] == MISSING["digest"]
    for kind in (None, "application/vnd.example.a", "application/vnd.example.b"):
        query = {} if kind is None else {"artifactType": kind}
        listed = await http.get(f"/v2/{fresh_name}/referrers/{subject.digest}", params=query)
        entries = {each["annotations"]["org.example.name"]: each for each in listed.json()["manifests"]}
        assert set(entries) == {name for name, found in wanted.items() if kind in {None, found}}
        assert len(entries) == len(listed.json()["manifests"])
        for name, entry in entries.items():
            assert entry.get("artifactType", "") == wanted[name]
            assert {key: entry[key] for key in ("mediaType", "digest", "size")} == made[name][0].manifest.descriptor
    listed = await http.get(f"/v2/{fresh_name}/referrers/{MISSING['digest']}")
    assert [each["digest"] for each in listed.json()["manifests"]] == [elsewhere.digest]


async def test_what_a_manifest_names_may_be_deleted_before_it(http: httpx.AsyncClient, fresh_name: str) -> None:
    index = images.index()
    for blob in index.all_blobs:
        await push_blob(http, fresh_name, blob.data)
    for each in index.walk():
        assert (await _put(http, fresh_name, each)).status_code == 201
    child = index.children[0]
    assert (await http.delete(f"/v2/{fresh_name}/manifests/{child.digest}")).status_code == 202
    assert (await http.delete(f"/v2/{fresh_name}/blobs/{child.blobs[0].digest}")).status_code == 202
    assert (await http.get(f"/v2/{fresh_name}/manifests/{index.digest}")).content == index.manifest.data
    for image in (index, child):
        assert refusal(await _put(http, fresh_name, image)) == (400, "MANIFEST_BLOB_UNKNOWN")


async def test_a_manifest_with_another_digest_is_refused(http: httpx.AsyncClient, fresh_name: str) -> None:
    await push_blob(http, fresh_name, b"{}")
    image = _manifest(EMPTY)
    for digest, data in ((image.digest, image.manifest.data + b"  "), ("sha256:baddigeststring", image.manifest.data)):
        headers = {"Content-Type": images.OCI_MANIFEST}
        pushed = await http.put(f"/v2/{fresh_name}/manifests/{digest}", content=data, headers=headers)
        assert refusal(pushed) == (400, "DIGEST_INVALID")
        assert (await http.get(f"/v2/{fresh_name}/manifests/{digest}")).status_code in {400, 404}


async def _put(http: httpx.AsyncClient, name: str, image: Image) -> httpx.Response:
    headers = {"Content-Type": image.manifest.media_type}
    return await http.put(f"/v2/{name}/manifests/{image.digest}", content=image.manifest.data, headers=headers)

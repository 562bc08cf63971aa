from __future__ import annotations

import json

import pytest

from ocidist.errors import MalformedManifestError
from ocidist.model.digest import Digest
from ocidist.model.manifest import Manifest, sniff
from ocidist.model.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
)

DIGEST = str(Digest.of(b""))
CUSTOM = "application/vnd.acme.manifest+json"


def descriptor(media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 0}


IMAGE: dict[str, object] = {"schemaVersion": 2, "config": descriptor(OCI_CONFIG), "layers": []}
DOCKER_IMAGE = IMAGE | {"config": descriptor(DOCKER_CONFIG)}
INDEX: dict[str, object] = {"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST)]}
LIST: dict[str, object] = {"schemaVersion": 2, "manifests": [descriptor(DOCKER_MANIFEST)]}
SCHEMA1: dict[str, object] = {"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []}

GENERIC = [
    None,
    "",
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON",
    "text/plain",
    "text/plain; charset=utf-8",
    "application/octet-stream",
    "binary/octet-stream",
    "; charset=utf-8",
]
BODIES = [
    (IMAGE, OCI_MANIFEST),
    (DOCKER_IMAGE, DOCKER_MANIFEST),
    (INDEX, OCI_INDEX),
    (LIST, DOCKER_LIST),
    ({"schemaVersion": 2, "manifests": []}, OCI_INDEX),
    ({"schemaVersion": 2, "manifests": None}, OCI_INDEX),
    (SCHEMA1, DOCKER_SCHEMA1),
    (SCHEMA1 | {"signatures": [{}]}, DOCKER_SCHEMA1_SIGNED),
    ({"blobs": [], "subject": descriptor(OCI_MANIFEST)}, OCI_ARTIFACT),
    (IMAGE | {"mediaType": OCI_MANIFEST}, OCI_MANIFEST),
    (DOCKER_IMAGE | {"mediaType": OCI_MANIFEST}, OCI_MANIFEST),
    (IMAGE | {"mediaType": DOCKER_MANIFEST}, DOCKER_MANIFEST),
    (LIST | {"mediaType": OCI_INDEX}, OCI_INDEX),
    (INDEX | {"mediaType": DOCKER_LIST}, DOCKER_LIST),
    (IMAGE | {"mediaType": CUSTOM}, CUSTOM),
    ({"mediaType": CUSTOM, "anything": 1}, CUSTOM),
    (IMAGE | {"mediaType": ""}, OCI_MANIFEST),
    (IMAGE | {"mediaType": None}, OCI_MANIFEST),
]


@pytest.mark.parametrize("header", GENERIC)
@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_q59_a_header_that_says_nothing_leaves_the_decision_to_the_body(
    header: str | None, body: dict[str, object], expected: str
) -> None:
    assert sniff(json.dumps(body).encode(), header) == expected


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (OCI_MANIFEST, IMAGE),
        (OCI_MANIFEST, DOCKER_IMAGE),
        (DOCKER_MANIFEST, IMAGE),
        (OCI_INDEX, LIST),
        (DOCKER_LIST, INDEX),
        (DOCKER_SCHEMA1, SCHEMA1),
        (DOCKER_SCHEMA1_SIGNED, SCHEMA1),
        (OCI_MANIFEST, IMAGE | {"mediaType": OCI_MANIFEST}),
        (CUSTOM, IMAGE),
        (CUSTOM, {"anything": 1}),
    ],
)
def test_q59_a_header_with_parameters_agrees_with_the_body(header: str, body: dict[str, object]) -> None:
    for value in (header, f"{header}; charset=utf-8", header.upper()):
        assert sniff(json.dumps(body).encode(), value) == header


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (OCI_MANIFEST, IMAGE | {"mediaType": DOCKER_MANIFEST}),
        (DOCKER_MANIFEST, IMAGE | {"mediaType": OCI_MANIFEST}),
        (OCI_INDEX, IMAGE | {"mediaType": OCI_MANIFEST}),
        (OCI_MANIFEST, INDEX | {"mediaType": OCI_INDEX}),
        (CUSTOM, IMAGE | {"mediaType": OCI_MANIFEST}),
        (OCI_MANIFEST, IMAGE | {"mediaType": CUSTOM}),
    ],
)
def test_q59_a_conflict_between_header_and_media_type_is_refused(header: str, body: dict[str, object]) -> None:
    with pytest.raises(MalformedManifestError, match=r"came as .* but calls itself"):
        sniff(json.dumps(body).encode(), header)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (OCI_MANIFEST, INDEX),
        (DOCKER_MANIFEST, LIST),
        (OCI_INDEX, IMAGE),
        (DOCKER_LIST, DOCKER_IMAGE),
        (OCI_MANIFEST, SCHEMA1),
        (DOCKER_SCHEMA1, IMAGE),
        (OCI_ARTIFACT, IMAGE),
        (None, INDEX | {"mediaType": OCI_MANIFEST}),
        (None, IMAGE | {"mediaType": OCI_INDEX}),
        ("application/json", SCHEMA1 | {"mediaType": OCI_INDEX}),
    ],
)
def test_t19_a_type_that_its_fields_contradict_is_refused(header: str | None, body: dict[str, object]) -> None:
    with pytest.raises(MalformedManifestError, match="but has the fields of"):
        sniff(json.dumps(body).encode(), header)


@pytest.mark.parametrize("header", [OCI_MANIFEST, OCI_INDEX, DOCKER_LIST, DOCKER_SCHEMA1])
def test_t19_a_manifest_type_without_its_fields_is_refused(header: str) -> None:
    for text in (b"{}", b'{"schemaVersion":2}', b'{"errors":[]}'):
        with pytest.raises(MalformedManifestError, match="none of its fields"):
            sniff(text, header)


@pytest.mark.parametrize(
    "body",
    [
        IMAGE | {"manifests": []},
        INDEX | {"layers": []},
        INDEX | {"config": descriptor(OCI_CONFIG)},
        INDEX | {"layers": None},
        IMAGE | {"fsLayers": []},
        IMAGE | {"history": []},
        INDEX | {"fsLayers": []},
        IMAGE | {"blobs": []},
    ],
)
@pytest.mark.parametrize("header", [None, OCI_MANIFEST, OCI_INDEX, CUSTOM])
def test_t19_a_body_with_the_fields_of_two_formats_is_refused(header: str | None, body: dict[str, object]) -> None:
    with pytest.raises(MalformedManifestError, match="fields of several formats"):
        sniff(json.dumps(body).encode(), header)


@pytest.mark.parametrize(
    "key", ["Manifests", "MANIFESTS", "manifest\u017f", "Layers", "Config", "MediaType", "Subject", "FSLayers"]
)
def test_t19_a_field_that_only_some_readers_recognise_is_refused(key: str) -> None:
    with pytest.raises(MalformedManifestError, match="to some readers only"):
        sniff(json.dumps(IMAGE | {key: []}).encode(), OCI_MANIFEST)


@pytest.mark.parametrize(
    "text",
    [
        '{"schemaVersion":2,"manifests":[],"manifests":[]}',
        '{"schemaVersion":2,"mediaType":"a/b","mediaType":"a/c","manifests":[]}',
        '{"schemaVersion":2,"manifests":[{"digest":"sha256:a","digest":"sha256:b"}]}',
        r'{"schemaVersion":2,"manifests":[],"\u006danifests":[]}',
        '{"schemaVersion":2,"manifests":[],"annotations":{"a":"1","a":"2"}}',
    ],
)
def test_t19_duplicate_keys_are_refused(text: str) -> None:
    with pytest.raises(MalformedManifestError, match="appears twice"):
        sniff(text.encode(), OCI_INDEX)


def test_t19_a_byte_order_mark_is_refused() -> None:
    with pytest.raises(MalformedManifestError, match="byte order mark"):
        sniff(b"\xef\xbb\xbf" + json.dumps(IMAGE).encode(), OCI_MANIFEST)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"schemaVersion":' + b"1" * 5000 + b"}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":1e999}',
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"<html></html>",
        b"\xff\xfe{",
        b'{"layers":',
    ],
    ids=lambda data: ascii(data[:20]),
)
def test_t34_hostile_json_is_a_malformed_manifest_and_nothing_else(data: bytes) -> None:
    for header in (None, OCI_MANIFEST, CUSTOM):
        with pytest.raises(MalformedManifestError):
            sniff(data, header)


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "text/html; charset=utf-8",
        "image/png",
        "garbage",
        "application/",
        "application/x\r\ny: z",
        "application/json, application/json",
        "a" * 100_000,
    ],
)
def test_a_content_type_no_manifest_has_is_refused(header: str) -> None:
    with pytest.raises(MalformedManifestError, match="is not the content type of a manifest") as raised:
        sniff(json.dumps(IMAGE).encode(), header)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "stated", [5, True, [], {}, "text/html", "x", "application/a\r\nb: c", "application/json; a=b" * 50]
)
def test_a_media_type_no_manifest_has_is_refused(stated: object) -> None:
    with pytest.raises(MalformedManifestError, match="mediaType"):
        sniff(json.dumps(IMAGE | {"mediaType": stated}).encode(), None)


def test_json_that_is_no_manifest_is_refused() -> None:
    for body in ({}, {"errors": [{"code": "DENIED"}]}, {"token": "x"}, {"schemaVersion": 2}):
        with pytest.raises(MalformedManifestError, match="neither layers nor manifests"):
            Manifest.of(json.dumps(body).encode())

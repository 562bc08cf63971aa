from __future__ import annotations

import json
import pickle

import attrs
import pytest

from ocidist.errors import (
    DigestMismatchError,
    DigestUnsupportedError,
    InvalidDigestError,
    MalformedManifestError,
    UsageError,
)
from ocidist.model import manifest as module
from ocidist.model.builder import build_artifact, build_image, build_index
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.manifest import ImageIndex, ImageManifest, Manifest, Schema1View, media_types, register
from ocidist.model.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)
from ocidist.model.platform import Platform

CONFIG = Descriptor.of(b"{}", OCI_CONFIG)
LAYERS = [Descriptor.of(data, OCI_LAYER_GZIP) for data in (b"base", b"top layer")]
SUBJECT = Descriptor.of(b"subject", OCI_MANIFEST)


def raw(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


IMAGE: dict[str, object] = {"schemaVersion": 2, "config": raw(CONFIG), "layers": [raw(layer) for layer in LAYERS]}


def test_a_manifest_is_its_bytes_and_what_follows_from_them() -> None:
    data = json.dumps(IMAGE).encode()
    manifest = Manifest.of(data)
    assert manifest.data == data
    assert (manifest.media_type, manifest.digest, manifest.size) == (OCI_MANIFEST, Digest.of(data), len(data))
    assert manifest.descriptor == Descriptor(OCI_MANIFEST, Digest.of(data), len(data))
    assert str(data) not in repr(manifest)


ODD = {
    "spaces": b'  { "schemaVersion" : 2 ,\t"manifests" : [ ] }  ',
    "crlf": b'{\r\n  "schemaVersion": 2,\r\n  "manifests": []\r\n}\r\n',
    "order": b'{"manifests":[],"schemaVersion":2}',
    "escapes": rb'{"schemaVersion":2,"manifests":[],"annotations":{"\u0061":"\u00e9\/"}}',
    "unknown": b'{"schemaVersion":2,"manifests":[],"x":1.50e0,"y":[{"z":null}]}',
    "nulls": b'{"schemaVersion":2,"manifests":[],"annotations":null,"subject":null}',
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
def test_t19_bytes_are_kept_verbatim_however_odd_their_json_is(data: bytes) -> None:
    manifest = Manifest.of(data, OCI_INDEX)
    manifest.parse()
    assert manifest.data == data
    assert manifest.digest == Digest.of(data)


def test_t16_bytes_are_checked_with_the_algorithm_of_the_digest_that_was_asked_for() -> None:
    data = json.dumps(IMAGE).encode()
    for algorithm in ("sha256", "sha512"):
        wanted = Digest.of(data, algorithm)
        assert Manifest.of(data, expected=wanted).digest == wanted
        assert Manifest.of(data, expected=str(wanted)).digest == wanted


def test_t16_another_valid_manifest_is_not_the_one_that_was_asked_for() -> None:
    other = json.dumps(IMAGE | {"layers": []}).encode()
    with pytest.raises(DigestMismatchError) as raised:
        Manifest.of(other, OCI_MANIFEST, expected=Digest.of(json.dumps(IMAGE).encode()))
    assert raised.value.actual == Digest.of(other)


def test_t16_the_digest_is_checked_before_the_json_is_read() -> None:
    with pytest.raises(DigestMismatchError):
        Manifest.of(b"[" * 100_000, expected=Digest.of(b"other"))


def test_t18_a_manifest_asked_for_by_a_digest_nobody_can_check_is_refused() -> None:
    with pytest.raises(DigestUnsupportedError):
        Manifest.of(json.dumps(IMAGE).encode(), expected="md5:d41d8cd98f00b204e9800998ecf8427e")


def test_t17_an_expected_digest_must_be_one() -> None:
    with pytest.raises(InvalidDigestError):
        Manifest.of(json.dumps(IMAGE).encode(), expected="sha256:")


def test_an_image_is_read_field_by_field() -> None:
    body = IMAGE | {
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x",
        "subject": raw(SUBJECT),
        "annotations": {"a": "1"},
        "future": [1],
    }
    view = Manifest.of(json.dumps(body).encode(), OCI_MANIFEST).parse()
    assert view == ImageManifest(
        media_type=OCI_MANIFEST,
        artifact_type="application/x",
        config=CONFIG,
        layers=LAYERS,
        subject=SUBJECT,
        annotations={"a": "1"},
        extra={"future": [1]},
    )
    assert view.total_size == 4 + 9


def test_an_index_is_read_field_by_field() -> None:
    entry = {**raw(SUBJECT), "platform": {"os": "linux", "architecture": "amd64"}}
    body = {"schemaVersion": 2, "manifests": [entry], "annotations": {}, "subject": raw(SUBJECT)}
    view = Manifest.of(json.dumps(body).encode()).parse()
    assert view == ImageIndex(manifests=[attrs.evolve(SUBJECT, platform=Platform("linux", "amd64"))], subject=SUBJECT)


@pytest.mark.parametrize(
    ("media_type", "config", "view"),
    [(OCI_MANIFEST, OCI_CONFIG, ImageManifest), (DOCKER_MANIFEST, DOCKER_CONFIG, ImageManifest)],
)
def test_docker_and_oci_share_their_views(media_type: str, config: str, view: type) -> None:
    body = IMAGE | {"mediaType": media_type, "config": raw(Descriptor.of(b"{}", config))}
    assert isinstance(Manifest.of(json.dumps(body).encode(), media_type).parse(), view)
    index = {"schemaVersion": 2, "manifests": []}
    for index_type in (OCI_INDEX, DOCKER_LIST):
        assert isinstance(Manifest.of(json.dumps(index).encode(), index_type).parse(), ImageIndex)


def test_schema_1_is_recognised_and_read() -> None:
    body = {
        "schemaVersion": 1,
        "name": "library/old",
        "tag": "v1",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": str(LAYERS[0].digest)}, {"blobSum": "tarsum.v1+sha256:abc"}],
        "history": [{"v1Compatibility": '{"id":"x"}'}],
        "signatures": [{"signature": "x"}],
    }
    manifest = Manifest.of(json.dumps(body).encode(), DOCKER_SCHEMA1_SIGNED)
    view = manifest.parse()
    assert isinstance(view, Schema1View)
    assert [layer.blob_sum for layer in view.fs_layers] == [LAYERS[0].digest, "tarsum.v1+sha256:abc"]
    assert view.history[0].v1_compatibility == '{"id":"x"}'
    assert (view.name, view.tag, view.architecture) == ("library/old", "v1", "amd64")
    assert view.extra == {"signatures": [{"signature": "x"}]}
    assert (manifest.references, manifest.subject, manifest.artifact_type, manifest.annotations) == ((), None, None, {})


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in IMAGE.items() if name != key}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (without("config"), "'config' is missing"),
        (without("layers"), "'layers' is missing"),
        (IMAGE | {"config": None}, "'config' is missing"),
        (IMAGE | {"config": []}, "config: expected an object, got list"),
        (IMAGE | {"layers": {}}, "layers: expected an array, got dict"),
        (IMAGE | {"layers": [raw(CONFIG), None]}, r"layers\[1\]: expected an object, got null"),
        (IMAGE | {"layers": [raw(CONFIG) | {"size": "10"}]}, r"layers\[0\]\.size: expected an integer, got str"),
        (IMAGE | {"layers": [raw(CONFIG) | {"size": -1}]}, r"layers\[0\]: a size is an integer"),
        (
            IMAGE | {"layers": [raw(CONFIG) | {"digest": "sha256:x"}]},
            r"layers\[0\]\.digest: 'sha256:x' is not a digest",
        ),
        (IMAGE | {"subject": "sha256:x"}, "subject: expected an object, got str"),
        (IMAGE | {"annotations": {"a": 5}}, "annotations: expected a string, got int"),
        (IMAGE | {"artifactType": 5}, "artifactType: expected a string, got int"),
        (IMAGE | {"schemaVersion": 1}, "schemaVersion is not 2"),
        (IMAGE | {"schemaVersion": 3}, "schemaVersion is not 2"),
        (IMAGE | {"schemaVersion": "2"}, "schemaVersion: expected an integer, got str"),
        (IMAGE | {"schemaVersion": True}, "schemaVersion: expected an integer, got bool"),
        (IMAGE | {"schemaVersion": 2.0}, "schemaVersion: expected an integer, got float"),
        ({"manifests": [{}]}, r"manifests\[0\]: 'digest' is missing"),
        ({"manifests": 5}, "manifests: expected an array, got int"),
        ({"schemaVersion": 2, "fsLayers": []}, "schemaVersion is not 1"),
        ({"schemaVersion": 1, "fsLayers": [{"blobSum": "../x"}]}, r"fsLayers\[0\]\.blobSum: "),
    ],
)
def test_a_malformed_manifest_is_refused_with_the_place(body: dict[str, object], message: str) -> None:
    manifest = Manifest.of(json.dumps(body).encode())
    for read in (manifest.parse, lambda: manifest.subject, lambda: manifest.references, manifest.as_referrer):
        with pytest.raises(MalformedManifestError, match=f"the manifest is malformed: {message}"):
            read()


@pytest.mark.parametrize("size", ["4611686018427387904", "-1", "1.5", "true", '"10"', "1" + "0" * 5000])
def test_t30_sizes_in_a_manifest_are_numbers_and_allocate_nothing(size: str) -> None:
    data = json.dumps(IMAGE | {"layers": [raw(CONFIG) | {"size": "?"}]}).replace('"?"', size).encode()
    if size == str(2**62):
        assert Manifest.of(data).references[-1].size == 2**62
    else:
        with pytest.raises(MalformedManifestError):
            Manifest.of(data).parse()


def test_lists_that_go_writes_as_null_are_empty() -> None:
    view = Manifest.of(json.dumps(IMAGE | {"layers": None}).encode()).parse()
    assert isinstance(view, ImageManifest)
    assert view.layers == ()
    index = Manifest.of(b'{"schemaVersion":2,"manifests":null}').parse()
    assert isinstance(index, ImageIndex)
    assert index.manifests == ()


def test_references_are_the_config_and_the_layers_or_the_manifests_and_never_the_subject() -> None:
    image = build_image(CONFIG, LAYERS, subject=SUBJECT)
    assert image.references == (CONFIG, *LAYERS)
    assert build_index([SUBJECT], subject=SUBJECT).references == (SUBJECT,)


def test_the_artifact_type_falls_back_to_the_config_of_an_image() -> None:
    assert build_image(CONFIG, LAYERS).artifact_type == OCI_CONFIG
    assert build_artifact("application/x").artifact_type == "application/x"
    assert Manifest.of(json.dumps(IMAGE | {"artifactType": ""}).encode()).artifact_type == OCI_CONFIG
    assert build_index([]).artifact_type is None
    assert build_index([], artifact_type="application/x").artifact_type == "application/x"


def test_a_referrers_entry_carries_artifact_type_and_annotations() -> None:
    manifest = build_artifact("application/x", subject=SUBJECT, annotations={"a": "1"})
    assert manifest.as_referrer() == attrs.evolve(
        manifest.descriptor, artifact_type="application/x", annotations={"a": "1"}
    )
    assert build_image(CONFIG, LAYERS, subject=SUBJECT).as_referrer().artifact_type == OCI_CONFIG
    assert build_index([], subject=SUBJECT).as_referrer().artifact_type is None


def test_select_takes_the_first_entry_that_fits_best() -> None:
    def entry(platform: str | None, name: str) -> Descriptor:
        descriptor = Descriptor.of(name.encode(), OCI_MANIFEST)
        return attrs.evolve(descriptor, platform=Platform.parse(platform) if platform else None)

    nothing, v6, amd64, v7, arm64, again = entries = [
        entry(None, "no platform"),
        entry("linux/arm/v6", "v6"),
        entry("linux/amd64", "amd64"),
        entry("linux/arm/v7", "v7"),
        entry("linux/arm64/v8", "arm64"),
        entry("linux/amd64", "amd64 again"),
    ]
    index = ImageIndex(manifests=entries)
    assert index.select("linux/amd64") == amd64
    assert index.select("linux/amd64/v3") == amd64
    assert index.select("linux/arm") == v7
    assert index.select("linux/arm/v8") == v7
    assert index.select("linux/arm/v6") == v6
    assert index.select("linux/arm/v5") is None
    assert index.select(Platform("linux", "arm64")) == arm64
    assert index.select("windows/amd64") is None
    assert {nothing, again}.isdisjoint({index.select("linux/amd64"), index.select("linux/arm64")})
    with pytest.raises(UsageError):
        index.select("linux")


def test_a_view_is_made_once() -> None:
    manifest = build_image(CONFIG, LAYERS)
    assert manifest.parse() is manifest.parse()


def test_a_manifest_is_a_value() -> None:
    manifest = build_image(CONFIG, LAYERS)
    manifest.parse()
    assert pickle.loads(pickle.dumps(manifest)) == manifest  # noqa: S301 -- our own
    assert len({manifest, build_image(CONFIG, LAYERS)}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        manifest.data = b""  # type: ignore[misc]  # that it cannot be set is the point


def test_a_mutable_buffer_is_copied() -> None:
    buffer = bytearray(b'{"schemaVersion":2,"manifests":[]}')
    manifest = Manifest.of(buffer)
    buffer[:] = b"x" * len(buffer)
    assert manifest.digest == Digest.of(manifest.data)


def test_a_type_without_a_parser_is_carried_but_not_read() -> None:
    manifest = Manifest.of(b'{"anything":1}', "application/vnd.acme.unheard+json")
    assert (manifest.subject, manifest.artifact_type, manifest.annotations, manifest.references) == (None, None, {}, ())
    with pytest.raises(UsageError, match=r"no parser is registered for application/vnd\.acme\.unheard"):
        manifest.parse()


def test_a_registered_parser_reads_its_media_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_parsers", dict(module._parsers))
    view = ImageIndex(manifests=[SUBJECT], annotations={"a": "1"})
    register("application/vnd.acme.list+json", lambda _: view)
    manifest = Manifest.of(b'{"anything":1}', "application/vnd.acme.list+json")
    assert manifest.parse() is view
    assert manifest.references == (SUBJECT,)
    assert "application/vnd.acme.list+json" in media_types()


@pytest.mark.parametrize("media_type", [*MANIFEST_TYPES, DOCKER_SCHEMA1])
def test_a_media_type_has_one_parser(media_type: str) -> None:
    assert media_type in media_types()
    with pytest.raises(UsageError, match="has a parser already"):
        register(media_type, lambda _: ImageIndex(manifests=[]))


def test_only_media_types_can_be_registered() -> None:
    with pytest.raises(UsageError, match="is not a media type"):
        register("json", lambda _: ImageIndex(manifests=[]))

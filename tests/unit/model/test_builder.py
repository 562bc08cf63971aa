from __future__ import annotations

import json

import pytest

from ocidist.errors import UsageError
from ocidist.model.builder import EMPTY_BLOB, EMPTY_DESCRIPTOR, build_artifact, build_image, build_index
from ocidist.model.descriptor import Descriptor
from ocidist.model.manifest import ImageManifest, Manifest
from ocidist.model.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)

CONFIG = Descriptor.of(b"{}", OCI_CONFIG)
DOCKER = Descriptor.of(b"{}", DOCKER_CONFIG)
LAYER = Descriptor.of(b"layer", OCI_LAYER)
SUBJECT = Descriptor.of(b"subject", OCI_MANIFEST)


@pytest.mark.parametrize(
    ("manifest", "media_type"),
    [
        (build_image(CONFIG, [LAYER]), OCI_MANIFEST),
        (build_image(DOCKER, [LAYER], media_type=DOCKER_MANIFEST), DOCKER_MANIFEST),
        (build_index([SUBJECT]), OCI_INDEX),
        (build_index([SUBJECT], media_type=DOCKER_LIST), DOCKER_LIST),
        (build_index([]), OCI_INDEX),
        (build_artifact("application/x"), OCI_MANIFEST),
    ],
)
def test_q60_every_built_manifest_states_its_media_type(manifest: Manifest, media_type: str) -> None:
    body = json.loads(manifest.data)
    assert list(body)[:2] == ["schemaVersion", "mediaType"]
    assert (body["schemaVersion"], body["mediaType"], manifest.media_type) == (2, media_type, media_type)


def test_an_image_is_written_compactly_in_the_order_of_the_specification() -> None:
    manifest = build_image(
        CONFIG, [LAYER], annotations={"b": "2", "a": "é"}, subject=SUBJECT, artifact_type="application/x"
    )
    assert b" " not in manifest.data
    body = json.loads(manifest.data)
    assert list(body) == [
        "schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations",
    ]  # fmt: skip
    assert list(body["annotations"].items()) == [("a", "é"), ("b", "2")]
    assert body["config"] == {"mediaType": OCI_CONFIG, "digest": str(CONFIG.digest), "size": 2}


def test_equal_arguments_give_equal_bytes() -> None:
    one = build_image(CONFIG, [LAYER], annotations={"a": "1", "b": "2"})
    two = build_image(CONFIG, iter([LAYER]), annotations={"b": "2", "a": "1"})
    assert one == two


def test_what_was_built_reads_back() -> None:
    manifest = build_image(CONFIG, [LAYER], annotations={"a": "1"}, subject=SUBJECT, artifact_type="application/x")
    assert manifest.parse() == ImageManifest(
        media_type=OCI_MANIFEST,
        artifact_type="application/x",
        config=CONFIG,
        layers=[LAYER],
        subject=SUBJECT,
        annotations={"a": "1"},
    )


def test_the_empty_descriptor_is_the_one_of_the_specification() -> None:
    assert EMPTY_BLOB == b"{}"
    assert EMPTY_DESCRIPTOR.digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert (EMPTY_DESCRIPTOR.media_type, EMPTY_DESCRIPTOR.size) == (OCI_EMPTY, 2)


def test_an_artifact_without_content_has_an_empty_config_and_one_empty_layer() -> None:
    view = build_artifact("application/x", subject=SUBJECT).parse()
    assert isinstance(view, ImageManifest)
    assert (view.config, view.layers, view.subject) == (EMPTY_DESCRIPTOR, (EMPTY_DESCRIPTOR,), SUBJECT)


def test_an_artifact_keeps_the_config_and_the_layers_it_is_given() -> None:
    view = build_artifact("application/x", [LAYER, LAYER], config=CONFIG, annotations={"a": "1"}).parse()
    assert isinstance(view, ImageManifest)
    assert (view.config, view.layers, view.annotations) == (CONFIG, (LAYER, LAYER), {"a": "1"})


def test_an_empty_config_needs_an_artifact_type() -> None:
    with pytest.raises(UsageError, match="needs an artifact_type"):
        build_image(EMPTY_DESCRIPTOR, [LAYER])


@pytest.mark.parametrize("artifact_type", ["", "x", "a/b\r\nc", "a b/c"])
def test_an_artifact_type_is_a_media_type(artifact_type: str) -> None:
    with pytest.raises(UsageError):
        build_artifact(artifact_type)
    if artifact_type:
        with pytest.raises(UsageError, match="is not a media type"):
            build_index([], artifact_type=artifact_type)


def test_docker_manifests_have_no_subject_annotations_or_artifact_type() -> None:
    for arguments in ({"subject": SUBJECT}, {"annotations": {"a": "1"}}, {"artifact_type": "application/x"}):
        with pytest.raises(UsageError, match=r"use application/vnd\.oci"):
            build_image(DOCKER, [], media_type=DOCKER_MANIFEST, **arguments)
        with pytest.raises(UsageError, match=r"use application/vnd\.oci"):
            build_index([], media_type=DOCKER_LIST, **arguments)


@pytest.mark.parametrize("media_type", [OCI_INDEX, "application/json", "", "application/x"])
def test_an_image_is_built_only_as_an_image(media_type: str) -> None:
    with pytest.raises(UsageError, match="cannot build"):
        build_image(CONFIG, [LAYER], media_type=media_type)


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, "application/json"])
def test_an_index_is_built_only_as_an_index(media_type: str) -> None:
    with pytest.raises(UsageError, match="cannot build"):
        build_index([], media_type=media_type)


def test_wrong_types_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="expected descriptors"):
        build_image(CONFIG, [str(LAYER.digest)])  # type: ignore[list-item]  # a wrong argument is the point
    with pytest.raises(UsageError, match="annotations map strings to strings"):
        build_index([], annotations={"a": 1})  # type: ignore[dict-item]  # a wrong argument is the point
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        build_index([], annotations={"a": "\ud800"})

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from ocidist import Digest, MalformedManifestError, Manifest, Schema1View
from ocidist.model.schema1 import V1Image, signed_payload

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = b'{\n   "schemaVersion": 1,\n   "name": "a/b",\n   "tag": "v1",\n   "fsLayers": [],\n   "history": []\n}'


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signature(length: int | object = len(PAYLOAD) - 2, tail: bytes = PAYLOAD[-2:]) -> dict[str, object]:
    header = {"formatLength": length, "formatTail": encode(tail), "time": "2026-01-01T00:00:00Z"}
    return {"header": {}, "signature": "AAAA", "protected": encode(json.dumps(header).encode())}


def signed(*signatures: object, payload: bytes = PAYLOAD) -> bytes:
    """Return a manifest as docker-registry writes it: the signatures stand before the payload's last brace."""
    return payload[:-2] + b',\n   "signatures": ' + json.dumps(signatures).encode() + payload[-2:]


@pytest.mark.parametrize("count", [1, 3])
def test_q57_the_payload_of_a_signed_manifest_is_what_was_signed_byte_for_byte(count: int) -> None:
    assert signed_payload(signed(*[signature()] * count)) == PAYLOAD


WRONG: dict[str, Callable[[], bytes]] = {
    "no signatures": lambda: PAYLOAD,
    "no signature": signed,
    "not a list": lambda: PAYLOAD[:-2] + b',"signatures": {}' + PAYLOAD[-2:],
    "no object": lambda: signed("x"),
    "nothing protected": lambda: signed({}),
    "no base64": lambda: signed({"protected": "***"}),
    "no ASCII": lambda: signed({"protected": "é"}),
    "a tail of no ASCII": lambda: signed({"protected": encode('{"formatLength": 1, "formatTail": "é"}'.encode())}),
    "no JSON": lambda: signed({"protected": encode(b"nonsense")}),
    "no length": lambda: signed({"protected": encode(b'{"formatTail": "Cn0"}')}),
    "no tail": lambda: signed({"protected": encode(b'{"formatLength": 1}')}),
    "negative": lambda: signed(signature(-1)),
    "beyond the end": lambda: signed(signature(10_000)),
    "true": lambda: signed(signature(length=True)),
    "disagreeing": lambda: signed(signature(), signature(tail=b" }")),
    "something else": lambda: signed(signature(tail=b',"x": 1}')),
    "unsigned field": lambda: signed(signature())[:-1] + b', "extra": 1}',
    "field twice": lambda: signed(signature())[:-1] + b', "tag": "v2"}',
    "another document": lambda: signed(signature(0, b'{"schemaVersion": 1}')),
    "not JSON": lambda: b"[" * 10_000,
}


@pytest.mark.parametrize("how", WRONG)
def test_q57_a_manifest_that_is_not_what_was_signed_is_malformed(how: str) -> None:
    with pytest.raises(MalformedManifestError):
        signed_payload(WRONG[how]())


# --- layers and history ----------------------------------------------------------------------------------------------

IDS = ["a" * 64, "b" * 64, "c" * 64]
SUMS = [Digest.of(text) for text in (b"a", b"b", b"c")]


def history(*changes: dict[str, object]) -> list[dict[str, object]]:
    """Return image JSONs, the base first, with changes for some."""
    made: list[dict[str, object]] = [{"id": ID, "parent": below} for ID, below in zip(IDS, ["", *IDS], strict=False)]
    return [image | change for image, change in zip(made, [*changes, {}, {}, {}], strict=False)]


def view(images: list[dict[str, object]], sums: list[Digest] = SUMS) -> Schema1View:
    """Return what a manifest of these images says."""
    document = {
        "schemaVersion": 1,
        "name": "a/b",
        "tag": "v1",
        "fsLayers": [{"blobSum": each} for each in reversed(sums)],
        "history": [{"v1Compatibility": json.dumps(image)} for image in reversed(images)],
    }
    found = Manifest.of(json.dumps(document).encode()).parse()
    assert isinstance(found, Schema1View)
    return found


def test_layers_come_with_their_images_the_base_first() -> None:
    command = {"container_config": {"Cmd": ["/bin/sh", "-c", "true"]}, "throwaway": True, "author": "me", "os": "linux"}
    layers = view(history({}, command)).v1_layers
    assert [layer.blob_sum for layer in layers] == SUMS
    assert [layer.image.id for layer in layers] == IDS
    assert [layer.image.parent for layer in layers] == [None, *IDS[:2]]
    assert layers[1].image.created_by == ("/bin/sh", "-c", "true")
    assert (layers[1].image.author, layers[1].image.os) == ("me", "linux")
    assert [layer.image.empty for layer in layers] == [False, True, False]
    assert json.loads(layers[0].image.text)["id"] == IDS[0]
    assert view([], []).v1_layers == ()


def test_an_image_that_is_written_down_twice_is_one() -> None:
    images = history()
    twice = [images[0], images[0], images[1], images[1], images[1], images[2]]
    sums = [SUMS[0], SUMS[2], SUMS[1], SUMS[0], SUMS[0], SUMS[2]]
    assert view(twice, sums).v1_layers == view(images).v1_layers


@pytest.mark.parametrize(
    ("images", "sums"),
    [
        (history(), SUMS[:2]),
        ([*history()[:2], {"id": IDS[0], "parent": IDS[1]}], SUMS),
        (history({"id": "x"}), SUMS),
        (history({"id": "A" * 64}), SUMS),
        (history({"parent": IDS[2]}), SUMS),
        (history({}, {"parent": IDS[2]}), SUMS),
        (history({}, {"parent": 1}), SUMS),
        (history({"author": 1}), SUMS),
        (history({"container_config": {"Cmd": [1]}}), SUMS),
        (history({"container_config": {"Cmd": {"a": "b"}}}), SUMS),
    ],
)
def test_images_that_are_no_chain_are_malformed(images: list[dict[str, object]], sums: list[Digest]) -> None:
    found = view(images, sums)
    with pytest.raises(MalformedManifestError):
        found.v1_layers  # noqa: B018 -- reading it is the point


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"id":1}', '{"id":"' + IDS[0] + '","id":"' + IDS[1] + '"}', "[" * 10_000]
)
def test_an_image_json_that_is_none_is_malformed(text: str) -> None:
    with pytest.raises(MalformedManifestError):
        V1Image.parse(text)

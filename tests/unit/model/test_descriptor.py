from __future__ import annotations

import base64
import json
import pickle

import attrs
import pytest

from ocidist.errors import (
    DigestMismatchError,
    DigestUnsupportedError,
    InvalidDigestError,
    ProtocolError,
    SizeMismatchError,
    UsageError,
)
from ocidist.model import converter
from ocidist.model.converter import MalformedValueError
from ocidist.model.descriptor import MAX_MEDIA_TYPE_LENGTH, MAX_SIZE, Descriptor
from ocidist.model.digest import Digest
from ocidist.model.platform import Platform

DIGEST = Digest.of(b"layer")


def test_a_descriptor_of_bytes_states_their_digest_and_size() -> None:
    assert Descriptor.of(b"layer", "application/x") == Descriptor("application/x", DIGEST, 5)
    assert Descriptor.of(memoryview(b"layer")).media_type == "application/octet-stream"
    assert Descriptor.of(b"layer", algorithm="sha512").digest == Digest.of(b"layer", "sha512")
    with pytest.raises(DigestUnsupportedError):
        Descriptor.of(b"layer", algorithm="md5")


@pytest.mark.parametrize("size", [0, 1, 2**62, MAX_SIZE - 1, MAX_SIZE])
def test_t30_a_size_may_be_any_63_bit_number_and_nothing_is_allocated_for_it(size: int) -> None:
    assert Descriptor("a/b", DIGEST, size).size == size


@pytest.mark.parametrize(
    "size",
    [
        -1,
        MAX_SIZE + 1,
        2**64,
        pytest.param(10**5000, id="5001 digits"),
        True,
        False,
        1.5,
        1.0,
        "10",
        b"1",
        None,
        float("inf"),
    ],
)
def test_t30_a_size_that_is_no_63_bit_number_is_refused(size: object) -> None:
    with pytest.raises(UsageError, match="a size is an integer from 0"):
        Descriptor("a/b", DIGEST, size)  # type: ignore[arg-type]  # a wrong argument is the point


SIZES = {
    "negative": "-1",
    "minus zero point": "-0.0",
    "fraction": "1.5",
    "whole fraction": "1.0",
    "exponent": "1e3",
    "true": "true",
    "string": '"10"',
    "null": "null",
    "array": "[1]",
    "2**63": str(2**63),
    "100 digits": "9" * 100,
    "5000 digits": "1" + "0" * 5000,
    "1e400": "1e400",
    "NaN": "NaN",
}


@pytest.mark.parametrize("text", SIZES.values(), ids=SIZES.keys())
def test_t30_a_size_in_json_must_be_a_plain_integer_in_range(text: str) -> None:
    data = f'{{"mediaType":"a/b","digest":"{DIGEST}","size":{text}}}'
    with pytest.raises((MalformedValueError, ProtocolError)):
        converter.load(data, Descriptor, what="descriptor")


@pytest.mark.parametrize("digest", ["", "sha256:abc", f"{DIGEST}\n", f"{DIGEST}?x=y", "../../x"])
def test_t17_a_descriptor_takes_only_digests(digest: str) -> None:
    with pytest.raises(InvalidDigestError):
        Descriptor("a/b", digest, 0)
    with pytest.raises(MalformedValueError, match="digest: "):
        converter.structure({"mediaType": "a/b", "digest": digest, "size": 0}, Descriptor)


@pytest.mark.parametrize(
    "media_type",
    [
        "a/b",
        "application/vnd.acme.x.v1+json",
        "Text/Plain",
        "text/plain; charset=utf-8",
        "a/!#$&-^_.+",
        "a/" + "b" * (MAX_MEDIA_TYPE_LENGTH - 2),
    ],
)
def test_media_types_nobody_knows_are_kept(media_type: str) -> None:
    assert Descriptor(media_type, DIGEST, 0).media_type == media_type


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "application",
        "/",
        "a/",
        "/b",
        "a/b/c",
        "a/b\r\nX-Evil: 1",
        "a/b\n",
        "a/b\x00",
        "a b/c",
        "a/b c",
        "ä/b",
        "a/é",
        "a/b, c/d",
        "a/" + "b" * (MAX_MEDIA_TYPE_LENGTH - 1),
        "a/b; x=\r\n",
        None,
        5,
    ],
)
def test_t39_a_media_type_that_cannot_stand_in_a_header_is_refused(media_type: str) -> None:
    with pytest.raises(UsageError, match="media type"):
        Descriptor(media_type, DIGEST, 0)


def test_verify_looks_at_the_size_before_the_digest() -> None:
    descriptor = Descriptor.of(b"layer")
    descriptor.verify(b"layer")
    with pytest.raises(SizeMismatchError) as raised:
        descriptor.verify(b"layers")
    assert (raised.value.expected, raised.value.actual) == (5, 6)
    with pytest.raises(DigestMismatchError):
        descriptor.verify(b"Layer")


def test_t16_embedded_content_is_given_out_only_if_it_is_the_content_described() -> None:
    descriptor = Descriptor.of(b"layer")
    assert descriptor.embedded() is None
    assert attrs.evolve(descriptor, data=b"layer").embedded() == b"layer"
    with pytest.raises(DigestMismatchError):
        attrs.evolve(descriptor, data=b"Layer").embedded()
    with pytest.raises(SizeMismatchError):
        attrs.evolve(descriptor, data=b"").embedded()


FULL = {
    "mediaType": "application/vnd.acme.image+json",
    "digest": str(DIGEST),
    "size": 5,
    "urls": ["https://cdn.example/a", "https://cdn.example/b"],
    "annotations": {"a": "1", "z": "é"},
    "data": base64.b64encode(b"layer").decode(),
    "platform": {
        "os": "windows",
        "architecture": "amd64",
        "variant": "v1",
        "os.version": "10.0.1",
        "os.features": ["win32k"],
        "features": ["sse4"],
    },
    "artifactType": "application/x",
    "newField": {"deep": [1, None, {"x": True}]},
    "another-field": None,
}


def test_every_field_is_read_and_what_is_unknown_is_kept_and_written_back() -> None:
    descriptor = converter.load(json.dumps(FULL), Descriptor, what="descriptor")
    assert descriptor.platform == Platform(
        "windows", "amd64", "v1", "10.0.1", ("win32k",), extra={"features": ["sse4"]}
    )
    assert descriptor.data == b"layer"
    assert descriptor.urls == ("https://cdn.example/a", "https://cdn.example/b")
    assert descriptor.artifact_type == "application/x"
    assert descriptor.extra == {"newField": {"deep": [1, None, {"x": True}]}, "another-field": None}
    assert json.loads(converter.dump(descriptor)) == FULL


def test_what_is_absent_or_null_is_left_out_again() -> None:
    plain = {"mediaType": "a/b", "digest": str(DIGEST), "size": 0}
    nulls = dict.fromkeys(["urls", "annotations", "data", "platform", "artifactType"])
    assert converter.dump(converter.structure(plain | nulls, Descriptor)) == converter.dump(plain)


def test_a_field_named_like_ours_for_the_rest_is_kept_like_any_other() -> None:
    plain = {"mediaType": "a/b", "digest": str(DIGEST), "size": 0, "extra": {"extra": 1}}
    descriptor = converter.structure(plain, Descriptor)
    assert descriptor.extra == {"extra": {"extra": 1}}
    assert converter.unstructure(descriptor) == plain


def test_an_unknown_field_cannot_replace_a_known_one_on_the_way_out() -> None:
    descriptor = Descriptor("a/b", DIGEST, 1, extra={"size": 2, "mediaType": "x/y"})
    assert converter.unstructure(descriptor) == {"mediaType": "a/b", "digest": str(DIGEST), "size": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mediaType": 5}, "mediaType: expected a string, got int"),
        ({"mediaType": ""}, "'' is not a media type"),
        ({"mediaType": "a/b\r\nX: y"}, "is not a media type"),
        ({"digest": None}, "'digest' is missing"),
        ({"digest": 5}, "digest: expected a string, got int"),
        ({"size": True}, "size: expected an integer, got bool"),
        ({"urls": "https://cdn.example"}, "urls: expected an array, got str"),
        ({"urls": ["a", 5]}, r"urls\[1\]: expected a string, got int"),
        ({"annotations": []}, "annotations: expected an object, got list"),
        ({"annotations": {"a": 1}}, "annotations: expected a string, got int"),
        ({"annotations": {"a": None}}, "annotations: expected a string, got null"),
        ({"data": "not base64!"}, "data: embedded data is not base64"),
        ({"data": "bGF5ZXI"}, "data: embedded data is not base64"),
        ({"data": "bGF5\nZXI="}, "data: embedded data is not base64"),
        ({"data": "bGF5ZXé="}, "data: "),
        ({"platform": "linux/amd64"}, "platform: expected an object, got str"),
        ({"platform": {"os": "linux"}}, "platform: 'architecture' is missing"),
        (
            {"platform": {"os": "linux", "architecture": "x", "os.features": ["a", {}]}},
            r"platform\.os\.features\[1\]: ",
        ),
        ({"Digest": str(DIGEST)}, "'Digest' is 'digest' to some readers only"),
        ({"MEDIATYPE": "x/y"}, "to some readers only"),
        ({"\u017fize": 7}, "to some readers only"),
    ],
)
def test_a_malformed_descriptor_is_refused_with_the_place(change: dict[str, object], message: str) -> None:
    plain: dict[str, object] = {"mediaType": "a/b", "digest": str(DIGEST), "size": 0}
    with pytest.raises(MalformedValueError, match=message):
        converter.structure(plain | change, Descriptor)


@pytest.mark.parametrize("value", [None, [], "x", 5, True])
def test_a_descriptor_is_an_object(value: object) -> None:
    with pytest.raises(MalformedValueError, match="expected an object"):
        converter.structure(value, Descriptor)


@pytest.mark.parametrize(
    "arguments",
    [{"urls": "https://cdn.example"}, {"urls": [5]}, {"annotations": {"a": 1}}, {"annotations": {1: "a"}}],
)
def test_the_constructor_refuses_wrong_types_too(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Descriptor("a/b", DIGEST, 0, **arguments)  # type: ignore[arg-type]  # a wrong argument is the point


def test_descriptors_are_values() -> None:
    annotations = {"a": "1"}
    descriptor = Descriptor("a/b", DIGEST, 1, annotations=annotations, urls=["u"])
    annotations["a"] = "2"
    assert descriptor.annotations == {"a": "1"}
    assert descriptor.urls == ("u",)
    assert pickle.loads(pickle.dumps(descriptor)) == descriptor  # noqa: S301 -- our own
    assert len({descriptor, attrs.evolve(descriptor), attrs.evolve(descriptor, size=2)}) == 2

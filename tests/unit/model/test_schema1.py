from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from ocidist import MalformedManifestError
from ocidist.model.schema1 import signed_payload

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

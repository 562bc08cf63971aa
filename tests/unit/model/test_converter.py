from __future__ import annotations

import pytest

from ocidist.errors import ProtocolError, UsageError
from ocidist.model import converter
from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("media_type", "mediaType"),
        ("size", "size"),
        ("os_version", "os.version"),
        ("os_features", "os.features"),
        ("v1_compatibility", "v1Compatibility"),
        ("fs_layers", "fsLayers"),
    ],
)
def test_json_names_are_camel_case(field: str, name: str) -> None:
    assert converter.json_name(field) == name


def test_equal_values_have_equal_json() -> None:
    digest = Digest.of(b"")
    one = Descriptor("a/b", digest, 0, annotations={"a": "1", "b": "2"}, extra={"x": 1, "y": 2})
    two = Descriptor("a/b", digest, 0, annotations={"b": "2", "a": "1"}, extra={"y": 2, "x": 1})
    assert one == two
    assert converter.dump(one) == converter.dump(two)


def test_json_is_compact_utf8() -> None:
    descriptor = Descriptor("a/b", Digest("x:y"), 0, annotations={"é": "\U0001f600<&>"})
    assert converter.dump(descriptor) == (
        '{"mediaType":"a/b","digest":"x:y","size":0,"annotations":{"é":"\U0001f600<&>"}}'.encode()
    )


@pytest.mark.parametrize("extra", [{"a": "\ud800"}, {"\udfff": 1}, {"a": float("nan")}, {"a": float("inf")}])
def test_what_json_cannot_say_is_a_usage_error(extra: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        converter.dump(Descriptor("a/b", Digest("x:y"), 0, extra=extra))


def test_load_refuses_what_is_not_strict_json() -> None:
    with pytest.raises(ProtocolError, match="the descriptor is not valid JSON"):
        converter.load(b'{"size":1,"size":2}', Descriptor, what="descriptor")

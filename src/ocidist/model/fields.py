"""Converters that several values share: they copy what they are given and refuse wrong types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ocidist.errors import UsageError


def strings(values: Iterable[str]) -> tuple[str, ...]:
    """Return the values as a tuple.

    Raises:
        UsageError: One is not a string, or a single string stands where several belong.
    """
    found = () if isinstance(values, str) else tuple(values)
    if isinstance(values, str) or not all(isinstance(value, str) for value in found):
        msg = "expected several strings"
        raise UsageError(msg)
    return found


def string_map(values: Mapping[str, str]) -> Mapping[str, str]:
    """Return a copy of the mapping.

    Raises:
        UsageError: A key or value is not a string.

    Spec: image-spec, "Annotations", section "Rules".
    """
    copied = dict(values)
    if all(isinstance(text, str) for pair in copied.items() for text in pair):
        return copied
    msg = "annotations map strings to strings"
    raise UsageError(msg)


def unknown_fields(values: Mapping[str, object]) -> Mapping[str, object]:
    """Return a copy of the mapping: fields of a JSON object that its class does not know."""
    return dict(values)

"""What fields of several values share: a mapping that does not change, converters that copy what they are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeVar

from ocidist.errors import UsageError

K = TypeVar("K")
V = TypeVar("V")


class FrozenMap(dict[K, V]):
    """A dictionary that cannot be changed: values are shared, some of them by the whole process.

    It is a ``dict``, unlike ``MappingProxyType``, so that it can be pickled, copied and dumped as JSON.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[FrozenMap[K, V]], tuple[dict[K, V]]]:
        """Pickle and copy as a whole, not item by item."""
        return type(self), (dict(self),)


def _refuse(_self: object, *_args: object, **_options: object) -> NoReturn:
    msg = "this mapping belongs to a frozen value: make a dict of it to change it"
    raise TypeError(msg)


# Set from outside the class: no declaration fits all the forms that a dictionary's own methods have.
for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(FrozenMap, _name, _refuse)


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
    """Return a copy of the mapping, which does not change.

    Raises:
        UsageError: A key or value is not a string.

    Spec: image-spec, "Annotations", section "Rules".
    """
    copied = FrozenMap(values)
    if all(isinstance(text, str) for pair in copied.items() for text in pair):
        return copied
    msg = "annotations map strings to strings"
    raise UsageError(msg)


def unknown_fields(values: Mapping[str, object]) -> Mapping[str, object]:
    """Return a copy of the mapping, which does not change: fields of a JSON object that its class does not know."""
    return FrozenMap(values)

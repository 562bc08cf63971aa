"""The one converter between model values and JSON.

JSON names are camelCase; what a class does not know is kept in its ``extra`` and written back; what is absent is left
out. Nothing is coerced: a number where a string belongs is an error, not its spelling.

Importing this module loads cattrs; modules that parse import it inside their functions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override

from ocidist.errors import UsageError
from ocidist.model import strictjson
from ocidist.model.digest import Digest

T = TypeVar("T")

Hook: TypeAlias = Callable[[object, object], object]

_EXTRA: Final = "extra"
_UNCOMMON_NAMES = {"os_version": "os.version", "os_features": "os.features"}
# What Go writes as null when it means an empty list.
_NULLABLE = frozenset({"layers", "manifests", "blobs"})


class MalformedValueError(ValueError):
    """Raised when JSON is well formed but not what a class needs; callers turn it into the error of their layer.

    Attributes:
        reason: What is wrong.
        path: Where, from the outermost value in: ``layers[0].size``; empty for the value itself.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path

    def within(self, outer: str) -> MalformedValueError:
        """Return the same error seen from the value that holds this one."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        return MalformedValueError(self.reason, f"{outer}{dot}{self.path}")


def load(data: bytes | str, cls: type[T], *, what: str) -> T:
    """Read a value from JSON.

    Args:
        data: The document.
        cls: Class of the value: ``Descriptor``, ``Platform`` or a manifest's view.
        what: What it is, for the message.

    Raises:
        ProtocolError: The document is not strict JSON, see ``strictjson.loads``.
        MalformedValueError: It is, but not a ``cls``.
    """
    return structure(strictjson.loads(data, what=what, unique_keys=True), cls)


def structure(value: object, cls: type[T]) -> T:
    """Build a value from what ``strictjson.loads`` returned.

    Raises:
        MalformedValueError: Something is missing, or of the wrong type or form; the message says what and where.
    """
    return converter.structure(value, cls)


def unstructure(value: object) -> dict[str, object]:
    """Return a value as JSON names and JSON types, absent fields left out, unknown fields put back."""
    return cast("dict[str, object]", converter.unstructure(value))


def dump(value: object) -> bytes:
    """Write JSON: compact, UTF-8, in the order of the fields; the same value always gives the same bytes.

    Args:
        value: A model value, or what ``unstructure`` returned.

    Raises:
        UsageError: A string in it is not valid Unicode, or a number in it is not JSON.
    """
    try:
        text = json.dumps(converter.unstructure(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except ValueError as error:
        msg = f"cannot be written as JSON: {error}"
        raise UsageError(msg) from error


def json_name(field: str) -> str:
    """Return the JSON name of an attribute: ``media_type`` is ``mediaType``."""
    if field in _UNCOMMON_NAMES:
        return _UNCOMMON_NAMES[field]
    first, *rest = field.split("_")
    return first + "".join(part.capitalize() for part in rest)


# --- from JSON: strict, one hook for each type that occurs -----------------------------------------------------------


def _expected(what: str, value: object) -> MalformedValueError:
    return MalformedValueError(f"expected {what}, got {'null' if value is None else type(value).__name__}")


def _string(value: object, _: object) -> str:
    if isinstance(value, str):
        return value
    raise _expected("a string", value)


def _integer(value: object, _: object) -> int:
    if type(value) is int:
        return value
    raise _expected("an integer", value)


def _digest(value: object, _: object) -> Digest:
    return Digest(_string(value, str))


def _bytes(value: object, _: object) -> bytes:
    try:
        return base64.b64decode(_string(value, str), validate=True)
    except ValueError as error:
        msg = f"embedded data is not base64: {error}"
        raise MalformedValueError(msg) from None


def _mapping(value: object, cls: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _expected("an object", value)
    if get_args(cls)[1] is str:
        return {key: _string(entry, str) for key, entry in value.items()}
    return value


def _tuple(value: object, cls: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _expected("an array", value)
    item = cast("type[object]", get_args(cls)[0])
    return tuple(_item(entry, item, index) for index, entry in enumerate(value))


def _item(value: object, cls: type[object], index: int) -> object:
    try:
        return converter.structure(value, cls)
    except MalformedValueError as error:
        raise error.within(f"[{index}]") from None


def _class_hook(cls: type[attrs.AttrsInstance]) -> Hook:
    """Return the hook that builds an attrs class, keeping fields it does not know."""
    names = {field.name: json_name(field.name) for field in attrs.fields(cls) if field.name != _EXTRA}
    known = {name.casefold(): name for name in names.values()}
    needed = {names[field.name] for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    renames = {field: override(rename=name) for field, name in names.items()}
    build = make_dict_structure_fn(cls, converter, **renames)  # type: ignore[arg-type]  # its options are keywords too

    def hook(value: object, _: object) -> object:
        fields = _sort_out(_mapping(value, Mapping[str, object]), known)
        _check_needed(fields, needed)
        try:
            return build(fields, cls)
        except ClassValidationError as group:
            raise _first(group, names) from None

    return hook


def _first(group: ClassValidationError, names: Mapping[str, str]) -> MalformedValueError:
    by_field, of_whole = group.group_exceptions()
    if not by_field:
        return _reason(of_whole[0])
    error, note = by_field[0]
    return _reason(error).within(names.get(note.name, note.name))


def _reason(error: Exception) -> MalformedValueError:
    if isinstance(error, MalformedValueError):
        return error
    return MalformedValueError(error.message if isinstance(error, UsageError) else str(error))


def _sort_out(value: Mapping[str, object], known: Mapping[str, str]) -> dict[str, object]:
    # Only names of fields get into "found", so a stranger's "extra" ends up within ours.
    found: dict[str, object] = {}
    extra: dict[str, object] = {}
    for key, entry in value.items():
        name = known.get(key.casefold())
        if name is None:
            extra[key] = entry
        elif name != key:
            # Go's reader takes "Layers" for "layers". A manifest that two readers see differently is refused.
            msg = f"the field {key!r} is {name!r} to some readers only"
            raise MalformedValueError(msg)
        elif entry is not None:
            found[key] = entry
        elif key in _NULLABLE:
            found[key] = []
    found[_EXTRA] = extra
    return found


def _check_needed(fields: Mapping[str, object], needed: set[str]) -> None:
    missing = needed - fields.keys()
    if missing:
        msg = f"{min(missing)!r} is missing"
        raise MalformedValueError(msg)


# --- to JSON ---------------------------------------------------------------------------------------------------------


def _unstructure_class(value: attrs.AttrsInstance) -> dict[str, object]:
    fields: dict[str, object] = {}
    for field in attrs.fields(type(value)):
        entry = getattr(value, field.name)
        optional = field.default is not attrs.NOTHING
        if field.name != _EXTRA and not (optional and entry in (None, (), {})):
            fields[json_name(field.name)] = converter.unstructure(_sorted(entry))
    return fields | {key: entry for key, entry in _sorted(getattr(value, _EXTRA)).items() if key not in fields}


def _sorted(value: T) -> T:
    # Equal values have equal JSON, whatever order their mappings were filled in.
    return cast("T", dict(sorted(value.items()))) if isinstance(value, Mapping) else value


def _is(origin: object, cls: object) -> bool:
    return get_origin(cls) is origin


def _make() -> cattrs.Converter:
    made = cattrs.Converter()
    made.register_structure_hook(str, _string)
    made.register_structure_hook(int, _integer)
    made.register_structure_hook(bytes, _bytes)
    made.register_structure_hook(Digest, _digest)
    made.register_structure_hook_func(partial(_is, Mapping), _mapping)
    made.register_structure_hook_func(partial(_is, tuple), _tuple)
    made.register_structure_hook_factory(attrs.has, _class_hook)
    made.register_unstructure_hook_func(attrs.has, _unstructure_class)
    made.register_unstructure_hook(bytes, lambda data: base64.b64encode(data).decode())
    made.register_unstructure_hook(tuple, lambda values: [made.unstructure(value) for value in values])
    return made


converter: Final = _make()

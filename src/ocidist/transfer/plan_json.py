"""Copy options as plain values, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocidist.errors import UsageError
from ocidist.model.platform import Platform
from ocidist.transfer.options import CopyOptions, Referrers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FLAGS: Final = ("digest_tags", "foreign_layers", "force")


def options_to_json(options: CopyOptions) -> dict[str, object]:
    """Return what is copied along, as plain values; what is not asked for is left out."""
    found: dict[str, object] = {name: True for name in _FLAGS if getattr(options, name)}
    if options.platforms:
        found["platforms"] = [str(platform) for platform in options.platforms]
    if options.referrers is not None:
        found["referrers"] = {
            "depth": options.referrers.depth,
            "artifact_types": list(options.referrers.artifact_types),
        }
    return found


def options_from_json(value: object) -> CopyOptions:
    """Return the options that ``options_to_json`` wrote.

    Raises:
        UsageError: It did not write this.
    """
    fields = json_object(value, "options", (*_FLAGS, "platforms", "referrers"))
    referrers = None
    if "referrers" in fields:
        stated = json_object(fields["referrers"], "referrers", ("depth", "artifact_types"))
        referrers = Referrers(
            depth=typed(stated.get("depth", 3), int, "depth"),
            artifact_types=tuple(texts(stated.get("artifact_types", []), "artifact_types")),
        )
    platforms = tuple(Platform.parse(text) for text in texts(fields.get("platforms", []), "platforms"))
    flags = {name: typed(fields.get(name, False), bool, name) for name in _FLAGS}
    return CopyOptions(platforms=platforms, referrers=referrers, **flags)


# --- reading plain values --------------------------------------------------------------------------------------------


def typed(value: object, kind: type[Any], what: str) -> Any:  # noqa: ANN401 -- it is of the kind that was asked for
    """Return a value that is of a type, exactly.

    Raises:
        UsageError: It is of another.
    """
    if type(value) is kind:
        return value
    raise UsageError(f"{what} is no {kind.__name__} but {type(value).__name__}")


def texts(value: object, what: str) -> Sequence[str]:
    """Return a list of texts.

    Raises:
        UsageError: It is something else.
    """
    found: list[object] = typed(value, list, what)
    return [typed(each, str, what) for each in found]


def json_object(value: object, what: str, names: tuple[str, ...]) -> Mapping[str, object]:
    """Return an object with no other keys than these.

    Raises:
        UsageError: It is none, or has others.
    """
    found: dict[str, object] = typed(value, dict, what)
    unknown = sorted(found.keys() - set(names))
    if unknown:
        raise UsageError(f"{what} has {unknown[0][:80]!r}, which means nothing here")
    return found

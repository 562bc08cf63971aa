"""What names of places begin with, as skopeo has it: on this machine, or on a registry."""

from __future__ import annotations

from typing import Final

from ocidist.errors import InvalidReferenceError

LAYOUT: Final = "oci:"
ARCHIVE: Final = "oci-archive:"
DOCKER: Final = "docker://"
"""What may stand before what is on a registry."""

_PATHS: Final = ("/", "./", "../", "~")
# What skopeo copies from or to, and ocidist does not: the rest might pass for a repository's name.
_OTHERS: Final = ("containers-storage:", "dir:", "docker-archive:", "docker-daemon:", "ostree:", "sif:", "tarball:")
_SHOWN: Final = 200


def is_local(text: str) -> bool:
    """Return whether a text names a layout or an archive."""
    return text.startswith((LAYOUT, ARCHIVE))


def on_registry(text: str) -> str:
    """Return the reference in a text that names something on a registry, without what may stand before it.

    Raises:
        InvalidReferenceError: It is the path of something, or a place of a kind that is not known.
    """
    plain = text.removeprefix(DOCKER)
    if plain.startswith(_PATHS):
        layout = f"{LAYOUT}{plain[:_SHOWN]}"
        raise InvalidReferenceError(f"{plain[:_SHOWN]!r} names no repository: a layout in a directory is {layout!r}")
    if plain.startswith(_OTHERS):
        known = f"{LAYOUT}DIR, {ARCHIVE}FILE or HOST/REPOSITORY"
        raise InvalidReferenceError(f"places of the kind {plain.partition(':')[0]!r} are not known, only {known}")
    return plain


def check_path(path: str, text: str) -> None:
    """Raise if the path in the name of a layout or an archive cannot be meant.

    Args:
        path: The path.
        text: The whole name.

    Raises:
        InvalidReferenceError: There is none, or it is what helm calls a repository: ``oci://ghcr.io/acme/chart``.
    """
    if not path or "\0" in path:
        raise InvalidReferenceError(f"{text[:_SHOWN]!r} names no path")
    if path.startswith("//"):
        raise InvalidReferenceError(
            f"{text[:_SHOWN]!r} is ambiguous: what is on a registry has no {LAYOUT}// before it, and a layout is "
            f"{LAYOUT}DIR"
        )

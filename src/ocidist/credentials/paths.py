"""Where credentials are looked for, and in which order."""

from __future__ import annotations

import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class CredentialSource(enum.Enum):
    """A place where credentials may be.

    Attributes:
        DOCKER_AUTH_CONFIG: The environment variable, which holds the JSON of a ``config.json``.
        REGISTRY_AUTH_FILE: The file that this environment variable names.
        DOCKER_CONFIG: ``config.json`` in the directory that this environment variable names, else in ``~/.docker``.
        CONTAINERS_RUNTIME: Podman's ``containers/auth.json`` in ``$XDG_RUNTIME_DIR``; without that variable, on Linux,
            ``/run/containers/UID/auth.json``.
        CONTAINERS_CONFIG: ``containers/auth.json`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``.
        DOCKERCFG: ``~/.dockercfg``, from before Docker 1.7.
    """

    DOCKER_AUTH_CONFIG = "DOCKER_AUTH_CONFIG"
    REGISTRY_AUTH_FILE = "REGISTRY_AUTH_FILE"
    DOCKER_CONFIG = "DOCKER_CONFIG"
    CONTAINERS_RUNTIME = "XDG_RUNTIME_DIR"
    CONTAINERS_CONFIG = "XDG_CONFIG_HOME"
    DOCKERCFG = ".dockercfg"


SEARCH_ORDER: Final = (
    CredentialSource.DOCKER_AUTH_CONFIG,
    CredentialSource.REGISTRY_AUTH_FILE,
    CredentialSource.DOCKER_CONFIG,
    CredentialSource.CONTAINERS_RUNTIME,
    CredentialSource.CONTAINERS_CONFIG,
    CredentialSource.DOCKERCFG,
)
"""Where credentials are looked for, first things first. Podman and skopeo look into their own files before Docker's:
``DefaultCredentials(order=...)`` takes any other order, and any part of it."""


_NO_XDG = frozenset({"darwin", "win32"})


CONTAINERS_FILES: Final = "containers-auth.json"
"""What stands for the files among the ``credential-helpers`` of a ``registries.conf``."""


@attrs.frozen
class CredentialPlace:
    """A source in a given environment.

    Attributes:
        source: What it is; None for a file that was named by itself, and for a helper.
        path: The file, which need not exist; None for a variable that holds the credentials themselves.
        text: What that variable holds; not shown.
        named: Whether somebody has named it. Elsewhere nobody need have meant this user to find anything.
        helper: The name of a helper that is asked for every registry; None elsewhere.
    """

    source: CredentialSource | None
    path: Path | None = None
    text: str | None = attrs.field(default=None, repr=False)
    named: bool = attrs.field(default=True, kw_only=True)
    helper: str | None = attrs.field(default=None, kw_only=True)

    def __str__(self) -> str:
        """Return where to look for it: the file, the helper's program, or the variable."""
        if self.helper is not None:
            return f"docker-credential-{self.helper}"
        return str(self.path or (self.source and self.source.value))


def places(
    order: Iterable[CredentialSource] = SEARCH_ORDER,
    environ: Mapping[str, str] | None = None,
    helpers: Iterable[str] = (),
) -> tuple[CredentialPlace, ...]:
    """Return where the sources are in an environment; those that it does not have are left out. No file is looked at.

    Args:
        order: The sources, first things first.
        environ: Environment variables; None for those of the process.
        helpers: Helpers to ask for every registry; ``containers-auth.json`` among them is where the sources come. None
            at all are the sources alone.

    Raises:
        UsageError: The order holds something that is no source, or the helpers are one text.
    """
    environment = os.environ if environ is None else environ
    found: list[CredentialPlace] = []
    for source in order:
        if not isinstance(source, CredentialSource):
            raise UsageError("the order in which to look for credentials is made of members of CredentialSource")
        if (place := _place(source, environment)) is not None:
            found.append(place)
    if isinstance(helpers, str):
        raise UsageError("helpers is a collection of names, not one name")
    made: list[CredentialPlace] = []
    for helper in tuple(helpers) or (CONTAINERS_FILES,):
        made += found if helper == CONTAINERS_FILES else [CredentialPlace(None, helper=helper)]
    return tuple(dict.fromkeys(made))


def login_path(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the file that a login writes: ``$REGISTRY_AUTH_FILE``, else Docker's ``config.json``; None without a home.

    Args:
        environ: Environment variables; None for those of the process.
    """
    for place in places((CredentialSource.REGISTRY_AUTH_FILE, CredentialSource.DOCKER_CONFIG), environ):
        return place.path
    return None


def _place(source: CredentialSource, environ: Mapping[str, str]) -> CredentialPlace | None:
    if source is CredentialSource.DOCKER_AUTH_CONFIG:
        text = environ.get("DOCKER_AUTH_CONFIG", "")
        return CredentialPlace(source, text=text) if text.strip() else None
    path = _path(source, environ)
    # Sources are called by their variables, as far as they have any.
    return None if path is None else CredentialPlace(source, path, named=bool(environ.get(source.value)))


def _path(source: CredentialSource, environ: Mapping[str, str]) -> Path | None:
    match source:
        case CredentialSource.REGISTRY_AUTH_FILE:
            named = environ.get("REGISTRY_AUTH_FILE")
            return Path(named) if named else None
        case CredentialSource.DOCKER_CONFIG:
            named = environ.get("DOCKER_CONFIG")
            return Path(named, "config.json") if named else _in_home(environ, ".docker", "config.json")
        case CredentialSource.CONTAINERS_RUNTIME:
            runtime = _absolute(environ.get("XDG_RUNTIME_DIR"))
            if runtime is not None:
                return runtime / "containers" / "auth.json"
            return Path("/run/containers", str(os.getuid()), "auth.json") if sys.platform == "linux" else None
        case CredentialSource.CONTAINERS_CONFIG:
            config = None if sys.platform in _NO_XDG else _absolute(environ.get("XDG_CONFIG_HOME"))
            if config is not None:
                return config / "containers" / "auth.json"
            return _in_home(environ, ".config", "containers", "auth.json")
        case _:
            return _in_home(environ, ".dockercfg")


def _absolute(text: str | None) -> Path | None:
    # The XDG specification: "If an implementation encounters a relative path ... it should ignore it".
    return Path(text) if text and Path(text).is_absolute() else None


def _in_home(environ: Mapping[str, str], *parts: str) -> Path | None:
    home = environ.get("HOME")
    if home or environ is not os.environ:
        return Path(home, *parts) if home else None
    try:
        return Path.home().joinpath(*parts)
    except RuntimeError:
        # Nobody in particular, as in some containers: no user, no home.
        return None

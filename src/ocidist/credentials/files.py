"""Providers over credential files that change while a program runs.

They are asked for every request, so they answer from memory. Whether a file has changed is looked at in a worker
thread, at most once in ``RECHECK`` seconds; what a helper said is taken to hold for ``HELPER_TTL`` seconds.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import attrs

from ocidist._io.flight import SingleFlight
from ocidist.credentials.authfile import AuthFile, read_document
from ocidist.credentials.disk import is_out_of_reach, stamp_of
from ocidist.credentials.paths import SEARCH_ORDER, CredentialPlace, places
from ocidist.credentials.store import ANONYMOUS
from ocidist.errors import CredentialStoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocidist.credentials.disk import Stamp
    from ocidist.credentials.paths import CredentialSource
    from ocidist.credentials.store import Credential

RECHECK: Final = 1.0
"""Seconds during which a file is not looked at again."""

HELPER_TTL: Final = 60.0
"""Seconds for which the answer of a helper is kept."""

MAX_ANSWERS: Final = 4096
"""Most answers that are remembered; when there are more, all are looked up afresh."""

_log = logging.getLogger("ocidist.credentials")
_Key = tuple[str, str | None]


@attrs.frozen
class _Loaded:
    stamp: Stamp | None = None
    file: AuthFile | None = None
    problem: str | None = None

    async def get(self, host: str, repository: str | None) -> Credential:
        if self.file is None:
            raise CredentialStoreError(self.problem or "")
        return await self.file.get(host, repository=repository)


class FileCredentials:
    """A provider over credential files, asked one after the other; the first that has a credential counts.

    A file that does not exist is empty. One that appears, changes or goes is noticed within ``RECHECK`` seconds. One
    that cannot be read, or a helper that fails, fails the request that needs it rather than leaving it anonymous.

    Args:
        *paths: The files: ``config.json``, ``auth.json`` or ``.dockercfg``.
    """

    def __init__(self, *paths: str | Path) -> None:
        self._places: tuple[CredentialPlace, ...] = tuple(CredentialPlace(None, Path(path)) for path in paths)
        self._loaded: dict[CredentialPlace, _Loaded] = {}
        self._answers: dict[_Key, tuple[float, Credential]] = {}
        self._namespaces = False
        self._look_again = float("-inf")
        self._looks: SingleFlight[None] = SingleFlight()
        self._flights: SingleFlight[Credential] = SingleFlight()

    @property
    def places(self) -> tuple[CredentialPlace, ...]:
        """Where credentials are looked for, first things first, whether there is anything or not."""
        return self._places

    async def get(self, host: str, *, repository: str | None = None) -> Credential:
        """Return the credential for a registry, or ``ANONYMOUS``. Cancelling kills a helper that nobody else waits for.

        Raises:
            CredentialStoreError: A file cannot be read, a helper fails, or the entry that counts cannot be used.
            InvalidReferenceError: *host* is not a registry name.
        """
        now = time.monotonic()
        if now >= self._look_again:
            await self._looks.do("files", self._look)
        key = (host, repository if self._namespaces else None)
        until, answer = self._answers.get(key, _NONE)
        return answer if now < until else await self._flights.do(key, lambda: self._find(key))

    async def _look(self) -> None:
        fresh = await anyio.to_thread.run_sync(_read_changed, self._places, self._loaded)
        self._look_again = time.monotonic() + RECHECK
        if fresh != self._loaded:
            # A new dictionary: whoever is asking a helper just now must not leave an answer of yesterday here.
            self._loaded, self._answers = fresh, {}
            self._namespaces = any(loaded.file and loaded.file.has_namespaces for loaded in fresh.values())

    async def _find(self, key: _Key) -> Credential:
        host, repository = key
        until, answers = time.monotonic() + HELPER_TTL, self._answers
        found: Credential = ANONYMOUS
        failed: CredentialStoreError | None = None
        for place, loaded in self._loaded.items():
            try:
                found = await loaded.get(host, repository)
            except CredentialStoreError as error:
                if place.helper is None:
                    raise
                # It is asked for every registry, and some helpers fail for those that are not theirs.
                failed = failed or error
            if found != ANONYMOUS:
                break
        if found == ANONYMOUS and failed is not None:
            raise failed
        if len(answers) >= MAX_ANSWERS:
            answers.clear()
        answers[key] = (until, found)
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self._places))})"


class DefaultCredentials(FileCredentials):
    """The provider that finds what ``docker login``, ``podman login`` and their relatives have stored.

    ``Client()`` uses one when it is given no credentials, unless ``trust_env`` is off. The environment is read once,
    when this is made; files when they are first needed. A directory that no variable but ``HOME`` has led to, and that
    may not be looked into, has no credentials.

    Args:
        order: Where to look, first things first: ``SEARCH_ORDER``, or any other order or part of it.
        environ: Environment variables; None for those of the process.
        helpers: Names of helpers to ask for every registry, one after the other, as ``HostsConfig.credential_helpers``
            has them from a ``registries.conf``. ``containers-auth.json`` among them is where to look as *order* says;
            without it nothing but the helpers is asked, and with no helper at all just *order* counts. One that fails
            matters only if no other has a credential.

    Raises:
        UsageError: *order* holds something else than a source.
    """

    def __init__(
        self,
        *,
        order: Iterable[CredentialSource] = SEARCH_ORDER,
        environ: Mapping[str, str] | None = None,
        helpers: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self._places = places(order, environ, helpers)


_NONE: Final = (float("-inf"), ANONYMOUS)


def _read_changed(
    where: tuple[CredentialPlace, ...], known: dict[CredentialPlace, _Loaded]
) -> dict[CredentialPlace, _Loaded]:
    return {place: _read(place, known.get(place)) for place in where}


def _read(place: CredentialPlace, known: _Loaded | None) -> _Loaded:
    try:
        if place.path is None:
            return known or _Loaded(file=read_place(place))
        # Looked at before it is read: what is written between the two is noticed next time.
        stamp = None if _is_closed(place) else stamp_of(place.path)
        if known is not None and known.file is not None and known.stamp == stamp:
            return known
        return _Loaded(stamp, read_place(place))
    except CredentialStoreError as error:
        return _Loaded(problem=error.message)


def read_place(place: CredentialPlace) -> AuthFile:
    """Return what a place holds; blocks.

    Raises:
        CredentialStoreError: It cannot be read.
    """
    if place.path is None:
        return AuthFile.parse(_bytes(place), source=str(place))
    if _is_closed(place):
        _log.info("%s cannot be looked at, and is taken to hold no credentials", place.path)
        return AuthFile.parse(b"", source=str(place.path))
    return AuthFile(place.path, read_document(place.path))


def _is_closed(place: CredentialPlace) -> bool:
    # The home of somebody else, as where a container's user was changed, is no reason to fail every request.
    return place.path is not None and not place.named and is_out_of_reach(place.path)


def _bytes(place: CredentialPlace) -> bytes:
    if place.helper is not None:
        return json.dumps({"credsStore": place.helper}).encode()
    return (place.text or "").encode(errors="surrogateescape")

"""The keys under which credential files keep registries, in every form that tools have written.

A key is a registry (``host[:port]``), a registry with a scheme and an API path (``https://host/v1/``), a namespace
within one (``host/org/repository``, as Podman writes them), or a pattern for the names of several
(``*.dkr.ecr.*.amazonaws.com``). Docker Hub has four names and a key of its own.

Spec: containers-auth.json(5), "FORMAT".
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs

from ocidist.errors import InvalidReferenceError
from ocidist.model.reference import RegistryName, RepositoryName, without_api

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCHEME = re.compile(r"https?://", re.ASCII | re.IGNORECASE)
# Without a scheme, what comes after it would be a namespace.
_API = re.compile(r"(?:v[12])?", re.ASCII)
# A star stands for a part of one label, as in Docker, and never in the last two: "*.com" would be everybody.
_PATTERN = re.compile(r"(?=[^*]*\*)(?:[A-Za-z0-9*-]+\.)+[A-Za-z0-9-]+\.[A-Za-z0-9-]+(?::[0-9]{1,5})?", re.ASCII)
_API_PATH = re.compile(r"(?:v[12](?:/.*)?)?", re.ASCII)


@attrs.frozen
class AuthKey:
    """What a key stands for.

    Attributes:
        text: The key as it is written.
        registry: ``host[:port]``; ``docker.io`` for every name of Docker Hub.
        namespace: The repositories it is for: ``""`` for all, else a name or the beginning of names.
        rank: Which of two keys for the same thing counts: the one with the lower rank.
    """

    text: str
    registry: str
    namespace: str = ""
    rank: int = 0

    @classmethod
    def read(cls, text: str) -> AuthKey | None:
        """Read a key; None for what no registry can be called: such keys belong to other tools."""
        scheme = _SCHEME.match(text)
        host, _, path = text[scheme.end() if scheme else 0 :].partition("/")
        try:
            # The empty host would be Docker Hub.
            name = RegistryName.parse(host) if host else None
        except InvalidReferenceError:
            return None
        if name is None:
            return None
        registry, path = str(name), path.strip("/")
        if text == name.credential_key:
            return cls(text, registry)
        if text == registry:
            # What Podman calls Docker Hub.
            return cls(text, registry, rank=1)
        if scheme or _API.fullmatch(path):
            # As Docker and Podman do: with a scheme, whatever comes after the host says nothing.
            known = _API_PATH.fullmatch(path) is not None
            return cls(text, registry, rank=(2 if not scheme else 3) if known else 4)
        return cls(text, registry, path)


class KeyIndex:
    """Finds the keys that are for a repository.

    Args:
        keys: The keys of a file, in its order.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._by_registry: dict[str, list[AuthKey]] = {}
        patterns = []
        for text in keys:
            if _PATTERN.fullmatch(text):
                patterns.append(text)
            elif (key := AuthKey.read(text)) is not None:
                self._by_registry.setdefault(key.registry, []).append(key)
        for found in self._by_registry.values():
            found.sort(key=lambda key: (-len(key.namespace), key.rank))
        # The one that says most comes first.
        self._patterns = sorted(patterns, key=lambda text: (text.count("*") - len(text), text))
        self.has_namespaces: bool = any(key.namespace for found in self._by_registry.values() for key in found)

    def find(self, host: str, repository: str | None = None) -> tuple[str, ...]:
        """Return the keys that are for a repository, the one that counts first: longest namespace, then plainest form.

        Where there is none, it is the pattern that says most of the registry's name.

        Args:
            host: The registry, ``host[:port]``, Docker Hub by any of its names.
            repository: The repository; without one, keys with a namespace are not for it.

        Raises:
            InvalidReferenceError: *host* is not a registry name.
        """
        registry = registry_of(host)
        candidates = self._by_registry.get(registry, ())
        found = tuple(key.text for key in candidates if _covers(key.namespace, repository))
        return found or tuple(pattern for pattern in self._patterns if _matches(pattern, registry))[:1]

    def spellings(self, host: str, namespace: str = "") -> tuple[str, ...]:
        """Return every key that stands for exactly this registry, or for exactly this namespace of it."""
        candidates = self._by_registry.get(registry_of(host), ())
        return tuple(key.text for key in candidates if key.namespace == namespace)


def registry_of(host: str) -> str:
    """Return ``host[:port]`` in its one spelling; ``docker.io`` for every name of Docker Hub.

    Raises:
        InvalidReferenceError: *host* is neither a registry name nor the address of a registry's API.
    """
    return str(attrs.evolve(RegistryName.parse(without_api(host)), scheme=None))


def key_of(host: str, namespace: str = "") -> str:
    """Return the key under which new entries are written, the one that Docker and Podman look for first.

    Raises:
        InvalidReferenceError: *host* is not a registry name, or *namespace* no repository's.
    """
    name = attrs.evolve(RegistryName.parse(without_api(host)), scheme=None)
    return f"{name}/{RepositoryName(namespace)}" if namespace else name.credential_key


def _matches(pattern: str, registry: str) -> bool:
    # The port, if there is one, belongs to the last label.
    labels, wanted = registry.split("."), pattern.lower().split(".")
    return len(labels) == len(wanted) and all(map(fnmatchcase, labels, wanted))


def _covers(namespace: str, repository: str | None) -> bool:
    if not namespace:
        return True
    return repository is not None and (repository == namespace or repository.startswith(namespace + "/"))

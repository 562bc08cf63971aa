"""What a credential file says: its entries and its helpers. Nothing here does I/O, and nothing here runs a helper.

Spec: docker's config.json, "auths", "credsStore" and "credHelpers"; containers-auth.json(5), "FORMAT".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self, cast

from ocidist.credentials.disk import read_json
from ocidist.credentials.entry import Problem, holds_secret, read_entry, spelled, without_secrets, write_entry
from ocidist.credentials.keys import KeyIndex, key_of, registry_of
from ocidist.errors import CredentialStoreError
from ocidist.model.reference import DOCKER_HUB, HUB_INDEX

if TYPE_CHECKING:
    from ocidist.credentials.store import Credential

MAX_SERVERS: Final = 4
"""Most names under which a helper is asked for one registry."""

_NAMES: Final = ("auths", "credHelpers", "credsStore")


class ConfigDocument:
    """The content of a ``config.json``, an ``auth.json`` or a ``.dockercfg``.

    Args:
        value: The JSON object.
        source: What to call it in errors.
        legacy: Whether it is a ``.dockercfg``: entries only, without ``auths`` around them.

    Raises:
        CredentialStoreError: A part of it that counts has the wrong type.
    """

    def __init__(self, value: dict[str, object], source: str, *, legacy: bool = False) -> None:
        value = value if legacy else spelled(value, _NAMES)
        self._value = value
        self._source = source
        self._legacy = legacy
        self._auths = value if legacy else self._object("auths")
        self._helpers = {} if legacy else self._object("credHelpers")
        store = None if legacy else value.get("credsStore")
        if not all(isinstance(name, str | None) for name in (store, *self._helpers.values())):
            raise CredentialStoreError(f"cannot read {source}: a credential helper is not named by text")
        self._store = cast("str | None", store)
        self._keys = KeyIndex(self._auths)
        self._helper_keys = KeyIndex(self._helpers)

    @classmethod
    def parse(cls, data: bytes, source: str, *, legacy: bool = False) -> Self:
        """Read a file's bytes; an empty file says nothing.

        Raises:
            CredentialStoreError: They are not such a file. Nothing of them is in the error.
        """
        try:
            return cls._parse(data, source, legacy=legacy)
        except CredentialStoreError as error:
            problem = error.message
        # Raised anew, and without what was read in any variable: tracebacks show them.
        del data
        raise CredentialStoreError(problem)

    @classmethod
    def _parse(cls, data: bytes, source: str, *, legacy: bool) -> Self:
        text = data.strip()
        if not text:
            return cls({}, source, legacy=legacy)
        if legacy and not text.startswith(b"{"):
            return cls(_two_lines(text, source), source, legacy=True)
        return cls(read_json(data, source), source, legacy=legacy)

    def __repr__(self) -> str:
        return f"<ConfigDocument {self._source}>"

    def _object(self, name: str) -> dict[str, object]:
        found = self._value.get(name)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise CredentialStoreError(f"cannot read {self._source}: {name} is not a JSON object")
        return found

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def value(self) -> dict[str, object]:
        """The JSON object, to be written."""
        return self._value

    @property
    def has_namespaces(self) -> bool:
        """Whether answers depend on the repository."""
        return self._keys.has_namespaces or self._helper_keys.has_namespaces

    @property
    def holds_secrets(self) -> bool:
        """Whether an entry holds a secret itself."""
        return any(map(holds_secret, self._auths.values()))

    def resolve(self, host: str, repository: str | None = None) -> Credential | None:
        """Return what the entries have for a registry or one of its repositories; helpers are not asked.

        Raises:
            CredentialStoreError: The entry that counts cannot be used.
        """
        for key in self._keys.find(host, repository):
            found = read_entry(self._auths[key])
            if isinstance(found, Problem):
                raise CredentialStoreError(f"the entry {key} of {self._source} cannot be used: {found.reason}")
            if found is not None:
                return found
        return None

    def helper_for(self, host: str, repository: str | None = None) -> str | None:
        """Return the name of the helper that keeps a registry's credentials: that of the host, else that of all.

        A host that is given the empty name has none, whatever the others have.
        """
        for key in self._helper_keys.find(host, repository):
            return cast("str | None", self._helpers[key]) or None
        return self._store or None

    def servers(self, host: str, repository: str | None = None) -> tuple[str, ...]:
        """Return the names under which a helper may keep a registry, the likeliest first.

        Who stored something with a helper left an empty entry, in their own spelling.
        """
        keys = [key for key in self._keys.find(host, repository) if "*" not in key]
        marks = [key for key in keys if read_entry(self._auths[key]) is None]
        return tuple(dict.fromkeys((*marks, *_own_names(host))))[:MAX_SERVERS]

    def names_of(self, host: str, namespace: str = "") -> tuple[str, ...]:
        """Return every name under which a helper may keep exactly this registry, or this namespace of it."""
        own = (key_of(host, namespace),) if namespace else _own_names(host)
        return tuple(dict.fromkeys((*self.keys_of(host, namespace), *own)))

    def keys_of(self, host: str, namespace: str = "") -> tuple[str, ...]:
        """Return every key of exactly this registry, or of this namespace of it, that there is an entry for."""
        return self._keys.spellings(host, namespace)

    # --- changing ----------------------------------------------------------------------------------------------------

    def with_entry(self, host: str, namespace: str, credential: Credential | None) -> ConfigDocument:
        """Return the document with the credential in it; None leaves an empty entry, because a helper has it.

        Other spellings go: some tools look at them first, and would go on with what is out of date.
        """
        key = key_of(host, namespace)
        old = self._auths.get(key)
        entry = without_secrets(old) if credential is None else write_entry(credential, old)
        gone = {*self.keys_of(host, namespace)} - {key}
        return self._with_auths({name: was for name, was in self._auths.items() if name not in gone} | {key: entry})

    def without_entry(self, host: str, namespace: str) -> ConfigDocument:
        """Return the document without any spelling of the registry, or of this namespace of it."""
        gone = self.keys_of(host, namespace)
        return self._with_auths({key: entry for key, entry in self._auths.items() if key not in gone})

    def _with_auths(self, auths: dict[str, object]) -> ConfigDocument:
        value = auths if self._legacy else self._value | {"auths": auths}
        return ConfigDocument(value, self._source, legacy=self._legacy)


def _own_names(host: str) -> tuple[str, ...]:
    # Podman has a name of its own for Docker Hub.
    return (key_of(host), DOCKER_HUB) if registry_of(host) == DOCKER_HUB else (key_of(host),)


def _two_lines(text: bytes, source: str) -> dict[str, object]:
    # Docker before 0.6: "auth = BASE64" and "email = ADDRESS", for the one registry there was.
    fields = {}
    for line in text.decode(errors="replace").splitlines():
        name, separator, value = line.partition("=")
        if separator and name.strip() in {"auth", "email"}:
            fields[name.strip()] = value.strip()
    if "auth" in fields:
        return {HUB_INDEX: fields}
    raise CredentialStoreError(f"cannot read {source}: it is neither JSON nor has it an auth line")

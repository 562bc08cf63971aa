"""The configuration of registries that podman, skopeo, buildah and CRI-O share, in its second version.

Spec: containers-registries.conf(5), containers-registries.conf.d(5).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.errors import UsageError
from ocidist.hosts.files import exists, is_directory, listed, read_toml
from ocidist.hosts.host import NOTHING, HostConfig, Mirror, MirrorTags
from ocidist.hosts.lookup import canonical, layered, parts
from ocidist.hosts.shortnames import ShortNames, names_registry
from ocidist.model.reference import Reference, RegistryName, RepositoryName

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.hosts.files import Table

DROP_INS: Final = ".conf"
# What is asked for by tag only, by digest only, or both ways; content that an image consists of is always by digest.
_PULLS: Final = {
    "all": (MirrorTags.TRUSTED, True),
    "digest-only": (MirrorTags.NEVER, True),
    "tag-only": (MirrorTags.TRUSTED, False),
}
_MODES: Final = frozenset({"enforcing", "permissive", "disabled"})
_VERSION_1: Final = (
    "it belongs to version 1 of the format, which neither Podman 6 nor ocidist reads: write "
    "unqualified-search-registries = [...] for search, and for each of the others a [[registry]] table with its "
    "location, and insecure = true or blocked = true"
)
# Any certificate will do, and plain http where https does not answer.
_INSECURE: Final = HostConfig(insecure=True, verify=False)


def read_registries(path: Path) -> dict[str, Any]:
    """Return what ``HostsConfig`` is to be made of.

    Raises:
        HostsFileError: A file cannot be read or used.
    """
    directory = path.with_name(f"{path.name}.d")
    found = listed(directory) if is_directory(directory) else []
    extra = [file for file in found if file.suffix == DROP_INS and not is_directory(file)]
    files = [*([path] if exists(path) or not extra else []), *extra]
    made = _Registries()
    for file in files:
        made.read(read_toml(file))
    return made.result()


class _Registries:
    """What the files say together: a later one replaces what an earlier one says about the same prefix."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, HostConfig]] = {}
        self._search: tuple[str, ...] = ()
        self._aliases: dict[str, str] = {}
        self._mode = ""
        self._helpers: tuple[str, ...] = ()

    def read(self, table: Table) -> None:
        if "registries" in table:
            raise table.wrong("registries", _VERSION_1)
        # The last one is about storing images.
        table.expect(
            *("registry", "unqualified-search-registries", "aliases", "short-name-mode"),
            *("credential-helpers", "additional-layer-store-auth-helper"),
        )
        if "credential-helpers" in table:
            self._helpers = table.texts("credential-helpers")
            if "" in self._helpers:
                raise table.wrong("credential-helpers", "a helper has no name")
        if "unqualified-search-registries" in table:
            self._search = tuple(
                table.made("unqualified-search-registries", partial(_searched, name))
                for name in table.texts("unqualified-search-registries")
            )
        mode = (table.get("short-name-mode", str) or "").lower()
        if mode and mode not in _MODES:
            raise table.wrong("short-name-mode", "it is none of enforcing, permissive and disabled")
        self._mode = mode or self._mode
        self._entries |= _entries(table)
        aliases = table.table("aliases")
        for name in aliases.names() if aliases is not None else ():
            self._alias(aliases, name)

    def _alias(self, aliases: Table | None, name: str) -> None:
        assert aliases is not None  # noqa: S101 -- see above
        meant = aliases.get(name, str)
        if names_registry(name):
            raise aliases.wrong(name, "it names a registry, so it is no short name")
        aliases.made(name, partial(RepositoryName, name))
        if not meant:
            # An empty text takes an alias away that an earlier file gave.
            self._aliases.pop(name, None)
            return
        if not names_registry(meant):
            raise aliases.wrong(name, "an alias names a registry and a repository there")
        reference = aliases.made(name, partial(Reference.parse, meant, default_tag=None))
        if reference.tag is not None or reference.digest is not None:
            raise aliases.wrong(name, "an alias names a repository, without a tag or digest")
        self._aliases[name] = meant

    def result(self) -> dict[str, Any]:
        entries = {prefix: made[prefix] for prefix, made in self._entries.items()}
        # What a part of a host says about the whole of it.
        hosts: dict[str, HostConfig] = {}
        for prefix, made in self._entries.items():
            hosts |= {key: config for key, config in made.items() if key != prefix}
        names = None
        if self._search or self._aliases:
            names = ShortNames(self._search, self._aliases, enforcing=self._mode == "enforcing")
        return {"entries": layered(entries, hosts), "short_names": names, "credential_helpers": self._helpers}


def _searched(name: str) -> str:
    if "://" in name:
        raise UsageError("a registry has no scheme: host[:port]")
    name = name.rstrip("/")
    if not name:
        raise UsageError("it names no registry")
    return str(RegistryName.parse(name))


def _entries(table: Table) -> dict[str, dict[str, HostConfig]]:
    """Return the configurations of one file, by prefix; the first that is given for a prefix counts."""
    entries: dict[str, dict[str, HostConfig]] = {}
    flags: dict[tuple[str, str], dict[str, bool]] = {}
    for registry in table.tables("registry"):
        prefix, location, made = _registry(registry)
        said = {name: registry.flag(name) for name in ("blocked", "insecure")}
        for same in {("prefix", prefix), ("location", location)}:
            for name, value in flags.setdefault(same, said).items():
                if said[name] != value:
                    raise registry.wrong(name, f"an earlier table with the same {same[0]} says otherwise")
        entries.setdefault(prefix, made)
    return entries


def _registry(table: Table) -> tuple[str, str, dict[str, HostConfig]]:
    """Return a table's prefix and location, and what it says by the keys of ``HostsConfig``."""
    if "pull-from-mirror" in table:
        # Unheeded, it would let tags through that somebody wanted kept from the mirrors.
        raise table.wrong("pull-from-mirror", "it is for mirrors: put it into [[registry.mirror]]")
    table.expect("prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only")
    location = (table.get("location", str) or "").rstrip("/")
    prefix = (table.get("prefix", str) or location).rstrip("/")
    for name, value in (("location", location), ("prefix", prefix)):
        if "://" in value:
            raise table.wrong(name, "it has no scheme: host[:port][/namespace]")
    if not prefix:
        raise table.wrong("location", "there is neither a prefix nor a location")
    if not prefix.startswith("*.") and not location:
        raise table.wrong("location", "it is missing: only a prefix with a wildcard can do without")
    prefix = table.made("prefix", partial(_key, prefix))
    if location:
        location, _ = table.made("location", partial(canonical, location, NOTHING))
    insecure = table.flag("insecure")
    config = HostConfig(mirrors=_mirrors(table), blocked=table.flag("blocked"))
    found: dict[str, HostConfig] = {}
    if location and location != prefix:
        moved = table.made("location", partial(_place, location, insecure=insecure))
        config = attrs.evolve(config, location=moved)
    elif insecure:
        # TLS belongs to a host, whichever part of it the table is about.
        host = prefix.partition("/")[0]
        found[host] = _INSECURE
    found[prefix] = found.get(prefix, HostConfig()) | config
    return prefix, location or prefix, found


def _key(text: str) -> str:
    key, _ = canonical(text, NOTHING)
    parts(key)
    return key


def _mirrors(table: Table) -> tuple[Mirror, ...]:
    digests_only = table.flag("mirror-by-digest-only")
    made = []
    for mirror in table.tables("mirror"):
        mirror.expect("location", "insecure", "pull-from-mirror")
        location = (mirror.get("location", str) or "").rstrip("/")
        if not location:
            raise mirror.wrong("location", "it is missing")
        pulls = mirror.get("pull-from-mirror", str)
        if pulls and digests_only:
            raise mirror.wrong("pull-from-mirror", "the registry's mirror-by-digest-only says it already")
        tags, digests = _pulls(mirror, pulls or ("digest-only" if digests_only else "all"))
        place = partial(_place, location, insecure=mirror.flag("insecure"), tags=tags, digests=digests)
        made.append(mirror.made("location", place))
    return tuple(made)


def _pulls(mirror: Table, said: str) -> tuple[MirrorTags, bool]:
    if said not in _PULLS:
        raise mirror.wrong("pull-from-mirror", "it is none of all, digest-only and tag-only")
    return _PULLS[said]


def _place(location: str, *, insecure: bool, tags: MirrorTags = MirrorTags.TRUSTED, digests: bool = True) -> Mirror:
    host, _, namespace = location.partition("/")
    if "://" in location:
        raise UsageError("it has no scheme: host[:port][/namespace]")
    if not host:
        raise UsageError("it names no host")
    return Mirror(
        host,
        namespace=str(RepositoryName(namespace)) if namespace else "",
        tags=tags,
        digests=digests,
        ns=False,
        host=_INSECURE if insecure else None,
    )

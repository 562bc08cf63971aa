"""The configuration of registries that podman, skopeo, buildah and CRI-O share, in its second version.

Spec: containers-registries.conf(5), containers-registries.conf.d(5).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.errors import UsageError
from ocidist.hosts.config import HostConfig, HostsConfig
from ocidist.hosts.files import listed, read_toml
from ocidist.hosts.mirror import Mirror, MirrorTags
from ocidist.hosts.shortnames import ShortNames
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
# Any certificate will do, and plain http where https does not answer.
_INSECURE: Final = HostConfig(insecure=True, verify=False)


def read_registries(path: Path) -> dict[str, Any]:
    """Return what ``HostsConfig`` is to be made of.

    Raises:
        HostsFileError: A file cannot be read or used.
    """
    directory = path.with_name(f"{path.name}.d")
    extra = [file for file in listed(directory) if file.suffix == DROP_INS] if directory.is_dir() else []
    files = [*([path] if path.exists() or not extra else []), *extra]
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

    def read(self, table: Table) -> None:
        if "registries" in table:
            raise table.wrong("registries", "it belongs to version 1 of the format, which is not read any more")
        if "unqualified-search-registries" in table:
            self._search = tuple(
                str(table.made("unqualified-search-registries", partial(RegistryName.parse, name)))
                for name in table.texts("unqualified-search-registries")
            )
        for registry in table.tables("registry"):
            prefix, made = _registry(registry)
            self._entries[prefix] = made
        aliases = table.table("aliases")
        for name in aliases.names() if aliases is not None else ():
            self._alias(aliases, name)

    def _alias(self, aliases: Table | None, name: str) -> None:
        assert aliases is not None  # noqa: S101 -- see above
        meant = aliases.get(name, str)
        if not meant:
            # An empty text takes an alias away that an earlier file gave.
            self._aliases.pop(name, None)
            return
        reference = aliases.made(name, partial(Reference.parse, meant, default_tag=None))
        if reference.tag is not None or reference.digest is not None:
            raise aliases.wrong(name, "an alias names a repository, without a tag or digest")
        self._aliases[name] = meant

    def result(self) -> dict[str, Any]:
        entries: dict[str, HostConfig] = {}
        for made in self._entries.values():
            for key, config in made.items():
                entries[key] = entries.get(key, HostConfig()) | config
        names = ShortNames(self._search, self._aliases) if self._search or self._aliases else None
        return {"entries": entries, "short_names": names}


def _registry(table: Table) -> tuple[str, dict[str, HostConfig]]:
    """Return a table's prefix, and what it says by the keys of ``HostsConfig``."""
    location = (table.get("location", str) or "").rstrip("/")
    prefix = (table.get("prefix", str) or location).rstrip("/")
    for name, value in (("location", location), ("prefix", prefix)):
        if "://" in value:
            raise table.wrong(name, "it has no scheme: host[:port][/namespace]")
    if not prefix:
        raise table.wrong("location", "there is neither a prefix nor a location")
    if not prefix.startswith("*.") and not location:
        raise table.wrong("location", "it is missing: only a prefix with a wildcard can do without")
    table.made("prefix", lambda: HostsConfig({prefix: HostConfig()}))
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
    return prefix, found


def _mirrors(table: Table) -> tuple[Mirror, ...]:
    digests_only = table.flag("mirror-by-digest-only")
    made = []
    for mirror in table.tables("mirror"):
        location = (mirror.get("location", str) or "").rstrip("/")
        if not location:
            raise mirror.wrong("location", "it is missing")
        pulls = mirror.get("pull-from-mirror", str)
        if pulls is not None and digests_only:
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
    return Mirror(
        host,
        namespace=str(RepositoryName(namespace)) if namespace else "",
        tags=tags,
        digests=digests,
        ns=False,
        host=_INSECURE if insecure else None,
    )

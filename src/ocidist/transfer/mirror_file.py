"""``mirror.toml``: rules as a file. What is wrong is told with the file, the key and, where it is known, the line."""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocidist.errors import HostsFileError, MirrorFileError
from ocidist.hosts.config import HostsConfig
from ocidist.hosts.files import Table, read_text
from ocidist.hosts.host import HostConfig
from ocidist.transfer.config import MirrorConfig, MirrorRule
from ocidist.transfer.ends import Repositories, check_pair
from ocidist.transfer.filters import TagFilter
from ocidist.transfer.options import MAX_DEPTH, CopyOptions, Referrers
from ocidist.transfer.plan import MAX_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable

_AMOUNTS: Final = ("images_at_once", "blobs_at_once")
_FLAGS: Final = ("digest_tags", "foreign_layers", "force")
_COMMON: Final = ("tags", "platforms", "referrers", "delete", *_FLAGS)
_HOST: Final = ("scheme", "insecure", "verify", "ca", "client_cert", "concurrency", "rate", "chunk_size")
# What regsync, skopeo and others call it.
_ELSEWHERE: Final = {
    "dst": "destination",
    "exclude": "deny",
    "include": "allow",
    "images": "mirror",
    "parallel": "images_at_once",
    "ratelimit": "rate",
    "src": "source",
    "sync": "mirror",
    "target": "destination",
    "tlsverify": "verify",
}
_SECRET: Final = frozenset({"auth", "credentials", "pass", "password", "token", "user", "username"})
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?", re.ASCII)
_PLACE: Final = re.compile(r"mirror\[(\d+)\]", re.ASCII)


def read(path: Path) -> dict[str, Any]:
    """Return what ``MirrorConfig`` is to be made of.

    Raises:
        MirrorFileError: The file cannot be read or used.
    """
    try:
        text = read_text(path)
    except HostsFileError as error:
        raise MirrorFileError(path, error.reason) from error.__cause__
    made = parse(path, text)
    for name, host in made["hosts"].items():
        for key, files in (("ca", host.ca), ("client_cert", host.client_cert)):
            # Otherwise it would be missed at the first connection, and by nobody who looks for it here.
            for file in files if isinstance(files, tuple) else [files]:
                if file is not None and not Path(file).is_file():
                    whole = f"hosts.{name}.{key}"
                    raise MirrorFileError(path, f"there is no file {file}", key=whole, line=_line(text, whole))
    return made


def parse(path: Path, text: str) -> dict[str, Any]:
    """Return what ``MirrorConfig`` is to be made of, from the file's text.

    Raises:
        MirrorFileError: The text cannot be used.
    """
    try:
        whole = Table(path, "", tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        # What is no TOMLDecodeError comes from a value that is too long or too deep for Python.
        told = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise MirrorFileError(path, f"it is not TOML: {told}") from None
    try:
        made = _whole(whole)
        # Here, because what the rules are together belongs to the file, too.
        whole.made("mirror", partial(MirrorConfig, **made))
    except HostsFileError as error:
        raise MirrorFileError(path, error.reason, key=error.key, line=_line(text, error.key or "")) from None
    return made


def _whole(file: Table) -> dict[str, Any]:
    _expect(file, "defaults", "hosts", "mirror")
    made: dict[str, Any] = {}
    defaults = file.table("defaults") or Table(file.path, "defaults", {})
    _expect(defaults, *_AMOUNTS, *_COMMON)
    for name in _AMOUNTS:
        if name in defaults:
            made[name] = _whole_number(defaults, name, MAX_AT_ONCE)
    hosts = file.table("hosts")
    made["hosts"] = {} if hosts is None else dict(_host(name, table, hosts) for name, table in hosts.items())
    _common(defaults)
    if isinstance(file.raw("mirror"), dict):
        raise file.wrong("mirror", "it must be an array of tables, in double brackets, one for each rule: [[mirror]]")
    rules = file.tables("mirror")
    if not rules:
        raise file.wrong("mirror", "there is nothing to mirror: no table [[mirror]] is there")
    made["rules"] = tuple(_rule(rule, defaults) for rule in rules)
    return made


def _expect(table: Table, *known: str) -> None:
    # Not only a warning, as in files that other programs read, too: a filter that was mistyped would mirror everything.
    for name in table.names():
        if name not in known:
            raise table.wrong(name, f"it means nothing here{_meant(name, known)} (known are {', '.join(known)})")


def _meant(name: str, known: tuple[str, ...]) -> str:
    """Return what may have been meant by a key that means nothing."""
    if name in _SECRET:
        return ": credentials are where docker login and ocidist login keep them, and not in this file"
    spelled = name.lower().replace("-", "").replace("_", "")
    alike = {each.replace("_", ""): each for each in known}
    longer = [each for each in alike if spelled and each.startswith(spelled)]
    # Only what is very much alike: whoever wrote "dest" must not be led to "delete".
    found = longer or get_close_matches(spelled, alike, n=1, cutoff=0.75)
    meant = _ELSEWHERE.get(spelled) or (alike[found[0]] if found else None)
    return f": did you mean {meant!r}?" if meant in known else ""


def _whole_number(table: Table, name: str, most: int) -> int:
    value = table.raw(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise table.wrong(name, f"it must be a whole number from 1 to {most}")
    return value


# --- rules -----------------------------------------------------------------------------------------------------------


def _rule(table: Table, defaults: Table) -> MirrorRule:
    _expect(table, "source", "destination", *_COMMON)
    texts = {name: _text(table, name) for name in ("source", "destination")}
    source = table.made("source", lambda: Repositories.source(texts["source"]))
    destination = table.made("destination", lambda: Repositories.destination(texts["destination"]))
    table.made("destination", lambda: check_pair(source, destination))
    common = _common(table)
    if source.is_image and common.get("delete"):
        raise table.wrong("delete", "nothing is deleted where the source is one image")
    if source.is_image and not common.get("tags", TagFilter()).is_empty:
        raise table.wrong("tags", "there are no tags to choose from: the source is one image")
    general = _common(defaults)
    if source.is_image:
        # What all rules share is not meant for those that it makes no sense for.
        general = {name: value for name, value in general.items() if name not in {"tags", "delete"}}
    common = general | common
    filters, delete = common.pop("tags", TagFilter()), common.pop("delete", False)
    return MirrorRule(**texts, tags=filters, options=CopyOptions(**common), delete=delete)


def _text(table: Table, name: str) -> str:
    value = table.get(name, str)
    if value is None:
        raise table.wrong(name, "it is missing")
    return value


def _common(table: Table) -> dict[str, Any]:
    """Return what a rule says, or the defaults, by the names of ``CopyOptions`` and ``MirrorRule``."""
    made: dict[str, Any] = {}
    for name in ("delete", *_FLAGS):
        flag = table.get(name, bool)
        if flag is not None:
            made[name] = flag
    if "platforms" in table:
        platforms = table.texts("platforms")
        made["platforms"] = table.made("platforms", lambda: CopyOptions(platforms=platforms).platforms)
    if "referrers" in table:
        made["referrers"] = _referrers(table)
    if "tags" in table:
        made["tags"] = _tags(table)
    return made


def _referrers(table: Table) -> Referrers | None:
    value = table.raw("referrers")
    if isinstance(value, bool):
        return Referrers() if value else None
    if not isinstance(value, dict):
        raise table.wrong("referrers", "it must be true, false, or a table with depth and artifact_types")
    stated = Table(table.path, f"{table.key}.referrers", value)
    _expect(stated, "depth", "artifact_types")
    depth = _whole_number(stated, "depth", MAX_DEPTH) if "depth" in stated else Referrers().depth
    types = stated.texts("artifact_types")
    return table.made("referrers", lambda: Referrers(depth=depth, artifact_types=types))


def _tags(table: Table) -> TagFilter:
    try:
        stated = table.table("tags")
    except HostsFileError as error:
        raise table.wrong("tags", f'{error.reason}: {{ allow = ["v*"] }}') from None
    assert stated is not None  # noqa: S101 -- the caller looked
    _expect(stated, "allow", "deny", "semver")
    found: dict[str, Any] = {}
    for name in ("allow", "deny"):
        found[name] = stated.made(name, partial(_only, name, stated.texts(name)))
    text = stated.get("semver", str)
    stated.made("semver", lambda: TagFilter(semver=text))
    return TagFilter(**found, semver=text)


def _only(name: str, globs: tuple[str, ...]) -> tuple[str, ...]:
    """Return globs that were read; what is wrong with them is then told with their own key."""
    return TagFilter(allow=globs).allow if name == "allow" else TagFilter(deny=globs).deny


# --- hosts -----------------------------------------------------------------------------------------------------------


def _host(name: str, table: Table, hosts: Table) -> tuple[str, HostConfig]:
    if (whole := _unquoted(name, table)) is not None:
        raise hosts.wrong(whole, f'a name with dots stands in quotes: [hosts."{whole}"]')
    _expect(table, *_HOST)
    found: dict[str, Any] = {}
    for key, kind in (("scheme", str), ("insecure", bool), ("verify", bool)):
        value = table.get(key, kind)
        if value is not None:
            found[key] = value
    for key in ("concurrency", "chunk_size", "rate"):
        if key in table:
            found[key] = table.raw(key)
    folder = table.path.parent
    if "ca" in table:
        found["ca"] = tuple(folder / path for path in _paths(table, "ca"))
    if "client_cert" in table:
        paths = [folder / path for path in _paths(table, "client_cert")]
        if len(paths) not in {1, 2}:
            raise table.wrong("client_cert", "it is one file, or a certificate and its key")
        found["client_cert"] = paths[0] if len(paths) == 1 else (paths[0], paths[1])
    for key, value in found.items():
        # One by one, so that what is refused is told with its own key.
        table.made(key, _refused(key, value))
    made = HostConfig(**found)
    hosts.made(name, lambda: HostsConfig({name: made}))
    return name, made


def _unquoted(name: str, table: Table) -> str | None:
    """Return the host that is meant by a table in a table in a table: ``[hosts.registry.acme.io]``."""
    inner = next(((part, table.raw(part)) for part in table.names() if part not in _HOST), None)
    if inner is None or not isinstance(inner[1], dict):
        return None
    below = Table(table.path, "", inner[1])
    return _unquoted(f"{name}.{inner[0]}", below) or f"{name}.{inner[0]}"


def _refused(key: str, value: object) -> Callable[[], HostConfig]:
    given: dict[str, Any] = {key: value}
    return lambda: HostConfig(**given)


def _paths(table: Table, name: str) -> tuple[str, ...]:
    value = table.raw(name)
    found = (value,) if isinstance(value, str) else table.texts(name)
    if not found or any(not path or "\0" in path for path in found):
        raise table.wrong(name, "it names no file")
    return found


# --- lines -----------------------------------------------------------------------------------------------------------


def _line(text: str, key: str) -> int | None:
    """Return the line that a key stands on, as far as that can be seen without reading TOML once more.

    tomllib does not say where it found what; its own errors alone have the line.
    """
    place = _PLACE.match(key)
    wanted = int(place[1]) if place is not None else None
    name = key.rpartition(".")[2]
    stands = re.compile(rf"""(?:^|[\s{{,.])["']?{re.escape(name)}["']?\s*=""")
    count, inside, header = -1, "." not in key and wanted is None, None
    for number, line in enumerate(text.splitlines(), 1):
        begins = _HEADER.fullmatch(line)
        if begins is not None:
            section = begins[2].replace('"', "").replace("'", "").replace(" ", "")
            count += section == "mirror" and begins[1] == "[["
            inside = _is_in(section, key) if wanted is None else count == wanted and section.startswith("mirror")
            header = number if inside and header is None else header
        elif inside and stands.search(line) and not line.lstrip().startswith("#"):
            return number
    return header


def _is_in(section: str, key: str) -> bool:
    return f"{key.replace(' ', '')}.".startswith(f"{section}.")

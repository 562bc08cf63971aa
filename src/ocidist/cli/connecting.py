"""The client that a command talks with, as its options want it."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import attrs

from ocidist._io.load import load_module
from ocidist.cli import naming
from ocidist.cli.debugging import watching
from ocidist.cli.options import Showing
from ocidist.cli.output import Output
from ocidist.cli.people import PATIENCE_S, Telling, Voice
from ocidist.cli.progress import view_of
from ocidist.errors import HostsFileError, OciError, UsageError
from ocidist.hosts.config import HostsConfig
from ocidist.hosts.host import HostConfig
from ocidist.http.retry import RetryPolicy
from ocidist.model.digest import Digest
from ocidist.model.places import ARCHIVE, LAYOUT, is_local
from ocidist.model.reference import RegistryName, Tag
from ocidist.observe.logging import log_events
from ocidist.storage.archive import Archive
from ocidist.storage.layout import Layout
from ocidist.wire.egress import EgressPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ocidist.cli.options import Common
    from ocidist.cli.progress import View
    from ocidist.client import Client
    from ocidist.credentials.store import Credentials
    from ocidist.model.reference import Reference
    from ocidist.remote.repository import Repository
    from ocidist.storage import protocols

REFUSALS: Final = 2
"""Requests that a registry which the command names may refuse, where nobody listens, before that is told."""


@attrs.frozen
class Place:
    """What an argument names.

    Attributes:
        repository: The repository.
        locator: The manifest in it, or None if none was named.
        name: The repository's name, for people and programs.
    """

    repository: protocols.Repository
    locator: Tag | Digest | None
    name: str

    @property
    def wanted(self) -> Tag | Digest:
        """What to read: ``latest`` where nothing was named."""
        return self.locator or Tag("latest")

    @property
    def text(self) -> str:
        """What is read, for people and programs."""
        return f"{self.name}{'@' if isinstance(self.wanted, Digest) else ':'}{self.wanted}"


@attrs.frozen
class Session:
    """What a command works with.

    Attributes:
        client: The client.
        output: Standard output.
        voice: Standard error.
        view: Shows what is under way; its ``hook`` takes events.
        hosts: What is configured for each host.
    """

    client: Client
    output: Output
    voice: Voice
    view: View
    hosts: HostsConfig

    def repository(self, name: Reference) -> Repository:
        """Return the repository of a reference."""
        return self.client.registry(name.registry).repository(name.repository)

    @staticmethod
    async def need(text: str) -> None:
        """Say it of an argument that is to be read, and that names a layout where there is none.

        Raises:
            NameUnknownError: So it is; the message says what is there instead.
        """
        if text.startswith(LAYOUT):
            await load_module("ocidist.transfer.local")
            from ocidist.transfer.local import need_layout, read_local  # noqa: PLC0415 -- see place

            await need_layout(Path(read_local(text, LAYOUT).path))

    @contextlib.asynccontextmanager
    async def place(self, text: str) -> AsyncIterator[Place]:
        """Open what an argument names, to read it: on a registry, in a layout (``oci:``) or in an archive.

        Raises:
            InvalidReferenceError: It names nothing.
            UsageError: A layout holds several things, and none is named.
            OciError: An archive cannot be read.
        """
        if is_local(text):
            await self.need(text)
            await load_module("ocidist.transfer.places")
            from ocidist.transfer.places import open_place  # noqa: PLC0415 -- for those who read from their disk

            async with open_place(text, client=self.client) as found:
                yield Place(found.repository, found.locator, found.name_of(None))
        else:
            named = naming.reference(text)
            yield Place(self.repository(named), named.digest or named.tag, named.name)

    @contextlib.asynccontextmanager
    async def store(self, text: str) -> AsyncIterator[Place]:
        """Open the repository that an argument names, to read from it; a layout or an archive may hold several things.

        Raises:
            InvalidReferenceError: It names nothing.
            UsageError: It names one thing in a layout.
            OciError: An archive cannot be read.
        """
        if not is_local(text):
            async with self.place(text) as found:
                yield found
            return
        path, digest = naming.local_path(text)
        if text.startswith(ARCHIVE):
            async with Archive(path) as archive:
                yield Place(archive, digest, f"{ARCHIVE}{path}")
        else:
            await self.need(text)
            yield Place(Layout(path), digest, f"{LAYOUT}{path}")


@contextlib.asynccontextmanager
async def connected(
    common: Common,
    *where: str | RegistryName,
    credentials: Credentials | None = None,
    hosts: HostsConfig | None = None,
    anonymous: bool = True,
) -> AsyncIterator[Session]:
    """Open a client.

    Args:
        common: The options of the command.
        where: The registries of the command, or its arguments that name some, or something in one.
        credentials: Who asks; None for what is kept on this machine.
        hosts: Settings to which those of the options are added.
        anonymous: Whether a token server that must not see credentials is asked without them.

    Raises:
        InvalidReferenceError: An argument names nothing.
        HostsFileError: The file of ``--config`` cannot be used.
        UsageError: Another option cannot be.
    """
    from ocidist.client import Client  # noqa: PLC0415 -- help and version do without

    named = [naming.registry_in(text) for text in where if isinstance(text, str) and not is_local(text)]
    found = await _hosts(common, [*named, *(name for name in where if isinstance(name, RegistryName))])
    found = found if hosts is None else hosts | found
    async with _speaking(common) as voice, view_of(common.progress, voice) as view:
        try:
            opened = Client(
                credentials=credentials,
                hosts=found,
                egress=EgressPolicy(trusted_realms=common.trust_realm, allow_anonymous_realm=anonymous),
                hooks=(view.hook, log_events()),
                event_hooks=watching(voice) if common.debug_http else None,
                # Whoever names a registry wants to know that it is not there; a mirror rides out its restart.
                retry=RetryPolicy(refused=REFUSALS) if where else None,
            )
        except OciError:
            raise
        except Exception as error:  # noqa: BLE001 -- what httpx raises has no name here
            raise UsageError(f"a proxy that the environment names cannot be used: {error}") from None
        async with opened as client:
            yield Session(client, Output(common.output, view.aside), voice, view, found)


async def _hosts(common: Common, named: Iterable[RegistryName]) -> HostsConfig:
    insecure = {str(name) for name in named if common.insecure}
    insecure |= {str(naming.registry(host)) for host in common.insecure_host}
    ours = HostConfig(ca=None if common.ca_file is None else await _existing(common.ca_file))
    entries = dict.fromkeys(insecure, attrs.evolve(ours, insecure=True, verify=False))
    given = HostsConfig(entries, default=ours)
    return given if common.config is None else await _read(common.config) | given


async def _existing(path: Path) -> Path:
    # Otherwise it would be missed at the first connection, and by every registry.
    if not await anyio.to_thread.run_sync(path.is_file):
        is_there = await anyio.to_thread.run_sync(path.exists)
        raise HostsFileError(path, "it is not a regular file" if is_there else "there is no such file")
    return path


async def _read(path: Path) -> HostsConfig:
    if await anyio.to_thread.run_sync(path.is_dir):
        return await HostsConfig.from_hosts_toml(path)
    if path.suffix == ".json":
        return await HostsConfig.from_docker_daemon(path)
    if not await anyio.to_thread.run_sync(path.exists):
        raise HostsFileError(path, "there is no such file or directory")
    return await HostsConfig.from_registries_conf(path)


@contextlib.asynccontextmanager
async def _speaking(common: Common) -> AsyncIterator[Voice]:
    """Say what the library logs, as much of it as was asked for."""
    voice = Voice(as_json=common.progress is Showing.JSON)
    handler = Telling(voice, logging.INFO if common.verbose else logging.WARNING)
    logger = logging.getLogger("ocidist")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(handler.level, before or handler.level))
    try:
        yield voice
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        with anyio.CancelScope(shield=True), anyio.move_on_after(2 * PATIENCE_S):
            await anyio.to_thread.run_sync(voice.__exit__, abandon_on_cancel=True)

"""``ocidist demo``."""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import attrs

from ocidist._io.fanout import each
from ocidist._io.load import load_module
from ocidist.cli.connecting import connected
from ocidist.cli.failure import CommandError
from ocidist.cli.options import DEFAULTS, Common
from ocidist.hosts.config import HostsConfig
from ocidist.hosts.host import HostConfig
from ocidist.model.mediatype import MANIFEST_TYPES
from ocidist.observe.counting import counted, in_bytes

if TYPE_CHECKING:
    from ocidist.cli.connecting import Session
    from ocidist.client import Client
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest
    from ocidist.model.manifest import Manifest
    from ocidist.remote.repository import Repository
    from ocidist.testing.content import Content
    from ocidist.testing.registry import LoopbackRegistry
    from ocidist.transfer.config import MirrorConfig

PLATFORMS: Final = ("linux/amd64", "linux/arm64")
APPS: Final = ("api", "batch", "web", "worker")
VERSIONS: Final = ("1.0", "1.1", "1.2")
BASE_SIZE: Final = 4 * 1024 * 1024
"""Bytes of the layer that all images of a platform share."""

APP_SIZE: Final = 768 * 1024
"""Bytes of the layer that an image has for itself."""

AT_ONCE: Final = 8
"""Manifests and blobs that are read back at once."""

NEEDED: Final = "ocidist demo runs registries and needs uvicorn: pip install 'ocidist[cli,server]'"


async def demo(*, common: Common = DEFAULTS) -> None:
    """Run two registries on this machine, fill one, mirror it to the other, and prove that nothing is missing.

    It takes a few seconds, uses no network, and leaves nothing behind.

    Args:
        common: Options of every verb.
    """
    if importlib.util.find_spec("uvicorn") is None:
        raise CommandError(NEEDED)
    await load_module("ocidist.testing.registry")
    await load_module("ocidist.transfer.mirror")
    from ocidist.testing.registry import serve  # noqa: PLC0415 -- see ocidist.cli.commands

    async with serve() as source, serve() as destination:
        plain = HostsConfig({each.host: HostConfig(scheme="http") for each in (source, destination)})
        async with connected(common, credentials={}, hosts=plain) as session:
            await _Demo(session, source, destination).run()


class _Demo:
    def __init__(self, session: Session, source: LoopbackRegistry, destination: LoopbackRegistry) -> None:
        self._session = session
        self._source = source
        self._destination = destination

    async def run(self) -> None:
        from ocidist.transfer.mirror import make_plan, mirror, run_plan  # noqa: PLC0415 -- see demo

        began = time.perf_counter()
        say, client = self._session.voice.say, self._session.client
        say(f"a registry with {len(APPS)} repositories is at {self._source.url}")
        say(f"an empty one is at {self._destination.url}")
        for app in APPS:
            await anyio.to_thread.run_sync(self._source.add, f"shop/{app}", _content(app))
        say(f"mirroring {self._source.host}/shop/* to {self._destination.host}/mirror, with referrers")
        config = self._config()
        plan = await make_plan(config, client=client)
        self._session.view.expect(len(plan.tasks))
        first = await run_plan(plan, client=client, hooks=(self._session.view.hook,))
        first.raise_failures()
        say("once more: there should be nothing left to do")
        again = await mirror(config, client=client)
        say("reading everything back from the mirror")
        proof = await _Proof(client, self._source.host, self._destination.host).run()
        if again.copied or again.blobs_copied:
            raise CommandError("the second run copied something again: this is a bug in ocidist, please report it")
        seconds = time.perf_counter() - began
        lines = [
            f"mirrored  {first.summary()}",
            f"again     {again.summary()}",
            f"verified  {proof}",
            f"Done in {seconds:.1f} s.",
        ]
        value = {"mirrored": first.to_json(), "again": again.to_json(), "verified": attrs.asdict(proof)}
        await self._session.output.result("\n".join(lines), {**value, "seconds": round(seconds, 3)})

    def _config(self) -> MirrorConfig:
        from ocidist.transfer.config import MirrorConfig, MirrorRule  # noqa: PLC0415 -- see demo
        from ocidist.transfer.options import CopyOptions  # noqa: PLC0415 -- see demo

        options = CopyOptions(referrers=True)
        rule = MirrorRule(
            source=f"{self._source.host}/shop/*", destination=f"{self._destination.host}/mirror", options=options
        )
        return MirrorConfig(rules=[rule])


def _content(app: str) -> Content:
    """Return a repository of images for two platforms, which share a base, and what refers to them."""
    from ocidist.testing.content import Content  # noqa: PLC0415 -- see demo

    content = Content()
    for platform in PLATFORMS:
        content.blob(f"base {platform}", size=BASE_SIZE)
    for version in VERSIONS:
        name = f"{app} {version}"
        images = []
        for platform in PLATFORMS:
            content.blob(f"{name} {platform} layer", size=APP_SIZE)
            images.append(f"{name} {platform}")
            content.image(images[-1], platform=platform, layers=[f"base {platform}", f"{name} {platform} layer"])
        content.index(name, images, tags=[version])
        content.blob(f"{name} packages", f'{{"name": "{app}", "version": "{version}"}}')
        content.artifact(f"{name} sbom", "application/spdx+json", subject=name, layers=[f"{name} packages"])
        content.artifact(f"{name} signature", "application/vnd.example.signature", subject=f"{name} sbom")
    return content


@attrs.frozen
class _Proven:
    """What was read back from the mirror and is the same as at the source."""

    tags: int
    manifests: int
    referrers: int
    blobs: int
    bytes: int

    def __str__(self) -> str:
        manifests = f"{counted(self.manifests, 'manifest')} ({self.referrers} of them referrers)"
        blobs = f"{counted(self.blobs, 'blob')} ({in_bytes(self.bytes)})"
        return f"{counted(self.tags, 'tag')}, {manifests} and {blobs} read back and hashed"


class _Proof:
    """Reads everything back from the mirror; what is read by digest is hashed on its way."""

    def __init__(self, client: Client, source: str, destination: str) -> None:
        self._client = client
        self._source = source
        self._destination = destination
        self._tags = 0
        self._referrers = 0
        self._manifests: dict[tuple[str, Digest], Manifest] = {}
        self._blobs: dict[tuple[str, Digest], Descriptor] = {}

    async def run(self) -> _Proven:
        async for name in self._client.registry(self._source).repositories():
            await self._repository(
                self._client.repository(f"{self._source}/{name}"),
                self._client.repository(f"{self._destination}/mirror/{name}"),
            )
        size = sum(blob.size for blob in self._blobs.values())
        return _Proven(self._tags, len(self._manifests), self._referrers, len(self._blobs), size)

    async def _repository(self, source: Repository, copy: Repository) -> None:
        for tag in await source.tags.list().collect():
            digest = (await source.manifests.stat(tag)).digest
            if (await copy.manifests.stat(tag)).digest != digest:
                raise CommandError(f"{copy.reference.with_tag(tag)} is not what it should be")
            self._tags += 1
            await self._manifest(source, copy, digest)
        mine = [blob for (name, _), blob in self._blobs.items() if name == copy.name]
        await each(mine, lambda blob: self._read(copy, blob), at_once=AT_ONCE)

    async def _manifest(self, source: Repository, copy: Repository, digest: Digest) -> None:
        key = (str(copy.name), digest)
        if key in self._manifests:
            return
        manifest = self._manifests[key] = await copy.manifests.get(digest)
        for part in manifest.references:
            if part.media_type in MANIFEST_TYPES:
                await self._manifest(source, copy, part.digest)
            else:
                self._blobs[str(copy.name), part.digest] = part
        wanted = {found.digest for found in await source.referrers(digest).collect()}
        there = {found.digest for found in await copy.referrers(digest).collect()}
        if wanted != there:
            raise CommandError(f"{copy.reference.with_digest(digest)} has other referrers than it should")
        self._referrers += len(there)
        for referrer in sorted(there):
            await self._manifest(source, copy, referrer)

    @staticmethod
    async def _read(copy: Repository, blob: Descriptor) -> None:
        async with copy.blobs.open(blob) as reader:
            async for _ in reader:
                pass

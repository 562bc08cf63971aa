"""What can be asked of an index and its registries, one method for each request of the protocol.

An index says which registries have a repository and gives out a token for them. The token goes to those registries and
nowhere else; where they may be, the client's egress policy decides, for their names at once and for their addresses
when they are dialled.

Spec: Docker, "Registry & Index Spec"; "Docker Registry API v1".
"""

from __future__ import annotations

import json
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

import attrs

from ocidist._io.body import BytesBody, FileBody, as_body
from ocidist.engine.auth import AuthConfig
from ocidist.errors import (
    NotFoundError,
    ProtocolError,
    RedirectRefusedError,
    ResponseError,
    UsageError,
)
from ocidist.legacy._line import read_json
from ocidist.legacy.v1 import _endpoints
from ocidist.legacy.v1._layer import Reading
from ocidist.legacy.v1._registries import Registries, already
from ocidist.legacy.v1._sent import HashedBody
from ocidist.legacy.v1.endpoint import Endpoint
from ocidist.legacy.v1.models import (
    ImageData,
    ImageJson,
    LayerChecksums,
    RepositoryData,
    ancestry_of,
    check_image_id,
    checksums_of,
    images_of,
    tags_of,
)
from ocidist.model.reference import Reference, RegistryName, RepositoryName, Tag, without_api
from ocidist.observe.events import NamesSkipped
from ocidist.wire.egress import Origin, check_redirect
from ocidist.wire.ranges import parse_int

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Source
    from ocidist.client import Client
    from ocidist.credentials.store import Credential
    from ocidist.http.sender import Reply

MAX_LIST: Final = 8 * 1024 * 1024
"""Bytes of a list of images or tags that are read."""

MAX_ANCESTRY_BYTES: Final = 1024 * 1024
"""Bytes of an ancestry that are read."""

MAX_IMAGE_JSON: Final = 4 * 1024 * 1024
"""Bytes of an image JSON that are read."""

MAX_REDIRECTS: Final = 5

_UNFINISHED: Final = "being uploaded"
# docker-registry says it with the first one, and some that followed it with the name that clients use.
_PROOF: Final = ("X-Docker-Payload-Checksum", "X-Docker-Checksum-Payload")


def _listed(image: ImageData) -> dict[str, str]:
    fields = {"id": image.id, "checksum": image.checksum, "Tag": image.tag}
    return {name: value for name, value in fields.items() if value}


class Session:
    """Talks to an index and its registries, as one user. Get it from ``open``; it keeps no connection of its own.

    Of cookies it keeps those of a layer that was pushed, for the request with its checksum.

    Args:
        endpoint: The index, or the registry that stands alone.
        credential: Identity to use instead of the client's own for it.
        pause: Seconds to wait before a layer that broke off is asked for again; longer each time.
    """

    def __init__(self, endpoint: Endpoint, *, credential: Credential | None = None, pause: float = 5.0) -> None:
        self._endpoint = endpoint
        self._line = endpoint.line
        self._credential = credential
        self._registries = Registries(endpoint, credential)
        self._pause = pause

    @classmethod
    async def open(
        cls, client: Client, name: str | RegistryName, *, credential: Credential | None = None, pause: float = 5.0
    ) -> Session:
        """Find a server of version 1 and return a session with it.

        Args:
            client: The client.
            name: The server, ``host[:port]`` or ``https://host[:port]/v1/``.
            credential: Identity to use instead of the client's own for it.
            pause: See the class.

        Raises:
            OciError: See ``Endpoint.discover``.
        """
        return cls(await Endpoint.discover(client, name), credential=credential, pause=pause)

    def __repr__(self) -> str:
        return f"<Session with {self._line.registry}>"

    @property
    def endpoint(self) -> Endpoint:
        """The index, or the registry that stands alone."""
        return self._endpoint

    async def credential(self, *, with_password: bool = False) -> AuthConfig:
        """Return who asks, as Docker has it.

        Args:
            with_password: Whether the password is in it.

        Raises:
            OciError: The credential cannot be looked up, or must not be sent.
        """
        found = await self._line.sender.identify(self._line.registry, self._credential)
        config = AuthConfig.of(found, server_address=self._line.registry.credential_key)
        return config if with_password else attrs.evolve(config, password="", identity_token="", registry_token="")

    # --- the index ---------------------------------------------------------------------------------------------------

    async def repository_data(self, repository: str) -> RepositoryData:
        """Ask the index for a repository: its images, the registries that have it, and a token for those.

        Args:
            repository: Its name: ``user/name``; on Docker Hub ``debian`` is ``library/debian``.

        Raises:
            InvalidReferenceError: The name does not follow the grammar.
            NameUnknownError: The index does not know the repository.
            CredentialsRejectedError: It wants to know who asks, or refuses it.
            EndpointRefusedError: It names a registry that this client must not go to.
            LimitExceededError: It lists too much.
            ProtocolError: The answer is not a list of images.
            OciError: Another failure, see the error's class.
        """
        name = self._name(repository)
        endpoint = _endpoints.GetImages(self._line.root, name, identity=await self._line.identify(self._credential))
        async with self._line.exchange(endpoint, about=name) as reply:
            images = images_of(await read_json(reply, MAX_LIST, "list of images"))
            return self._registries.told(name, images, reply)

    async def push_index(
        self,
        repository: str,
        images: Sequence[ImageData],
        *,
        validate: bool = False,
        registries: Iterable[str] = (),
    ) -> RepositoryData:
        """Tell the index which images a repository is about to get; or, when all are there, that they are.

        Args:
            repository: Its name.
            images: Its images.
            validate: Whether they are there.
            registries: The registries that have them, ``host[:port]`` or as ``RepositoryData.endpoints`` has them;
                empty for those that the index names.

        Returns:
            Where to send them, with a token for that.

        Raises:
            InvalidReferenceError: A name does not follow the grammar.
            CredentialsRejectedError: The index wants to know who asks, or refuses it.
            EndpointRefusedError: It names a registry that this client must not go to.
            RedirectRefusedError: It sends the client to another host.
            OciError: Another failure, see the error's class.
        """
        name = self._name(repository)
        endpoint = _endpoints.PutImages(
            self._line.root,
            name,
            validate,
            tuple(str(RegistryName.parse(without_api(each))) for each in registries),
            identity=await self._line.identify(self._credential),
        )
        body = BytesBody(json.dumps([_listed(image) for image in images]).encode())
        for _ in range(MAX_REDIRECTS):
            async with self._line.exchange(endpoint, body=body, about=name) as reply:
                if reply.status < 300:
                    return self._registries.told(name, tuple(images), reply)
                endpoint = attrs.evolve(endpoint, location=self._elsewhere(reply))
        here = str(Origin.of(self._line.root))
        raise RedirectRefusedError(here, here, f"it goes on for more than {MAX_REDIRECTS} steps")

    def _elsewhere(self, reply: Reply) -> str:
        here, location = reply.url, reply.header("Location") or ""
        found = check_redirect(here, urljoin(here, location), self._line.sender.egress)
        if not found.same_origin:
            raise RedirectRefusedError(
                str(Origin.of(here)), str(Origin.of(found.url)), "what is written is not sent elsewhere"
            )
        return found.url

    def _name(self, repository: str) -> str:
        name = RepositoryName(repository)
        return Reference(self._line.registry, name).repository if self._endpoint.is_index else name

    # --- reading from a registry -------------------------------------------------------------------------------------

    async def tags(self, data: RepositoryData) -> Mapping[str, str]:
        """Return the image that each tag of a repository names.

        Names that do not follow the grammar of tags are skipped and reported as an event.

        Args:
            data: What the index said about the repository. Its registries are asked in turn until one answers.

        Raises:
            NotFoundError: None has the repository.
            LimitExceededError: The answer is larger than 8 MiB.
            ProtocolError: The answer is not a map from tags to images.
            OciError: Another failure of the last one, see the error's class.
        """

        async def take(reply: Reply) -> Mapping[str, str]:
            found, invalid = tags_of(await read_json(reply, MAX_LIST, "list of tags"))
            if invalid:
                self._line.sender.emit(NamesSkipped(Origin.of(reply.url).netloc, "tags", invalid))
            return found

        return await self._registries.each(
            data, partial(_endpoints.GetTags, name=data.repository), take, data.repository
        )

    async def ancestry(self, image: str, data: RepositoryData) -> tuple[str, ...]:
        """Return the identifiers of an image and of all that it is built upon, itself first.

        Raises:
            UsageError: The image is not named by 64 hexadecimal digits.
            NotFoundError: No registry has it.
            LimitExceededError: The list is longer than any image is deep.
            ProtocolError: The answer is no such list, or goes in a circle.
            OciError: Another failure of the last one, see the error's class.
        """

        async def take(reply: Reply) -> tuple[str, ...]:
            return ancestry_of(await read_json(reply, MAX_ANCESTRY_BYTES, "ancestry of an image"), image)

        return await self._registries.each(
            data, partial(_endpoints.GetAncestry, image=check_image_id(image)), take, image
        )

    async def has_image(self, image: str, data: RepositoryData) -> bool:
        """Return whether a registry has an image whole. An outage is an error, and never taken for no.

        An image whose push was not finished is not there: it may be pushed again.

        Raises:
            UsageError: The image is not named by 64 hexadecimal digits.
            CredentialsRejectedError: The token is that of a push: registries behind an index let nobody read with it.
            OciError: A failure other than "not found", see the error's class.
        """
        try:
            await self.image_json(image, data)
        except NotFoundError:
            return False
        except ResponseError as error:
            if error.status == 400 and _UNFINISHED in str(error).lower():
                return False
            raise
        return True

    async def image_json(self, image: str, data: RepositoryData) -> ImageJson:
        """Return the JSON of an image, with what the registry says of its layer. Nothing proves either.

        Raises:
            UsageError: The image is not named by 64 hexadecimal digits.
            NotFoundError: No registry has it.
            LimitExceededError: It is larger than 4 MiB.
            ProtocolError: It is the JSON of another image.
            OciError: Another failure of the last one, see the error's class.
        """

        async def take(reply: Reply) -> ImageJson:
            found = ImageJson(
                await reply.read(MAX_IMAGE_JSON, "image JSON"),
                parse_int(reply.header("X-Docker-Size") or ""),
                checksums_of(value for name in _PROOF for value in reply.header_values(name)),
            )
            if found.parse().id != image:
                raise ProtocolError("the registry answers with another image than it was asked for")
            return found

        return await self._registries.each(
            data, partial(_endpoints.GetImageJson, image=check_image_id(image)), take, image
        )

    @asynccontextmanager
    async def layer(self, image: ImageJson, data: RepositoryData) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Yield the layer of an image as it arrives; leaving the block closes the connection.

        A layer that breaks off is gone on with where the registry can, five times in a row at most. Where the registry
        has a digest, the last piece is handed out only once that is right. That proves what was sent, and nothing more:
        the digest comes from the same registry.

        Args:
            image: The image, from ``image_json``.
            data: What the index said about the repository.

        Raises:
            NotFoundError: No registry has it.
            TruncatedBodyError: From the stream: it ended early, and cannot be gone on with.
            SizeMismatchError: From the stream: it is longer than the registry said.
            DigestMismatchError: From the stream: the bytes are others.
            OciError: Another failure of the last one, see the error's class.
        """
        self._registries.check(data)
        name = image.parse().id
        shown = [(root, await self._registries.shown_to(root, data)) for root in data.endpoints]

        def ask(number: int, start: int | None, stop: int | None) -> AbstractAsyncContextManager[Reply]:
            root, identity = shown[number]
            return self._line.exchange(_endpoints.GetLayer(root, name, start, stop, identity=identity), about=name)

        async with aclosing(Reading(ask, len(shown), image, self._pause).pieces()) as pieces:
            yield pieces

    # --- writing to a registry ---------------------------------------------------------------------------------------

    async def push_image_json(self, image: str, text: bytes, data: RepositoryData) -> None:
        """Store the JSON of an image. What it is built upon has to be there before it.

        Args:
            image: Its identifier.
            text: The JSON.
            data: What the index said about the repository.

        Raises:
            UsageError: The image is not named by 64 hexadecimal digits, or the JSON is another one's.
            BlobExistsError: The registry has the image already.
            OciError: Another failure, see the error's class.
        """
        if ImageJson(text).parse().id != check_image_id(image):
            raise UsageError("the JSON is that of another image")
        await self._registries.put(data, partial(_endpoints.PutImageJson, image=image), image, text)

    async def push_layer(self, image: str, layer: Source, text: bytes, data: RepositoryData) -> LayerChecksums:
        """Store the layer of an image, whose JSON is there already.

        Args:
            image: Its identifier.
            layer: The layer, a tar archive.
            text: The JSON of the image, which is part of what proves the layer.
            data: What the index said about the repository.

        Returns:
            What proves it. The registry wants to hear it, see ``push_checksum``.

        Raises:
            UsageError: The image is not named by 64 hexadecimal digits.
            BlobExistsError: The registry has the image already.
            OciError: Another failure, see the error's class.
        """
        source = as_body(layer)
        if isinstance(source, FileBody):
            source = await source.measure()
        body = HashedBody(source, text + b"\n")
        root, identity = await self._registries.written(data)
        endpoint = _endpoints.PutLayer(root, check_image_id(image), identity=identity)
        async with already(), self._line.exchange(endpoint, body=body, about=image) as reply:
            self._registries.keep_cookies(root, image, reply)
            return body.found

    async def push_checksum(self, image: ImageData, data: RepositoryData) -> None:
        """Tell the registry what proves a layer. Only then the image is there.

        Args:
            image: The image, with a checksum or two.
            data: What the index said about the repository.

        Raises:
            UsageError: There is no checksum.
            UnexpectedStatusError: The registry computed another one.
            BlobExistsError: The registry has the image already.
            OciError: Another failure, see the error's class.
        """
        fields = {"X-Docker-Checksum": image.checksum, "X-Docker-Checksum-Payload": image.checksum_payload}
        said = tuple((name, value) for name, value in fields.items() if value)
        if not said:
            raise UsageError("there is no checksum to tell")
        await self._registries.put(data, partial(_endpoints.PutChecksum, image=image.id, checksums=said), image.id)

    async def push_tag(self, tag: str, image: str, data: RepositoryData) -> None:
        """Set a tag.

        Args:
            tag: The tag.
            image: Identifier of the image it names.
            data: What the index said about the repository.

        Raises:
            InvalidReferenceError: The tag does not follow the grammar.
            UsageError: The image is not named by 64 hexadecimal digits.
            NotFoundError: The registry does not have the image.
            OciError: Another failure, see the error's class.
        """
        text = json.dumps(check_image_id(image)).encode()
        make = partial(_endpoints.PutTag, name=data.repository, tag=Tag(tag))
        await self._registries.put(data, make, f"{data.repository}:{tag}", text)

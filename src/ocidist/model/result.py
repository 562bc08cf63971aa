"""What operations return: small frozen values shared by remote repositories and local stores."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Generic, TypeVar

import attrs

from ocidist.model.descriptor import Descriptor
from ocidist.model.digest import Digest
from ocidist.model.fields import FrozenMap
from ocidist.model.reference import RepositoryName, Tag

T = TypeVar("T")


def _kept(failed: Mapping[Tag, Exception]) -> Mapping[Tag, Exception]:
    return FrozenMap(failed)


class OnExit(enum.Enum):
    """What leaving a blob writer without ``commit()`` does to its upload session."""

    KEEP = "keep"
    """Leave the session open, to be resumed from the writer's state."""
    CANCEL = "cancel"
    """End the session; the registry forgets what it received."""


@attrs.frozen
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: The page's entries, in the registry's order.
        more: Whether another page may follow.
    """

    items: tuple[T, ...]
    more: bool


@attrs.frozen
class RegistryInfo:
    """What a registry said of itself when it was pinged.

    Attributes:
        api_version: The ``Docker-Distribution-API-Version`` header, or None.
        authenticated: Whether the ping was answered as 200 with credentials or a token attached.
        supported: Whether the endpoint exists; some registries answer 404 here and still serve repositories.
    """

    api_version: str | None
    authenticated: bool
    supported: bool = True


@attrs.frozen
class LoginResult:
    """What came of a login.

    Attributes:
        authenticated: Whether the registry asked who it was, and took the credential. Where it lets everybody in,
            nothing is proven.
        identity_token: What its token server gives in place of a password, to make an ``IdentityToken`` of; empty if
            there is none. Masked in ``repr``.
    """

    authenticated: bool
    identity_token: str = attrs.field(default="", repr=lambda token: repr("***" if token else ""))

    @property
    def status(self) -> str:
        """The same for people: what the Docker Engine says, or that nothing is proven."""
        return "Login Succeeded" if self.authenticated else "The registry does not ask for credentials"


@attrs.frozen
class Mounted:
    """A blob was linked from another repository; nothing needs to be sent.

    Attributes:
        digest: The blob.
        source: The repository it came from, if one was named.
    """

    digest: Digest
    source: RepositoryName | None = None


@attrs.frozen
class PushResult:
    """A manifest was pushed.

    Attributes:
        descriptor: The manifest.
        tags: Tags that now name it, in the order given.
        failed: Tags that could not be set, with the error of each; the others stand.
        subject: Digest of the subject the registry acknowledged (``OCI-Subject``), or None.
    """

    descriptor: Descriptor
    tags: tuple[Tag, ...] = ()
    failed: Mapping[Tag, Exception] = attrs.field(factory=dict, converter=_kept, hash=False)
    subject: Digest | None = None

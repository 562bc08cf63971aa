"""Who there is: what a token server, or a registry with passwords, asks about users."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs

from ocidist.errors import InvalidCredentialError

if TYPE_CHECKING:
    from collections.abc import Mapping


@runtime_checkable
class Users(Protocol):
    """Knows users and their passwords. ``Htpasswd`` is one; a directory service can be another."""

    async def check(self, name: str, password: str) -> bool:
        """Return whether it is the user's password.

        It takes as long for users that there are not: otherwise the time tells who there is.

        Raises:
            CredentialStoreError: The users cannot be read.
        """
        ...

    async def stamp(self, name: str) -> str | None:
        """Return a text that changes when the user's password does, or None if there is no such user.

        Refresh tokens are good for as long as it stays the same. It is kept with them, so it must not be a secret.

        Raises:
            CredentialStoreError: The users cannot be read.
        """
        ...


def check_user_name(name: str) -> str:
    """Return a name that can be sent and written to a file.

    Raises:
        InvalidCredentialError: It is empty, or holds ``:``, blanks at its ends, or something that does not print.
    """
    if not name or ":" in name or not name.isprintable() or name != name.strip() or name.startswith("#"):
        raise InvalidCredentialError(
            "a user name must print, not be empty, not contain ':' and not begin with '#' or blanks"
        )
    return name


@attrs.frozen
class Login:
    """What somebody says who they are; the password is not shown.

    Attributes:
        name: User name.
        password: Password.
    """

    name: str
    password: str = attrs.field(repr=lambda _: "'***'")


def parse_basic(header: str, *, most: int) -> Login | None:
    """Read an Authorization header of the Basic scheme; None if it is none, malformed or too long.

    Args:
        header: Its value.
        most: Most characters of user name and password together.

    Spec: RFC 7617, section 2.
    """
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > most * 4:
        return None
    try:
        text = base64.b64decode(encoded.strip(" "), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    name, colon, password = text.partition(":")
    return Login(name, password) if colon and len(text) <= most else None


class StaticUsers:
    """Users in memory, for services with a few of them whose secrets come from elsewhere.

    Only keyed digests of the passwords are kept, and compared in constant time. That is right for long random secrets;
    passwords that people choose belong into an ``Htpasswd`` file.

    Args:
        passwords: Passwords by user name.

    Raises:
        InvalidCredentialError: A user name cannot be sent, or a password is empty.
    """

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._key = secrets.token_bytes(32)
        self._nobody = self._digest(secrets.token_hex())
        if not all(passwords.values()):
            raise InvalidCredentialError("a password must not be empty")
        self._digests = {check_user_name(name): self._digest(password) for name, password in passwords.items()}

    def __repr__(self) -> str:
        return f"StaticUsers({sorted(self._digests)})"

    async def check(self, name: str, password: str) -> bool:
        """Return whether it is the user's password."""
        known = self._digests.get(name)
        same = hmac.compare_digest(self._digest(password), known or self._nobody)
        return same and known is not None

    async def stamp(self, name: str) -> str | None:
        """Return a text that changes when the user's password does, or None."""
        known = self._digests.get(name)
        return None if known is None else hashlib.sha256(known).hexdigest()

    def _digest(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode("utf-8", "surrogatepass"), "sha256")

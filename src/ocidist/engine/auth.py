"""Credentials on their way to the Docker Engine: the ``X-Registry-Auth`` header, and bodies of the same form.

Reading returns a reason instead of raising where secrets are at hand: an exception would carry them in its frames.

Spec: Docker Engine API v1.44, "Authentication"; RFC 4648, section 5.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self, overload

import attrs

from ocidist.credentials.entry import Problem, read_entry
from ocidist.credentials.store import ANONYMOUS, Basic, Credential, IdentityToken, RegistryToken
from ocidist.engine import _json
from ocidist.errors import InvalidCredentialError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTH_HEADER: Final = "X-Registry-Auth"
"""The header in which the Engine is given the credential for a registry."""

MAX_AUTH: Final = 64 * 1024
"""Bytes of a header or body that are read; tokens take a few thousand."""

# Python's reader takes these for "-" and "_" as well; the Engine does not.
_OTHER_ALPHABET: Final = frozenset("+/")
_CONTENT: Final = "the registry credential"


def _masked(value: str) -> str:
    return repr("***" if value else "")


def _text(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str):
        raise InvalidCredentialError(f"{attribute.name} of {type(instance).__name__} must be text")
    try:
        value.encode()
    except UnicodeError:
        bad = True
    else:
        bad = False
    if bad:
        raise InvalidCredentialError(
            f"{attribute.name} of {type(instance).__name__} must be text that UTF-8 can encode"
        )


def _plain() -> str:
    found: str = attrs.field(default="", validator=_text)
    return found


def _secret() -> str:
    found: str = attrs.field(default="", validator=_text, repr=_masked)
    return found


@attrs.frozen(kw_only=True)
class AuthConfig:
    """A registry credential as the Engine takes it. An empty field is one that is not there.

    Attributes:
        username: User name.
        password: Its password or access token; masked in ``repr``.
        auth: Both in one, as credential files have them; masked in ``repr``.
        email: What registries of version 1 wanted; nobody reads it any more.
        server_address: The registry it is for, ``host[:port]`` or Docker Hub's ``https://index.docker.io/v1/``.
        identity_token: Refresh token, exchanged for access tokens; masked in ``repr``.
        registry_token: Access token, sent to the registry as it is; masked in ``repr``.

    Raises:
        InvalidCredentialError: A field is not text.
    """

    username: str = _plain()
    password: str = _secret()
    auth: str = _secret()
    email: str = _plain()
    server_address: str = _plain()
    identity_token: str = _secret()
    registry_token: str = _secret()

    @classmethod
    def of(cls, credential: Credential, *, server_address: str = "") -> Self:
        """Return what the Engine takes for a credential of this library; for nobody, an empty one.

        Args:
            credential: Who asks.
            server_address: The registry it is for; see ``RegistryName.credential_key``.
        """
        match credential:
            case Basic():
                return cls(username=credential.username, password=credential.password, server_address=server_address)
            case IdentityToken():
                return cls(identity_token=credential.token, server_address=server_address)
            case RegistryToken():
                return cls(registry_token=credential.token, server_address=server_address)
            case _:
                return cls(server_address=server_address)

    def to_credential(self) -> Credential:
        """Return who asks. A registry token goes before an identity token, and that before name and password.

        Raises:
            InvalidCredentialError: What is in there cannot be sent to a registry.
        """
        found = read_entry(self._fields())
        if isinstance(found, Problem):
            raise InvalidCredentialError(f"{_CONTENT} cannot be used: {found.reason}")
        return ANONYMOUS if found is None else found

    def to_json(self) -> bytes:
        """Return the document: fields in the Engine's order, empty ones left out."""
        return _json.write(self._fields())

    def _fields(self) -> dict[str, str]:
        found = {json: getattr(self, name) for name, json in _NAMES.items()}
        return {name: value for name, value in found.items() if value}


_NAMES: Final[Mapping[str, str]] = {field.name: field.name.replace("_", "") for field in attrs.fields(AuthConfig)}


class DecodedAuth(NamedTuple):
    """A credential as far as it could be read.

    Attributes:
        config: The credential; an empty one if it could not be read.
        error: Why not, or None. Whether that matters is the caller's to decide.
    """

    config: AuthConfig
    error: InvalidCredentialError | None = None


def encode_auth(config: AuthConfig) -> str:
    """Return the value of ``X-Registry-Auth``: base64url of the document, with padding."""
    return base64.urlsafe_b64encode(config.to_json()).decode("ascii")


@overload
def decode_auth(text: str, *, strict: Literal[True] = True) -> AuthConfig: ...
@overload
def decode_auth(text: str, *, strict: Literal[False]) -> DecodedAuth: ...
def decode_auth(text: str, *, strict: bool = True) -> AuthConfig | DecodedAuth:
    """Read a value of ``X-Registry-Auth``; the empty text is an empty credential. Padding may be missing.

    Args:
        text: The value.
        strict: Whether to raise for what cannot be read. If not, a credential is returned in any case, with the error.

    Raises:
        InvalidCredentialError: It is not base64url of such a document. The message holds nothing of it.
    """
    found = _decoded(text)
    # The frame stays with the error.
    del text
    return _handed_out(found, strict=strict)


@overload
def decode_auth_body(data: bytes, *, strict: Literal[True] = True) -> AuthConfig: ...
@overload
def decode_auth_body(data: bytes, *, strict: Literal[False]) -> DecodedAuth: ...
def decode_auth_body(data: bytes, *, strict: bool = True) -> AuthConfig | DecodedAuth:
    """Read a credential from a request body, where clients had it before there was the header.

    Args:
        data: The body.
        strict: See ``decode_auth``.

    Raises:
        InvalidCredentialError: It is not such a document. The message holds nothing of it.
    """
    found = _read(data)
    del data  # see above
    return _handed_out(found, strict=strict)


def _handed_out(found: AuthConfig | str, *, strict: bool) -> AuthConfig | DecodedAuth:
    if isinstance(found, AuthConfig):
        return found if strict else DecodedAuth(found)
    error = InvalidCredentialError(f"{_CONTENT} cannot be read: {found}")
    if strict:
        raise error
    return DecodedAuth(AuthConfig(), error)


def _decoded(text: str) -> AuthConfig | str:
    if not text:
        return AuthConfig()
    if len(text) > MAX_AUTH:
        return "it is too long"
    try:
        padded = "".join(text.split()).rstrip("=")
        if not _OTHER_ALPHABET.isdisjoint(padded):
            return "it is not base64url"
        data = base64.b64decode(padded + "=" * (-len(padded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return "it is not base64url"
    return _read(data)


def _read(data: bytes) -> AuthConfig | str:
    if len(data) > MAX_AUTH:
        return "it is too long"
    if data.strip() == b"null":
        # What Go makes of nobody.
        return AuthConfig()
    try:
        fields = _json.Fields.load(data, _CONTENT)
        return AuthConfig(**{name: fields.text(json) for name, json in _NAMES.items()})
    except (ProtocolError, InvalidCredentialError):
        return "it is not a JSON object of texts"


@attrs.frozen
class AuthenticateOKBody:
    """What the Engine answers to a login that succeeded.

    Attributes:
        identity_token: Refresh token to keep in place of the password, empty if there is none; masked in ``repr``.
        status: A text for people.
    """

    identity_token: str = attrs.field(default="", repr=_masked)
    status: str = "Login Succeeded"

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Read the document.

        Raises:
            ProtocolError: It is none.
        """
        fields = _json.Fields.load(data, "the answer to a login")
        return cls(fields.text("IdentityToken"), fields.text("Status"))

    def to_json(self) -> bytes:
        """Return the document."""
        return _json.write({"IdentityToken": self.identity_token, "Status": self.status})

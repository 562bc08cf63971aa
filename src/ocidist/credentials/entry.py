"""One entry of a credential file: from its JSON to a credential, and back.

Reading returns a ``Problem`` instead of raising: an exception would carry, in the frames it went through, the secrets
that were being read.

Spec: docker's config.json, "auths"; containers-auth.json(5), "FORMAT".
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.credentials.store import Anonymous, Basic, Credential, IdentityToken, RegistryToken
from ocidist.errors import InvalidCredentialError, UsageError
from ocidist.model.strictjson import merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOKEN_USER: Final = "<token>"  # noqa: S105 -- a name, no secret
"""The user name that says that the password is an identity token."""

SECRET_FIELDS: Final = frozenset({"auth", "username", "password", "identitytoken", "registrytoken"})


@attrs.frozen
class Problem:
    """Why an entry cannot be used, without anything it holds.

    Attributes:
        reason: A clause for a message: "its auth field is not base64".
    """

    reason: str


def read_entry(entry: object) -> Credential | Problem | None:
    """Return the credential of an entry, None when it holds none: an empty entry says to ask the helper.

    A registry token goes before an identity token, and that before user name and password; of those, what ``auth``
    says goes before the fields ``username`` and ``password``. The secret may have NULs at its end, which some tools
    wrote and nobody meant.
    """
    if not isinstance(entry, dict):
        return None if entry is None else Problem("it is not a JSON object")
    entry = spelled(entry, SECRET_FIELDS)
    fields = {name: entry.get(name) or "" for name in SECRET_FIELDS}
    if not all(isinstance(value, str) for value in fields.values()):
        return Problem("one of its fields is not text")
    if fields["registrytoken"]:
        return make_credential(RegistryToken, fields["registrytoken"])
    if fields["identitytoken"]:
        return make_credential(IdentityToken, fields["identitytoken"])
    if fields["auth"]:
        pair = _decode(fields["auth"])
        if isinstance(pair, Problem):
            return pair
        # Of an empty name and an empty secret Docker and Podman make nobody, too.
        return read_pair(*pair) if any(pair) else None
    if fields["username"] or fields["password"]:
        return read_pair(fields["username"], fields["password"].rstrip("\0"))
    return None


def spelled(value: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return a JSON object with these names spelled as they are here, whatever their case is there.

    Docker, Podman and the helpers that are written in Go do not tell upper from lower case in the names of fields.
    """
    usual = {name.lower(): name for name in names}
    return merged((usual.get(name.lower(), name), item) for name, item in value.items())


def holds_secret(entry: object) -> bool:
    """Return whether an entry holds a secret itself."""
    return isinstance(entry, dict) and any(name.lower() in SECRET_FIELDS for name in entry)


def without_secrets(entry: object) -> dict[str, object]:
    """Return the fields of an entry that are no secrets."""
    kept: Mapping[str, object] = entry if isinstance(entry, dict) else {}
    return {name: value for name, value in kept.items() if name.lower() not in SECRET_FIELDS}


def read_pair(username: str, secret: str) -> Credential | Problem:
    """Return the credential of a user name and a secret, as a file or a helper has them."""
    if not username or not secret:
        return Problem("its user name or its secret is empty")
    if username == TOKEN_USER:
        return make_credential(IdentityToken, secret)
    return make_credential(Basic, username, secret)


def make_credential(kind: type[Basic | IdentityToken | RegistryToken], *parts: str) -> Credential | Problem:
    """Make a credential of texts that may be anything."""
    try:
        return kind(*parts)
    except InvalidCredentialError as error:
        return Problem(error.message)


def _decode(auth: str) -> tuple[str, str] | Problem:
    try:
        # base64(1) breaks long lines, and Docker and Podman do not mind.
        text = base64.b64decode("".join(auth.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        return Problem("its auth field is not base64 of UTF-8 text")
    username, colon, secret = text.partition(":")
    return (username, secret.rstrip("\0")) if colon else Problem("its auth field holds no ':'")


def _encode(username: str, secret: str) -> str:
    return base64.b64encode(f"{username}:{secret}".encode()).decode()


def write_entry(credential: Credential, old: object = None) -> dict[str, object]:
    """Return the entry for a credential, with the fields of the *old* one that ocidist does not know.

    Raises:
        UsageError: The credential is nobody.
    """
    entry = without_secrets(old)
    match credential:
        case Basic():
            entry["auth"] = _encode(credential.username, credential.password)
        case IdentityToken():
            # Podman and skopeo do not look at the token of an entry that has no user name.
            entry["auth"] = _encode(TOKEN_USER, "")
            entry["identitytoken"] = credential.token
        case RegistryToken():
            entry["registrytoken"] = credential.token
        case _:
            raise refusal(credential)
    return entry


def refusal(credential: Credential) -> UsageError:
    """Return the error for a credential that cannot be kept."""
    if isinstance(credential, Anonymous):
        return UsageError("to log in, a credential is needed; to forget one, log out")
    return UsageError(f"{type(credential).__name__} cannot be kept in a credential file or helper")

"""Accounts of version 1: asking whether one is good, and making one.

Spec: Docker, "Registry & Index Spec", "Users".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ocidist._io.body import BytesBody
from ocidist.credentials.store import Basic
from ocidist.engine.auth import AuthenticateOKBody
from ocidist.errors import ResponseError, UsageError
from ocidist.legacy._line import Line
from ocidist.legacy.hub import MAX_LOGIN_BODY, check_login
from ocidist.legacy.v1._endpoints import CreateUser
from ocidist.model.reference import DOCKER_HUB

if TYPE_CHECKING:
    from ocidist.client import Client
    from ocidist.credentials.store import Credential

CREATED: Final = "Account Created"


async def login(
    client: Client, credential: Credential, *, index: str = DOCKER_HUB, email: str | None = None
) -> AuthenticateOKBody:
    """Ask whether an index takes a user name and a password; with an address, make the account if there is none.

    Args:
        client: The client.
        credential: A user name and a password.
        index: The index, or the registry that stands alone, ``host[:port]``.
        email: Address for a new account. Docker Hub makes none in this way any more.

    Returns:
        What the Docker Engine answers to the same question.

    Raises:
        UsageError: The credential is something else.
        CredentialsRejectedError: The index refuses it.
        DeniedError: The account is not active.
        UnexpectedStatusError: No account can be made of that.
        OciError: Another failure, see the error's class.
    """
    if not isinstance(credential, Basic):
        raise UsageError(f"a login is a user name and a password, not {type(credential).__name__}")
    if email is not None and await _created(client, credential, index, email):
        return AuthenticateOKBody(status=CREATED)
    return await check_login(client, credential, index=index)


async def _created(client: Client, credential: Basic, index: str, email: str) -> bool:
    """Return whether an account was made: not if there is one."""
    line = await Line.open(client, index)
    # Refuses plain http where nobody said that secrets may be sent so.
    await line.identify(credential)
    try:
        async with line.exchange(CreateUser(line.root), body=_account(credential, email)) as reply:
            await reply.read(MAX_LOGIN_BODY, "answer to a login")
            # docker-registry takes everybody, and says 201; others say 200 to who has an account.
            return reply.status == 201
    except ResponseError as error:
        known = error.status == 400 and "already exist" in str(error).lower()
        # A registry of one's own has its users already, and answers nobody else.
        if not known and error.status != 401:
            raise
    return False


def _account(credential: Basic, email: str) -> BytesBody:
    fields = {"username": credential.username, "password": credential.password, "email": email}
    return BytesBody(json.dumps(fields).encode())

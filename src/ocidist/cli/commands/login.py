"""``ocidist login``."""

from __future__ import annotations

import getpass
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final

import anyio.to_thread
from cyclopts import Parameter

from ocidist.cli import naming, sources
from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common, Flag
from ocidist.cli.output import Value
from ocidist.cli.running import carry_out
from ocidist.credentials import login as keep
from ocidist.credentials.files import read_place
from ocidist.credentials.paths import places
from ocidist.credentials.store import Anonymous, Basic, IdentityToken
from ocidist.errors import CredentialStoreError, UsageError
from ocidist.model.reference import without_api

if TYPE_CHECKING:
    from ocidist.credentials.paths import CredentialPlace
    from ocidist.credentials.store import Credential

_LONGEST: Final = 64 * 1024


def login(
    registry: str = "docker.io",
    /,
    *,
    username: Annotated[str | None, Parameter(name=("--username", "-u"))] = None,
    password_stdin: Flag = False,
    show_sources: Flag = False,
    common: Common = DEFAULTS,
) -> None:
    """Tell a registry who you are, and keep that for Docker, Podman and ocidist.

    The password is asked for, or read from standard input; it is kept only if the registry accepts it.

    If the registry's token server gives an identity token for it, that is kept in its place.

    Args:
        registry: The registry; Docker Hub unless given.
        username: Who you are; asked for unless given.
        password_stdin: Read the password from standard input, also where that is a terminal.
        show_sources: Show where credentials for the registry are looked for, and which are used; log in nowhere.
        common: Options of every verb.
    """
    registry = without_api(registry)
    naming.registry(registry)
    import_module("ocidist.client")
    if show_sources:
        carry_out(partial(_show, registry, common))
        return
    # Asked for before there is an event loop: whoever is asked may take their time.
    try:
        credential = Basic(*_asked(username, piped=password_stdin or not sources.is_typed()))
    except KeyboardInterrupt:
        # What is said of that begins below the question.
        sys.stderr.write("\n")
        raise
    carry_out(partial(_login, registry, credential, common))


async def _login(registry: str, credential: Basic, common: Common) -> None:
    name = naming.registry(registry)
    # Nobody in particular is welcome at many registries: that would not prove the password.
    async with connected(common, name, credentials={str(name): credential}, anonymous=False) as session:
        answer = await session.client.registry(name).login(credential)
        if not answer.authenticated:
            session.voice.say(f"{name} did not ask who you are")
        secret = "identity token" if answer.identity_token else "password"
        kept = await keep(str(name), IdentityToken(answer.identity_token) if answer.identity_token else credential)
        if kept.helper is None:
            session.voice.say(f"kept in {kept.path}, not encrypted: whoever can read the file can read the {secret}")
        value: Value = {
            "registry": str(name),
            "username": credential.username,
            "authenticated": answer.authenticated,
            "kept": secret,
            "file": str(kept.path),
            "helper": kept.helper,
        }
        await session.output.result(f"logged in to {name} as {credential.username}", value)


def _asked(username: str | None, *, piped: bool) -> tuple[str, str]:
    if piped:
        if username is None:
            raise UsageError("--username is needed where the password comes from standard input")
        return username, _read()
    if username is None:
        sys.stderr.write("Username: ")
        sys.stderr.flush()
        username = sys.stdin.readline(_LONGEST).rstrip("\r\n")
        if not username:
            raise UsageError("no user name was given")
    try:
        password = getpass.getpass("Password: ", stream=sys.stderr)
    except EOFError:
        password = ""
    if not password:
        raise UsageError("no password was given")
    return username, password


def _read() -> str:
    if sys.stdin is None:
        raise UsageError("there is no standard input")
    data = sys.stdin.buffer.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise UsageError("what comes from standard input is too long for a password")
    try:
        password = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the password on standard input is not UTF-8") from None
    if not password:
        raise UsageError("standard input has no password")
    return password


# --- where credentials come from -------------------------------------------------------------------------------------


async def _show(registry: str, common: Common) -> None:
    name = naming.registry(registry)
    host = str(name)
    async with connected(common, name) as session:
        found = [await _source(place, host) for place in places(helpers=session.hosts.credential_helpers)]
        told = [each for each in found if each["user"] is not None or each["error"] is not None]
        # A helper that is asked for every registry may fail, if anybody else knows the registry.
        sure = [each for each in told if each["user"] is not None or each["source"] is not None]
        used = next(iter(sure or told), None)
        for each in found:
            each["used"] = each is used
        await session.output.result(_table(host, found), {"registry": host, "sources": found})


async def _source(place: CredentialPlace, host: str) -> Value:
    value: Value = {
        "source": None if place.source is None else place.source.name,
        "place": "environment variable" if place.text is not None else str(place),
        "user": None,
        "helper": None,
        "error": None,
    }
    try:
        file = await anyio.to_thread.run_sync(read_place, place)
        helper = file.helper_for(host)
        value["helper"] = None if helper is None else helper.name
        value["user"] = _who(await file.get(host))
    except CredentialStoreError as error:
        value["error"] = error.message
    return value


def _who(credential: Credential) -> str | None:
    match credential:
        case Basic(username=name):
            return name
        case Anonymous():
            return None
        case _:
            return "a token"


def _table(host: str, found: list[Value]) -> str:
    lines = [f"credentials for {host}, first things first:"]
    for each in found:
        said = each["error"] or (each["user"] and f"{each['user']}") or "nothing"
        helper = f" (helper {each['helper']})" if each["helper"] else ""
        source = f"{each['source']}: " if each["source"] else ""
        lines.append(f"{'*' if each['used'] else ' '} {source}{each['place']}{helper}: {said}")
    return "\n".join(lines)

"""``python -m ocidist.server``: a registry over a directory, in memory, or in front of another one; on loopback."""

from __future__ import annotations

import argparse
import asyncio  # what uvicorn cuts off at its end are tasks of asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from ocidist.errors import OciError, UsageError
from ocidist.server.app import RegistryApp
from ocidist.server.auth import PasswordGuard
from ocidist.server.pullthrough import PullThrough
from ocidist.server.rate import FailedLogins
from ocidist.storage.layout import LayoutRegistry
from ocidist.storage.memory import MemoryRegistry
from ocidist.wire.ranges import parse_int
from ocidist.wire.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import NoReturn

    from ocidist.issuer.htpasswd import Htpasswd
    from ocidist.storage.protocols import Namespace

MAX_PORT: Final = 65535
GRACE_S: Final = 3
"""Seconds that requests under way have to end after an interrupt."""

MISSING: Final = "ocidist.server needs uvicorn to run alone: pip install 'ocidist[server]'"


class CannotStartError(Exception):
    """Raised when the registry cannot run as it was asked to; the message is for whoever asked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a registry until it is interrupted or terminated.

    Args:
        arguments: Command line without the program's name; None for the process's own.

    Returns:
        The exit status: 0 after an interrupt or SIGTERM, 1 if it could not start.
    """
    try:
        run(_parser().parse_args(arguments), announce=_announce)
    except CannotStartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run(options: argparse.Namespace, *, announce: Callable[[str, str], None]) -> None:
    """Run a registry until it is interrupted or terminated; blocks.

    Args:
        options: What ``--help`` shows, by its names.
        announce: Told what it is a registry of, and its address, once it listens.

    Raises:
        CannotStartError: It cannot run like that.
    """
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with contextlib.suppress(KeyboardInterrupt), _listening(options) as listener:
            uvloop = importlib.util.find_spec("uvloop") is not None
            anyio.run(_serve, options, listener, announce, backend_options={"use_uvloop": uvloop})
    finally:
        signal.signal(signal.SIGTERM, before)


def _announce(what: str, address: str) -> None:
    sys.stdout.write(f"registry {what} at {address}\n")
    sys.stdout.flush()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to an address; names other than ``localhost`` are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _listening(options: argparse.Namespace) -> socket.socket:
    _check(options)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise CannotStartError(f"cannot listen on {options.host} port {options.port}: {reason}") from None
    # Inherited by every connection: asyncio sets it only for sockets that know their protocol, and an answer in two
    # pieces takes 40 ms without it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _check(options: argparse.Namespace) -> None:
    if not (options.allow_remote or options.htpasswd or is_loopback(options.host)):
        raise CannotStartError(
            f"{options.host} can be reached from other machines, and there is no authentication: "
            "give --htpasswd, or --allow-remote if that is what you want"
        )
    if importlib.util.find_spec("uvicorn") is None:
        raise CannotStartError(MISSING)
    if options.directory is not None and options.max_bytes is not None:
        raise CannotStartError("--max-bytes is for registries in memory")
    if options.directory is not None:
        _check_directory(options.directory, read_only=options.read_only)
    if (options.tls_cert is None) != (options.tls_key is None):
        raise CannotStartError("a certificate and its key go together: --tls-cert and --tls-key")
    if options.tls_cert is not None:
        _check_tls(options.tls_cert, options.tls_key)
    elif options.htpasswd and not is_loopback(options.host):
        sys.stderr.write("passwords will come in clear text: there is no --tls-cert\n")


def _check_directory(directory: Path, *, read_only: bool) -> None:
    try:
        place = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    except OSError as error:
        raise CannotStartError(f"cannot use {directory}: {error.strerror or error}") from None
    if not place.is_dir():
        raise CannotStartError(f"{place} is not a directory")
    if not os.access(place, os.R_OK | os.X_OK):
        raise CannotStartError(f"{place} cannot be read")
    if not (read_only or os.access(place, os.W_OK)):
        raise CannotStartError(f"{place} cannot be written to: give --read-only if that is what you want")


def _check_tls(certificate: Path, key: Path) -> None:
    try:
        # Without a password at hand OpenSSL would ask the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise CannotStartError(f"cannot use {certificate} and {key}: {error}") from None


async def _serve(options: argparse.Namespace, listener: socket.socket, announce: Callable[[str, str], None]) -> None:
    import uvicorn  # noqa: PLC0415 -- an extra

    if options.access_log:
        logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)
        logging.getLogger("ocidist.server.access").setLevel(logging.INFO)
    users = await _users(options.htpasswd)
    async with contextlib.AsyncExitStack() as stack:
        store = _store(options)
        if options.proxy is not None:
            store = await stack.enter_async_context(await _in_front(stack, store, options.proxy))
        app = RegistryApp(
            store,
            auth=None if users is None else PasswordGuard(users),
            rate_limit=None if users is None else FailedLogins(),
            read_only=options.read_only,
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=options.tls_cert,
            ssl_keyfile=options.tls_key,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        announce(_described(options), _address(options, listener))
        await uvicorn.Server(config).serve(sockets=[listener])


def _is_news(record: logging.LogRecord) -> bool:
    # uvicorn shows a traceback for each request that it cuts off at its end, after it has said how many they are.
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


async def _users(file: Path | None) -> Htpasswd | None:
    if file is None:
        return None
    try:
        from ocidist.issuer import Htpasswd  # noqa: PLC0415 -- needs an extra

        users = Htpasswd(file)
        await users.names()
    except ModuleNotFoundError as error:
        raise CannotStartError(str(error)) from None
    except OciError as error:
        raise CannotStartError(f"cannot read the users: {error}") from None
    return users


def _store(options: argparse.Namespace) -> Namespace:
    whole = options.proxy is None and not options.allow_missing
    if options.directory is None:
        return MemoryRegistry(max_bytes=options.max_bytes, check_references=whole)
    return LayoutRegistry(options.directory, check_references=whole)


async def _in_front(stack: contextlib.AsyncExitStack, store: Namespace, upstream: str) -> PullThrough:
    from ocidist.client import Client  # noqa: PLC0415 -- most registries have nobody behind them

    client = await stack.enter_async_context(Client())
    try:
        return PullThrough(store, client.registry(upstream))
    except UsageError as error:
        raise CannotStartError(f"--proxy: {error}") from None


def _described(options: argparse.Namespace) -> str:
    place = "in memory" if options.directory is None else f"of {options.directory}"
    return place if options.proxy is None else f"{place} in front of {redact_url(options.proxy)}"


def _address(options: argparse.Namespace, listener: socket.socket) -> str:
    shown = f"[{options.host}]" if ":" in options.host else options.host
    scheme = "http" if options.tls_cert is None else "https"
    return f"{scheme}://{shown}:{listener.getsockname()[1]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ocidist.server", description="Run a registry.")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "directory", nargs="?", type=_directory, help="directory of OCI layouts to serve; made if missing"
    )
    place.add_argument("--memory", action="store_true", help="keep everything in memory, as without a directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=5000, type=_port, help="port, 0 for any free one (default: %(default)s)")
    parser.add_argument("--allow-remote", action="store_true", help="let everybody in from other machines, too")
    parser.add_argument("--htpasswd", type=Path, metavar="FILE", help="ask for the passwords in this file")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    parser.add_argument("--read-only", action="store_true", help="refuse everything but reading")
    parser.add_argument("--proxy", metavar="URL", help="keep what this registry has, as it is asked for; only read")
    parser.add_argument("--allow-missing", action="store_true", help="take manifests whose content is not there")
    parser.add_argument("--max-bytes", type=_count, help="most bytes to keep in memory (default: no limit)")
    parser.add_argument("--access-log", action="store_true", help="write a line for each request to standard error")
    return parser


def _directory(text: str) -> Path:
    if not text:
        # A variable that is not set must not mean the directory one happens to be in.
        raise argparse.ArgumentTypeError("the directory has no name")
    return Path(text)


def _count(text: str) -> int:
    found = parse_int(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return found


def _port(text: str) -> int:
    found = _count(text)
    if found > MAX_PORT:
        raise argparse.ArgumentTypeError(f"a port is at most {MAX_PORT}")
    return found


if __name__ == "__main__":
    sys.exit(main())

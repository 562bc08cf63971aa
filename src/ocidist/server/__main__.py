"""``python -m ocidist.server``: a registry in memory, on loopback."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import socket
import sys
from typing import TYPE_CHECKING, Final

from ocidist.server.app import RegistryApp
from ocidist.storage.memory import MemoryRegistry
from ocidist.wire.ranges import parse_int

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PORT: Final = 65535
GRACE_S: Final = 3
"""Seconds that requests under way have to end after an interrupt."""

MISSING: Final = "ocidist.server needs uvicorn to run alone: pip install 'ocidist[server]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a registry until it is interrupted.

    Args:
        arguments: Command line without the program's name; None for the process's own.

    Returns:
        The exit status: 0 after an interrupt, 1 if it could not start.
    """
    options = _parser().parse_args(arguments)
    if not (options.allow_remote or is_loopback(options.host)):
        return _fail(
            f"{options.host} can be reached from other machines, and there is no authentication: "
            "add --allow-remote if that is what you want"
        )
    try:
        import uvicorn  # noqa: PLC0415 -- an extra
    except ImportError:
        return _fail(MISSING)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        return _fail(f"cannot listen on {options.host} port {options.port}: {error.strerror or error}")
    with listener:
        app = RegistryApp(MemoryRegistry(max_bytes=options.max_bytes), read_only=options.read_only)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=GRACE_S
        )
        shown = f"[{options.host}]" if family is socket.AF_INET6 else options.host
        sys.stdout.write(f"registry in memory at http://{shown}:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    return 0


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to an address; names other than ``localhost`` are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ocidist.server", description="Run a registry that keeps everything in memory."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=5000, type=_port, help="port, 0 for any free one (default: %(default)s)")
    parser.add_argument("--allow-remote", action="store_true", help="listen on an address other machines can reach")
    parser.add_argument("--read-only", action="store_true", help="refuse everything but reading")
    parser.add_argument("--max-bytes", type=_count, help="most bytes to keep (default: no limit)")
    return parser


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


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

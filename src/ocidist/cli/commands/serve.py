"""``ocidist serve``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ocidist.cli.failure import CommandError, ReaderGoneError
from ocidist.cli.options import FileName, Flag, Format
from ocidist.cli.output import document, encoded, put
from ocidist.errors import UsageError


def serve(
    directory: FileName | None = None,
    /,
    *,
    memory: Flag = False,
    host: str = "127.0.0.1",
    port: int = 5000,
    allow_remote: Flag = False,
    htpasswd: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    read_only: Flag = False,
    proxy: str | None = None,
    allow_missing: Flag = False,
    max_bytes: int | None = None,
    access_log: Flag = False,
    output: Annotated[Format, Parameter(name=("--output", "-o"), env_var="OCIDIST_OUTPUT")] = Format.TEXT,
) -> None:
    """Run a registry, until it is interrupted: in memory, over a directory of OCI layouts, or in front of another one.

    Args:
        directory: Directory of OCI layouts to serve; made if it is missing. In memory unless given.
        memory: Keep everything in memory, as without a directory.
        host: Address to listen on.
        port: Port; 0 for any free one.
        allow_remote: Let everybody in from other machines, too.
        htpasswd: Ask for the passwords in this file.
        tls_cert: Certificate chain, PEM.
        tls_key: Its key, PEM.
        read_only: Refuse everything but reading.
        proxy: Keep what the registry at this URL has, as it is asked for; only read.
        allow_missing: Take manifests whose content is not there.
        max_bytes: Most bytes to keep in memory.
        access_log: Write a line for each request to stderr.
        output: Format of the line on stdout that says where it listens.
    """
    from ocidist.server.__main__ import MAX_PORT, CannotStartError, run  # noqa: PLC0415 -- help does without

    if directory is not None and (memory or not directory):
        raise UsageError(
            "the directory has no name" if not directory else "--memory and a directory exclude each other"
        )
    if not 0 <= port <= MAX_PORT:
        raise UsageError(f"a port is at most {MAX_PORT}, and not negative")
    if max_bytes is not None and max_bytes < 0:
        raise UsageError("--max-bytes is not negative")
    options = Namespace(
        directory=None if directory is None else Path(directory),
        memory=memory,
        host=host,
        port=port,
        allow_remote=allow_remote,
        htpasswd=htpasswd,
        tls_cert=tls_cert,
        tls_key=tls_key,
        read_only=read_only,
        proxy=proxy,
        allow_missing=allow_missing,
        max_bytes=max_bytes,
        access_log=access_log,
    )

    def announce(what: str, address: str) -> None:
        said = f"registry {what} at {address}" if output is Format.TEXT else document({"store": what, "url": address})
        try:
            put(encoded(f"{said}\n"))
        except ReaderGoneError:
            # Somebody else may need the registry all the same.
            return

    try:
        run(options, announce=announce)
    except CannotStartError as error:
        raise CommandError(str(error)) from None

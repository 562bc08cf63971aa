"""Debian's docker-registry 2.8.2, one process for each way of running it.

The port is the kernel's choice: the process listens on port 0 and says in its log where that is.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import bcrypt

from tests.peers.peer import CATALOG_PAGE, Mode, Peer
from tests.peers.token_server import ISSUER, SERVICE, USERS, TokenServer
from tests.peers.tools import program

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.peers.tls import Authority

_READY_S = 20.0
_STOP_S = 5.0
_LISTENING = re.compile(rb"listening on (127\.0\.0\.1:[0-9]+)")
_ALICE = USERS["alice"]


class DockerRegistries:
    """Starts registries and stops them all at the end; a context manager.

    Args:
        directory: Where configurations, logs and content go.
        authority: Who issues the certificate of the ``tls`` mode.
    """

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._directory = directory
        self._authority = authority
        self._stack = ExitStack()
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def start(self, mode: Mode, *, token_server: TokenServer | None = None) -> Peer:
        """Start an empty registry.

        Args:
            mode: How to run it.
            token_server: A running token server for the ``token`` mode; None starts one that lives as long.
        """
        binary = program("docker-registry")
        home = self._directory / f"{mode}-{next(self._numbers)}"
        home.mkdir(parents=True)
        if mode is Mode.TOKEN and token_server is None:
            token_server = self._stack.enter_context(TokenServer())
        config = self._configuration(mode, home, token_server)
        (home / "config.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        log = home / "registry.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [binary, "serve", str(home / "config.yml")], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._stack.callback(_stop, process)
        asks = mode in {Mode.HTPASSWD, Mode.TOKEN}
        return Peer(
            mode=mode,
            host=_wait_until_ready(process, log),
            scheme="https" if mode is Mode.TLS else "http",
            ca_path=self._authority.ca_path if mode is Mode.TLS else None,
            username="alice" if asks else None,
            password=_ALICE.password if asks else None,
            token_server=token_server if mode is Mode.TOKEN else None,
            log_path=log,
        )

    def _configuration(self, mode: Mode, home: Path, token_server: TokenServer | None) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(home / "content")},
                "cache": {"blobdescriptor": "inmemory"},
                "delete": {"enabled": mode is not Mode.NODELETE},
            },
            "http": {"addr": "127.0.0.1:0", "secret": "for tests"},
        }
        match mode:
            case Mode.HTPASSWD:
                users = home / "htpasswd"
                hashed = bcrypt.hashpw(_ALICE.password.encode(), bcrypt.gensalt(4)).decode()
                users.write_text(f"alice:{hashed}\n", encoding="ascii")
                config["auth"] = {"htpasswd": {"realm": "the tests", "path": str(users)}}
            case Mode.TOKEN if token_server is not None:
                bundle = home / "bundle.pem"
                bundle.write_bytes(token_server.key.pem)
                config["auth"] = {
                    "token": {
                        "realm": token_server.realm,
                        "service": SERVICE,
                        "issuer": ISSUER,
                        "rootcertbundle": str(bundle),
                    }
                }
            case Mode.TLS:
                chain, key = self._authority.server_files("127.0.0.1", "localhost")
                config["http"]["tls"] = {"certificate": str(chain), "key": str(key)}
            case Mode.CATALOG:
                config["catalog"] = {"maxentries": CATALOG_PAGE}
            case _:
                pass
        return config


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if found := _LISTENING.search(log.read_bytes()):
            return found.group(1).decode()
        if process.poll() is not None:
            break
        time.sleep(0.005)
    message = f"docker-registry did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
    raise RuntimeError(message)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

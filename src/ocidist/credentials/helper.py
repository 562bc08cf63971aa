"""Credential helpers: ``docker-credential-NAME`` programs that keep secrets elsewhere.

A helper is run in a worker thread with its own pipes, and not by ``anyio.open_process``: asyncio starts programs on the
event loop, and, in some versions, waits for the end of a pipe that a helper's daemon holds open for ever.

Spec: docker-credential-helpers, "Development".
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import attrs
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from ocidist.credentials.entry import TOKEN_USER, Problem, read_pair, refusal, spelled
from ocidist.credentials.store import Basic, IdentityToken, RegistryToken
from ocidist.errors import CredentialStoreError, ProtocolError, UsageError
from ocidist.model import strictjson

if TYPE_CHECKING:
    from typing import IO

    from ocidist.credentials.store import Credential

PREFIX: Final = "docker-credential-"
MAX_OUTPUT: Final = 64 * 1024
"""Most bytes that a helper may print."""

TIMEOUT: Final = 30.0
"""Seconds that a helper may take. It may have to ask somebody to unlock a keychain."""

MAX_AT_ONCE: Final = 8
"""Helpers that run at once in one event loop; others wait."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_MAX_NAME = 64
_NOT_FOUND = "credentials not found"
_DRAIN_S = 0.2
_LONGEST_PAUSE_MS = 50
_limiter: RunVar[CapacityLimiter] = RunVar("ocidist.credentials.helper")


def _helper_name(_instance: object, _attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or len(value) > _MAX_NAME or _NAME.fullmatch(value) is None:
        raise CredentialStoreError("a credential helper is named by letters, digits, '.', '_' and '-' only")


def _seconds(_instance: object, _attribute: attrs.Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UsageError(f"the timeout of a credential helper is a number of seconds above 0, not {value!r}")


@attrs.frozen
class CredentialHelper:
    """A program that keeps credentials, ``docker-credential-NAME``.

    It is looked for in the absolute directories of ``PATH``, is started without a shell, and is given what it needs on
    its standard input. What it prints to its standard error is never looked at. One that takes too long, prints too
    much, or whose caller is cancelled, is killed with everything it started.

    Attributes:
        name: What comes after ``docker-credential-``: ``pass``, ``ecr-login``, ``gcloud``.
        timeout: Seconds that each call may take.

    Raises:
        CredentialStoreError: No helper can have that name.
        UsageError: The timeout is no number above 0.
    """

    name: str = attrs.field(validator=_helper_name)
    timeout: float = attrs.field(default=TIMEOUT, kw_only=True, validator=_seconds)

    @property
    def program(self) -> str:
        """The name of the program."""
        return PREFIX + self.name

    async def get(self, server: str) -> Credential | None:
        """Return what the helper keeps for a server, None when it keeps nothing.

        Args:
            server: The server as it was stored: ``host[:port]``, or ``https://index.docker.io/v1/`` for Docker Hub.

        Raises:
            CredentialStoreError: The helper is missing, fails, takes too long, or prints something else.
        """
        answer = _credential(*await self._run("get", server.encode()))
        if isinstance(answer, Problem):
            raise self._failed("get", answer)
        return answer

    async def store(self, server: str, credential: Credential) -> None:
        """Keep a credential, in the place of what was kept for the server.

        Raises:
            CredentialStoreError: The helper is missing, fails or takes too long, or cannot keep this kind.
            UsageError: The credential is nobody.
        """
        if isinstance(credential, RegistryToken):
            raise CredentialStoreError(f"{self.program} cannot keep a registry token, only files can")
        # Nothing that a helper prints is kept in a variable here: a traceback would show it.
        problem = _exit((await self._run("store", _document(server, credential)))[0])
        if problem is not None:
            raise self._failed("store", problem)

    async def erase(self, server: str) -> None:
        """Forget what is kept for a server, if anything is.

        Raises:
            CredentialStoreError: The helper is missing, fails or takes too long.
        """
        problem = _unless_absent(*await self._run("erase", server.encode()))
        if problem is not None:
            raise self._failed("erase", problem)

    async def list(self) -> dict[str, str]:
        """Return the user name that is kept for each server.

        Raises:
            CredentialStoreError: The helper is missing, fails, takes too long, or prints something else.
        """
        answer = _listed(*await self._run("list", b""))
        if isinstance(answer, Problem):
            raise self._failed("list", answer)
        return answer

    def _failed(self, action: str, problem: Problem) -> CredentialStoreError:
        return CredentialStoreError(f"the credential helper {self.program}, asked to {action}, {problem.reason}")

    async def _run(self, action: str, data: bytes) -> tuple[int, bytes]:
        limiter = _limiter.get(None)
        if limiter is None:
            _limiter.set(limiter := CapacityLimiter(MAX_AT_ONCE))
        run = _Run(self.program, action, self.timeout)
        try:
            done = await anyio.to_thread.run_sync(run, data, limiter=limiter, abandon_on_cancel=True)
        finally:
            # However this coroutine ends, a thread that is still there kills what it started.
            run.stopped.set()
            del data
        if isinstance(done, Problem):
            raise self._failed(action, done)
        return done


class _Run:
    """One run of a helper, to be called in a worker thread. Returns problems, because frames would show what it reads.

    Attributes:
        stopped: To be set, by any thread, when nobody waits for the answer any longer.
    """

    def __init__(self, program: str, action: str, timeout: float) -> None:
        self.stopped = threading.Event()
        self._program = program
        self._action = action
        self._timeout = timeout

    def __call__(self, data: bytes) -> tuple[int, bytes] | Problem:
        path = find_program(self._program)
        if path is None:
            return Problem("is not in any absolute directory of PATH, or cannot be executed")
        if self.stopped.is_set():
            return Problem("was not started")
        try:
            process = subprocess.Popen(  # noqa: S603 -- an absolute path, and an action from a fixed set
                [path, self._action],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError):
            return Problem("cannot be executed")
        output: bytes | Problem = Problem("was stopped")
        try:
            output = self._talk(process, data)
        finally:
            if isinstance(output, Problem) and process.returncode is None:
                # It leads a group of its own, whose number is nobody else's before it was waited for.
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]  # both are pipes
            status = process.wait()
        return output if isinstance(output, Problem) else (status, output)

    def _talk(self, process: subprocess.Popen[bytes], data: bytes) -> bytes | Problem:
        """Give and take until the helper has ended; a daemon that it leaves behind may keep the pipe open."""
        stdin: IO[bytes] = process.stdin  # type: ignore[assignment]  # both are pipes
        stdout: IO[bytes] = process.stdout  # type: ignore[assignment]  # see above
        os.set_blocking(stdin.fileno(), False)
        poller = select.poll()
        poller.register(stdin, select.POLLOUT)
        poller.register(stdout, select.POLLIN)
        end = time.monotonic() + self._timeout
        left, output, pause = memoryview(data), bytearray(), 1
        giving = taking = True
        ended: float | None = None
        while not self.stopped.is_set():
            now = time.monotonic()
            if ended is None and _has_ended(process):
                ended = now
            if ended is not None and (not taking or now - ended >= _DRAIN_S):
                return bytes(output)
            if now >= end:
                return Problem(f"did not end within {self._timeout:g} seconds")
            # The end of a program cannot be waited for together with a pipe: it is looked for, ever more rarely.
            pause = min(2 * pause, _LONGEST_PAUSE_MS)
            ready = {descriptor for descriptor, _ in poller.poll(pause)}
            if giving and stdin.fileno() in ready:
                left = _give(stdin, left)
                if not left:
                    poller.unregister(stdin)
                    stdin.close()
                    giving = False
            if taking and stdout.fileno() in ready:
                piece = os.read(stdout.fileno(), MAX_OUTPUT)
                output += piece
                if not piece:
                    poller.unregister(stdout)
                    taking = False
            if len(output) > MAX_OUTPUT:
                return Problem(f"printed more than {MAX_OUTPUT} bytes")
        return Problem("was stopped")


def find_program(name: str) -> str | None:
    """Return the path of a program in the absolute directories of ``PATH``; blocks.

    Empty and relative entries mean the current directory, or something in it, where anybody may have put a program.
    """
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder, name)
        if Path(folder).is_absolute() and os.access(path, os.X_OK) and path.is_file():
            return str(path)
    return None


def _give(stdin: IO[bytes], left: memoryview) -> memoryview:
    try:
        return left[stdin.write(left) or 0 :] if left else left
    except OSError:
        # A helper may end, or close its input, before it has read everything.
        return left[len(left) :]


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    if not hasattr(os, "waitid"):
        # macOS before Python 3.13. Once it was waited for, its group has a number that may be somebody else's.
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        # Somebody ignores SIGCHLD, and the kernel has waited for it.
        return True


def _document(server: str, credential: Credential) -> bytes:
    match credential:
        case Basic():
            user, secret = credential.username, credential.password
        case IdentityToken():
            user, secret = TOKEN_USER, credential.token
        case _:
            raise refusal(credential)
    return json.dumps({"ServerURL": server, "Username": user, "Secret": secret}).encode()


def _credential(status: int, output: bytes) -> Credential | Problem | None:
    if status:
        return _unless_absent(status, output)
    value = _json(output)
    if not isinstance(value, dict):
        return Problem("printed something else than a JSON object")
    value = spelled(value, ("Username", "Secret"))
    user, secret = value.get("Username") or "", value.get("Secret") or ""
    if not isinstance(user, str) or not isinstance(secret, str):
        return Problem("printed a user name or a secret that is not text")
    if not user and not secret:
        # docker-credential-pass before 0.7 says so instead of failing.
        return None
    found = read_pair(user, secret)
    return Problem(f"printed what cannot be used: {found.reason}") if isinstance(found, Problem) else found


def _listed(status: int, output: bytes) -> dict[str, str] | Problem:
    if (problem := _exit(status)) is not None:
        return problem
    value = _json(output or b"{}")
    if isinstance(value, dict) and all(isinstance(user, str) for user in value.values()):
        return value
    return Problem("printed something else than a JSON object of texts")


def _unless_absent(status: int, output: bytes) -> Problem | None:
    absent = output.decode(errors="replace").strip().lower().startswith(_NOT_FOUND)
    return None if absent else _exit(status)


def _exit(status: int) -> Problem | None:
    if status < 0:
        return Problem(f"was killed by signal {-status}")
    return Problem(f"failed with exit status {status}") if status else None


def _json(output: bytes) -> object:
    try:
        return strictjson.loads(output, what="answer")
    except ProtocolError:
        return None

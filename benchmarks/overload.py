"""How ocidist treats a registry that cannot keep up: one that limits requests, and one that is down for a minute.

``python -m benchmarks.overload`` runs both at full size; the test suite has them on a small scale. The registry is a
process of its own that answers every read with the same small manifest, and keeps the times.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast
from urllib.request import urlopen

import anyio
import attrs

from ocidist import Client, HostConfig, OciError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MANIFEST: Final = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'
_DIGEST: Final = f"sha256:{hashlib.sha256(_MANIFEST).hexdigest()}"
_SETTLED_S: Final = 10.0
"""Seconds that a client has to find out what a registry takes."""


@attrs.frozen
class Limited:
    """What came of a registry with a rate limit, after the first ten seconds.

    Attributes:
        useful: Requests per second that were answered.
        refused: Part of all requests that was answered with 429.
        failed: Operations that failed, the first seconds included.
    """

    useful: float
    refused: float
    failed: int


@attrs.frozen
class Outage:
    """What came of a registry that was down.

    Attributes:
        asked: Requests per second that it got meanwhile, those included that were under way when it went down.
        asked_later: The same, from the second second on.
        back: Seconds from its return to the first answer.
        amplification: Requests for each answer after that.
    """

    asked: float
    asked_later: float
    back: float
    amplification: float


def rate_limit(*, allowed: float = 50.0, tasks: int = 64, seconds: float = 40.0) -> Limited:
    """Read manifests with many tasks from a registry that allows so many requests in a second.

    It has a bucket of one second's requests, and answers 429 with ``Retry-After: 1`` beyond.

    Args:
        allowed: Requests per second.
        tasks: Tasks that read one manifest after the other.
        seconds: How long.
    """
    with _registry("--allowed", str(allowed)) as host:
        failed, _ = anyio.run(_read, host, tasks, seconds)
        answers = _answers(host)
    end = answers[0][0] + seconds
    settled = [status for moment, status in answers if answers[0][0] + _SETTLED_S <= moment < end]
    good = sum(status == 200 for status in settled)
    return Limited(good / (seconds - _SETTLED_S), 1 - good / len(settled), failed)


def outage(*, tasks: int = 200, seconds: float = 60.0) -> Outage:
    """Read manifests with many tasks from a registry that answers 503 for a while, five seconds after it began.

    Args:
        tasks: Tasks that read five manifests a second each, if they can.
        seconds: How long it is down.
    """
    before, after = 5.0, 15.0
    with _registry("--down", f"{before}:{seconds}") as host:
        anyio.run(_read, host, tasks, before + seconds + after, 0.2)
        answers = _answers(host)
    down = answers[0][0] + before
    back = down + seconds
    meanwhile = [moment for moment, status in answers if down <= moment and status == 503]
    later = [(moment, status) for moment, status in answers if moment > back]
    good = [moment for moment, status in later if status == 200]
    return Outage(
        len(meanwhile) / seconds,
        len([moment for moment in meanwhile if moment > down + 1]) / (seconds - 1),
        good[0] - back,
        len(later) / len(good),
    )


async def _read(host: str, tasks: int, seconds: float, rest: float = 0.0) -> tuple[int, int]:
    failed = done = 0
    end = time.monotonic() + seconds

    async def work() -> None:
        nonlocal failed, done
        while time.monotonic() < end:
            try:
                await manifests.get("v1")
                done += 1
            except OciError:
                failed += 1
            await anyio.sleep(rest)

    async with Client(hosts={host: HostConfig(scheme="http")}, trust_env=False) as client:
        manifests = client.repository(f"{host}/bench/small").manifests
        with anyio.move_on_after(seconds + 5):
            async with anyio.create_task_group() as group:
                for _ in range(tasks):
                    group.start_soon(work)
    return failed, done


# --- the registry ----------------------------------------------------------------------------------------------------


@contextmanager
def _registry(*options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.overload", "--serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"127.0.0.1:{int(next(iter(process.stdout or ())))}"
        finally:
            process.terminate()


def _answers(host: str) -> list[tuple[float, int]]:
    with urlopen(f"http://{host}/answers") as answer:
        return [(moment, status) for moment, status in json.load(answer)]


class _Bucket:
    def __init__(self, allowed: float) -> None:
        self._allowed = self._left = allowed
        self._since = time.monotonic()

    def status(self) -> int:
        now = time.monotonic()
        self._left = min(self._allowed, self._left + (now - self._since) * self._allowed)
        self._since = now
        if self._left < 1:
            return 429
        self._left -= 1
        return 200


class _Window:
    def __init__(self, begin: float, length: float) -> None:
        self._begin, self._length = begin, length
        self._first: float | None = None

    def status(self) -> int:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        return 503 if 0 <= now - self._first - self._begin < self._length else 200


class _Protocol(asyncio.Protocol):
    def __init__(self, status: Callable[[], int], answers: list[tuple[float, int]]) -> None:
        self._status = status
        self._answers = answers
        self._data = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, target: bytes) -> None:
        if target == b"/answers":
            self._send(200, json.dumps(self._answers).encode(), "application/json")
            return
        status = self._status()
        self._answers.append((time.monotonic(), status))
        if status == 200:
            self._send(200, _MANIFEST, "application/vnd.oci.image.index.v1+json")
        else:
            self._send(status, b"", "text/plain")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        wait = "Retry-After: 1\r\n" if status == 429 else ""
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{wait}"
        self._transport.write(f"{head}Docker-Content-Digest: {_DIGEST}\r\n\r\n".encode() + body)


async def _serve(status: Callable[[], int]) -> None:
    answers: list[tuple[float, int]] = []
    server = await asyncio.get_running_loop().create_server(lambda: _Protocol(status, answers), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Run both, or serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="be the registry")
    parser.add_argument("--allowed", type=float, help="requests per second that the registry allows")
    parser.add_argument("--down", help="when the registry goes down, and for how long: 5:60")
    options = parser.parse_args()
    if options.serve:
        limit = _Window(*map(float, options.down.split(":"))) if options.down else _Bucket(options.allowed)
        asyncio.run(_serve(limit.status))
        return
    for found in (rate_limit(), outage()):
        print(json.dumps({"benchmark": type(found).__name__.lower(), **attrs.asdict(found)}))


if __name__ == "__main__":
    main()

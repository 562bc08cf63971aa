"""A way to a registry on which a part of the requests fails: ``python -m benchmarks.loads.flaky PORT HOST``.

What happens to a request is decided by chance that begins with a given seed. ``POST /-/set?seed=..&share=..`` sets
both, ``GET /-/state`` counts what happened. Bodies are held in memory: it is for small ones.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final

from benchmarks.loads.wire import Line, listen

if TYPE_CHECKING:
    from benchmarks.loads.wire import Asked

_HOP: Final = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "expect"})
_REFUSALS: Final = (500, 502, 503, 504, 429)
_STALL_S: Final = 0.2

# Before the registry gets it; instead of passing it on; after the registry did what was asked.
FATES: Final = ("reset", "close", "refuse", "half", "lost", "cut", "stall")


class Flaky:
    """What all connections share.

    Args:
        host: ``host:port`` of the registry.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._share = 0.0
        self._chance = random.Random(0)  # noqa: S311 -- it is to be the same each time
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def serve(self, line: Line) -> None:
        """Pass the requests of one connection on."""
        registry = HTTPConnection(self._host, timeout=60)
        try:
            while (asked := line.ask()) is not None:
                if asked.path.startswith("/-/"):
                    self._control(line, asked)
                else:
                    self._pass(line, asked, registry)
        finally:
            registry.close()

    def _control(self, line: Line, asked: Asked) -> None:
        line.body(asked)
        with self._lock:
            if asked.path == "/-/set":
                self._share = float(asked.query["share"])
                self._chance = random.Random(int(asked.query["seed"]))  # noqa: S311 -- see above
                self._counts.clear()
            counts = dict(self._counts)
        line.say(200, {}, json.dumps(counts).encode())

    def _fate(self) -> tuple[str, float]:
        with self._lock:
            self._counts["requests"] += 1
            fate = self._chance.choice(FATES) if self._chance.random() < self._share else ""
            if fate:
                self._counts["faults"] += 1
                self._counts[fate] += 1
            return fate, self._chance.random()

    def _pass(self, line: Line, asked: Asked, registry: HTTPConnection) -> None:
        fate, chance = self._fate()
        if fate in {"reset", "close"}:
            line.close(reset=fate == "reset")
            raise ConnectionError
        body = line.body(asked)
        if fate == "refuse":
            status = _REFUSALS[int(chance * len(_REFUSALS))]
            line.say(status, {"Retry-After": "0"} if status == 429 else {})
            return
        if fate == "stall":
            time.sleep(_STALL_S)
        if fate == "half":
            self._half(asked, body[: int(len(body) * chance)], len(body))
            line.close()
            raise ConnectionError
        status, headers, data = self._asked(registry, asked, body)
        if fate == "lost":
            line.close()
            raise ConnectionError
        if asked.method == "HEAD":
            line.head(status, headers)
            return
        headers["Content-Length"] = str(len(data))
        if fate == "cut" and data:
            line.head(status, headers, data[: int(len(data) * chance)])
            line.close(reset=chance < 0.5)
            raise ConnectionError
        line.head(status, headers, data)

    def _asked(self, registry: HTTPConnection, asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in asked.headers.items() if name not in _HOP}
        for last in (False, True):
            try:
                registry.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    registry.putheader(name, value)
                if body or asked.method in {"POST", "PUT", "PATCH"}:
                    registry.putheader("Content-Length", str(len(body)))
                registry.endheaders(body)
                answer = registry.getresponse()
                data = answer.read()
            except (HTTPException, OSError):
                # A connection that was idle may be over.
                registry.close()
                if last:
                    raise
                continue
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            if asked.method == "HEAD" and (size := answer.getheader("Content-Length")) is not None:
                kept["Content-Length"] = size
            return answer.status, kept, data
        raise ConnectionError

    def _half(self, asked: Asked, part: bytes, size: int) -> None:
        """Let the registry see the beginning of a body, and then its end."""
        registry = HTTPConnection(self._host, timeout=60)
        registry.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
        for name, value in asked.headers.items():
            if name not in _HOP:
                registry.putheader(name, value)
        if size:
            registry.putheader("Content-Length", str(size))
            registry.endheaders(part)
        registry.close()


if __name__ == "__main__":
    listen(int(sys.argv[1]), Flaky(sys.argv[2]).serve)

"""A registry of one pattern, of any size, that counts and can break off: ``python -m benchmarks.loads.source PORT``.

Every blob is the same MiB, over and over: so none takes room, however long it is, and every byte that is sent to it is
compared. What it lists is made up as well. It is told by ``POST /-/set?name=value`` what to be, and says in
``GET /-/state`` what came of it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
import threading
from typing import TYPE_CHECKING, Final

from benchmarks.loads.images import Images
from benchmarks.loads.wire import Line, listen

if TYPE_CHECKING:
    from benchmarks.loads.wire import Asked

MIB: Final = 1024 * 1024
NAME: Final = "load/app"
BLOCK: Final = random.Random(7).randbytes(MIB)  # noqa: S311 -- noise that is the same each time
_TWICE: Final = BLOCK * 2
_SENT: Final = memoryview(_TWICE)
# Bytes sent or received between two looks at whether to break off.
_STEP: Final = 256 * 1024


def digest_of(size: int) -> str:
    """Return the digest of a blob of this size."""
    hasher = hashlib.sha256()
    for _ in range(size // MIB):
        hasher.update(BLOCK)
    hasher.update(BLOCK[: size % MIB])
    return f"sha256:{hasher.hexdigest()}"


class Session:
    """An upload session.

    Attributes:
        size: Bytes it has.
        lost: Whether its client ended the connection before it can have read where the session is.
    """

    def __init__(self) -> None:
        self.size = 0
        self.lost = False


class Source:
    """What all connections share."""

    def __init__(self) -> None:
        # Every so many bytes of a direction the connection ends; 0 for never. "rst" throws away what is under way.
        self._knobs: dict[str, str] = {"cut_down": "0", "cut_up": "0", "how": "fin", "names": "0", "pages": "0"}
        names = ("requests", "sent", "received", "wrong", "cuts", "connections", "most", "finished")
        self._counts = dict.fromkeys(names, 0)
        self._sizes: dict[str, int] = {}
        self._stored: set[str] = set()
        self._uploaded: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._bodies: dict[str, tuple[dict[str, str], bytes]] = {}
        self._images: Images | None = None

    def serve(self, line: Line) -> None:
        """Answer the requests of one connection."""
        now = self._count("connections")
        with self._lock:
            self._counts["most"] = max(self._counts["most"], now)
        opened: Session | None = None
        try:
            while (asked := line.ask()) is not None:
                opened = None
                if asked.path.startswith("/-/"):
                    self._control(line, asked)
                    continue
                self._count("requests")
                opened = self._answer(line, asked)
        finally:
            if opened is not None:
                opened.lost = True
            self._count("connections", -1)

    def _count(self, what: str, count: int = 1) -> int:
        with self._lock:
            self._counts[what] += count
            return self._counts[what]

    def _knob(self, name: str) -> int:
        return int(self._knobs[name])

    def _control(self, line: Line, asked: Asked) -> None:
        body = line.body(asked)
        match asked.path:
            case "/-/set":
                self._knobs |= asked.query
                if "repositories" in asked.query:
                    self._images = Images(int(asked.query["repositories"]))
            case "/-/blob":
                self._sizes[asked.query["digest"]] = int(asked.query["size"])
                if asked.query["stored"] == "True":
                    self._stored.add(asked.query["digest"])
            case "/-/list":
                more = asked.query.get("more")
                links = {"Link": f'<{more}>; rel="next"'} if more else {}
                here = f"{asked.query['path']}?page={asked.query['page']}"
                self._bodies[here] = ({"Content-Type": asked.query["type"], **links}, body)
            case "/-/forget":
                with self._lock:
                    self._sessions.clear()
                    self._uploaded.clear()
                    self._counts |= dict.fromkeys(set(self._counts) - {"connections"}, 0)
                    self._counts["most"] = self._counts["connections"]
            case _:
                pass
        with self._lock:
            unfinished = [session.lost for session in self._sessions.values()]
            counts = self._counts | {"open": unfinished.count(False), "lost": unfinished.count(True)}
        line.say(200, {}, json.dumps(counts).encode())

    def _answer(self, line: Line, asked: Asked) -> Session | None:
        """Answer a request, and return the session that it opened."""
        base = f"/v2/{NAME}"
        # A server that does not filter lists: the client has to.
        known = self._bodies.get(f"{asked.path}?page={asked.query.get('page', 0)}")
        match asked.method:
            case "GET" if known is not None:
                line.say(200, *known)
            case "GET" | "HEAD" if self._images is not None and asked.path.startswith("/v2/many/"):
                self._image(line, asked, self._images)
            case "GET" if asked.path == "/v2/_catalog":
                self._catalog(line, asked)
            case "GET" if asked.path == f"{base}/tags/list":
                self._tags(line, asked)
            case "GET" | "HEAD" if asked.path.startswith(f"{base}/blobs/sha256:"):
                self._blob(line, asked)
            case _ if asked.path.startswith(f"{base}/blobs/uploads/"):
                return self._upload(line, asked)
            case _:
                line.body(asked)
                line.say(200 if asked.path == "/v2/" else 404)
        return None

    def _image(self, line: Line, asked: Asked, images: Images) -> None:
        """Send a part of one of very many images."""
        base, _, reference = asked.path.rpartition("/")
        name, _, kind = base.removeprefix("/v2/").rpartition("/")
        if kind == "manifests" and (found := images.manifest(name, reference)) is not None:
            line.say(200, {"Content-Type": found[0]}, found[1])
        elif kind == "blobs" and (data := images.blob(reference)) is not None:
            line.say(200, {"Content-Type": "application/octet-stream"}, data)
        else:
            line.say(404)

    # --- blobs -------------------------------------------------------------------------------------------------------

    def _blob(self, line: Line, asked: Asked) -> None:
        digest = asked.path.rpartition("/")[2]
        if digest not in self._stored | self._uploaded:
            line.say(404)
            return
        size = self._sizes[digest]
        first, _, last = asked.headers.get("range", "").removeprefix("bytes=").partition("-")
        start, stop = int(first or 0), min(int(last or size) + 1, size)
        headers = {"Content-Length": str(stop - start), "Content-Type": "application/octet-stream"}
        if first:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        line.head(206 if first else 200, headers)
        if asked.method == "HEAD":
            return
        every = self._knob("cut_down")
        while start < stop:
            count = min(_STEP, stop - start)
            at = start % MIB
            line.send(_SENT[at : at + count])
            start += count
            total = self._count("sent", count)
            if every and total // every > (total - count) // every:
                self._cut(line)

    def _cut(self, line: Line) -> None:
        self._count("cuts")
        line.close(reset=self._knobs["how"] == "rst")
        raise ConnectionError

    def _upload(self, line: Line, asked: Asked) -> Session | None:
        if asked.method == "POST":
            line.body(asked)
            number = f"{next(self._numbers)}"
            with self._lock:
                made = self._sessions[number] = Session()
            line.say(202, {"Location": f"{asked.path.rstrip('/')}/{number}", "Range": "0-0"})
            return made
        number = asked.path.rpartition("/")[2]
        session = self._sessions.get(number)
        if session is None:
            line.body(asked)
            line.say(404)
            return None
        session.lost = False
        self._take(line, asked, session)
        headers = {"Location": asked.path, "Range": f"0-{max(session.size - 1, 0)}"}
        if asked.method == "PUT":
            digest = asked.query["digest"]
            if self._sizes.get(digest) != session.size:
                self._count("wrong")
                line.say(400)
                return None
            self._uploaded.add(digest)
            self._count("finished")
            headers["Docker-Content-Digest"] = digest
        if asked.method in {"PUT", "DELETE"}:
            with self._lock:
                self._sessions.pop(number, None)
        line.say({"PUT": 201, "PATCH": 202}.get(asked.method, 204), headers)
        return None

    def _take(self, line: Line, asked: Asked, session: Session) -> None:
        every = self._knob("cut_up")
        first = (asked.headers.get("content-range") or f"{session.size}-").partition("-")[0]
        skip = session.size - int(first)
        for piece in line.pieces(asked):
            at = session.size % MIB
            # Views are compared item by item.
            if skip or bytes(piece) != _TWICE[at : at + len(piece)]:
                self._count("wrong")
            session.size += len(piece)
            total = self._count("received", len(piece))
            if every and total // every > (total - len(piece)) // every:
                self._count("received", line.drained())
                self._cut(line)

    # --- lists -------------------------------------------------------------------------------------------------------

    def _catalog(self, line: Line, asked: Asked) -> None:
        count, after = self._knob("names"), asked.query.get("last", "r")
        first = int(after[1:] or -1) + 1
        stop = min(count, first + min(int(asked.query.get("n", 1000)), 10_000))
        names = [f"r{number:06}" for number in range(first, stop)]
        more = {} if stop >= count else {"Link": f'</v2/_catalog?n={stop - first}&last={names[-1]}>; rel="next"'}
        line.say(200, {"Content-Type": "application/json", **more}, json.dumps({"repositories": names}).encode())

    def _tags(self, line: Line, asked: Asked) -> None:
        """Send one of ``pages`` pages of ``names`` tags: where the list goes on is in the link."""
        page, pages, count = int(asked.query.get("page", 0)), self._knob("pages"), self._knob("names")
        body = tags_page(page, count)
        more = {} if page + 1 >= pages else {"Link": f'</v2/{NAME}/tags/list?page={page + 1}>; rel="next"'}
        line.say(200, {"Content-Type": "application/json", **more}, body)


def tags_page(page: int, count: int) -> bytes:
    """Return a page of tags."""
    tags = '","'.join(f"v{page}.{number}" for number in range(count))
    return f'{{"name":"{NAME}","tags":["{tags}"]}}'.encode()


if __name__ == "__main__":
    listen(int(sys.argv[1]), Source().serve)

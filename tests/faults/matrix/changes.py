"""How an answer of a registry is changed on its way."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.matrix.proxy import Answer

    Change: TypeAlias = Callable[[Answer], Answer]


@attrs.frozen
class Corrupt:
    """Change one byte of the body; offsets below 0 count from the end."""

    offset: int
    xor: int = 0x01

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        body = bytearray(answer.body)
        if body:
            body[self.offset] ^= self.xor
        return attrs.evolve(answer, body=bytes(body))


@attrs.frozen
class Swap:
    """Another body."""

    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return attrs.evolve(answer, body=self.body)


@attrs.frozen
class Truncate:
    """Leave bytes at the end of the body out, and say so."""

    count: int

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer without them."""
        return attrs.evolve(answer, body=answer.body[: -self.count])


@attrs.frozen
class Extend:
    """Append bytes to the body, and say so."""

    extra: bytes

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with them."""
        return attrs.evolve(answer, body=answer.body + self.extra)


@attrs.frozen
class Header:
    """Replace or add a header; None removes it."""

    name: str
    value: str | None

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return answer.with_header(self.name, self.value)


@attrs.frozen
class Fields:
    """Other values for fields of a JSON object; None leaves a field out."""

    fields: tuple[tuple[str, object], ...]

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with them."""
        value = json.loads(answer.body) | dict(self.fields)
        kept = {name: field for name, field in value.items() if field is not None}
        return attrs.evolve(answer, body=json.dumps(kept).encode())


@attrs.frozen
class Renamed:
    """Another name for a field of a JSON object."""

    old: str
    new: str

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        value = json.loads(answer.body)
        if self.old in value:
            value[self.new] = value.pop(self.old)
        return attrs.evolve(answer, body=json.dumps(value).encode())


@attrs.frozen
class Relative:
    """The Location without scheme and host."""

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        parts = urlsplit(answer.header("Location") or "")
        return answer.with_header("Location", urlunsplit(parts._replace(scheme="", netloc="")))


@attrs.frozen
class Twice:
    """Add a second value of a header."""

    name: str
    value: str

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return attrs.evolve(answer, headers=(*answer.headers, (self.name, self.value)))


@attrs.frozen
class Status:
    """Another status, the rest as it was."""

    status: int

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer with it."""
        return attrs.evolve(answer, status=self.status)


@attrs.frozen
class Coded:
    """Encode the body as its Content-Encoding says."""

    coding: str = "gzip"

    def __call__(self, answer: Answer) -> Answer:
        """Return the answer encoded."""
        body = answer.body
        for coding in self.coding.split(", "):
            body = gzip.compress(body, mtime=0) if coding == "gzip" else body
        return attrs.evolve(answer, body=body).with_header("Content-Encoding", self.coding)

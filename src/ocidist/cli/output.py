"""Data for programs, on standard output: text, one JSON document, or one JSON document a line.

Written by worker threads, so that a reader who takes their time does not hold up the event loop.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio.to_thread

from ocidist.cli.failure import OutputError, ReaderGoneError, hinted
from ocidist.cli.options import Format
from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from ocidist.model.descriptor import Descriptor
    from ocidist.model.result import Page

T = TypeVar("T")

Value = dict[str, object]

# What JSON leaves as it is, and a terminal might obey or hide.
_UNSAFE: Final = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# What text may have on a terminal, apart from what is shown: tabs and ends of lines.
_STEERING: Final = re.compile(b"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")


class Output:
    """Standard output of a command.

    Args:
        form: How data are written.
        aside: What lets something be written to a terminal where progress is shown, too.
    """

    def __init__(self, form: Format, aside: Callable[[Callable[[], None]], None] | None = None) -> None:
        self.form = form
        self._aside = aside
        self._last = b""

    @property
    def is_text(self) -> bool:
        """Whether people, or programs for text, are to read it."""
        return self.form is Format.TEXT

    @property
    def is_terminal(self) -> bool:
        """Whether it goes to a terminal."""
        return sys.stdout is not None and sys.stdout.isatty()

    async def result(self, text: str, value: Mapping[str, object]) -> None:
        """Write the one result of a command: *text* for people, *value* for programs."""
        match self.form:
            case Format.TEXT:
                await self.write(encoded(f"{text}\n" if text else ""))
            case Format.JSON:
                await self.write(encoded(f"{document(value, indent=2)}\n"))
            case Format.JSONL:
                await self.write(encoded(f"{document(value)}\n"))

    async def listing(
        self,
        pages: AsyncIterator[Page[T]],
        text: Callable[[T], str],
        value: Callable[[T], Value],
        whole: Callable[[list[T]], Value],
    ) -> None:
        """Write a list, page by page as it comes; only one JSON document has to wait for its end.

        Args:
            pages: The list.
            text: What a line says of an item.
            value: What a line of JSON says of it.
            whole: What the one document says of all.
        """
        kept: list[T] = []
        async for page in pages:
            match self.form:
                case Format.TEXT:
                    await self.write(encoded("".join(f"{text(item)}\n" for item in page.items)))
                case Format.JSONL:
                    await self.write(encoded("".join(f"{document(value(item))}\n" for item in page.items)))
                case Format.JSON:
                    kept += page.items
        if self.form is Format.JSON:
            await self.write(encoded(f"{document(whole(kept), indent=2)}\n"))

    async def content(self, data: bytes) -> None:
        """Write a piece of what a registry has, as it is; to a terminal only if it is text that cannot steer it.

        Raises:
            UsageError: It can.
            ReaderGoneError: Nobody reads it.
            OutputError: It cannot be written.
        """
        if self.is_terminal and _STEERING.search(self._last + data):
            raise hinted(
                UsageError("this is not text, and would upset the terminal"),
                "Send standard output to a file, or through less",
            )
        # A character may be in two pieces.
        self._last = data[-1:]
        await self.write(data)

    async def write(self, data: bytes) -> None:
        """Write bytes as they are.

        Raises:
            ReaderGoneError: Nobody reads them.
            OutputError: They cannot be written.
        """
        if data and self._aside is not None and self.is_terminal:
            await anyio.to_thread.run_sync(self._aside, partial(put, data), abandon_on_cancel=True)
        elif data:
            await anyio.to_thread.run_sync(put, data, abandon_on_cancel=True)


def put(data: bytes) -> None:
    """Write to standard output; blocks.

    Raises:
        ReaderGoneError: Nobody reads it.
        OutputError: It cannot be written to.
    """
    if sys.stdout is None:
        raise OutputError("there is no standard output")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from None


def document(value: object, *, indent: int | None = None) -> str:
    """Return JSON that is safe to show on a terminal."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def encoded(text: str) -> bytes:
    """Return UTF-8; names of files that are none come out as they went in."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape")


def descriptor_value(found: Descriptor) -> Value:
    """Return a descriptor as plain data, in the image specification's words; what it does not say is left out."""
    value: Value = {"mediaType": found.media_type, "digest": str(found.digest), "size": found.size}
    if found.artifact_type is not None:
        value["artifactType"] = found.artifact_type
    if found.platform is not None:
        value["platform"] = str(found.platform)
    if found.annotations:
        value["annotations"] = dict(found.annotations)
    return value


def descriptor_text(found: Descriptor) -> str:
    """Return a descriptor in lines for people."""
    return f"media type: {found.media_type}\ndigest:     {found.digest}\nsize:       {found.size}"

"""Warning headers: texts a registry wants a person to see.

They are reported, never acted on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist.wire._scan import ScanError, Scanner
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_WARNING_BYTES: Final = 4096
"""All warnings of one answer together; the specification forbids a registry to send more."""

_CODE: Final = "299"


def parse_warnings(values: Iterable[str]) -> tuple[str, ...]:
    """Read the texts of all warnings with code 299, each once, in order, without control characters.

    At most 4096 bytes of header data are looked at; what is malformed is left out.

    Spec: distribution-spec, "Warnings"; RFC 7234, section 5.5.
    """
    texts: dict[str, None] = {}
    budget = MAX_WARNING_BYTES
    for value in values:
        if budget <= 0:
            break
        seen = value[:budget].encode("utf-8", "replace")[:budget]
        budget -= len(seen)
        for text in _texts(seen.decode("utf-8", "ignore")):
            if clean := clean_text(text, MAX_WARNING_BYTES):
                texts[clean] = None
    return tuple(texts)


def _texts(value: str) -> Iterable[str]:
    scanner = Scanner(value)
    while not scanner.done():
        scanner.skip(" \t,")
        code = scanner.token()
        scanner.skip()
        agent = scanner.until(' \t,"')
        scanner.skip()
        if scanner.char != '"':
            scanner.until(",")
            continue
        text = _quoted(scanner)
        scanner.skip()
        if scanner.char == '"':
            # A warn-date: registries must not send one, and nobody needs it.
            _quoted(scanner)
        scanner.until(",")
        if code == _CODE and agent:
            yield text


def _quoted(scanner: Scanner) -> str:
    start = scanner.pos
    try:
        return scanner.quoted()
    except ScanError:
        # Cut off by the cap, or with control characters that are removed later: what is there is still worth showing.
        stopped = scanner.pos
        return scanner.text[start + 1 : stopped].removesuffix('"')

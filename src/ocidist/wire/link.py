"""Link headers: where the next page of a list is.

Spec: RFC 8288, section 3; distribution-spec, "Listing Tags".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import ProtocolError
from ocidist.model.fields import FrozenMap
from ocidist.wire._scan import MAX_HEADER_CHARS, ScanError, Scanner, has_control, within_cap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NEXT: Final = "next"


@attrs.frozen
class Link:
    """One link of a Link header.

    Attributes:
        target: The URL reference as written, without angle brackets; possibly empty.
        rels: Relation types, in lower case.
        params: All parameters, names in lower case; of several with one name the first counts.
    """

    target: str
    rels: frozenset[str]
    params: Mapping[str, str] = attrs.field(factory=FrozenMap, hash=False)


def parse_links(values: Sequence[str]) -> tuple[Link, ...]:
    """Read all links of an answer.

    Takes targets without angle brackets, parameters without blanks or quotes, and several links in one line.

    Raises:
        ProtocolError: A target or quoted string does not end, a target holds a blank or control character, or the
            header is larger than 16 KiB.

    Spec: RFC 8288, section 3.
    """
    if not within_cap(values):
        msg = f"the Link header is larger than {MAX_HEADER_CHARS} characters"
        raise ProtocolError(msg)
    try:
        return tuple(link for value in values for link in _links(Scanner(value)))
    except ScanError as error:
        msg = f"the Link header is malformed: {error}"
        raise ProtocolError(msg) from None


def next_target(values: Sequence[str]) -> str | None:
    """Find where the next page is, as the registry wrote it; None if it names none.

    A lone link without any relation counts as the next page, as other clients take it; an empty target is none.

    Raises:
        ProtocolError: The header is malformed or too large; following nothing would cut the list short.
    """
    links = parse_links(values)
    for link in links:
        if link.target and NEXT in link.rels:
            return link.target
    if len(links) == 1 and "rel" not in links[0].params:
        return links[0].target or None
    return None


def _links(scanner: Scanner) -> Iterable[Link]:
    while True:
        scanner.skip(" \t,")
        if scanner.done():
            return
        target = _target(scanner)
        params = _params(scanner)
        yield Link(target, frozenset(params.get("rel", "").lower().split()), FrozenMap(params))


def _target(scanner: Scanner) -> str:
    if scanner.take("<"):
        target = scanner.until(">")
        if not scanner.take(">"):
            msg = "a target does not end"
            raise ScanError(msg)
    else:
        # Without brackets a comma may belong to the query: only a semicolon or a blank ends the target.
        target = scanner.until("; \t").rstrip(",")
    target = target.strip(" \t")
    if " " in target or "\t" in target or has_control(target):
        msg = "a target holds blanks or control characters"
        raise ScanError(msg)
    return target


def _params(scanner: Scanner) -> dict[str, str]:
    params: dict[str, str] = {}
    while True:
        scanner.skip(" \t;")
        if scanner.done() or scanner.char == ",":
            return params
        name = scanner.token().lower()
        scanner.skip()
        if not name:
            # Junk where a parameter should be: skip it, so that every round moves on.
            scanner.until(",;")
            continue
        value = ""
        if scanner.take("="):
            scanner.skip()
            value = scanner.quoted() if scanner.char == '"' else scanner.until(",; \t")
        params.setdefault(name, value)

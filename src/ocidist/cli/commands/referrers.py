"""``ocidist referrers``."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS, Common, Format
from ocidist.cli.output import Value, descriptor_value, document, encoded
from ocidist.errors import UsageError
from ocidist.model.digest import Digest
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ocidist.cli.connecting import Place, Session
    from ocidist.model.descriptor import Descriptor

MAX_DEPTH: Final = 32


@attrs.frozen
class _Node:
    """A referrer. ``open`` says of each level above, and of its own, whether more follow there."""

    found: Descriptor
    subject: Digest
    open: tuple[bool, ...]


@attrs.frozen
class _Branch:
    depth: int
    open: tuple[bool, ...]
    seen: frozenset[Digest]


async def referrers(
    ref: str, /, *, artifact_type: str | None = None, depth: int = 3, common: Common = DEFAULTS
) -> None:
    """Show what refers to a manifest: signatures, attestations, bills of materials; and what refers to those.

    Args:
        ref: The manifest: ghcr.io/acme/app:v1; without a tag, latest is meant.
        artifact_type: Show only referrers of this type, and what refers to them.
        depth: How far to follow; 1 shows only what refers to the manifest itself.
        common: Options of every verb.
    """
    if not 1 <= depth <= MAX_DEPTH:
        raise UsageError(f"--depth is a number from 1 to {MAX_DEPTH}")
    async with connected(common, ref) as session, session.place(ref) as place:
        wanted = place.wanted
        subject = wanted if isinstance(wanted, Digest) else (await place.repository.manifests.stat(wanted)).digest
        tree = _walk(place, subject, artifact_type, _Branch(depth, (), frozenset({subject})))
        async with aclosing(tree):
            await _SHOWN[common.output](session, f"{place.name}@{subject}", tree)


async def _walk(
    place: Place, subject: Digest, artifact_type: str | None, branch: _Branch
) -> AsyncGenerator[_Node, None]:
    """Yield referrers, each followed by its own; what refers to itself in the end is not followed twice."""
    listed = aiter(place.repository.referrers(subject, artifact_type=artifact_type))
    found = await anext(listed, None)
    while found is not None:
        following = await anext(listed, None)
        own = (*branch.open, following is not None)
        yield _Node(found, subject, own)
        if branch.depth > 1 and found.digest not in branch.seen:
            deeper = _Branch(branch.depth - 1, own, branch.seen | {found.digest})
            async with aclosing(_walk(place, found.digest, None, deeper)) as inner:
                async for node in inner:
                    yield node
        found = following


async def _as_text(session: Session, root: str, tree: AsyncGenerator[_Node, None]) -> None:
    await session.output.write(encoded(f"{root}\n"))
    async for node in tree:
        lines = "".join("│   " if more else "    " for more in node.open[:-1])
        branch = "├── " if node.open[-1] else "└── "
        kind = clean_text(node.found.artifact_type or node.found.media_type)
        await session.output.write(encoded(f"{lines}{branch}{kind} {node.found.digest}\n"))


async def _as_lines(session: Session, _root: str, tree: AsyncGenerator[_Node, None]) -> None:
    async for node in tree:
        value: Value = {"subject": str(node.subject), "depth": len(node.open), **descriptor_value(node.found)}
        await session.output.write(encoded(f"{document(value)}\n"))


async def _as_document(session: Session, root: str, tree: AsyncGenerator[_Node, None]) -> None:
    whole: list[Value] = []
    levels: list[list[Value]] = [whole]
    async for node in tree:
        inner: list[Value] = []
        del levels[len(node.open) :]
        levels[-1].append({**descriptor_value(node.found), "referrers": inner})
        levels.append(inner)
    await session.output.result("", {"reference": root, "referrers": whole})


_SHOWN: Final = {Format.TEXT: _as_text, Format.JSONL: _as_lines, Format.JSON: _as_document}

"""What tests read in the documentation: tables, names in backquotes, and what the names stand for."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ocidist.client import HttpxOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"

_QUOTED = re.compile(r"`([^`]+)`")
_NAME = re.compile(r"ocidist(?:\.\w+)+(?:\(\w+=\))?", re.ASCII)


@attrs.frozen
class Row:
    """A row of a table.

    Attributes:
        section: The heading the table stands under.
        header: The table's first row.
        cells: The row.
    """

    section: str
    header: tuple[str, ...]
    cells: tuple[str, ...]


def rows(page: Path) -> Iterator[Row]:
    """Read the tables of a page; a bar within backquotes is not supported."""
    section = ""
    header: tuple[str, ...] = ()
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if not line.startswith("|"):
            header = ()
            continue
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if not header:
            header = cells
        elif not set(line) <= set("|- :"):
            yield Row(section, header, cells)


def quoted(text: str) -> list[str]:
    """Return what stands in backquotes."""
    return _QUOTED.findall(text)


def names(text: str) -> list[str]:
    """Return the dotted names of this package that stand in backquotes."""
    return [name for name in quoted(text) if _NAME.fullmatch(name)]


def resolve(name: str) -> object:
    """Import what a dotted name stands for; ``name(argument=)`` also needs the callable to take that argument.

    Raises:
        ImportError: There is nothing of this name.
    """
    path, _, argument = name.removesuffix("=)").partition("(")
    found = _import(path)
    if argument and argument not in _arguments(found):
        raise ImportError(f"{path} takes no {argument!r}")
    return found


def _import(path: str) -> object:
    parts = path.split(".")
    found: object = import_module(parts[0])
    for number, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            if not inspect.ismodule(found):
                raise ImportError(f"{path}: there is no {part!r}") from None
            found = import_module(".".join(parts[:number]))
    return found


def _arguments(found: object) -> set[str]:
    if not callable(found):
        return set()
    parameters = inspect.signature(found).parameters
    takes_more = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return {*parameters, *(HttpxOptions.__annotations__ if takes_more else ())}

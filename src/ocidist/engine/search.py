"""What a search for repositories finds.

Spec: Docker Engine API v1.44, "Search images"; Docker, "Docker Registry API v1", "Search".
"""

from __future__ import annotations

from typing import Final, Self

import attrs

from ocidist.engine import _json

_WHAT: Final = "the result of a search"


@attrs.frozen(kw_only=True)
class SearchResult:
    """A repository that was found.

    Attributes:
        name: Its name on Docker Hub: ``debian``, ``acme/app``.
        description: What its owner says of it.
        star_count: How many people like it.
        is_official: Whether Docker itself answers for it.
        is_automated: Whether Docker Hub built it; Docker says no of all of them nowadays.
    """

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False

    @classmethod
    def _of(cls, fields: _json.Fields) -> Self:
        return cls(
            name=fields.text("name"),
            description=fields.text("description"),
            star_count=fields.number("star_count"),
            is_official=fields.flag("is_official"),
            is_automated=fields.flag("is_automated"),
        )

    def _fields(self) -> dict[str, object]:
        return {
            "star_count": self.star_count,
            "is_official": self.is_official,
            "name": self.name,
            "is_automated": self.is_automated,
            "description": self.description,
        }


@attrs.frozen(kw_only=True)
class SearchResults:
    """What was found.

    Attributes:
        query: What was searched for.
        num_results: How many repositories there are in all; often more than ``results``.
        results: The first of them.
    """

    query: str
    num_results: int = 0
    results: tuple[SearchResult, ...] = ()

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Read the document; fields of other servers are not looked at.

        Raises:
            ProtocolError: It is none.
        """
        fields = _json.Fields.load(data, _WHAT)
        found = (SearchResult._of(entry) for entry in fields.objects("results"))  # noqa: SLF001 -- its own file
        return cls(query=fields.text("query"), num_results=fields.number("num_results"), results=tuple(found))

    def to_json(self) -> bytes:
        """Return the document."""
        results = [result._fields() for result in self.results]
        return _json.write({"query": self.query, "num_results": self.num_results, "results": results})

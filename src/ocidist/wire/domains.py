"""Which host names belong to one owner, by the public suffix list."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ocidist.wire import _url
from ocidist.wire._url import AddressKind

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def same_registrable_domain(one: str, other: str) -> bool:
    """Tell whether two host names belong to one owner: equal names, or one registrable domain.

    Never for IP addresses and localhost, where each port may be someone else. Domains under a suffix that is not in
    the public suffix list have no known owner, so only equal names count there.
    """
    names = [host.lower().removesuffix(".") for host in (one, other)]
    if any(_url.address_of(name) is not None or _url.kind_of(name) is not AddressKind.PUBLIC for name in names):
        return False
    if names[0] == names[1]:
        return True
    domains = [public_suffixes().privatesuffix(name) for name in names]
    return domains[0] is not None and domains[0] == domains[1]


@lru_cache(maxsize=1)
def public_suffixes() -> PublicSuffixList:
    """Return the public suffix list; the first call reads a file and takes 0.1 s, so it belongs in a worker thread."""
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 -- read on first use, not on import

    # Suffixes of hosting companies count (two tenants of github.io are two owners); made-up ones have no owner.
    return PublicSuffixList(accept_unknown=False)

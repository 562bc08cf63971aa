"""The check of an address at the moment it is dialled, for hosts that a server named.

The text of a URL was judged before (``wire/egress.py``); where a name leads is known only now, and what is checked here
is what is dialled.

Spec: architecture, decision 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ocidist.wire.egress import AddressKind, Origin, address_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocidist.errors import EgressError
    from ocidist.wire.egress import EgressPolicy

CHECK: Final = "ocidist_check"
"""Name of the request extension that holds the check; without it every address is dialled."""


@attrs.frozen
class AddressGuard:
    """Refuses addresses that the registry has no business sending a client to.

    Private addresses are allowed where the registry itself was reached at one, or where the policy allows them.

    Attributes:
        registry: The registry the user named.
        target: The origin it named.
        policy: What the client's owner allows.
        refuse: The error to raise.
    """

    registry: Origin
    target: Origin
    policy: EgressPolicy
    refuse: type[EgressError]

    def __call__(self, address: str, reached: Mapping[str, str]) -> None:
        """Check an address.

        Args:
            address: What is about to be dialled.
            reached: The address at which each host was reached before.

        Raises:
            EgressError: It must not be dialled.
        """
        home = reached.get(self.registry.host, self.registry.host)
        policy = self.policy
        if _kind(home) is AddressKind.PRIVATE:
            policy = attrs.evolve(policy, allow_private=True)
        reason = address_refusal(address, registry=home, policy=policy)
        if reason is not None:
            raise self.refuse(str(self.registry), str(self.target), f"{reason} ({address})")


def _kind(host: str) -> AddressKind:
    return Origin("http", host, 80).kind

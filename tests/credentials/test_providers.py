"""What is given as credentials by whoever writes the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    ANONYMOUS,
    Basic,
    ChainCredentials,
    Client,
    CredentialsRejectedError,
    HostConfig,
    HostsConfig,
    UsageError,
)
from ocidist.credentials import CredentialHelper, DefaultCredentials
from tests.credentials.support import told
from tests.peers.answers import respond

if TYPE_CHECKING:
    from tests.credentials.conftest import MakeHelper
    from tests.peers.wire_server import WireServer

SECRET = "hunter2"


class _Answering:
    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def get(self, host: str, *, repository: str | None = None) -> Any:  # noqa: ANN401, ARG002 -- any answer
        return self._answer


class _HostsOnly:
    async def get(self, host: str) -> Basic:  # noqa: ARG002 -- the protocol's
        return Basic("alice", SECRET)


@pytest.mark.parametrize("answer", [None, ("alice", SECRET), {"alice": SECRET}, SECRET])
@pytest.mark.parametrize("chained", [False, True])
async def test_what_a_provider_finds_is_a_credential_or_an_error(
    wire_server: WireServer, answer: object, *, chained: bool
) -> None:
    wire_server.on("GET", "/v2/*", respond(200))
    provider: Any = ChainCredentials(_Answering(ANONYMOUS), _Answering(answer)) if chained else _Answering(answer)
    async with Client(credentials=provider, hosts={wire_server.host: HostConfig(scheme="http")}) as client:
        with pytest.raises(UsageError, match=f"not {type(answer).__name__}") as caught:
            await client.registry(wire_server.host).ping()
    assert SECRET not in str(caught.value)
    assert wire_server.connections == []


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        (CredentialHelper("pass"), "takes no keyword repository"),
        (_HostsOnly(), "HostsOnly is no provider"),
        (DefaultCredentials, r"not its class: DefaultCredentials\(\)"),
        (("alice", SECRET), "not tuple"),
        (Basic("alice", SECRET), "not Basic"),
    ],
)
def test_what_is_no_provider_is_refused_at_once(credentials: Any, reason: str) -> None:  # noqa: ANN401 -- see above
    with pytest.raises(UsageError, match=reason) as caught:
        Client(credentials=credentials)
    assert SECRET not in told(caught.value).partition("credentials = ")[0]
    with pytest.raises(UsageError, match=reason):
        ChainCredentials(credentials)


@pytest.mark.parametrize("credential", [("alice", SECRET), SECRET, {}])
async def test_an_identity_is_a_credential(credential: Any) -> None:  # noqa: ANN401 -- see above
    async with Client(credentials={}) as client:
        with pytest.raises(UsageError, match=f"not {type(credential).__name__}") as caught:
            client.repository("registry.lan/acme", credential=credential)
    assert SECRET not in str(caught.value)


def test_the_order_in_which_to_look_is_made_of_sources() -> None:
    wrong: Any = "DOCKER_CONFIG"
    with pytest.raises(UsageError, match="CredentialSource"):
        DefaultCredentials(order=wrong)


@pytest.mark.parametrize("timeout", ["1", 0, float("nan"), True])
def test_t47_the_time_of_a_helper_is_a_number(timeout: Any) -> None:  # noqa: ANN401 -- see above
    with pytest.raises(UsageError, match="a number of seconds above 0"):
        CredentialHelper("pass", timeout=timeout)


@pytest.mark.parametrize(
    ("options", "asked"), [({}, True), ({"trust_env": False}, False), ({"credentials": {}}, False)]
)
async def test_a12_a_client_heeds_the_helpers_of_its_configuration(
    wire_server: WireServer, make_helper: MakeHelper, options: dict[str, Any], *, asked: bool
) -> None:
    make_helper("mine", """echo '{"Username":"alice","Secret":"x"}'""")
    wire_server.on("GET", "/v2/*", respond(401, [("WWW-Authenticate", 'Basic realm="x"')]))
    hosts = HostsConfig({wire_server.host: HostConfig(scheme="http")}, credential_helpers=["mine"])
    async with Client(hosts=hosts | {}, **options) as client:
        with pytest.raises(CredentialsRejectedError):
            await client.registry(wire_server.host).ping()
    assert any(request.header("Authorization") for request in wire_server.requests) is asked

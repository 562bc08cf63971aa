"""Real registries that trust a key of ocidist's issuer, and the token server that signs for them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ocidist.issuer import KeyMaterial
from tests.issuer.support import Issuing, Started, issuing
from tests.peers.docker_registry import DockerRegistries
from tests.peers.peer import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.tls import Authority


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Started]:
    """docker-registry 2.8.2, whose ``rootcertbundle`` ocidist's issuer made, behind a token server of ocidist's."""
    directory = tmp_path_factory.mktemp("issuer")
    with ExitStack() as stack:
        token_server = stack.enter_context(issuing(KeyMaterial.generate(), directory / "htpasswd"))
        registries = stack.enter_context(DockerRegistries(directory, authority))
        yield Started(token_server, registries.start(Mode.TOKEN, token_server=token_server))  # type: ignore[arg-type]  # it has what the registry asks of one


@pytest.fixture
def token_server(started: Started) -> Issuing:
    """The token server, its memory of requests empty."""
    started.token_server.seen.clear()
    return started.token_server

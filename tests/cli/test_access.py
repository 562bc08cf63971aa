"""Who asks, over what: logging in and out, certificates, hosts that are insecure, and secrets that nobody is shown."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

import attrs
import pytest

from ocidist import RegistryName
from ocidist.cli.connecting import connected
from ocidist.cli.options import DEFAULTS
from ocidist.testing.content import Content
from ocidist.testing.registry import serve
from tests.canary import ALICE_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command
    from tests.peers.peer import Peer

PASSWORD = ALICE_PASSWORD.encode() + b"\n"
IMAGE = Content().image("app", tags=["v1"])


@pytest.fixture
def private() -> Iterator[LoopbackRegistry]:
    with serve(auth=("alice", ALICE_PASSWORD)) as registry:
        registry.add("acme/app", IMAGE)
        yield registry


@pytest.fixture
def encrypted() -> Iterator[LoopbackRegistry]:
    with serve(tls=True) as registry:
        registry.add("acme/app", IMAGE)
        yield registry


def test_a_login_is_kept_once_it_is_good(private: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> None:
    file = tmp_path / "docker" / "config.json"
    denied = ocidist("ls", f"{private.url}/acme/app")
    assert denied.status == 4
    assert f"ocidist login {private.host}" in denied.err
    wrong = ocidist("login", private.url, "-u", "alice", stdin=b"wrong\n")
    assert (wrong.status, wrong.out) == (4, b"")
    assert not file.exists()

    done = ocidist("login", private.url, "-u", "alice", "--password-stdin", stdin=PASSWORD)
    assert (done.status, done.text) == (0, f"logged in to {private.host} as alice\n")
    assert "not encrypted: whoever can read the file" in done.err
    assert file.stat().st_mode & 0o077 == 0
    assert list(json.loads(file.read_bytes())["auths"]) == [private.host]
    assert ocidist("ls", f"{private.url}/acme/app").out == b"v1\n"
    assert ocidist("ping", private.url, "-o", "json").json["authenticated"] is True

    sources = ocidist("login", private.url, "--show-sources", "-o", "json").json["sources"]
    assert [each["user"] for each in sources if each["used"]] == ["alice"]
    assert "* DOCKER_CONFIG: " in ocidist("login", private.url, "--show-sources").text
    # As Docker calls registries.
    address = f"{private.url}/v1/"
    assert ocidist("logout", address, "-o", "json").json == {"registry": private.host, "known": True}
    assert ocidist("logout", private.host, "-o", "json").json["known"] is False
    assert ocidist("ls", f"{private.url}/acme/app").status == 4


def test_a_broken_credential_file_is_named(
    private: LoopbackRegistry, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "auth.json").write_text("{")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    done = ocidist("ls", f"{private.url}/acme/app")
    assert (done.status, str(tmp_path / "auth.json") in done.err) == (4, True)
    shown = ocidist("login", private.url, "--show-sources", "-o", "json").json["sources"]
    assert shown[0]["source"] == "REGISTRY_AUTH_FILE"
    assert shown[0]["used"]
    assert shown[0]["error"]


def test_helpers_of_a_registries_conf_are_sources(
    private: LoopbackRegistry, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("bad", "exit 1"), ("mine", f"""echo '{{"Username":"alice","Secret":"{ALICE_PASSWORD}"}}'""")):
        (tmp_path / f"docker-credential-{name}").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / f"docker-credential-{name}").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    file = tmp_path / "registries.conf"
    file.write_text('credential-helpers = ["bad", "containers-auth.json", "mine"]')
    config = ("--config", str(file))
    assert ocidist("ls", f"{private.url}/acme/app", *config).out == b"v1\n"
    sources = ocidist("login", private.url, "--show-sources", *config, "-o", "json").json["sources"]
    assert [(each["place"], each["used"]) for each in (sources[0], sources[-1])] == [
        ("docker-credential-bad", False),
        ("docker-credential-mine", True),
    ]
    assert (
        "* docker-credential-mine (helper mine): alice" in ocidist("login", private.url, "--show-sources", *config).text
    )


async def test_a_name_without_a_dot_is_insecure_and_docker_hub_is_not() -> None:
    name = RegistryName("registry")
    async with connected(attrs.evolve(DEFAULTS, insecure=True), name) as session:
        assert session.hosts.for_host(name).insecure
        assert not session.hosts.for_host(RegistryName("docker.io")).insecure


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\n", b"x" * 70000])
def test_what_is_no_password_is_not_sent(stdin: bytes, private: LoopbackRegistry, ocidist: Command) -> None:
    done = ocidist("login", private.url, "-u", "alice", stdin=stdin)
    assert done.status == 2
    assert not private.requests
    assert ocidist("login", private.url, stdin=PASSWORD).status == 2


def test_a_token_server_elsewhere_has_to_be_trusted(
    token_registry: Peer, ocidist: Command, fresh_name: str, tmp_path: Path
) -> None:
    server = token_registry.token_server
    assert server is not None
    words = ("login", token_registry.origin, "-u", "alice")
    refused = ocidist(*words, stdin=PASSWORD)
    assert refused.status == 4
    assert f"--trust-realm {server.origin}" in refused.err
    trusted = ("--trust-realm", server.origin)
    done = ocidist(*words, *trusted, "-o", "json", stdin=PASSWORD)
    assert done.status == 0
    # What the token server gave for the password is kept, as by docker login, and is enough for all that follows.
    assert done.json["kept"] == "identity token"
    kept = (tmp_path / "docker" / "config.json").read_text()
    assert "identitytoken" in kept
    assert base64.b64encode(b"alice:" + PASSWORD.strip()).decode() not in kept

    reference = f"{token_registry.origin}/{fresh_name}:v1"
    (tmp_path / "data").write_bytes(b"some data")
    pushed = ocidist("push", reference, tmp_path / "data", *trusted)
    assert pushed.status == 0, pushed.err
    assert ocidist("ls", f"{token_registry.origin}/{fresh_name}", *trusted).out == b"v1\n"
    with_subject = ("--subject", "v1", "--artifact-type", "application/x")
    assert ocidist("push", reference.removesuffix(":v1"), *with_subject, *trusted).status == 0
    assert len(ocidist("referrers", reference, *trusted, "-o", "jsonl").lines) == 1
    copied = ocidist("cp", reference, f"{reference}-copy", "--referrers", *trusted)
    assert copied.text == pushed.text
    assert ocidist("pull", f"{reference}-copy", "--dir", tmp_path / "out", *trusted).status == 0
    assert (tmp_path / "out" / "data").read_bytes() == b"some data"


def test_debugging_shows_every_request_and_no_secret(private: LoopbackRegistry, ocidist: Command) -> None:
    ocidist("login", private.url, "-u", "alice", stdin=PASSWORD)
    shown = ocidist("push", f"{private.url}/acme/app", "--debug-http").err
    assert f"> HEAD {private.url}/v2/acme/app/blobs/" in shown
    assert ">   authorization: ***" in shown
    assert "<   docker-content-digest: sha256:" in shown
    encoded = base64.b64encode(b"alice:" + PASSWORD.strip()).decode()
    assert not [secret for secret in (ALICE_PASSWORD, encoded) if secret in shown]
    # An upload's address is as good as a password.
    assert "/blobs/uploads/" in shown
    assert "_state=" not in shown.replace("_state=***", "")


def test_an_unknown_authority_is_refused_unless_it_is_named(encrypted: LoopbackRegistry, ocidist: Command) -> None:
    words = ("ls", f"{encrypted.url}/acme/app")
    refused = ocidist(*words)
    assert refused.status == 1
    assert "hint: --ca-file" in refused.err
    assert ocidist(*words, "--ca-file", encrypted.ca).out == b"v1\n"
    assert ocidist(*words, "--insecure").out == b"v1\n"
    assert ocidist(*words, "--insecure-host", encrypted.host).out == b"v1\n"


def test_only_the_hosts_that_were_named_are_insecure(
    encrypted: LoopbackRegistry, registry: LoopbackRegistry, ocidist: Command
) -> None:
    # Somewhere else is whatever answers, not whoever was meant.
    words = ("cp", f"{registry.url}/acme/none:v1", f"{encrypted.url}/acme/app:v1")
    registry.add("acme/none", IMAGE)
    assert ocidist("ls", f"{encrypted.url}/acme/app", "--insecure-host", registry.host).status == 1
    refused = ocidist(*words, "--insecure-host", registry.host, "-o", "json")
    assert (refused.status, refused.error["side"]) == (1, "destination")
    assert ocidist(*words, "--insecure-host", encrypted.host).status == 0


def test_settings_come_from_the_files_of_others(
    encrypted: LoopbackRegistry, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = tmp_path / "hosts" / encrypted.host
    host.mkdir(parents=True)
    (host / "hosts.toml").write_text(f'[host."{encrypted.url}"]\nca = "{encrypted.ca}"\n')
    words = ("ls", f"{encrypted.host}/acme/app")
    assert ocidist(*words, "--config", tmp_path / "hosts").out == b"v1\n"
    # An authority that is named counts for hosts that have settings, too.
    (host / "hosts.toml").write_text(
        f'server = "{encrypted.url}"\n[host."{encrypted.url}"]\n[host."{encrypted.url}".header]\nX-Reason = "test"\n'
    )
    assert ocidist(*words, "--config", tmp_path / "hosts").status == 1
    assert ocidist(*words, "--config", tmp_path / "hosts", "--ca-file", encrypted.ca).out == b"v1\n"

    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "{encrypted.host}"\ninsecure = true\n')
    monkeypatch.setenv("OCIDIST_CONFIG", str(tmp_path / "registries.conf"))
    assert ocidist(*words).out == b"v1\n"
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "{encrypted.host}"\nblocked = true\n')
    blocked = ocidist(*words)
    assert (blocked.status, "hint: The file given with --config" in blocked.err) == (1, True)
    (tmp_path / "registries.conf").write_text("[[registry]\n")
    assert ocidist(*words).status == 2

    (tmp_path / "daemon.json").write_text(json.dumps({"insecure-registries": [encrypted.host]}))
    assert ocidist(*words, "--config", tmp_path / "daemon.json").out == b"v1\n"

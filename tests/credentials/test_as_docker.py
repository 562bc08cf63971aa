"""Credential files and helpers as the readers of Docker and Podman take them, which are written in Go."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from anyio import to_thread

from ocidist import ANONYMOUS, Basic, CredentialStoreError, IdentityToken, StaticCredentials
from ocidist.credentials.authfile import AuthFile
from ocidist.credentials.files import DefaultCredentials, FileCredentials
from ocidist.credentials.helper import CredentialHelper
from ocidist.credentials.keys import KeyIndex
from ocidist.credentials.logins import login, logout
from ocidist.credentials.paths import CONTAINERS_FILES, CredentialSource
from tests.credentials.support import config, get_json, put_json
from tests.peers.clients import run
from tests.peers.tools import program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.credentials.conftest import MakeHelper

ALICE = "YWxpY2U6eA=="
BOB = "Ym9iOng="
WHO = """read server; printf '{"Username":"%s","Secret":"x"}' "$server" """
NOBODY = "echo 'credentials not found in native keychain'; exit 1"


# --- names of fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"Auths": {"a.io": {"auth": "%s"}}}',
        '{"AUTHS": {"a.io": {"Auth": "%s"}}}',
        '{"auths": {"b.io": {}}, "Auths": {"a.io": {"AUTH": "%s"}}}',
        '{"auths": {"a.io": {"auth": "%s"}}, "auths": {"b.io": {}}}',
        '{"auths": {"a.io": {"auth": "eA=="}, "a.io": {"auth": "%s"}}}',
    ],
)
async def test_a12_skopeo_and_we_read_the_same_of_a_file_in_odd_spelling(tmp_path: Path, text: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(text % ALICE)
    path.chmod(0o600)
    shown = await to_thread.run_sync(run, program("skopeo"), "login", "--get-login", "--authfile", str(path), "a.io")
    assert shown == b"alice\n"
    assert await FileCredentials(path).get("a.io") == Basic("alice", "x")
    # Nothing is lost, and nothing stays that was to go.
    await login("c.io", Basic("carol", "x"), path=path)
    assert await FileCredentials(path).get("a.io") == Basic("alice", "x")
    assert await logout("a.io", path=path)
    assert ALICE not in path.read_text()
    assert "c.io" in get_json(path)["auths"]


async def test_a12_the_case_of_the_names_of_fields_does_not_matter(tmp_path: Path, make_helper: MakeHelper) -> None:
    make_helper("mine", WHO)
    put_json(tmp_path / "config.json", {"CredHelpers": {"a.io": "mine"}, "credsstore": "mine"})
    put_json(tmp_path / "auth.json", {"auths": {"a.io": {"auth": "dTo=", "identityToken": "token"}}})
    put_json(tmp_path / "own.json", {"auths": {"a.io": {"Username": "u", "PASSWORD": "p"}}})
    assert await FileCredentials(tmp_path / "config.json").get("a.io") == Basic("a.io", "x")
    assert await FileCredentials(tmp_path / "config.json").get("b.io") == Basic("b.io", "x")
    assert await FileCredentials(tmp_path / "auth.json").get("a.io") == IdentityToken("token")
    assert await FileCredentials(tmp_path / "own.json").get("a.io") == Basic("u", "p")


async def test_a12_the_secrets_of_an_old_entry_go_however_they_are_spelled(
    tmp_path: Path, make_helper: MakeHelper, caplog: pytest.LogCaptureFixture
) -> None:
    make_helper("mine", "true")
    path = tmp_path / "config.json"
    entry = {"Auth": ALICE, "IdentityToken": "secret", "email": "a@a.io"}
    put_json(path, {"auths": {"a.io": entry}, "credHelpers": {"b.io": "mine"}})
    path.chmod(0o644)
    await login("a.io", Basic("bob", "x"), path=path)
    assert get_json(path)["auths"]["a.io"] == {"auth": BOB, "email": "a@a.io"}
    assert "can be read by others" in caplog.text
    put_json(path, {"auths": {"a.io": entry}, "credHelpers": {"a.io": "mine"}})
    await login("a.io", Basic("bob", "x"), path=path)
    assert get_json(path)["auths"]["a.io"] == {"email": "a@a.io"}


async def test_f175_the_case_of_what_a_helper_prints_does_not_matter(make_helper: MakeHelper) -> None:
    make_helper("low", """echo '{"serverurl":"a.io","username":"u","secret":"p"}'""")
    assert await CredentialHelper("low").get("a.io") == Basic("u", "p")


# --- patterns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.us-east-1.amazonaws.com", True),
        ("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.amazonaws.com", False),
        ("*-docker.pkg.dev", "us-docker.pkg.dev", True),
        ("*-docker.pkg.dev", "docker.pkg.dev", False),
        ("*.Example.com", "FOO.example.com", True),
        ("*.example.com", "foo.example.com:5000", False),
        ("*.example.com:5000", "foo.example.com:5000", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "foo.bar.example.com", False),
        ("*.example.com", "foo.example.org", False),
        ("foo.*.example.com", "foo.bar.example.com", True),
        ("a*b*c.example.com", "axxbyyc.example.com", True),
        ("*.com", "example.com", False),
        ("foo.*.com", "foo.example.com", False),
        ("*", "example.com", False),
        ("*.*", "example.com", False),
        ("https://*.example.com", "foo.example.com", False),
        ("*.example.com/team", "foo.example.com", False),
        ("*..example.com", "foo..example.com", False),
    ],
)
def test_a12_patterns_are_those_of_docker(pattern: str, host: str, *, fits: bool) -> None:
    index = KeyIndex([pattern])
    if host.count("..") == 0:
        assert index.find(host, "any/thing") == ((pattern,) if fits else ())
    assert index.spellings("foo.example.com") == ()


def test_a12_of_several_patterns_the_one_that_says_most_counts() -> None:
    keys = ["*.*.example.com", "*.dock*.example.com", "*.docker.example.com", "b.docker.example.com/team"]
    index = KeyIndex(keys)
    assert index.find("a.docker.example.com") == ("*.docker.example.com",)
    assert index.find("a.dockyard.example.com") == ("*.dock*.example.com",)
    assert index.find("a.other.example.com") == ("*.*.example.com",)
    # What is exactly that goes before.
    assert index.find("b.docker.example.com", "team/app") == ("b.docker.example.com/team",)
    assert index.find("b.docker.example.com", "other") == ("*.docker.example.com",)


async def test_a12_a_helper_for_many_hosts_is_asked_for_the_one(tmp_path: Path, make_helper: MakeHelper) -> None:
    make_helper("ecr-login", WHO)
    path = tmp_path / "config.json"
    put_json(path, {"auths": {"*.lan.io": {}}, "credHelpers": {"*.lan.io": "ecr-login", "b.lan.io": ""}})
    assert await FileCredentials(path).get("a.lan.io") == Basic("a.lan.io", "x")
    assert await FileCredentials(path).get("b.lan.io") == ANONYMOUS
    # Whoever logs out of one host does not log out of the others.
    assert await logout("a.lan.io", path=path)
    assert get_json(path)["auths"] == {"*.lan.io": {}}


# --- helpers for every registry --------------------------------------------------------------------------------------


async def test_a12_helpers_that_are_asked_for_every_registry(tmp_path: Path, make_helper: MakeHelper) -> None:
    make_helper("none", NOBODY)
    make_helper("bad", "exit 1")
    make_helper("some", f'read server; [ $server = c.io ] || {{ {NOBODY}; }}; echo \'{{"Username":"c","Secret":"x"}}\'')
    order, environ = [CredentialSource.REGISTRY_AUTH_FILE], {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    put_json(tmp_path / "auth.json", json.loads(config(a="file", c="file")))

    def found(*helpers: str) -> DefaultCredentials:
        return DefaultCredentials(order=order, environ=environ, helpers=helpers)

    assert await found("some").get("a.io") == ANONYMOUS
    assert await found("none", "some").get("c.io") == Basic("c", "x")
    assert await found(CONTAINERS_FILES, "some").get("c.io") == Basic("file", "x")
    assert await found("some", CONTAINERS_FILES).get("c.io") == Basic("c", "x")
    assert await found("some", CONTAINERS_FILES).get("a.io") == Basic("file", "x")
    assert await found().get("a.io") == Basic("file", "x")
    # One that fails is told of only if nobody else has anything.
    assert await found("bad", CONTAINERS_FILES).get("a.io") == Basic("file", "x")
    for other in (CONTAINERS_FILES, "none"):
        with pytest.raises(CredentialStoreError, match="docker-credential-bad"):
            await found("bad", other).get("b.io")
    assert repr(found("some")) == "DefaultCredentials(docker-credential-some)"
    assert [str(place) for place in found("bad", CONTAINERS_FILES).places] == [
        "docker-credential-bad",
        str(tmp_path / "auth.json"),
    ]
    # A file that cannot be read is not passed over.
    (tmp_path / "auth.json").write_text("{")
    with pytest.raises(CredentialStoreError, match="not JSON"):
        await found(CONTAINERS_FILES, "some").get("c.io")


# --- names of hosts, and of files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["https://index.docker.io/v1/", "http://docker.io", "https://registry-1.docker.io/v2"])
async def test_q5_the_url_of_a_registrys_api_names_it(tmp_path: Path, host: str) -> None:
    alice = Basic("alice", "x")
    assert await StaticCredentials({host: alice}).get("docker.io") == alice
    await login(host, alice, path=tmp_path / "config.json")
    assert list(get_json(tmp_path / "config.json")["auths"]) == ["https://index.docker.io/v1/"]
    assert await (await AuthFile.load(tmp_path / "config.json")).get(host) == alice
    assert await logout(host, path=tmp_path / "config.json")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
async def test_f177_a_name_that_no_file_can_have_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(CredentialStoreError, match="no file can have that name"):
        await login("a.io", Basic("alice", "x"), path=tmp_path / name)
    with pytest.raises(CredentialStoreError, match="no file can have that name"):
        await FileCredentials(tmp_path / name).get("a.io")


async def test_f178_a_file_system_without_modes_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchmod", refused)
    await login("a.io", Basic("alice", "x"), path=tmp_path / "config.json")
    assert (tmp_path / "config.json").stat().st_mode & 0o077 == 0

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import anyio
import pytest

import ocidist.credentials
from ocidist import ANONYMOUS, Basic, Client, CredentialStoreError, IdentityToken, StaticCredentials
from ocidist.credentials import disk, files
from ocidist.credentials.authfile import AuthFile
from ocidist.credentials.disk import MAX_FILE_SIZE
from ocidist.credentials.environment import EnvironmentCredentials
from ocidist.credentials.files import DefaultCredentials, FileCredentials
from ocidist.credentials.paths import CredentialSource
from ocidist.credentials.store import ChainCredentials
from tests.credentials.support import config, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.credentials.conftest import MakeHelper

SECRET = "hunter2"


def environ(home: Path, **others: str) -> dict[str, str]:
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), **others}


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


# --- what there is to find -------------------------------------------------------------------------------------------


async def test_a12_the_first_place_that_has_it_counts(tmp_path: Path) -> None:
    put(tmp_path / "named.json", config(b="named"))
    put(tmp_path / ".docker" / "config.json", config(b="docker", c="docker"))
    put(tmp_path / "run" / "containers" / "auth.json", config(c="runtime", d="runtime"))
    put(tmp_path / ".config" / "containers" / "auth.json", config(d="user", e="user"))
    put(tmp_path / ".dockercfg", json.dumps(json.loads(config(e="old", f="old"))["auths"]))
    variables = environ(
        tmp_path, DOCKER_AUTH_CONFIG=config(a="inline"), REGISTRY_AUTH_FILE=str(tmp_path / "named.json")
    )
    found = DefaultCredentials(environ=variables)
    who = {host: await found.get(f"{host}.io") for host in "abcdefg"}
    assert {host: answer.username for host, answer in who.items() if isinstance(answer, Basic)} == {
        "a": "inline",
        "b": "named",
        "c": "docker",
        "d": "runtime",
        "e": "user",
        "f": "old",
    }
    assert who["g"] == ANONYMOUS
    podmans = DefaultCredentials(
        order=(CredentialSource.CONTAINERS_RUNTIME, CredentialSource.DOCKER_CONFIG), environ=variables
    )
    assert await podmans.get("c.io") == Basic("runtime", "x")
    assert await podmans.get("a.io") == ANONYMOUS


async def test_a12_a_host_with_a_helper_a_mark_and_a_namespace(tmp_path: Path, make_helper: MakeHelper) -> None:
    make_helper("mine", 'read server; echo "{\\"Username\\":\\"$server\\",\\"Secret\\":\\"x\\"}"')
    make_helper("none", "echo 'credentials not found in native keychain'; exit 1")
    put(
        tmp_path / "config.json",
        json.dumps(
            {
                "auths": {
                    "https://marked.io/v1/": {},
                    "plain.io": {"auth": "Y2k6eA=="},
                    "none.io/ns": {"auth": "Y2k6eA=="},
                },
                "credHelpers": {"host.io": "mine", "marked.io": "mine", "ghost.io": "missing"},
                "credsStore": "none",
            }
        ),
    )
    found = FileCredentials(tmp_path / "config.json")
    assert await found.get("host.io") == Basic("host.io", "x")
    # A user name with a colon: the helper was asked in the spelling it was told, and said so.
    with pytest.raises(CredentialStoreError, match="docker-credential-mine"):
        await found.get("marked.io")
    assert await found.get("plain.io") == Basic("ci", "x")
    assert await found.get("none.io", repository="ns/app") == Basic("ci", "x")
    assert await found.get("none.io", repository="other/app") == ANONYMOUS
    assert await found.get("none.io") == ANONYMOUS
    with pytest.raises(CredentialStoreError, match="docker-credential-missing"):
        await found.get("ghost.io")


async def test_a12_no_file_no_variable_no_helper_without_trust_env(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_helper: MakeHelper
) -> None:
    make_helper("spy", f"touch {tmp_path}/spied")
    put(tmp_path / "docker" / "config.json", json.dumps({"credsStore": "spy", "auths": {"x.io": {"auth": "broken"}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "broken")
    async with Client(trust_env=False) as client:
        provider = client._session._parts.credentials
        assert await provider.get("x.io") == ANONYMOUS
        assert isinstance(provider, StaticCredentials)
    async with Client() as client:
        with pytest.raises(CredentialStoreError, match="DOCKER_AUTH_CONFIG"):
            await client._session._parts.credentials.get("x.io")
    assert not (tmp_path / "spied").exists()


async def test_a12_the_clients_own_provider_is_looked_up_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = EnvironmentCredentials()
    put(tmp_path / "config.json", config(x="ci"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert await provider.get("x.io") == Basic("ci", "x")
    assert await provider.get("x.io", repository="a/b") == Basic("ci", "x")


async def test_a12_providers_can_be_chained(tmp_path: Path) -> None:
    async def ask(host: str) -> Basic:
        return Basic("asked", host)

    put(tmp_path / "config.json", config(b="file"))
    chain = ChainCredentials({"a.io": Basic("static", "x")}, FileCredentials(tmp_path / "config.json"), ask)
    assert await chain.get("a.io") == Basic("static", "x")
    assert await chain.get("b.io") == Basic("file", "x")
    assert await chain.get("c.io") == Basic("asked", "c.io")
    assert await ChainCredentials().get("a.io") == ANONYMOUS
    assert "x" not in repr(chain).replace("config.json", "").partition("StaticCredentials")[0]


async def test_the_suite_reads_no_credentials_of_whoever_runs_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = DefaultCredentials()
    paths = [place.path for place in found.places]
    assert len(paths) == 4
    for path in paths:
        assert path is not None
        assert path.is_relative_to(tmp_path_factory.getbasetemp())


def test_the_package_loads_its_names_when_they_are_used() -> None:
    for name in ocidist.credentials.__all__:
        assert getattr(ocidist.credentials, name)
    with pytest.raises(AttributeError, match="nothing"):
        ocidist.credentials.nothing  # noqa: B018 -- that is the point
    program = "import sys; from ocidist import Client; print(*(m for m in sys.modules if 'ocidist.credentials' in m))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    loaded = {"environment", "keys", "store"}
    assert set(run.stdout.split()) == {"ocidist.credentials", *(f"ocidist.credentials.{name}" for name in loaded)}


# --- files that are no such files ------------------------------------------------------------------------------------


def _truncated(path: Path) -> None:
    path.write_text(config(x=SECRET)[:-5])


def _nonsense(path: Path) -> None:
    path.write_text(SECRET)


def _marked(path: Path) -> None:
    path.write_text("\ufeff" + config(x=SECRET))


def _wide(path: Path) -> None:
    path.write_text(config(x=SECRET), encoding="utf-16")


def _huge(path: Path) -> None:
    path.write_text(config(x=SECRET))
    os.truncate(path, 100 * 1024 * 1024)


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    "make",
    [_truncated, _nonsense, _marked, _wide, _huge, _folder, _fifo, _device, _loop],
    ids=lambda make: make.__name__,
)
async def test_f177_a_file_that_cannot_be_used_is_an_error_that_names_it_and_nothing_in_it(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "config.json"
    make(path)
    with anyio.fail_after(10):
        for call in (AuthFile.load(path), FileCredentials(path).get("x.io")):
            with pytest.raises(CredentialStoreError, match=str(path)) as caught:
                await call
            assert SECRET not in told(caught.value)
            assert base64.b64encode(SECRET.encode()).decode()[:8] not in told(caught.value)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Give up what root may read."""
    # The event loops load it when they are made, and nobody may not read where Python is.
    import_module("concurrent.futures.thread")
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_f177_an_unreadable_file_is_an_error_too(tmp_path: Path, nobody: None) -> None:
    path = tmp_path / "config.json"
    if os.geteuid() != 65534:
        path.write_text(config(x=SECRET))
        path.chmod(0)
    with pytest.raises(CredentialStoreError, match="Permission denied"):
        await AuthFile.load(path)
    with pytest.raises(CredentialStoreError, match="Permission denied"):
        await FileCredentials(path).get("x.io")


async def test_a12_a_home_that_lets_nobody_in_has_no_credentials(
    tmp_path: Path, nobody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where a container's user is changed, and HOME=/root stays.
    home = tmp_path / "home"
    if os.geteuid() != 65534:
        home.mkdir(mode=0)
    found = DefaultCredentials(environ={"HOME": str(home)})
    assert await found.get("x.io") == ANONYMOUS
    kept = found._answers
    monkeypatch.setattr(files, "RECHECK", 0.0)
    found._look_again = 0.0
    assert await found.get("x.io") == ANONYMOUS
    assert found._answers is kept
    for name in ("DOCKER_CONFIG", "XDG_CONFIG_HOME", "REGISTRY_AUTH_FILE"):
        # Somebody meant that.
        with pytest.raises(CredentialStoreError, match="Permission denied"):
            await DefaultCredentials(environ={"HOME": str(home), name: str(home / "named")}).get("x.io")


async def test_f177_symbolic_links_are_followed_and_what_is_not_there_is_empty(tmp_path: Path) -> None:
    real = put(tmp_path / "real.json", config(x="ci"))
    link = tmp_path / "link.json"
    link.symlink_to(real)
    assert await FileCredentials(link).get("x.io") == Basic("ci", "x")
    real.unlink()
    for missing in (link, real, real / "below", tmp_path / "no" / "such"):
        assert await FileCredentials(missing).get("x.io") == ANONYMOUS
        assert (await AuthFile.load(missing)).resolve("x.io") is None


async def test_f177_the_largest_file_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(x="ci").ljust(MAX_FILE_SIZE))
    assert await FileCredentials(path).get("x.io") == Basic("ci", "x")
    path.write_text(config(x="ci").ljust(MAX_FILE_SIZE + 1))
    with pytest.raises(CredentialStoreError, match="larger than"):
        await FileCredentials(path).get("x.io")


async def test_f177_a_broken_file_fails_only_who_needs_it(tmp_path: Path) -> None:
    first, second = put(tmp_path / "a.json", config(x="ci")), put(tmp_path / "b.json", SECRET)
    found = FileCredentials(first, second)
    assert await found.get("x.io") == Basic("ci", "x")
    with pytest.raises(CredentialStoreError, match=r"b\.json"):
        await found.get("y.io")


# --- permissions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(disk, "_told", set())
    caplog.set_level(logging.WARNING, "ocidist.credentials")
    return caplog


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666], ids=oct)
async def test_f179_a_file_that_others_may_read_is_warned_about_once(
    tmp_path: Path, warned: pytest.LogCaptureFixture, mode: int
) -> None:
    path = put(tmp_path / "config.json", config(x=SECRET))
    path.chmod(mode)
    for _ in range(3):
        assert (await FileCredentials(path).get("x.io")) != ANONYMOUS
        await AuthFile.load(path)
    (text,) = [record.getMessage() for record in warned.records]
    assert str(path) in text
    assert "chmod 600" in text
    assert SECRET not in text


async def test_f179_private_files_and_files_without_secrets_are_not_warned_about(
    tmp_path: Path, warned: pytest.LogCaptureFixture
) -> None:
    await AuthFile.load(put(tmp_path / "private.json", config(x=SECRET)))
    path = put(tmp_path / "config.json", json.dumps({"credsStore": "pass", "auths": {"x.io": {}}}))
    path.chmod(0o644)
    await AuthFile.load(path)
    assert warned.records == []


# --- files that change -----------------------------------------------------------------------------------------------


async def test_a_file_that_changes_appears_or_goes_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RECHECK", 0.0)
    path = tmp_path / "config.json"
    found = FileCredentials(path)
    assert await found.get("x.io") == ANONYMOUS
    put(path, config(x="one"))
    assert await found.get("x.io") == Basic("one", "x")
    # The same size, and within the same tick of the clock: only the inode tells.
    put(tmp_path / "new", config(x="two")).replace(path)
    assert await found.get("x.io") == Basic("two", "x")
    put(path, "broken")
    with pytest.raises(CredentialStoreError):
        await found.get("x.io")
    put(path, config(x="three"))
    assert await found.get("x.io") == Basic("three", "x")
    path.unlink()
    assert await found.get("x.io") == ANONYMOUS


async def test_a_file_is_looked_at_once_a_second_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = files._read_changed

    def count(*args: object) -> object:
        nonlocal looks
        looks += 1
        return look(*args)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(files, "_read_changed", count)
    monkeypatch.setattr(files, "RECHECK", 60.0)
    found = FileCredentials(put(tmp_path / "config.json", config(x="ci")))
    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(found.get, f"{number % 3}.io")
    assert await found.get("x.io") == Basic("ci", "x")
    assert looks == 1


async def test_a_helper_is_asked_once_a_minute_however_many_ask(
    tmp_path: Path, make_helper: MakeHelper, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_helper(
        "count", f"""echo x >> {tmp_path}/asked; sleep 0.1; echo '{{"Username":"<token>","Secret":"refresh"}}'"""
    )
    found = FileCredentials(put(tmp_path / "config.json", json.dumps({"credsStore": "count"})))
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(found.get, "x.io")
    assert await found.get("x.io", repository="a/b") == IdentityToken("refresh")
    assert (tmp_path / "asked").read_text() == "x\n"
    monkeypatch.setattr(files, "HELPER_TTL", 0.0)
    assert await found.get("y.io") == IdentityToken("refresh")
    assert await found.get("y.io") == IdentityToken("refresh")
    assert (tmp_path / "asked").read_text() == "x\n" * 3


async def test_one_who_is_cancelled_does_not_take_the_helper_from_the_others(
    tmp_path: Path, make_helper: MakeHelper
) -> None:
    make_helper("slow", """sleep 0.4; echo '{"Username":"ci","Secret":"x"}'""")
    found = FileCredentials(put(tmp_path / "config.json", json.dumps({"credsStore": "slow"})))
    answers = []

    async def ask() -> None:
        answers.append(await found.get("x.io"))

    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.2):
            group.start_soon(ask) if answers else None
            async with anyio.create_task_group() as leaders:
                leaders.start_soon(found.get, "x.io")
                await anyio.sleep(0.1)
                group.start_soon(ask)
                await anyio.sleep_forever()
    assert answers == [Basic("ci", "x")]


async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ANSWERS", 10)
    found = FileCredentials(tmp_path / "none.json")
    for number in range(100):
        await found.get(f"{number}.io")
        assert len(found._answers) <= 10


async def test_nothing_of_it_is_shown(tmp_path: Path) -> None:
    path = put(tmp_path / "config.json", config(x=SECRET))
    for shown in (
        FileCredentials(path),
        await AuthFile.load(path),
        AuthFile.parse(config(x=SECRET).encode()),
        DefaultCredentials(environ={"DOCKER_AUTH_CONFIG": config(x=SECRET)}),
        EnvironmentCredentials(),
    ):
        if isinstance(shown, FileCredentials):
            await shown.get("x.io")
        assert SECRET not in repr(shown)
        assert base64.b64encode(SECRET.encode()).decode()[:8] not in repr(shown)

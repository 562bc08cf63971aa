from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from ocidist import ANONYMOUS, Basic, CredentialStoreError, IdentityToken, RegistryToken, UsageError
from ocidist.credentials import authfile
from ocidist.credentials.authfile import AuthFile
from ocidist.credentials.disk import locked
from ocidist.credentials.logins import StoredLogin, login, logout
from ocidist.model.reference import HUB_INDEX
from tests.credentials.support import config, told

if TYPE_CHECKING:
    from tests.credentials.conftest import MakeHelper

SECRET = "hunter2"
KEEPER = """\
file="{folder}/kept"
case "$1" in
  store) cat >> "$file"; echo >> "$file";;
  erase) echo "erase $(cat)" >> "$file";;
  get) echo 'credentials not found in native keychain'; exit 1;;
esac"""


def read(path: Path) -> Any:  # noqa: ANN401 -- whatever JSON holds
    return json.loads(path.read_text())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leftovers(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".part")]


# --- one writer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777], ids=oct)
async def test_t50_a_new_file_and_its_directory_are_for_the_owner_alone(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "new" / "config.json"
    old = os.umask(umask)
    try:
        if umask == 0o777:
            path.parent.mkdir()
            path.parent.chmod(0o700)
        place = await login("x.io", Basic("ci", "x"), path=path)
    finally:
        os.umask(old)
    assert place == StoredLogin(path)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert read(path) == json.loads(config(x="ci"))
    assert await (await AuthFile.load(path)).get("x.io") == Basic("ci", "x")


async def test_t50_what_is_not_known_stays_and_the_file_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    before = {
        "HttpHeaders": {"User-Agent": "Docker/ü"},
        "auths": {"y.io": {"auth": "Y2k6eA==", "email": "a@b.io", "new": [1, 2.5, None]}},
        "currentContext": "x",
        "credHelpers": {"z.io": "z"},
    }
    path.write_text(json.dumps(before))
    path.chmod(0o644)
    await login("x.io", Basic("ci", "x"), path=path)
    await login("y.io", IdentityToken("refresh"), path=path)
    after = read(path)
    assert after.pop("auths") == {
        "x.io": {"auth": "Y2k6eA=="},
        "y.io": {"auth": "PHRva2VuPjo=", "identitytoken": "refresh", "email": "a@b.io", "new": [1, 2.5, None]},
    }
    before.pop("auths")
    assert after == before
    assert list(after) == list(before)
    assert mode(path) == 0o600
    assert leftovers(path) == []


@pytest.mark.parametrize("relative", [True, False])
async def test_t50_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path, relative: bool) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "auth.json", tmp_path / "config.json"
    link.symlink_to("real/auth.json" if relative else real)
    for user in ("one", "two"):
        await login("x.io", Basic(user, "x"), path=link)
        assert link.is_symlink()
        assert await (await AuthFile.load(real)).get("x.io") == Basic(user, "x")


async def test_t50_logging_out_forgets_every_spelling_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    entry = {"auth": "Y2k6eA=="}
    keys = (HUB_INDEX, "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/", "docker.io/acme", "x.io")
    path.write_text(json.dumps({"auths": dict.fromkeys(keys, entry)}))
    assert await logout("docker.io", path=path)
    assert list(read(path)["auths"]) == ["docker.io/acme", "x.io"]
    assert await logout("docker.io", namespace="acme", path=path)
    assert list(read(path)["auths"]) == ["x.io"]
    assert not await logout("docker.io", path=path)
    assert not await logout("x.io", path=tmp_path / "none" / "config.json")
    assert not (tmp_path / "none").exists()


async def test_t50_logging_in_leaves_nothing_old_in_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    old = {"auth": "b2xkOm9sZA=="}
    keys = ("docker.io", HUB_INDEX, "https://index.docker.io/v2/", "docker.io/acme", "http://x.io", "x.io:443")
    path.write_text(json.dumps({"auths": dict.fromkeys(keys, old)}))
    await login("docker.io", Basic("ci", "x"), path=path)
    await login("x.io", Basic("ci", "x"), path=path)
    new = {"auth": "Y2k6eA=="}
    assert read(path)["auths"] == {HUB_INDEX: new, "docker.io/acme": old, "x.io:443": old, "x.io": new}


async def test_t50_a_namespace_is_kept_as_podman_does(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    await login("quay.io", Basic("ci", "x"), namespace="acme/app", path=path)
    assert list(read(path)["auths"]) == ["quay.io/acme/app"]
    file = await AuthFile.load(path)
    assert await file.get("quay.io", repository="acme/app/sub") == Basic("ci", "x")
    assert await file.get("quay.io") == ANONYMOUS


async def test_t50_dockercfg_is_written_in_its_own_form(tmp_path: Path) -> None:
    path = tmp_path / ".dockercfg"
    path.write_text("auth = Y2k6eA==\nemail = a@b.io\n")
    await login("x.io", Basic("ci", "x"), path=path)
    assert read(path) == {HUB_INDEX: {"auth": "Y2k6eA==", "email": "a@b.io"}, "x.io": {"auth": "Y2k6eA=="}}


async def test_t50_the_default_file_is_the_one_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    assert (await login("x.io", Basic("ci", "x"))).path == tmp_path / "docker" / "config.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert (await login("x.io", Basic("ci", "x"))).path == tmp_path / "auth.json"
    assert await logout("x.io")
    assert read(tmp_path / "auth.json") == {"auths": {}}


async def test_a_file_that_cannot_be_understood_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(SECRET)
    with pytest.raises(CredentialStoreError, match="not JSON"):
        await login("x.io", Basic("ci", "x"), path=path)
    assert path.read_text() == SECRET


async def test_nobody_logs_in_and_what_is_no_file_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        await login("x.io", ANONYMOUS, path=tmp_path / "config.json")
    file = AuthFile.parse(b"{}")
    nothing: Any = None
    with pytest.raises(UsageError, match="NoneType"):
        file.set("x.io", nothing)
    file.set("x.io", Basic("ci", "x"))
    assert file.resolve("x.io") == Basic("ci", "x")
    with pytest.raises(UsageError, match="not read from a file"):
        await file.save()


# --- helpers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"credsStore": "keep"}, {"credHelpers": {"x.io": "keep"}, "credsStore": "missing"}]
)
async def test_t50_where_a_helper_is_named_no_secret_is_written(
    tmp_path: Path, make_helper: MakeHelper, settings: dict[str, Any]
) -> None:
    make_helper("keep", KEEPER.format(folder=tmp_path))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**settings, "auths": {"x.io": {"auth": "b2xkOm9sZA==", "email": "a@b.io"}}}))
    assert await login("x.io", Basic("ci", SECRET), path=path) == StoredLogin(path, "keep")
    assert read(path) == {**settings, "auths": {"x.io": {"email": "a@b.io"}}}
    assert json.loads((tmp_path / "kept").read_text()) == {"ServerURL": "x.io", "Username": "ci", "Secret": SECRET}
    (tmp_path / "kept").unlink()
    assert await logout("x.io", path=path)
    assert (tmp_path / "kept").read_text() == "erase x.io\n"
    assert read(path) == {**settings, "auths": {}}


async def test_t50_a_helper_keeps_nothing_old_in_other_spellings(tmp_path: Path, make_helper: MakeHelper) -> None:
    make_helper("keep", KEEPER.format(folder=tmp_path))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"credsStore": "keep", "auths": {"https://x.io": {"auth": "b2xkOm9sZA=="}}}))
    await login("x.io", Basic("ci", SECRET), path=path)
    assert read(path)["auths"] == {"x.io": {}}
    assert (tmp_path / "kept").read_text().endswith("\nerase https://x.io\n")
    (tmp_path / "kept").unlink()
    # Podman keeps Docker Hub in a helper by this name, and it is looked for there.
    assert await logout("docker.io", path=path)
    assert (tmp_path / "kept").read_text() == f"erase {HUB_INDEX}\nerase docker.io\n"


async def test_t50_a_helper_that_fails_leaves_the_file_alone(tmp_path: Path, make_helper: MakeHelper) -> None:
    make_helper("full", "exit 1")
    path = tmp_path / "config.json"
    text = json.dumps({"credsStore": "full"})
    path.write_text(text)
    with pytest.raises(CredentialStoreError, match="docker-credential-full") as caught:
        await login("x.io", Basic("ci", SECRET), path=path)
    with pytest.raises(CredentialStoreError, match="registry token"):
        await login("x.io", RegistryToken(SECRET), path=path)
    assert path.read_text() == text
    assert SECRET not in told(caught.value)


async def test_logging_out_of_what_a_helper_does_not_have_is_no_failure(
    tmp_path: Path, make_helper: MakeHelper
) -> None:
    make_helper(
        "pass",
        """\
case "$1" in
  erase) echo "exit status 1: Error: not in the password store."; exit 1;;
  get) echo '{"ServerURL":"x.io","Username":"","Secret":""}';;
esac""",
    )
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"credsStore": "pass", "auths": {"https://x.io/v1/": {}}}))
    assert await logout("x.io", path=path)
    assert read(path) == {"credsStore": "pass", "auths": {}}


async def test_logging_out_says_so_when_the_helper_still_has_it(tmp_path: Path, make_helper: MakeHelper) -> None:
    make_helper(
        "stuck",
        """\
case "$1" in
  erase) exit 1;;
  get) echo '{"ServerURL":"x.io","Username":"ci","Secret":"x"}';;
esac""",
    )
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"credsStore": "stuck", "auths": {"x.io": {}}}))
    with pytest.raises(CredentialStoreError, match="docker-credential-stuck, asked to erase"):
        await logout("x.io", path=path)
    assert "x.io" in read(path)["auths"]


async def test_t50_a_helper_that_is_named_meanwhile_gets_the_secret(
    tmp_path: Path, make_helper: MakeHelper, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_helper("keep", KEEPER.format(folder=tmp_path))
    path = tmp_path / "config.json"
    path.write_text("{}")
    merge = authfile._merge
    calls: list[tuple[Any, ...]] = []

    def late(*args: Any) -> Any:  # noqa: ANN401 -- passed on
        if not calls:
            path.write_text(json.dumps({"credsStore": "keep"}))
        calls.append(args)
        return merge(*args)

    monkeypatch.setattr(authfile, "_merge", late)
    await login("x.io", Basic("ci", SECRET), path=path)
    assert len(calls) == 2
    assert read(path) == {"credsStore": "keep", "auths": {"x.io": {}}}
    assert SECRET in (tmp_path / "kept").read_text()


# --- many writers ----------------------------------------------------------------------------------------------------

WRITER = """
import sys, anyio
from ocidist import Basic
from ocidist.credentials.logins import login

async def main():
    for number in range(int(sys.argv[3])):
        await login(f"{sys.argv[2]}-{number}.io", Basic("ci", "x"), path=sys.argv[1])

anyio.run(main, backend=sys.argv[4])
"""


@pytest.mark.timeout(120)
def test_t50_two_processes_with_two_hundred_logins_each_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"kept": True, "auths": {"old.io": {"auth": "Y2k6eA=="}}}))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, "200", backend])
        for name, backend in (("a", "asyncio"), ("b", "trio"))
    ]
    stop, torn = threading.Event(), []

    def look() -> None:
        while not stop.wait(0.001):
            try:
                read(path)
            except ValueError as error:
                torn.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        assert [writer.wait(100) for writer in writers] == [0, 0]
    finally:
        stop.set()
        reader.join()
    assert torn == []
    after = read(path)
    assert after["kept"] is True
    assert len(after["auths"]) == 401
    assert mode(path) == 0o600
    assert leftovers(path) == []


async def test_t50_concurrent_writers_in_one_process_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(_login, f"{number}.io", path)
    assert len(read(path)["auths"]) == 30


async def _login(host: str, path: Path) -> None:
    await login(host, Basic("ci", "x"), path=path)


async def test_t50_changes_are_merged_into_the_file_as_it_is_then(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(a="old", b="old"))
    file = await AuthFile.load(path)
    file.set("c.io", Basic("mine", "x"))
    file.erase("a.io")
    path.write_text(config(a="old", b="theirs", d="theirs"))
    await file.save()
    assert read(path) == json.loads(config(b="theirs", d="theirs", c="mine"))
    assert file.resolve("d.io") == Basic("theirs", "x")


async def test_t50_who_keeps_the_lock_is_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    monkeypatch.setattr(authfile, "LOCK_TIMEOUT", 0.3)
    lock = locked(path)
    await anyio.to_thread.run_sync(lock.__enter__)
    try:
        with pytest.raises(CredentialStoreError, match="somebody else"):
            await login("x.io", Basic("ci", "x"), path=path)
        with anyio.move_on_after(0.1) as scope:
            await login("x.io", Basic("ci", "x"), path=path)
        assert scope.cancelled_caught
    finally:
        await anyio.to_thread.run_sync(lock.__exit__, None, None, None)
    assert not path.exists()
    await login("x.io", Basic("ci", "x"), path=path)
    assert read(path) == json.loads(config(x="ci"))


# --- what goes wrong on the way --------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import anyio
from ocidist import Basic
from ocidist.credentials import disk
from ocidist.credentials.logins import login

step, last = 0, int(sys.argv[2])

def dying(call):
    def wrapper(*args, **kwargs):
        global step
        step += 1
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return wrapper

class Os:
    def __getattr__(self, name):
        found = getattr(os, name)
        return dying(found) if name in {"open", "fchmod", "write", "fsync", "close", "fchown", "read"} else found

disk.os = Os()
Path.replace = dying(Path.replace)
Path.unlink = dying(Path.unlink)
anyio.run(lambda: login("new.io", Basic("ci", "x"), path=sys.argv[1]))
print(step)
"""


@pytest.mark.timeout(120)
def test_f178_kill_9_before_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    old, new = json.loads(config(old="ci")), json.loads(config(old="ci", new="ci"))
    seen = []
    for last in range(1, 40):
        path.write_text(json.dumps(old))
        run = subprocess.run([sys.executable, "-c", KILLED, str(path), str(last)], capture_output=True, check=False)
        seen.append(read(path))
        assert seen[-1] in (old, new)
        if run.returncode != -signal.SIGKILL:
            assert run.returncode == 0, run.stderr
            break
        assert len(leftovers(path)) <= 1
        for part in leftovers(path):
            assert mode(tmp_path / part) & 0o077 == 0
    else:
        pytest.fail("it never came to its end")
    assert len(seen) > 8
    assert seen[0] == old
    assert seen[-1] == new
    # What the killed ones left went with the next login.
    assert leftovers(path) == []


FULL = """
import resource, sys, anyio
from ocidist import Basic, CredentialStoreError
from ocidist.credentials.logins import login

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

async def main():
    try:
        await login("new.io", Basic("ci", "x" * 5000), path=sys.argv[1])
    except CredentialStoreError as error:
        print(error)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_f178_a_full_disk_leaves_the_old_file(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(old="ci"))
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(path), backend], capture_output=True, check=True, text=True, timeout=30
    )
    assert f"cannot write {path}: File too large" in run.stdout
    assert "xxx" not in run.stdout
    assert path.read_text() == config(old="ci")
    assert leftovers(path) == []


async def test_f178_a_place_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "config.json", Path("/proc/ocidist/config.json")):
        with pytest.raises(CredentialStoreError, match="cannot write") as caught:
            await login("x.io", Basic("ci", SECRET), path=path)
        assert SECRET not in told(caught.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CredentialStoreError, match="not a file"):
        await login("x.io", Basic("ci", SECRET), path=tmp_path / "folder")


async def test_f178_the_owner_of_the_file_stays_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    await login("x.io", Basic("ci", "x"), path=path)
    assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)
    assert path.stat().st_ino != before.st_ino


async def test_f178_who_owns_the_file_can_go_on_after_root_has_logged_in(tmp_path: Path) -> None:
    path, lock = tmp_path / "config.json", tmp_path / ".config.json.lock"
    path.write_text("{}")
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    await login("x.io", Basic("ci", "x"), path=path)
    assert lock.stat().st_uid == path.stat().st_uid

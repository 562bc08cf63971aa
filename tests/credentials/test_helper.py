from __future__ import annotations

import json
import logging
import os
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import ANONYMOUS, Basic, CredentialStoreError, IdentityToken, RegistryToken, UsageError
from ocidist.credentials.helper import MAX_OUTPUT, CredentialHelper, find_program
from tests.credentials.support import told

if TYPE_CHECKING:
    from tests.credentials.conftest import MakeHelper

SECRET = "hunter2"
ANSWER = json.dumps({"ServerURL": "x.io", "Username": "ci", "Secret": SECRET})


async def is_gone(pid_file: Path) -> bool:
    """Return whether the process whose number is in a file ends soon."""
    for _ in range(1000):
        if _named_is_dead(pid_file):
            return True
        await anyio.sleep(0.02)
    return False


def _named_is_dead(pid_file: Path) -> bool:
    text = pid_file.read_text().strip() if pid_file.exists() else ""
    if not text:
        return False
    try:
        state = Path(f"/proc/{text}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    # What is dead but was not waited for, because its parent died as well, is dead.
    return state.rpartition(")")[2].split()[0] == "Z"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- names and places ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "a/b",
        "/bin/sh",
        "a b",
        ";id",
        "$(id)",
        "a\n",
        "\n",
        "a\0",
        "-x",
        ".x",
        "_x",
        "ä",
        "a" * 65,
        "a;b",
        "`id`",
    ],
)
def test_t47_names_that_are_more_than_a_name_are_refused(name: str) -> None:
    with pytest.raises(CredentialStoreError, match="letters, digits"):
        CredentialHelper(name)


@pytest.mark.parametrize("name", ["pass", "ecr-login", "gcloud", "acr-env", "a.b_c", "1", "a" * 64])
def test_t47_the_names_there_are_can_be_used(name: str) -> None:
    assert CredentialHelper(name).program == f"docker-credential-{name}"


def test_t47_only_absolute_directories_of_path_are_looked_into(
    make_helper: MakeHelper, bin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_helper("here", "echo")
    monkeypatch.chdir(bin_dir)
    assert find_program(made.name) == str(made)
    for path in ("", ".", ":", f".:{os.pathsep}", "bin", "../bin", "/nonexistent"):
        monkeypatch.setenv("PATH", path)
        assert find_program(made.name) is None
    monkeypatch.setenv("PATH", f"/nonexistent::.:{bin_dir}")
    assert find_program(made.name) == str(made)


@pytest.mark.parametrize("mode", [0, stat.S_IRUSR | stat.S_IWUSR], ids=oct)
async def test_f175_a_helper_that_cannot_be_executed(make_helper: MakeHelper, mode: int) -> None:
    make_helper("plain", "echo", mode=mode)
    with pytest.raises(CredentialStoreError, match=r"docker-credential-plain.*not in any absolute directory"):
        await CredentialHelper("plain").get("x.io")


async def test_f175_a_helper_that_is_missing(bin_dir: Path) -> None:
    (bin_dir / "docker-credential-folder").mkdir()
    for name in ("missing", "folder"):
        for call in (CredentialHelper(name).get("x.io"), CredentialHelper(name).list()):
            with pytest.raises(CredentialStoreError, match=f"docker-credential-{name}"):
                await call


async def test_f175_a_helper_whose_interpreter_is_missing(make_helper: MakeHelper) -> None:
    make_helper("lost", "", interpreter="/nonexistent/interpreter")
    with pytest.raises(CredentialStoreError, match=r"docker-credential-lost.*cannot be executed"):
        await CredentialHelper("lost").get("x.io")


# --- answers ---------------------------------------------------------------------------------------------------------


async def test_t47_the_server_comes_on_standard_input_and_the_only_argument_is_the_action(
    make_helper: MakeHelper, tmp_path: Path
) -> None:
    make_helper("told", f"echo \"$#:$1:$(cat)\" > {tmp_path}/told; echo '{ANSWER}'")
    assert await CredentialHelper("told").get("x.io; touch /tmp/x") == Basic("ci", SECRET)
    assert (tmp_path / "told").read_text() == "1:get:x.io; touch /tmp/x\n"


async def test_f176_the_token_user_is_an_identity_token(make_helper: MakeHelper) -> None:
    make_helper("tokens", """echo '{"ServerURL":"x.io","Username":"<token>","Secret":"refresh"}'""")
    assert await CredentialHelper("tokens").get("x.io") == IdentityToken("refresh")


@pytest.mark.parametrize(
    "script",
    [
        "echo 'credentials not found in native keychain'; exit 1",
        "echo 'Credentials not found in native keychain'; exit 2",
        "echo 'credentials not found'; exit 1",
        """echo '{"ServerURL":"x.io","Username":"","Secret":""}'""",
        "echo '{}'",
    ],
)
async def test_f175_what_a_helper_does_not_have_is_absent(make_helper: MakeHelper, script: str) -> None:
    make_helper("empty", script)
    assert await CredentialHelper("empty").get("x.io") is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo '{SECRET}'; exit 1", "exit status 1"),
        (f"echo '{SECRET}' >&2; exit 3", "exit status 3"),
        (f"echo 'aws {SECRET} credentials not found'; exit 1", "exit status 1"),
        ("exit 127", "exit status 127"),
        (f"echo '{SECRET}'; kill -SEGV $$", "signal 11"),
        (f"echo '{SECRET}'", "something else than a JSON object"),
        (f"echo '[\"{SECRET}\"]'", "something else than a JSON object"),
        (f"""printf '{{"Username":"ci","Secret":"{SECRET}'""", "something else than a JSON object"),
        ("true", "something else than a JSON object"),
        (f"""echo '{{"Username":"ci","Secret":["{SECRET}"]}}'""", "not text"),
        (f"""echo '{{"Username":"c:i","Secret":"{SECRET}"}}'""", "cannot be used"),
        (f"""echo '{{"Username":"","Secret":"{SECRET}"}}'""", "cannot be used"),
        (f"""printf '{{"Username":"ci","Secret":"{SECRET}\\\\u0000x"}}'""", "cannot be used"),
        (f"""printf '\\357\\273\\277{{"Username":"ci","Secret":"{SECRET}"}}'""", "something else than a JSON object"),
        (f"""printf '{{"Username":"ci","Secret":"{SECRET}\\377"}}'""", "something else than a JSON object"),
    ],
)
async def test_f175_any_other_failure_names_the_helper_and_nothing_it_printed(
    make_helper: MakeHelper, script: str, said: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    make_helper("bad", script)
    with pytest.raises(CredentialStoreError, match=f"docker-credential-bad.*{said}") as caught:
        await CredentialHelper("bad").get("x.io")
    assert SECRET not in told(caught.value)
    assert SECRET not in caplog.text
    assert capfd.readouterr() == ("", "")


async def test_f175_a_failed_store_shows_nothing_of_what_was_to_be_kept(make_helper: MakeHelper) -> None:
    make_helper("full", "cat; cat >&2; exit 1")
    with pytest.raises(CredentialStoreError, match="docker-credential-full, asked to store") as caught:
        await CredentialHelper("full").store("x.io", Basic("ci", SECRET))
    assert SECRET not in told(caught.value)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", ["", "trap '' TERM INT HUP; "])
async def test_t47_a_helper_that_hangs_is_killed_with_what_it_started(
    make_helper: MakeHelper, tmp_path: Path, ignored: str
) -> None:
    make_helper("slow", f"{ignored}sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; sleep 60")
    started = time.monotonic()
    with pytest.raises(CredentialStoreError, match=r"docker-credential-slow.*within 0\.5 seconds"):
        await CredentialHelper("slow", timeout=0.5).get("x.io")
    assert time.monotonic() - started < 30
    assert await is_gone(tmp_path / "self")
    assert await is_gone(tmp_path / "child")


async def test_t47_a_helper_that_closes_its_output_and_hangs_is_killed(make_helper: MakeHelper, tmp_path: Path) -> None:
    make_helper("mute", f"echo $$ > {tmp_path}/self; exec >&- 2>&-; sleep 60")
    with pytest.raises(CredentialStoreError, match=r"within 0\.3 seconds"):
        await CredentialHelper("mute", timeout=0.3).get("x.io")
    assert await is_gone(tmp_path / "self")


@pytest.mark.parametrize("script", ["yes hunter2", "yes hunter2 & exit 0", "exec cat /dev/zero"])
async def test_t47_a_helper_that_floods_is_killed(make_helper: MakeHelper, script: str) -> None:
    make_helper("flood", script)
    with pytest.raises(CredentialStoreError, match=f"more than {MAX_OUTPUT} bytes") as caught:
        await CredentialHelper("flood", timeout=20).get("x.io")
    assert SECRET not in told(caught.value)


@pytest.mark.parametrize(("size", "fits"), [(MAX_OUTPUT - 1, True), (MAX_OUTPUT, True), (MAX_OUTPUT + 1, False)])
async def test_t47_the_limit_of_what_is_printed(make_helper: MakeHelper, tmp_path: Path, size: int, fits: bool) -> None:
    (tmp_path / "answer").write_text(ANSWER.ljust(size))
    make_helper("exact", f"cat {tmp_path}/answer")
    helper = CredentialHelper("exact")
    if fits:
        assert await helper.get("x.io") == Basic("ci", SECRET)
    else:
        with pytest.raises(CredentialStoreError, match="more than"):
            await helper.get("x.io")


async def test_t47_floods_of_standard_error_are_harmless(make_helper: MakeHelper) -> None:
    make_helper("noisy", f"head -c 5000000 /dev/zero >&2; echo '{ANSWER}'")
    assert await CredentialHelper("noisy").get("x.io") == Basic("ci", SECRET)


async def test_t47_a_daemon_that_keeps_the_pipe_open_is_not_waited_for(make_helper: MakeHelper, tmp_path: Path) -> None:
    make_helper("daemon", f"echo '{ANSWER}'; sleep 60 & echo $! > {tmp_path}/child")
    started = time.monotonic()
    assert await CredentialHelper("daemon").get("x.io") == Basic("ci", SECRET)
    assert time.monotonic() - started < 30
    child = int((tmp_path / "child").read_text())
    os.kill(child, 9)  # it was left alone: an agent may outlive the helper that started it


async def test_t47_a_helper_that_reads_nothing_is_no_trouble(make_helper: MakeHelper) -> None:
    # More than a pipe holds.
    big = Basic("ci", "x" * 200_000)
    make_helper("deaf", "exec <&-; exit 0")
    await CredentialHelper("deaf").store("x.io", big)
    make_helper("deafer", "sleep 60")
    with pytest.raises(CredentialStoreError, match="within"):
        await CredentialHelper("deafer", timeout=0.3).store("x.io", big)


async def test_t47_all_of_a_large_secret_arrives(make_helper: MakeHelper, tmp_path: Path) -> None:
    make_helper("keep", f"cat > {tmp_path}/kept")
    big = Basic("ci", "x" * 200_000)
    await CredentialHelper("keep").store("x.io", big)
    kept = json.loads((tmp_path / "kept").read_text())
    assert kept == {"ServerURL": "x.io", "Username": "ci", "Secret": big.password}


async def test_t47_cancelling_kills_it_and_does_not_wait(make_helper: MakeHelper, tmp_path: Path) -> None:
    make_helper("slow", f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; sleep 60")
    with anyio.move_on_after(0.5) as scope:
        await CredentialHelper("slow").get("x.io")
    assert scope.cancelled_caught
    assert await is_gone(tmp_path / "self")
    assert await is_gone(tmp_path / "child")


async def test_t47_one_that_was_cancelled_while_it_waited_for_a_place_is_never_started(
    make_helper: MakeHelper, tmp_path: Path
) -> None:
    make_helper("slow", f"echo $$ >> {tmp_path}/started; sleep 60")
    with anyio.move_on_after(1.0):
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(CredentialHelper("slow").get, "x.io")
    await anyio.sleep(0.2)
    assert len((tmp_path / "started").read_text().split()) <= 8


async def test_t47_helpers_run_where_the_end_of_a_program_can_only_be_waited_for(
    make_helper: MakeHelper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on macOS before Python 3.13.
    monkeypatch.delattr(os, "waitid")
    make_helper("quick", f"sleep 60 & echo $! > {tmp_path}/daemon; cat > /dev/null; echo '{ANSWER}'")
    started = time.monotonic()
    assert await CredentialHelper("quick").get("x.io") == Basic("ci", SECRET)
    assert time.monotonic() - started < 30
    os.kill(int((tmp_path / "daemon").read_text()), signal.SIGKILL)
    make_helper("slow", f"sleep 60 & echo $! > {tmp_path}/child; sleep 60")
    with pytest.raises(CredentialStoreError, match="within"):
        await CredentialHelper("slow", timeout=0.5).get("x.io")
    assert await is_gone(tmp_path / "child")
    make_helper("broken", "exit 3")
    with pytest.raises(CredentialStoreError, match="exit status 3"):
        await CredentialHelper("broken").get("x.io")


async def test_t47_the_event_loop_goes_on_while_a_helper_runs(make_helper: MakeHelper) -> None:
    make_helper("slow", f"sleep 0.5; echo '{ANSWER}'")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        assert await CredentialHelper("slow").get("x.io") == Basic("ci", SECRET)
        group.cancel_scope.cancel()
    assert ticks > 10


async def test_t47_nothing_is_left_open(make_helper: MakeHelper) -> None:
    make_helper("fine", f"echo '{ANSWER}'")
    make_helper("hang", "sleep 60")
    await CredentialHelper("fine").get("x.io")
    before = open_files()
    for _ in range(5):
        await CredentialHelper("fine").get("x.io")
        with pytest.raises(CredentialStoreError):
            await CredentialHelper("hang", timeout=0.05).get("x.io")
        with pytest.raises(CredentialStoreError):
            await CredentialHelper("missing").get("x.io")
    assert open_files() == before


# --- what cannot be kept ---------------------------------------------------------------------------------------------


async def test_helpers_keep_no_registry_tokens_and_nobody(make_helper: MakeHelper) -> None:
    make_helper("any", "cat >/dev/null")
    with pytest.raises(CredentialStoreError, match="registry token"):
        await CredentialHelper("any").store("x.io", RegistryToken("access"))
    with pytest.raises(UsageError):
        await CredentialHelper("any").store("x.io", ANONYMOUS)


async def test_erasing_what_is_not_there_is_no_failure(make_helper: MakeHelper) -> None:
    make_helper("empty", "echo 'credentials not found in native keychain'; exit 1")
    await CredentialHelper("empty").erase("x.io")
    make_helper("broken", "exit 1")
    with pytest.raises(CredentialStoreError, match="asked to erase"):
        await CredentialHelper("broken").erase("x.io")


async def test_listing(make_helper: MakeHelper) -> None:
    make_helper("two", """echo '{"x.io": "ci", "y.io": "<token>"}'""")
    assert await CredentialHelper("two").list() == {"x.io": "ci", "y.io": "<token>"}
    make_helper("none", "true")
    assert await CredentialHelper("none").list() == {}
    make_helper("odd", "echo '[1]'")
    with pytest.raises(CredentialStoreError, match="asked to list"):
        await CredentialHelper("odd").list()

"""Commands that are interrupted: they end soon, leave nothing half-done, and say how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from ocidist import Digest
from ocidist.server.faults import FOREVER, Fault
from ocidist.testing.content import Content
from ocidist.testing.registry import serve
from ocidist.wire.endpoints import CancelUpload, GetBlob, ListTags, PatchUpload, PutManifest, PutUpload
from tests.peers.images import noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry

MIB: Final = 1024 * 1024
SOON_S: Final = 30
HANGS: Final = 60


@attrs.frozen
class Ended:
    """A command that was interrupted."""

    status: int
    out: str
    err: str


@pytest.fixture
def registry() -> Iterator[LoopbackRegistry]:
    with serve() as found:
        yield found


@contextmanager
def command(
    folder: Path, *words: str, program: tuple[str, ...] = ("-m", "ocidist"), stdin: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Begin a command; it is killed if it is still there in the end."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder)}

    def heed() -> None:
        # Shells have what they run aside ignore them, and so would a command of these tests.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    with subprocess.Popen(
        [sys.executable, *program, *words],
        cwd=folder,
        stdin=stdin,
        preexec_fn=heed,  # noqa: PLW1509 -- nothing else happens between fork and exec
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_met(registry: LoopbackRegistry, process: subprocess.Popen[str]) -> None:
    """Wait until a command has met the fault that is there."""
    deadline = time.monotonic() + SOON_S
    while not registry.faults.met and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    # The bytes before the fault have to get there.
    time.sleep(0.3)


def interrupted(registry: LoopbackRegistry, folder: Path, number: signal.Signals, *words: str) -> Ended:
    """Begin a command, and interrupt it once it has met the fault that is there."""
    with command(folder, *words) as process:
        until_met(registry, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=SOON_S)
        return Ended(process.returncode, out, err)


def test_f200_an_interrupted_push_keeps_its_journal_and_says_how_to_go_on(
    registry: LoopbackRegistry, tmp_path: Path
) -> None:
    data = noise(17 * MIB)
    (tmp_path / "data.bin").write_bytes(data)
    registry.faults.add(Fault(on=(PatchUpload, PutUpload), skip=1, times=FOREVER, latency=HANGS))
    words = ["push", f"{registry.url}/acme/data:v1", "data.bin", "--journal", "kept"]
    (tmp_path / "kept").mkdir()

    ended = interrupted(registry, tmp_path, signal.SIGINT, *words)
    assert (ended.status, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == f"  {sys.executable} -m ocidist {' '.join(words)}"
    assert "Traceback" not in ended.err
    journal, *others = [path for path in (tmp_path / "kept").iterdir() if path.name.endswith(".upload")]
    assert not others
    assert journal.stat().st_mode & 0o077 == 0

    registry.faults.clear()
    registry.requests.clear()
    with command(tmp_path, *words) as process:
        out, err = process.communicate(timeout=3 * SOON_S)
    assert process.returncode == 0, err
    assert Digest(out.strip())
    assert not list((tmp_path / "kept").glob("*.upload"))
    sent = sum(each.received for each in registry.requests if each.method in {"PATCH", "PUT"})
    assert sent < 2 * MIB


def test_f200_an_interrupted_pull_leaves_no_temporary_file(registry: LoopbackRegistry, tmp_path: Path) -> None:
    content = Content().blob("data", size=4 * MIB).artifact("files", layers=["data"], tags=["v1"])
    built = registry.add("acme/files", content)
    digest = built["data"].descriptor.digest
    registry.faults.add(Fault(on=GetBlob, pause_after=2 * MIB, pause=HANGS))
    words = ["blob", "get", f"{registry.url}/acme/files@{digest}", "data.bin", "-o", "json"]
    ended = interrupted(registry, tmp_path, signal.SIGINT, *words)
    assert (ended.status, ended.out) == (130, "")
    assert f'"resume":"{sys.executable} -m ocidist {" ".join(words)}"' in ended.err
    assert list(tmp_path.iterdir()) == []


def test_f200_an_interrupted_copy_ends_its_upload(registry: LoopbackRegistry, tmp_path: Path) -> None:
    content = Content().blob("layer", size=4 * MIB).image("app", layers=["layer"], tags=["v1"])
    registry.add("acme/app", content)
    with serve(faults=[Fault(on=(PutUpload, PatchUpload), times=FOREVER, latency=HANGS)]) as other:
        ended = interrupted(
            other, tmp_path, signal.SIGTERM, "cp", f"{registry.url}/acme/app:v1", f"{other.url}/acme/app:v1"
        )
        assert (ended.status, ended.out) == (143, "")
        assert any(each.method == "DELETE" for each in other.requests)
    assert list(tmp_path.iterdir()) == []


def test_f200_a_second_interrupt_does_not_wait_for_the_first(registry: LoopbackRegistry, tmp_path: Path) -> None:
    content = Content().blob("layer", size=4 * MIB).image("app", layers=["layer"], tags=["v1"])
    registry.add("acme/app", content)
    hangs = Fault(on=(PutUpload, PatchUpload, CancelUpload), times=FOREVER, latency=HANGS)
    with (
        serve(faults=[hangs]) as other,
        command(tmp_path, "cp", f"{registry.url}/acme/app:v1", f"{other.url}/acme/app:v1") as process,
    ):
        until_met(other, process)
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + SOON_S
        while not any(isinstance(endpoint, CancelUpload) for _, endpoint in other.faults.met):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=SOON_S)
    assert process.returncode == 130
    assert time.monotonic() - began < 3


def test_f200_an_archive_that_is_not_complete_is_not_there(registry: LoopbackRegistry, tmp_path: Path) -> None:
    content = Content().blob("layer", size=4 * MIB).image("app", layers=["layer"], tags=["v1"])
    digest = registry.add("acme/app", content)["layer"].descriptor.digest
    registry.faults.add(Fault(on=GetBlob, reference=str(digest), pause_after=2 * MIB, pause=HANGS))
    reference = f"{registry.url}/acme/app:v1"
    ended = interrupted(registry, tmp_path, signal.SIGINT, "cp", reference, "oci-archive:app.tar:v1")
    assert ended.status == 130
    assert list(tmp_path.iterdir()) == []


def test_f200_an_interrupted_mirror_keeps_its_checkpoint(registry: LoopbackRegistry, tmp_path: Path) -> None:
    for name in ("one", "two"):
        content = Content().blob("layer", size=MIB).image(name, layers=["layer"], tags=["v1"], annotations={"is": name})
        registry.add(f"acme/{name}", content)
    with serve(faults=[Fault(on=PutManifest, skip=1, times=FOREVER, latency=HANGS)]) as other:
        rules = "".join(
            f'[[mirror]]\nsource = "{registry.host}/acme/{name}:v1"\ndestination = "{other.host}/{name}"\n'
            for name in ("one", "two")
        )
        (tmp_path / "mirror.toml").write_text(f"[defaults]\nimages_at_once = 1\n{rules}")
        words = ["mirror", "--checkpoint", "done", "--insecure-host", other.host]
        ended = interrupted(other, tmp_path, signal.SIGINT, *words)
        assert (ended.status, ended.out) == (130, "")
        assert ended.err.splitlines()[-1] == f"  {sys.executable} -m ocidist {' '.join(words)}"
        assert (tmp_path / "done").exists()

        other.faults.clear()
        other.requests.clear()
        with command(tmp_path, *words) as process:
            out, err = process.communicate(timeout=SOON_S)
        assert process.returncode == 0, err
        assert "1 copied, 1 there already" in out
        assert not (tmp_path / "done").exists()
        assert sum(each.method == "PUT" and "/manifests/" in each.path for each in other.requests) == 1


def test_f200_a_closed_terminal_ends_a_command_and_an_interrupt_that_was_ignored_does_not(
    registry: LoopbackRegistry, tmp_path: Path
) -> None:
    registry.faults.add(Fault(on=ListTags, latency=HANGS))
    ignoring = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); from ocidist.cli import main; "
    words = ["ls", f"{registry.url}/acme/app"]
    with command(tmp_path, *words, program=("-c", f"{ignoring}sys.exit(main())")) as process:
        until_met(registry, process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=SOON_S)
    assert (process.returncode, err) == (129, "interrupted\n")


def test_f200_what_came_from_standard_input_cannot_go_on(registry: LoopbackRegistry, tmp_path: Path) -> None:
    with command(tmp_path, "blob", "put", f"{registry.url}/acme/app", "-", stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + SOON_S
        while not registry.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SOON_S)
    assert (process.returncode, err) == (130, "interrupted\n")

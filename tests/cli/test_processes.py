"""The command line as a process: how it starts, how it ends, and what it does without what it needs."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ocidist import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry

HEAVY = {"anyio", "cattrs", "cryptography", "httpx", "jwt", "ssl", "stamina", "uvicorn", "uvloop"}


def run(*words: str, cwd: Path, program: tuple[str, ...] = ("-m", "ocidist")) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(cwd)}
    return subprocess.run(
        [sys.executable, *program, *words], cwd=cwd, env=environment, capture_output=True, check=False, timeout=60
    )


def test_it_runs_as_a_module(full_registry: LoopbackRegistry, tmp_path: Path) -> None:
    done = run("ls", full_registry.url, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"acme/app\nacme/empty\n", b"")


def test_a_reader_who_leaves_ends_it_quietly(full_registry: LoopbackRegistry, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "ocidist", "ls", full_registry.url],
        env=environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_without_its_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['rich'] = None; from ocidist.cli import main; sys.exit(main(['ls', 'x']))"
    done = run(cwd=tmp_path, program=("-c", program))
    assert done.returncode == 1
    assert done.stderr == b"error: the command line needs more packages: pip install 'ocidist[cli]'\n"


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_help_and_version_load_nothing_that_is_slow(words: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; from ocidist.cli import main; main(sys.argv[1:]);"
        "loaded = {name.partition('.')[0] for name in sys.modules};"
        "print('loaded', *sorted(loaded), *[name for name in sys.modules if name.startswith('ocidist.')])"
    )
    done = run(*words, cwd=tmp_path, program=("-c", program))
    loaded = done.stdout.decode().splitlines()[-1].split()
    assert loaded[0] == "loaded"
    assert set(loaded) & (HEAVY - {"anyio"}) == set()
    assert not [name for name in loaded if name.startswith(("ocidist.transfer", "ocidist.server", "ocidist.client"))]


def test_it_serves_a_registry_until_it_is_terminated(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ocidist", "serve", str(tmp_path / "store"), "--port", "0", "-o", "json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["store"] == f"of {tmp_path / 'store'}"
        connection = http.client.HTTPConnection(told["url"].removeprefix("http://"), timeout=10)
        connection.request("GET", "/v2/")
        assert connection.getresponse().status == 200
        connection.close()
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, b"")


def test_a_pipe_and_a_device_are_standard_input_too(full_registry: LoopbackRegistry, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ocidist", "blob", "put", f"{full_registry.url}/acme/app", "-"]
    data = bytes(range(256)) * 1000
    piped = subprocess.run(command, env=environment, input=data, capture_output=True, check=False, timeout=60)
    assert (piped.stdout.decode().strip(), piped.stderr) == (Digest.of(data), b"")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 -- as standard input
        empty = subprocess.run(command, env=environment, stdin=nothing, capture_output=True, check=False, timeout=60)
    assert (empty.stdout.decode().strip(), empty.stderr) == (Digest.of(b""), b"")

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
from ocidist.cli.dispatch import program, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command

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
    for words in (["ls", full_registry.url], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "ocidist", *words],
            env=environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(writer)


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


@pytest.mark.parametrize(
    "word", ["plain", "", "a b", "it's", '"$x"', "a\nb", "\x1b[31m", "tab\t'\\0", "gr\u00f6\u00dfe", "caf\udce9 1", "-"]
)
def test_a_command_that_is_shown_can_be_typed_into_a_shell(word: str) -> None:
    shown = quoted(word)
    assert shown.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, check=True, timeout=10)  # noqa: S607 -- whichever bash there is
    assert done.stdout == word.encode(errors="surrogateescape")


def test_a_command_is_shown_as_it_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "ocidist"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "ls"])
    monkeypatch.setattr(sys, "orig_argv", ["python", str(script), "ls"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == [str(script)]
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == ["ocidist"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/ocidist/__main__.py", "ls"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-X", "utf8", "-m", "ocidist", "ls"])
    assert program() == ["python3", "-X", "utf8", "-m", "ocidist"]


def test_bash_completes_verbs_options_values_and_files(ocidist: Command, tmp_path: Path) -> None:
    (tmp_path / "ocidist.bash").write_bytes(ocidist("completion", "bash").out)
    (tmp_path / "data.txt").touch()
    attempts = (
        ("l", "ls login logout"),
        ("manifest g", "get"),
        ("ls --outp", "--output"),
        ("ls -o j", "json jsonl"),
        ("push x:v1 da", "data.txt"),
        ("mirror -f da", "data.txt"),
    )
    lines = [
        f"COMP_WORDS=(ocidist {typed}); COMP_CWORD={len(typed.split())}; COMPREPLY=(); _ocidist; echo ${{COMPREPLY[*]}}"
        for typed, _ in attempts
    ]
    script = "\n".join(["source ocidist.bash", *lines, "complete -p ocidist"])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True, timeout=30)  # noqa: S607 -- see above
    assert done.stdout.decode().splitlines() == [
        *(found for _, found in attempts),
        "complete -o default -F _ocidist ocidist",
    ]


def test_zsh_calls_what_completes_whatever_the_name_of_its_file(ocidist: Command) -> None:
    script = ocidist("completion", "zsh").text
    assert script.startswith("#compdef ocidist\n")
    assert script.endswith('  _cyclopts_ocidist "$@"\nelse\n  compdef _cyclopts_ocidist ocidist\nfi\n')

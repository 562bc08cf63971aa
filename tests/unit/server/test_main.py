from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from ocidist.server.__main__ import MISSING, is_loopback, main


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),  # noqa: S104 -- it is refused
        ("::", False),
        ("192.168.1.1", False),
        ("", False),
        ("localhost.example.com", False),
        ("example.com", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_address_that_others_can_reach_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "0.0.0.0"]) == 1  # noqa: S104 -- it is refused
    assert "--allow-remote" in capsys.readouterr().err


def test_without_uvicorn_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main([]) == 1
    assert capsys.readouterr().err.strip() == MISSING
    assert "pip install 'ocidist[server]'" in MISSING


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert f"127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--port", "x"], ["--nonsense"], ["--max-bytes", "-1"], ["--port", "70000"]])
def test_options_that_make_no_sense_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_it_runs_until_it_is_interrupted(host: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    command = [sys.executable, "-m", "ocidist.server", "--host", host, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[-1]
        assert address.startswith("http://[::1]:" if host == "::1" else f"http://{host}:")
        with urlopen(f"{address}/v2/") as response:  # noqa: S310 -- it is http
            assert response.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_does_not_wait_for_who_reads_slowly() -> None:
    command = [sys.executable, "-m", "ocidist.server", "--port", "0"]
    data = bytes(32 * 1024 * 1024)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[-1])
        target = f"{address.geturl()}/v2/a/blobs/uploads/?digest={digest}"
        with urlopen(Request(target, data, method="POST")) as response:  # noqa: S310 -- it is http
            assert response.status == 201
        with socket.create_connection((address.hostname, address.port)) as slow:
            slow.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert slow.recv(12) == b"HTTP/1.1 200"
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
    assert process.returncode == 0

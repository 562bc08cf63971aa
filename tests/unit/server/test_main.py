from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from ocidist.server.__main__ import MISSING, is_loopback, main
from tests.issuer.support import user_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.tls import Authority

LOGIN = {"Authorization": "Basic " + base64.b64encode(b"alice:s3cret-of-alice").decode()}


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


def test_t62_an_address_that_others_can_reach_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "0.0.0.0"]) == 1  # noqa: S104 -- it is refused
    assert "--allow-remote" in capsys.readouterr().err


def test_without_uvicorn_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main([]) == 1
    assert capsys.readouterr().err.strip() == MISSING
    assert "pip install 'ocidist[server]'" in MISSING


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert f"127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[""], ["--port", "x"], ["--nonsense"], ["--max-bytes", "-1"], ["--port", "70000"]])
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
        where = (address.hostname, address.port)
        with socket.create_connection(where) as slow, socket.create_connection(where) as pushing:
            pushing.sendall(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc".encode())
            slow.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert slow.recv(12) == b"HTTP/1.1 200"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "2 running task(s)" in err
    assert "Traceback" not in err


@contextmanager
def running(*options: str, end: int = signal.SIGTERM) -> Iterator[str]:
    """Run a registry and yield where; it has to end well."""
    command = [sys.executable, "-m", "ocidist.server", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line, process.communicate()[1]
            yield line.split()[-1]
        finally:
            process.send_signal(end)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def _listening() -> dict[int, str]:
    """Return the local address of every listening IPv4 socket, by port."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, port = fields[1].split(":")
        if fields[3] == "0A":
            found[int(port, 16)] = socket.inet_ntoa(bytes.fromhex(address)[::-1])
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux shows its sockets there")
def test_t62_it_listens_on_loopback_with_tls_and_passwords_and_keeps_what_it_has(
    tmp_path: Path, authority: Authority
) -> None:
    user_file(tmp_path / "htpasswd", {"alice": "s3cret-of-alice"})
    certificate, key = authority.server_files("localhost", "127.0.0.1")
    options = [str(tmp_path / "registry"), "--htpasswd", str(tmp_path / "htpasswd")]
    options += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    context = ssl.create_default_context(cafile=authority.ca_path)
    data = b"kept"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with running(*options) as address:
        assert address.startswith("https://127.0.0.1:")
        assert _listening()[urlsplit(address).port or 0] == "127.0.0.1"
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{address}/v2/", context=context)  # noqa: S310 -- it is https
        assert refused.value.code == 401
        refused.value.close()
        pushed = Request(f"{address}/v2/a/blobs/uploads/?digest={digest}", data, LOGIN, method="POST")  # noqa: S310 -- it is https
        with urlopen(pushed, context=context) as response:  # noqa: S310 -- it is https
            assert response.status == 201
    with running(str(tmp_path / "registry"), "--read-only", end=signal.SIGINT) as address:
        with urlopen(f"{address}/v2/a/blobs/{digest}") as response:  # noqa: S310 -- it is http
            assert response.read() == data
        with running("--proxy", address, "--memory") as cache:
            with urlopen(f"{cache}/v2/a/blobs/{digest}") as response:  # noqa: S310 -- it is http
                assert response.read() == data
            with pytest.raises(HTTPError) as refused:
                urlopen(Request(f"{cache}/v2/a/blobs/{digest}", method="DELETE"))  # noqa: S310 -- it is http
            assert refused.value.code == 405
            refused.value.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--htpasswd", "missing"], "cannot read the users"),
        (["--tls-cert", "cert.pem"], "--tls-key"),
        (["--tls-cert", "cert.pem", "--tls-key", "key.pem"], "cannot use cert.pem and key.pem"),
        (["pyproject.toml"], "pyproject.toml is not a directory"),
        (["pyproject.toml/below"], "pyproject.toml is not a directory"),
        (["x" * 300], "cannot use xxx"),
        (["somewhere", "--max-bytes", "1"], "in memory"),
        (["--proxy", "not a registry"], "--proxy"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_a_line(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", *options]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize(
    ("denied", "told"), [(os.R_OK, "cannot be read"), (os.W_OK, "cannot be written to: give --read-only")]
)
def test_a_directory_that_it_may_not_use_keeps_it_from_starting(
    denied: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The tests may run as root, who may do everything.
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & denied)
    assert main(["--port", "0", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path} {told}")

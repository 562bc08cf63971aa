"""The servers: each a process on loopback that ends with its context."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
_READY_S = 20.0
_STOP_S = 5.0
_INSTALL = "apt-get install -y --no-install-recommends {package}"
_NGINX = """
daemon off;
{user}
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  open_file_cache max=10000 inactive=600s;
  open_file_cache_valid 600s;
  client_body_temp_path {home}/t1;
  proxy_temp_path {home}/t2;
  fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4;
  scgi_temp_path {home}/t5;
  types {{ }}
  map_hash_bucket_size 256;
  map_hash_max_size 65536;
  map $uri $digest {{ include {home}/digests; }}
  server {{
    listen {host};
    listen {tls_host} ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate {home}/server.crt;
    ssl_certificate_key {home}/server.key;
    root {tree};
    add_header Docker-Distribution-Api-Version registry/2.0;
    location = /v2/ {{ return 200; }}
    location ~ /manifests/ {{
      default_type application/vnd.oci.image.manifest.v1+json;
      add_header Docker-Content-Digest $digest;
    }}
    location / {{ default_type application/octet-stream; }}
  }}
}}
"""


class MissingError(Exception):
    """A program is not installed; the text says how to get it."""


class Nginx(NamedTuple):
    """A running nginx that serves a tree laid out like a registry.

    Attributes:
        host: ``host:port`` of plain http.
        tls_host: ``host:port`` of TLS.
        ca: PEM file of the certificate authority.
    """

    host: str
    tls_host: str
    ca: Path


def program(name: str, package: str) -> str:
    """Return the path of an installed program.

    Raises:
        MissingError: It is not installed.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is not installed; to measure it: {_INSTALL.format(package=package)}")
    return found


@contextmanager
def docker_registry(home: Path, *, counted: bool = False) -> Iterator[str]:
    """Run an empty docker-registry whose content goes to *home*, which is removed afterwards.

    Args:
        home: The folder.
        counted: Whether it writes a line for each request, for ``requests_at()``.
    """
    binary = program("docker-registry", "docker-registry")
    home.mkdir(parents=True)
    host = free_host()
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": not counted}},
        "storage": {"filesystem": {"rootdirectory": str(home / "content")}, "cache": {"blobdescriptor": "inmemory"}},
        "http": {"addr": host, "secret": "for benchmarks"},
    }
    (home / "config.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    try:
        with running([binary, "serve", str(home / "config.yml")], host, home / "log"):
            yield host
    finally:
        shutil.rmtree(home)


def requests_at(home: Path) -> int:
    """Return how many requests a registry in this folder has answered."""
    return (home / "log").read_bytes().count(b' HTTP/1.1" ')


@contextmanager
def nginx(home: Path, tree: Path, digests: Mapping[str, str]) -> Iterator[Nginx]:
    """Run nginx over a tree.

    Args:
        home: Where configuration and certificate go.
        tree: What it serves.
        digests: The digest to state for a path of the tree, where one is to be stated.
    """
    binary = program("nginx", "nginx-light")
    home.mkdir(parents=True)
    authority = trustme.CA()
    ca = home / "ca" / "ca.crt"
    ca.parent.mkdir()
    authority.cert_pem.write_to_path(str(ca))
    issued = authority.issue_cert("127.0.0.1")
    (home / "server.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(home / "server.key"))
    lines = "".join(f"{path} {digest};\n" for path, digest in digests.items())
    (home / "digests").write_text(lines, encoding="ascii")
    served = Nginx(free_host(), free_host(), ca)
    # As root it would drop its rights, and could not read the tree any more.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    text = _NGINX.format(home=home, tree=tree, user=user, host=served.host, tls_host=served.tls_host)
    (home / "nginx.conf").write_text(text, encoding="utf-8")
    command = [binary, "-p", str(home), "-e", str(home / "error.log"), "-c", str(home / "nginx.conf")]
    with running(command, served.host, home / "log"):
        yield served


@contextmanager
def sink(home: Path) -> Iterator[str]:
    """Run the server that takes uploads and keeps nothing."""
    home.mkdir(parents=True)
    host = free_host()
    with running([sys.executable, "-m", "benchmarks.sink", host.partition(":")[2]], host, home / "log"):
        yield host


def free_host() -> str:
    """Return a loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def running(command: list[str], host: str, log: Path) -> Iterator[None]:
    """Run a server until the context ends; it has to listen on *host* soon, and what it says goes to *log*."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_for(host, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    address, _, port = host.partition(":")
    deadline = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((address, int(port))).close()
        except ConnectionRefusedError:
            time.sleep(0.005)
        else:
            return
    text = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"{process.args!r} does not listen on {host}:\n{text}")

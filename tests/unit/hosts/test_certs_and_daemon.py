from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ocidist import HostConfig, HostsConfig, HostsFileError, RegistryName
from ocidist.hosts.files import MAX_FILE
from ocidist.hosts.host import Mirror, MirrorTags

if TYPE_CHECKING:
    from pathlib import Path


def of(hosts: HostsConfig, name: str) -> HostConfig:
    return hosts.for_host(RegistryName.parse(name))


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


# --- certs.d ---------------------------------------------------------------------------------------------------------


async def test_n7_certificates_by_host(tmp_path: Path) -> None:
    touch(tmp_path, "a.lan:5000/ca.crt", "a.lan:5000/more.crt", "a.lan:5000/client.cert", "a.lan:5000/client.key")
    touch(tmp_path, "b.lan/readme", "c d/ca.crt", "file.crt")
    hosts = await HostsConfig.from_certs_d(tmp_path)
    here = tmp_path / "a.lan:5000"
    assert of(hosts, "a.lan:5000") == HostConfig(
        ca=(here / "ca.crt", here / "more.crt"), client_cert=(here / "client.cert", here / "client.key")
    )
    assert of(hosts, "a.lan") == of(hosts, "b.lan") == HostConfig()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a.lan/client.cert"], "no client.key"),
        (["a.lan/client.key"], "no client.cert"),
        (["a.lan/a.cert", "a.lan/a.key", "a.lan/b.cert", "a.lan/b.key"], "several"),
    ],
)
async def test_n7_a_certificate_without_its_key_is_told(tmp_path: Path, names: list[str], reason: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(HostsFileError, match=reason):
        await HostsConfig.from_certs_d(tmp_path)


async def test_n7_a_directory_that_is_none_is_told(tmp_path: Path) -> None:
    for read in (HostsConfig.from_certs_d, HostsConfig.from_hosts_toml):
        with pytest.raises(HostsFileError, match="nowhere"):
            await read(tmp_path / "nowhere")


# --- daemon.json -----------------------------------------------------------------------------------------------------


async def test_n7_a_daemon_json(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(
        '{"registry-mirrors": ["https://mirror.lan", "http://10.1.2.3:5000/"], "debug": true,'
        ' "insecure-registries": ["lab.lan:5000", "10.0.0.0/8", "fd00::/8", "http://old.lan"]}'
    )
    hosts = await HostsConfig.from_docker_daemon(path)
    route = hosts.route(RegistryName.parse("registry-1.docker.io"), "library/alpine")
    assert route is not None
    assert route.config.mirrors == tuple(
        Mirror(url, tags=MirrorTags.TRUSTED, ns=False) for url in ("https://mirror.lan", "http://10.1.2.3:5000/")
    )
    # Docker's mirrors are for Docker Hub alone.
    assert hosts.route(RegistryName.parse("ghcr.io"), "x") is None
    insecure = HostConfig(insecure=True, verify=False)
    for name in ("lab.lan:5000", "10.9.9.9", "10.9.9.9:5000", "[fd00::1]:5000", "old.lan"):
        assert of(hosts, name) == insecure
    for name in ("lab.lan", "11.0.0.1", "ten.lan", "[fe00::1]"):
        assert of(hosts, name) == HostConfig()


async def test_n7_docker_hub_is_never_insecure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"insecure-registries": ["docker.io", "https://registry-1.docker.io", "http://10.0.0.0/8"]}')
    hosts = await HostsConfig.from_docker_daemon(path)
    assert of(hosts, "docker.io") == HostConfig()
    assert of(hosts, "10.1.1.1").insecure
    assert "cannot be among" in caplog.text


async def test_n7_an_empty_daemon_json_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.write_text("")
    assert not (await HostsConfig.from_docker_daemon(path)).routed


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("{", None, "not JSON at line 1"),
        ("[]", None, "not a JSON object"),
        ("[" * 100_000, None, "not JSON"),
        ('{"registry-mirrors": "https://m"}', "registry-mirrors", "an array"),
        ('{"registry-mirrors": [1]}', "registry-mirrors", "strings"),
        ('{"registry-mirrors": ["https://u:secret@m"]}', "registry-mirrors", "user name"),
        ('{"insecure-registries": ["10.0.0.0/99"]}', "insecure-registries", "neither"),
        ('{"insecure-registries": ["a b"]}', "insecure-registries", "host"),
        ('{"insecure-registries": [""]}', "insecure-registries", "names no host"),
        ('{"insecure-registries": ["http://"]}', "insecure-registries", "host"),
        ('{"registry-mirrors": [""]}', "registry-mirrors", "names no host"),
        ('{"x": ' + "1" * 5000 + "}", None, "not JSON"),
    ],
)
async def test_n7_what_is_wrong_is_told_with_the_key(tmp_path: Path, text: str, key: str | None, reason: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    with pytest.raises(HostsFileError, match=reason) as caught:
        await HostsConfig.from_docker_daemon(path)
    assert caught.value.key == key
    assert "secret" not in str(caught.value)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}" + b" " * (MAX_FILE - 2), None),
        (b"{}" + b" " * (MAX_FILE - 1), f"larger than {MAX_FILE}"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"\xef\xbb\xbf{}", None),
    ],
    ids=["largest", "larger", "latin", "bom"],
)
async def test_n7_files_are_bounded_and_text(tmp_path: Path, data: bytes, reason: str | None) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes(data)
    if reason is None:
        await HostsConfig.from_docker_daemon(path)
    else:
        with pytest.raises(HostsFileError, match=reason):
            await HostsConfig.from_docker_daemon(path)


async def test_n7_pipes_and_directories_are_no_files(tmp_path: Path) -> None:
    make_fifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(HostsFileError, match="not a regular file"):
            await HostsConfig.from_docker_daemon(path)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import HostConfig, HostsConfig, HostsFileError, RegistryName
from ocidist.hosts.host import Mirror, MirrorTags

if TYPE_CHECKING:
    from pathlib import Path

FULL = """
server = "https://registry-1.docker.io"

[host."https://mirror.example.com:8443"]
  capabilities = ["pull", "resolve"]
  ca = ["ca.pem", "/etc/acme/other.pem"]
  client = [["client.cert", "client.key"]]
  skip_verify = true
  [host."https://mirror.example.com:8443".header]
    x-one = "1"
    x-many = ["2", "3"]

[host."https://mirror.example.com/v2/hub"]
  capabilities = ["pull"]
  override_path = true

[host."plain.example.com"]
  capabilities = ["push"]

[host."http://10.0.0.5:5000"]
"""


def write(root: Path, host: str, text: str) -> Path:
    directory = root / host
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.toml").write_text(text)
    return root


async def test_n7_a_hosts_toml_with_everything_in_it(tmp_path: Path) -> None:
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "docker.io", FULL))
    route = hosts.route(RegistryName.parse("docker.io"), "library/alpine")
    assert route is not None
    here = tmp_path / "docker.io"
    own = HostConfig(
        ca=(here / "ca.pem", here / "/etc/acme/other.pem"),
        client_cert=(here / "client.cert", here / "client.key"),
        verify=False,
        headers=(("x-one", "1"), ("x-many", "2"), ("x-many", "3")),
    )
    assert route.config.mirrors == (
        Mirror("https://mirror.example.com:8443", tags=MirrorTags.TRUSTED, host=own),
        Mirror("https://mirror.example.com/v2/hub", tags=MirrorTags.NEVER, override_path=True),
        Mirror("http://10.0.0.5:5000", tags=MirrorTags.TRUSTED),
    )
    # The server is the registry itself, so reads end where they always did.
    assert route.config.location is None
    assert route.config.scheme == "https"
    assert hosts.for_host(RegistryName.parse("mirror.example.com:8443")) == own


async def test_n7_hosts_in_order_and_a_server_elsewhere(tmp_path: Path) -> None:
    text = 'server = "https://cache.lan/hub"\n[host."https://b.lan"]\n[host."https://a.lan"]\n'
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "registry.lan", text))
    route = hosts.route(RegistryName.parse("registry.lan"), "x")
    assert route is not None
    assert [mirror.url for mirror in route.config.mirrors] == ["https://b.lan", "https://a.lan"]
    assert route.config.location == Mirror("https://cache.lan/hub", tags=MirrorTags.TRUSTED)


async def test_n7_the_default_is_for_all_others(tmp_path: Path) -> None:
    write(tmp_path, "_default", '[host."https://all.lan"]\n')
    write(tmp_path, "own.lan", 'server = "http://own.lan"\n')
    hosts = await HostsConfig.from_hosts_toml(tmp_path)
    route = hosts.route(RegistryName.parse("ghcr.io"), "a/b")
    assert route is not None
    assert [mirror.url for mirror in route.config.mirrors] == ["https://all.lan"]
    assert hosts.route(RegistryName.parse("own.lan"), "a/b") is None
    assert hosts.for_host(RegistryName.parse("own.lan")).scheme == "http"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "# its own",
        'capabilities = ["pull", "resolve", "push"]',
        '[host."https://m.lan"]\ncapabilities = ["push"]',
    ],
)
async def test_n7_the_default_is_not_for_a_registry_with_a_directory(tmp_path: Path, text: str | None) -> None:
    write(tmp_path, "_default", '[host."https://all.lan"]\n')
    (tmp_path / "own.lan").mkdir()
    if text is not None:
        write(tmp_path, "own.lan", text)
    hosts = await HostsConfig.from_hosts_toml(tmp_path)
    assert hosts.route(RegistryName.parse("own.lan"), "a/b") is None
    assert hosts.route(RegistryName.parse("other.lan"), "a/b") is not None


@pytest.mark.parametrize(
    "named", ["registry.lan", "registry.lan:443", "https://registry.lan/", "https://registry.lan:443"]
)
async def test_n7_the_registrys_own_entry_configures_the_registry(tmp_path: Path, named: str) -> None:
    text = f'[host."{named}"]\nca = "own.pem"\n'
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "registry.lan", text))
    found = hosts.for_host(RegistryName.parse("registry.lan"))
    assert found.ca == (tmp_path / "registry.lan" / "own.pem",)
    assert not found.mirrors
    assert hosts.route(RegistryName.parse("registry.lan"), "x") is None


async def test_n7_settings_without_a_server_are_the_registrys(tmp_path: Path) -> None:
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "registry.lan_5000_", 'ca = "own.pem"\n'))
    assert hosts.for_host(RegistryName.parse("registry.lan:5000")).ca == (tmp_path / "registry.lan_5000_" / "own.pem",)


async def test_n7_a_directory_without_the_file_holds_certificates(tmp_path: Path) -> None:
    (tmp_path / "registry.lan").mkdir()
    (tmp_path / "registry.lan" / "ca.crt").touch()
    (tmp_path / "not a host").mkdir()
    hosts = await HostsConfig.from_hosts_toml(tmp_path)
    assert hosts.for_host(RegistryName.parse("registry.lan")).ca == (tmp_path / "registry.lan" / "ca.crt",)
    assert repr(hosts) == "<HostsConfig of registry.lan>"


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("server = 5", "server", "a string, not a number"),
        ('server = "https://u:secret@host"', "server", "user name"),
        ('server = "https://host?token=secret"', "server", "query"),
        ('server = "ftp://host"', "server", "'ftp' is not a scheme"),
        ('[host."https://u:secret@m"]', "host.https://m", "user name"),
        ('[host."https://m?secret"]\nskip_verify = 1', "host.https://m?***.skip_verify", "true or false"),
        ('[host."https://m"]\nSkip_Verify = true', "host.https://m.Skip_Verify", "spelled skip_verify"),
        ('[host."https://m"]\nclient = [["", "key"]]', "host.https://m.client", "a certificate and its key"),
        ('[host."https://m"]\nclient = [["", ""]]', "host.https://m.client", "a certificate and its key"),
        (
            '[host."https://m/a"]\n[host."https://m/b"]\nca = "a"\n[host."https://m/c"]\nskip_verify = true',
            "host.https://m/c",
            "in another way",
        ),
        ("host = 1", "host", "a table"),
        ('[host."https://m"]\ncapabilities = ["pull", "fly"]', "host.https://m.capabilities", "'fly'"),
        ('[host."https://m"]\ncapabilities = "pull"', "host.https://m.capabilities", "an array"),
        ('[host."https://m"]\nca = 7', "host.https://m.ca", "an array"),
        ('[host."https://m"]\nca = "a\\u0000"', "host.https://m.ca", "no path"),
        ('[host."https://m"]\nclient = "a\\u0000"', "host.https://m.client", "must be a file"),
        ('[host."https://m"]\nca = [7]', "host.https://m.ca", "strings"),
        ('[host."https://m"]\nclient = [["a", "b"], ["c", "d"]]', "host.https://m.client", "several"),
        ('[host."https://m"]\nclient = [["a", "b", "c"]]', "host.https://m.client", "a certificate and its key"),
        ('[host."https://m"]\nskip_verify = "yes"', "host.https://m.skip_verify", "true or false"),
        ('[host."https://m"]\n[host."https://m".header]\nhost = "secret"', "host.https://m.header", "'host'"),
        (
            '[host."https://m"]\n[host."https://m".header]\nx = "secret\\r\\ny: z"',
            "host.https://m.header",
            "cannot be sent",
        ),
        ('[host."https://m"]\n[host."https://m".header]\nx = 1', "host.https://m.header.x", "an array"),
        ('[host."https://m/../x"]', "host.https://m/../x", "path"),
        ('[host."https://m"]\noverride_path = 1', "host.https://m.override_path", "true or false"),
        ("a = [", None, "not TOML"),
        ("\x00", None, "not TOML"),
        ("a = " + "[" * 10_000, None, "not TOML"),
    ],
)
async def test_n7_what_is_wrong_is_told_with_file_and_key(
    tmp_path: Path, text: str, key: str | None, reason: str
) -> None:
    with pytest.raises(HostsFileError) as caught:
        await HostsConfig.from_hosts_toml(write(tmp_path, "registry.lan", text))
    error = caught.value
    assert error.path == str(tmp_path / "registry.lan" / "hosts.toml")
    assert error.key == key
    assert reason in error.reason
    assert "secret" not in str(error)


async def test_n7_capabilities_are_read_in_any_case(tmp_path: Path) -> None:
    text = '[host."https://m.lan"]\ncapabilities = ["Pull"]\n'
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "a.lan", text))
    route = hosts.route(RegistryName.parse("a.lan"), "x")
    assert route is not None
    assert route.config.mirrors == (Mirror("https://m.lan", tags=MirrorTags.NEVER),)


async def test_n7_a_mirror_that_lists_referrers_is_one_like_any_other(tmp_path: Path) -> None:
    able = '[host."https://m"]\ncapabilities = ["pull", "resolve", "referrers"]\n'
    text = f'{able}[host."https://n"]\ncapabilities = ["referrers"]'
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "registry.lan", text))
    mirrors = hosts.for_host(RegistryName.parse("registry.lan")).mirrors
    # Nothing that this one may do is ever asked of a mirror.
    assert [str(mirror) for mirror in mirrors] == ["https://m"]


async def test_n7_no_capability_at_all_is_every_one(tmp_path: Path) -> None:
    text = 'server = "https://s.lan"\ncapabilities = []\n[host."https://m.lan"]\ncapabilities = []\n'
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "a.lan", text))
    route = hosts.route(RegistryName.parse("a.lan"), "x")
    assert route is not None
    assert route.config.mirrors == (Mirror("https://m.lan", tags=MirrorTags.TRUSTED),)
    assert route.config.location == Mirror("https://s.lan", tags=MirrorTags.TRUSTED)


async def test_n7_mirrors_of_several_registries_have_files_of_their_own(tmp_path: Path) -> None:
    for host in ("docker.io", "quay.io"):
        write(tmp_path, host, '[host."https://m.lan"]\nca = "ca.pem"\n')
    hosts = await HostsConfig.from_hosts_toml(tmp_path)
    ca = tuple(tmp_path / host / "ca.pem" for host in ("docker.io", "quay.io"))
    assert hosts.for_host(RegistryName.parse("m.lan")).ca == ca


async def test_n7_mirrors_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    write(tmp_path, "docker.io", '[host."https://m.lan"]\nca = "ca.pem"\n')
    write(tmp_path, "quay.io", 'server = "https://m.lan"\nskip_verify = true\n')
    with pytest.raises(HostsFileError, match=r"quay\.io.hosts\.toml: server: its host is configured in another way"):
        await HostsConfig.from_hosts_toml(tmp_path)


async def test_n7_what_stands_at_the_top_of_the_default_is_for_every_registry(tmp_path: Path) -> None:
    hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "_default", 'ca = "corp.pem"\n'))
    assert hosts.for_host(RegistryName.parse("ghcr.io")).ca == (tmp_path / "_default" / "corp.pem",)
    (tmp_path / "_default" / "hosts.toml").write_text("")
    (tmp_path / "_default" / "corp.crt").touch()
    hosts = await HostsConfig.from_hosts_toml(tmp_path)
    assert hosts.for_host(RegistryName.parse("ghcr.io")).ca == (tmp_path / "_default" / "corp.crt",)


async def test_n7_of_several_directories_the_one_that_containerd_takes(tmp_path: Path) -> None:
    for number, host in enumerate(("docker.io", "registry-1.docker.io", "DOCKER.IO", "a.lan:5000", "a.lan_5000_")):
        write(tmp_path, host, f'[host."https://m{number}.lan"]\n')
    hosts = await HostsConfig.from_hosts_toml(tmp_path)
    for name, url in (("docker.io", "https://m0.lan"), ("a.lan:5000", "https://m4.lan")):
        assert [mirror.url for mirror in hosts.for_host(RegistryName.parse(name)).mirrors] == [url]


async def test_n7_a_server_that_may_not_say_what_a_tag_names(tmp_path: Path) -> None:
    for server in ("https://m.lan", "https://a.lan"):
        text = f'server = "{server}"\ncapabilities = ["pull"]\nca = "ca.pem"\n'
        hosts = await HostsConfig.from_hosts_toml(write(tmp_path, "a.lan", text))
        route = hosts.route(RegistryName.parse("a.lan"), "x")
        assert route is not None
        location = route.config.location
        assert location is not None
        assert (location.url, location.tags) == (server, MirrorTags.NEVER)
        assert hosts.for_host(RegistryName.parse(server)).ca == (tmp_path / "a.lan" / "ca.pem",)


async def test_n7_a_link_to_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.lan").mkdir()
    (tmp_path / "a.lan" / "hosts.toml").symlink_to("gone")
    with pytest.raises(HostsFileError, match="cannot be read"):
        await HostsConfig.from_hosts_toml(tmp_path)


async def test_n7_keys_that_are_not_used_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "a.lan", 'proxy = "http://p"\n[host."https://u:secret@m.lan/"]\ncapabilites = ["pull"]\n')
    with pytest.raises(HostsFileError):
        await HostsConfig.from_hosts_toml(tmp_path)
    told = [record.getMessage().partition(": ")[2] for record in caplog.records if record.name == "ocidist.hosts"]
    assert told == ["the key proxy is not used", "the key host.https://m.lan/.capabilites is not used"]

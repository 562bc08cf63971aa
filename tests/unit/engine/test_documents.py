"""Names, configuration and search results as the Engine writes them."""

from __future__ import annotations

import json
import subprocess
import sys

import attrs
import pytest

from ocidist import (
    Descriptor,
    Digest,
    HostConfig,
    InvalidReferenceError,
    Platform,
    ProtocolError,
    RegistryName,
    UsageError,
)
from ocidist.engine import DistributionInspect, IndexInfo, RepositoryInfo, SearchResult, SearchResults, ServiceConfig

HUB = '{"Name":"docker.io","Mirrors":["https://mirror.acme.io/"],"Secure":true,"Official":true}'
LOCAL = '{"Name":"127.0.0.1:5000","Mirrors":[],"Secure":false,"Official":false}'
CONFIG = (
    '{"AllowNondistributableArtifactsCIDRs":["10.2.0.0/16"],"AllowNondistributableArtifactsHostnames":["layers.acme.io"],'
    f'"InsecureRegistryCIDRs":["10.1.0.0/16","127.0.0.0/8","::1/128"],"IndexConfigs":{{"docker.io":{HUB},'
    '"old.acme.io":{"Name":"old.acme.io","Mirrors":[],"Secure":false,"Official":false}},'
    '"Mirrors":["https://mirror.acme.io/"]}'
)
DIGEST = "sha256:" + "a" * 64
INSPECT = (
    f'{{"Descriptor":{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{DIGEST}","size":424}},'
    '"Platforms":[{"architecture":"arm","os":"linux","variant":"v7"},'
    '{"architecture":"amd64","os":"windows","os.version":"10.0.20348.1","os.features":["win32k"]}]}'
)
FOUND = (
    '{"query":"deb","num_results":2,"results":[{"star_count":5,"is_official":true,"name":"debian",'
    '"is_automated":false,"description":"a \\u003clinux\\u003e"}]}'
)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["debian", "debian:12", "library/debian", "index.docker.io/library/debian", "docker.io/debian"]
)
def test_an_official_image_has_a_short_name(text: str) -> None:
    info = RepositoryInfo.parse(text, ServiceConfig(mirrors=["https://mirror.acme.io/"]))
    assert info.to_json().decode() == (
        f'{{"Index":{HUB},"RemoteName":"library/debian","LocalName":"debian","CanonicalName":"docker.io/debian",'
        '"Official":true}'
    )


def test_an_image_on_a_registry_of_ones_own_has_one_name() -> None:
    assert RepositoryInfo.parse("127.0.0.1:5000/user/repo").to_json().decode() == (
        f'{{"Index":{LOCAL},"RemoteName":"user/repo","LocalName":"127.0.0.1:5000/user/repo",'
        '"CanonicalName":"127.0.0.1:5000/user/repo","Official":false}'
    )


def test_a_users_image_on_docker_hub_is_not_official_although_its_index_is() -> None:
    info = RepositoryInfo.parse("acme/app@" + DIGEST)
    assert (info.remote_name, info.local_name, info.canonical_name) == ("acme/app", "acme/app", "docker.io/acme/app")
    assert info.index.official
    assert not info.official


def test_official_images_are_right_in_their_namespace() -> None:
    info = RepositoryInfo.parse("library/tools/debian")
    assert (info.remote_name, info.local_name) == ("library/tools/debian", "library/tools/debian")
    assert not info.official


@pytest.mark.parametrize("text", ["https://docker.io/debian", "Debian", "a//b", ""])
def test_a_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        RepositoryInfo.parse(text)


# --- configuration ---------------------------------------------------------------------------------------------------


# What dockerd 20.10 answers when it was told nothing.
UNTOLD = (
    '{"AllowNondistributableArtifactsCIDRs":[],"AllowNondistributableArtifactsHostnames":[],'
    '"InsecureRegistryCIDRs":["127.0.0.0/8"],"IndexConfigs":{"docker.io":'
    '{"Name":"docker.io","Mirrors":[],"Secure":true,"Official":true}},"Mirrors":[]}'
)


@pytest.mark.parametrize("document", [CONFIG, UNTOLD])
def test_a_configuration_is_read_and_written_to_the_letter(document: str) -> None:
    config = ServiceConfig.from_json(document)
    assert config.to_json().decode() == document
    assert IndexInfo.from_json(HUB).to_json().decode() == HUB


def test_hosts_that_only_the_engine_takes_for_hosts_do_not_spoil_the_others() -> None:
    """All of these are in documents that Engines wrote."""
    insecure = {"Mirrors": [], "Secure": False, "Official": False}
    names = ["old_host:5000", "mirror.acme.io/v1", "2001:db8::1", "[2001:db8::2]:80", "Mine.acme.io"]
    document = {"IndexConfigs": {name: {"Name": name} | insecure for name in names}}
    config = ServiceConfig.from_json(json.dumps(document))
    assert sorted(info["Name"] for info in json.loads(config.to_json())["IndexConfigs"].values()) == sorted(
        [*names, "docker.io"]
    )
    assert not any(map(config.is_secure, ["[2001:db8::1]", "[2001:db8::2]:80", "mine.acme.io"]))
    assert config.is_secure("ghcr.io")
    hosts = config.to_hosts()
    assert hosts.for_host(RegistryName.parse("[2001:db8::1]")).insecure
    assert str(hosts) == "<HostsConfig of [2001:db8::1], [2001:db8::2]:80, mine.acme.io>"
    allowing = ServiceConfig(allow_nondistributable_hostnames=["Layers.acme.io:5000"])
    assert allowing.allows_nondistributable("layers.acme.io:5000")


def test_what_is_not_configured_is_an_empty_list_as_the_engine_has_it() -> None:
    value = json.loads(ServiceConfig().to_json())
    assert value["Mirrors"] == []
    assert value["AllowNondistributableArtifactsCIDRs"] == []
    # In the order in which the Engine adds them to what is configured.
    assert value["InsecureRegistryCIDRs"] == ["::1/128", "127.0.0.0/8"]
    assert value["IndexConfigs"]["docker.io"]["Mirrors"] == []
    assert ServiceConfig.from_json(b'{"Mirrors":null,"IndexConfigs":null}') == ServiceConfig(insecure_cidrs=[])


@pytest.mark.parametrize(
    ("host", "secure"),
    [
        ("docker.io", True),
        ("index.docker.io", True),
        ("ghcr.io", True),
        ("127.0.0.1", False),
        ("127.8.9.1:5000", False),
        ("[::1]:5000", False),
        ("localhost:5000", False),
        ("10.1.2.3:5000", False),
        ("10.2.2.3:5000", True),
        ("old.acme.io", False),
        ("old.acme.io:444", True),
        ("[fd00::1]", True),
    ],
)
def test_a_registry_is_insecure_by_name_or_by_network(host: str, secure: bool) -> None:
    config = ServiceConfig.from_json(CONFIG)
    assert config.is_secure(host) is secure
    assert config.index(host).secure is secure


def test_what_a_name_resolves_to_counts_only_where_the_caller_says_so() -> None:
    config = ServiceConfig(insecure_cidrs=["10.1.0.0/16", "fd00::/8"])
    assert config.is_secure("registry.lan")
    assert not config.is_secure("registry.lan", addresses=["192.0.2.1", "10.1.9.9"])
    assert not config.is_secure("registry.lan", addresses=["fd00::7"])
    assert config.is_secure("docker.io", addresses=["10.1.9.9"])
    with pytest.raises(UsageError):
        config.is_secure("registry.lan", addresses=["registry.lan"])


def test_layers_that_may_not_be_distributed_go_to_named_registries_and_networks() -> None:
    config = ServiceConfig.from_json(CONFIG)
    assert config.allows_nondistributable("layers.acme.io")
    assert config.allows_nondistributable("10.2.3.4:5000")
    assert config.allows_nondistributable("registry.lan", addresses=["10.2.3.4"])
    assert not config.allows_nondistributable("ghcr.io")


def test_networks_lose_the_bits_of_a_host_as_they_do_in_go() -> None:
    (first, *_) = ServiceConfig(insecure_cidrs=["10.1.2.3/16"]).insecure_cidrs
    assert str(first) == "10.1.0.0/16"
    with pytest.raises(UsageError):
        ServiceConfig(insecure_cidrs=["10.1.2.3/40"])
    with pytest.raises(UsageError):
        ServiceConfig(insecure_cidrs="10.0.0.0/8")


def test_docker_hub_has_tls_whatever_somebody_wrote() -> None:
    config = ServiceConfig(index_configs={"docker.io": IndexInfo("docker.io", secure=False, official=True)})
    assert config.is_secure("docker.io")
    assert config.index("index.docker.io").secure
    assert json.loads(config.to_json())["IndexConfigs"]["docker.io"]["Secure"] is True
    assert not config.to_hosts().for_host(RegistryName.parse("docker.io")).insecure
    assert config.to_hosts().for_host(RegistryName.parse("docker.io")).verify


def test_a_client_can_be_told_the_same() -> None:
    hosts = ServiceConfig.from_json(CONFIG).to_hosts()
    assert [mirror.url for mirror in hosts.for_host(RegistryName.parse("docker.io")).mirrors] == [
        "https://mirror.acme.io/"
    ]
    assert hosts.for_host(RegistryName.parse("old.acme.io")) == HostConfig(insecure=True, verify=False)
    assert hosts.for_host(RegistryName.parse("10.1.2.3:5000")).insecure
    assert not hosts.for_host(RegistryName.parse("10.2.2.3:5000")).insecure
    strict = ServiceConfig(insecure_cidrs=["10.1.0.0/16"], index_configs={"10.1.0.1": IndexInfo("10.1.0.1")})
    assert strict.is_secure("10.1.0.1")
    with pytest.raises(UsageError, match=r"10\.1\.0\.1"):
        strict.to_hosts()


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b'{"InsecureRegistryCIDRs":["x"]}',
        b'{"InsecureRegistryCIDRs":[1]}',
        b'{"IndexConfigs":[]}',
        b'{"IndexConfigs":{"a b":{}}}',
        b'{"IndexConfigs":{"a.io":{"Secure":1}}}',
        b'{"Mirrors":"https://mirror.acme.io"}',
        b'{"Mirrors":[],"mirrors":[]}',
    ],
)
def test_what_is_no_configuration_is_refused(document: bytes) -> None:
    with pytest.raises(ProtocolError):
        ServiceConfig.from_json(document)


# --- what was found --------------------------------------------------------------------------------------------------


def test_an_inspection_is_read_and_written_to_the_letter() -> None:
    found = DistributionInspect.from_json(INSPECT)
    assert found.descriptor == Descriptor("application/vnd.oci.image.index.v1+json", Digest(DIGEST), 424)
    windows = Platform("windows", "amd64", None, "10.0.20348.1", ("win32k",))
    assert found.platforms == (Platform("linux", "arm", "v7"), windows)
    assert found.to_json().decode() == INSPECT
    # A descriptor's own platform is written as the others are.
    one = DistributionInspect(attrs.evolve(found.descriptor, platform=windows), (windows,)).to_json().decode()
    written = one.partition('"Platforms":[')[2].removesuffix("]}")
    assert f'"platform":{written}' in one
    nothing = DistributionInspect(found.descriptor)
    assert json.loads(nothing.to_json())["Platforms"] is None
    assert DistributionInspect.from_json(nothing.to_json()) == nothing


@pytest.mark.parametrize(
    "document", ["{}", '{"Descriptor":1}', INSPECT.replace("424", '"424"'), INSPECT.replace('"os"', '"OS"')]
)
def test_what_is_no_inspection_is_refused(document: str) -> None:
    with pytest.raises(ProtocolError):
        DistributionInspect.from_json(document)


def test_search_results_are_read_and_written_to_the_letter() -> None:
    found = SearchResults.from_json(FOUND)
    (debian,) = found.results
    assert debian == SearchResult(name="debian", description="a <linux>", star_count=5, is_official=True)
    assert (found.query, found.num_results) == ("deb", 2)
    assert found.to_json().decode() == FOUND
    assert SearchResults.from_json(b'{"results":null,"num_pages":0}') == SearchResults(query="")


@pytest.mark.parametrize(
    "document", [b"null", b'{"results":{}}', b'{"results":[1]}', b'{"num_results":"1"}', b'{"num_results":true}']
)
def test_what_is_no_search_result_is_refused(document: bytes) -> None:
    with pytest.raises(ProtocolError):
        SearchResults.from_json(document)


def test_the_engines_types_load_no_network_library_and_nobody_loads_them_unasked() -> None:
    program = "import sys; {}; print(sorted(name for name in sys.modules if name.startswith({!r})))"

    def loaded(statement: str, *prefixes: str) -> str:
        code = program.format(statement, prefixes)
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
        ).stdout

    everything = "from ocidist.engine import AuthConfig, RepositoryInfo, SearchResults, ServiceConfig"
    assert loaded(everything, "httpx", "anyio", "ssl").strip() == "[]"
    assert (
        loaded(
            "import ocidist, ocidist.client; ocidist.Client, ocidist.Repository", "ocidist.engine", "ocidist.legacy"
        ).strip()
        == "[]"
    )

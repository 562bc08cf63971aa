from __future__ import annotations

from typing import Any

import pytest

from ocidist import HostConfig, HostsConfig, InvalidReferenceError, RegistryName, UsageError
from ocidist.hosts.mirror import Mirror, MirrorTags
from ocidist.wire.egress import Origin


def of(hosts: HostsConfig, name: str) -> HostConfig:
    return hosts.for_host(RegistryName.parse(name))


# --- mirrors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mirror", "root", "name"),
    [
        (Mirror("https://m"), "/v2", "a/b"),
        (Mirror("https://m/"), "/v2", "a/b"),
        (Mirror("m:5000"), "/v2", "a/b"),
        (Mirror("https://m/x/y/"), "/x/y/v2", "a/b"),
        (Mirror("https://m/v2/"), "/v2", "a/b"),
        (Mirror("https://m/x/v2"), "/x/v2", "a/b"),
        (Mirror("https://m/x", override_path=True), "/x", "a/b"),
        (Mirror("https://m", override_path=True), "", "a/b"),
        (Mirror("https://m/v2/hub/x", override_path=True), "/v2", "hub/x/a/b"),
        (Mirror("https://m/v2/Hub", override_path=True), "/v2/Hub", "a/b"),
        (Mirror("https://m", namespace="hub"), "/v2", "hub/a/b"),
        (Mirror("https://m", namespace=""), "/v2", "a/b"),
    ],
)
def test_n7_where_a_mirror_keeps_a_repository(mirror: Mirror, root: str, name: str) -> None:
    assert mirror.root == root
    assert mirror.repository_for("a/b", "") == name


def test_n7_a_namespace_takes_the_place_of_the_keys() -> None:
    assert Mirror("https://m", namespace="x").repository_for("team/app", "team") == "x/app"
    assert Mirror("https://m", namespace="").repository_for("team/app", "team") == "app"
    assert Mirror("https://m").repository_for("team/app", "team") == "team/app"
    with pytest.raises(InvalidReferenceError):
        Mirror("https://m", namespace="").repository_for("team", "team")


@pytest.mark.parametrize(
    "url",
    [
        "https://u:secret@m", "https://m?token=secret", "https://m#secret", "https://m/../x", "https://m/%2e", "ftp://m",
        "", "https://", "https:///x", "m/path", "https://m//x", "https://m/a b", "https://m/.", "https://m:0", "https://m\n",
    ],
)  # fmt: skip
def test_n7_what_is_no_mirror_is_refused_without_showing_secrets(url: str) -> None:
    if not url:
        # The empty text is Docker Hub everywhere.
        assert Mirror(url).registry.is_docker_hub
        return
    with pytest.raises(UsageError) as caught:
        Mirror(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("patience", [0, -1, True, float("nan")])
def test_n7_patience_is_a_time(patience: float) -> None:
    with pytest.raises(UsageError, match="patience"):
        Mirror("https://m", patience=patience)


def test_n7_mirrors_have_no_mirrors() -> None:
    for config in (
        HostConfig(mirrors=["https://x"]),
        HostConfig(blocked=True),
        HostConfig(location=Mirror("https://x")),
    ):
        with pytest.raises(UsageError, match="itself"):
            Mirror("https://m", host=config)


# --- one host --------------------------------------------------------------------------------------------------------


def test_n7_strings_are_mirrors_too() -> None:
    assert HostConfig(mirrors=["https://a", Mirror("https://b")]).mirrors == (Mirror("https://a"), Mirror("https://b"))
    with pytest.raises(UsageError, match="one string"):
        HostConfig(mirrors="https://a")
    wrong: Any = [1]
    with pytest.raises(TypeError):
        HostConfig(mirrors=wrong)


@pytest.mark.parametrize("name", ["Host", "content-length", "transfer-encoding", "a b", "", "x:", "é", "User-Agent"])
def test_n7_fields_that_are_not_for_users_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="headers"):
        HostConfig(headers={name: "x"})


@pytest.mark.parametrize("value", ["", " secret", "secret ", "secret\r\nx: y", "secret\n", "secreté", "secret\0"])
def test_n7_values_that_cannot_be_sent_are_refused_and_not_shown(value: str) -> None:
    with pytest.raises(UsageError, match="X-Key") as caught:
        HostConfig(headers={"X-Key": value})
    assert "secret" not in str(caught.value)


def test_n7_header_values_are_not_shown() -> None:
    assert "hidden" not in repr(HostConfig(headers={"X-Key": "hidden"}))
    assert "hidden" not in repr(Mirror("https://m", host=HostConfig(headers={"X-Key": "hidden"})))


# --- several ---------------------------------------------------------------------------------------------------------


def test_n7_explicit_settings_win_value_by_value() -> None:
    file = HostsConfig(
        {"registry.lan": HostConfig(ca="file.pem", concurrency=4), "docker.io": HostConfig(mirrors=["https://m"])},
        default=HostConfig(concurrency=2),
        insecure_networks=["10.0.0.0/8"],
    )
    both = file | {"registry.lan": HostConfig(ca="mine.pem"), "index.docker.io": HostConfig(concurrency=1)}
    assert of(both, "registry.lan") == HostConfig(ca="mine.pem", concurrency=4)
    assert of(both, "docker.io") == HostConfig(mirrors=["https://m"], concurrency=1)
    assert of(both, "ghcr.io").concurrency == 2
    assert of(both, "10.0.0.1").insecure
    assert of(file, "registry.lan").ca == "file.pem"
    assert of(file | {"http://registry.lan": HostConfig(ca="mine.pem")}, "registry.lan") == HostConfig(
        scheme="http", ca="mine.pem", concurrency=4
    )


def test_n7_what_is_said_of_a_host_holds_for_its_connections() -> None:
    hosts = HostsConfig({"10.0.0.1:5000": HostConfig(concurrency=2)}, insecure_networks=["10.0.0.0/8"])
    assert hosts.for_origin(Origin("https", "10.0.0.1", 5000)) == of(hosts, "10.0.0.1:5000")
    assert not of(hosts, "10.0.0.1:5000").verify
    assert not hosts.for_origin(Origin("https", "10.0.0.2", 443)).verify


def test_n7_domains_and_the_default_are_for_hosts_without_an_entry() -> None:
    hosts = HostsConfig(
        {"*.lan": HostConfig(concurrency=1), "*.deep.lan": HostConfig(concurrency=2), "own.lan": HostConfig()},
        default=HostConfig(concurrency=9),
    )
    wanted = {"a.lan": 1, "b.a.lan": 1, "a.deep.lan": 2, "deep.lan": 1, "own.lan": None, "lan.example": 9, "lan": 9}
    for name, concurrency in wanted.items():
        host = f"{name}:5000"
        found = of(hosts, host) if name != "own.lan" else of(hosts, name)
        assert found.concurrency == concurrency
    assert hosts.for_origin(Origin("https", "a.lan", 443)).concurrency == 1
    assert hosts.widest(3) == 9


def test_n7_a_mirrors_own_settings_are_those_of_its_host() -> None:
    mirror = Mirror("https://m.lan:5000", host=HostConfig(ca="m.pem"))
    hosts = HostsConfig({"docker.io": HostConfig(mirrors=[mirror])})
    assert hosts.for_origin(Origin("https", "m.lan", 5000)).ca == "m.pem"
    assert hosts.for_origin(Origin("https", "m.lan", 443)).ca is None
    explicit = hosts | {"m.lan:5000": HostConfig(ca="own.pem")}
    assert explicit.for_origin(Origin("https", "m.lan", 5000)).ca == "own.pem"


def test_n7_two_mirrors_at_one_host_must_agree() -> None:
    one, other = (Mirror("https://m.lan", host=HostConfig(ca=name)) for name in ("a.pem", "b.pem"))
    with pytest.raises(UsageError, match="twice"):
        HostsConfig({"a.lan": HostConfig(mirrors=[one]), "b.lan": HostConfig(mirrors=[other])})
    HostsConfig({"a.lan": HostConfig(mirrors=[one]), "b.lan": HostConfig(mirrors=[one])})


@pytest.mark.parametrize("key", ["*.", "*.a b", "a.lan/UPPER", "a.lan//x", "a*.lan", "u:p@a.lan", "a.lan/x:tag"])
def test_n7_keys_are_hosts_namespaces_or_domains(key: str) -> None:
    with pytest.raises(UsageError):
        HostsConfig({key: HostConfig()})


def test_n7_a_client_knows_at_once_whether_anything_goes_elsewhere() -> None:
    assert not HostsConfig({"a.lan": HostConfig(ca="x", headers={"A": "b"})}).routed
    assert HostsConfig(default=HostConfig(mirrors=["https://m"])).routed
    assert HostsConfig({"a.lan/x": HostConfig(blocked=True)}).routed
    assert Mirror("https://m").tags is MirrorTags.CHECKED

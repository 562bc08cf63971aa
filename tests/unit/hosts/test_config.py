from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import DefaultCredentials, HostConfig, HostsConfig, InvalidReferenceError, RegistryName, UsageError
from ocidist.hosts.host import Mirror, MirrorTags
from ocidist.wire.egress import Origin

if TYPE_CHECKING:
    from collections.abc import Callable


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


def test_n7_certificates_are_files_however_they_are_listed() -> None:
    assert HostConfig(ca=["a.pem", Path("b.pem")]).ca == ("a.pem", Path("b.pem"))
    assert HostConfig(ca=[]) == HostConfig()
    assert HostConfig(client_cert=["a.cert", "a.key"]).client_cert == ("a.cert", "a.key")
    assert HostConfig(ca=Path("a.pem"), client_cert="a.pem").client_cert == "a.pem"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ca": 5}, "ca names files by text or path, not by int"),
        ({"ca": b"a.pem"}, "not by bytes"),
        ({"ca": ["a.pem", None]}, "not by NoneType"),
        ({"ca": ""}, "cannot be one"),
        ({"ca": "a\0b"}, "cannot be one"),
        ({"client_cert": ("a", "b", "c")}, "a pair"),
        ({"client_cert": 5}, "a pair"),
        ({"client_cert": ("a", 5)}, "client_cert names files by text or path, not by int"),
    ],
)
def test_n7_what_names_no_certificate_is_refused(settings: Any, reason: str) -> None:  # noqa: ANN401 -- that is the point
    with pytest.raises(UsageError, match=reason):
        HostConfig(**settings)


def test_n7_a_location_may_be_a_url_too() -> None:
    assert HostConfig(location="https://m.lan").location == Mirror("https://m.lan")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda wrong: HostConfig(mirrors=[wrong]), "mirrors is made of mirrors or their URLs, not of int"),
        (lambda wrong: HostConfig(location=wrong), "location is made of mirrors or their URLs, not of int"),
        (lambda wrong: HostConfig(profile=wrong), "profile is a RegistryProfile, not int"),
        (lambda wrong: HostsConfig({"a.lan": wrong}), "by a HostConfig, not by int"),
        (lambda wrong: HostsConfig(default=wrong), "by a HostConfig, not by int"),
        (lambda _wrong: HostsConfig(insecure_networks="10.0.0.0/8"), "insecure_networks is a collection"),
        (lambda _wrong: HostsConfig(credential_helpers="pass"), "credential_helpers is a collection"),
        (lambda _wrong: DefaultCredentials(helpers="pass"), "helpers is a collection"),
    ],
)
def test_n7_values_of_other_kinds_are_told_at_once(make: Callable[[Any], object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        make(5)


@pytest.mark.parametrize("name", ["insecure", "verify", "blocked", "override_path", "digests", "blobs", "ns"])
@pytest.mark.parametrize("value", ["false", "0", "ca.pem", 1, None])
def test_n7_what_is_true_or_false_is_nothing_else(name: str, value: Any) -> None:  # noqa: ANN401 -- any but these
    options = {name: value}
    with pytest.raises(UsageError, match=f"{name} must be True or False, not a value of type"):
        HostConfig(**options) if name in {"insecure", "verify", "blocked"} else Mirror("https://m", **options)


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


def test_n7_more_said_of_a_mirrors_host_takes_nothing_from_the_mirror() -> None:
    mirror = Mirror("https://m.lan", host=HostConfig(ca="m.pem", insecure=True, verify=False))
    hosts = HostsConfig({"docker.io": HostConfig(mirrors=[mirror]), "m.lan": HostConfig(concurrency=4)})
    # Pushes go there, too: an entry of its own has to say itself that it is insecure.
    assert of(hosts, "m.lan") == HostConfig(ca="m.pem", concurrency=4)
    assert of(HostsConfig({"docker.io": HostConfig(mirrors=[mirror])}), "m.lan") == mirror.host


def test_n7_two_mirrors_at_one_host_must_agree() -> None:
    one, other = (Mirror("https://m.lan", host=HostConfig(ca="a.pem", verify=verify)) for verify in (True, False))
    with pytest.raises(UsageError, match="twice"):
        HostsConfig({"a.lan": HostConfig(mirrors=[one]), "b.lan": HostConfig(mirrors=[other])})
    HostsConfig({"a.lan": HostConfig(mirrors=[one]), "b.lan": HostConfig(mirrors=[one])})


def test_n7_authorities_of_two_mirrors_at_one_host_add_up() -> None:
    entries = {
        f"{number}.lan": HostConfig(mirrors=[Mirror("https://m.lan", host=HostConfig(ca=ca))])
        for number, ca in enumerate((None, "a.pem", ("b.pem", "a.pem"), "a.pem"))
    }
    assert of(HostsConfig(entries), "m.lan").ca == ("a.pem", "b.pem")


# --- what is blocked stays blocked -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("evil.lan", "evil.lan:443"),
        ("evil.lan", "evil.lan:5000"),
        ("evil.lan", "http://evil.lan:80"),
        ("evil.lan:443", "evil.lan"),
        ("evil.lan/team", "evil.lan:443/team/app"),
        ("evil.lan:443/team", "evil.lan/team/app"),
        ("evil.lan:443/team", "https://evil.lan/team/app"),
        ("docker.io", "index.docker.io:443/library/x"),
        ("*.lan", "evil.lan:5000/x"),
    ],
)
def test_n7_another_spelling_is_no_way_around_a_block(key: str, name: str) -> None:
    hosts = HostsConfig({key: HostConfig(blocked=True)})
    scheme, separator, rest = name.rpartition("://")
    host, _, repository = rest.partition("/")
    registry = RegistryName.parse(f"{scheme}{separator}{host}")
    route = hosts.route(registry, repository or "x")
    assert route is not None
    assert route.config.blocked


def test_n7_a_port_with_an_entry_of_its_own_is_not_its_hosts() -> None:
    hosts = HostsConfig({"a.lan": HostConfig(blocked=True), "a.lan:5000": HostConfig(), "b.lan:443": HostConfig()})
    assert hosts.route(RegistryName.parse("a.lan:5000"), "x") is None
    assert hosts.route(RegistryName.parse("b.lan:80"), "x") is None


def test_n7_settings_hold_however_the_port_is_spelled() -> None:
    hosts = HostsConfig(
        {
            "a.lan": HostConfig(ca="a.pem"),
            "b.lan:443": HostConfig(ca="b.pem"),
            "http://c.lan": HostConfig(concurrency=3),
        }
    )
    assert of(hosts, "a.lan:443").ca == "a.pem"
    assert of(hosts, "https://b.lan").ca == "b.pem"
    assert of(hosts, "http://c.lan:80").concurrency == 3
    # There, port 443 is another server.
    assert of(hosts, "c.lan:443") == HostConfig()
    assert of(hosts, "a.lan:5000") == HostConfig()


@pytest.mark.parametrize("key", ["a.lan", "a.lan:5000", "*.a.lan", "a.lan:443"])
def test_n7_to_know_more_of_a_host_does_not_unblock_it(key: str) -> None:
    more = {key: HostConfig(ca="a.pem")}
    name = RegistryName.parse(key.replace("*", "b"))
    for blocked in ("*.lan", "a.lan"):
        if key == "*.a.lan" and blocked == "a.lan":
            continue
        rule = {blocked: HostConfig(blocked=True)}
        for both in (HostsConfig(rule) | more, HostsConfig(more) | rule):
            route = both.route(name, "x")
            assert route is not None
            assert route.config.blocked
            assert of(both, str(name)).ca == "a.pem"


def test_n7_to_know_more_of_a_host_keeps_what_is_said_of_all() -> None:
    default = HostConfig(blocked=True, ca="corp.pem", insecure=True, verify=False)
    all_of_them = HostsConfig({"ok.lan": HostConfig()}, default=default)
    more = {"a.lan": HostConfig(concurrency=4), "ok.lan": HostConfig(concurrency=4)}
    for both in (all_of_them | more, HostsConfig(more) | all_of_them):
        assert of(both, "a.lan") == HostConfig(blocked=True, ca="corp.pem", concurrency=4)
        assert of(both, "ok.lan") == HostConfig(concurrency=4)
        # Each host that has an entry has to be said to be insecure.
        assert of(both, "b.lan") == default


@pytest.mark.parametrize("blocked", ["evil.lan", "*.lan", "evil.lan/team", "evil.lan:443", "evil.lan:443/team"])
def test_n7_to_know_more_of_a_namespace_does_not_unblock_it(blocked: str) -> None:
    rule = HostsConfig({blocked: HostConfig(blocked=True)})
    mirror = Mirror("https://m.example", namespace="hub")
    more = {"evil.lan/team/a": HostConfig(mirrors=[mirror]), "good.example/team": HostConfig(mirrors=[mirror])}
    for both in (rule | more, HostsConfig(more) | rule):
        route = both.route(RegistryName.parse("evil.lan"), "team/a/b")
        assert route is not None
        assert route.config.blocked
        route = both.route(RegistryName.parse("good.example"), "team/a")
        assert route is not None
        assert route.config == HostConfig(mirrors=[mirror])


def test_n7_settings_of_a_mirrors_host_do_not_unblock_it() -> None:
    mirror = Mirror("https://m.lan", host=HostConfig(ca="m.pem"))
    hosts = HostsConfig({"*.lan": HostConfig(blocked=True), "docker.io": HostConfig(mirrors=[mirror])})
    route = hosts.route(RegistryName.parse("m.lan"), "x")
    assert route is not None
    assert route.config.blocked


@pytest.mark.parametrize("key", ["*.", "*.a b", "a.lan/UPPER", "a.lan//x", "a*.lan", "u:p@a.lan", "a.lan/x:tag", "/x"])
def test_n7_keys_are_hosts_namespaces_or_domains(key: str) -> None:
    with pytest.raises(UsageError):
        HostsConfig({key: HostConfig()})


def test_n7_a_client_knows_at_once_whether_anything_goes_elsewhere() -> None:
    assert not HostsConfig({"a.lan": HostConfig(ca="x", headers={"A": "b"})}).routed
    assert HostsConfig(default=HostConfig(mirrors=["https://m"])).routed
    assert HostsConfig({"a.lan/x": HostConfig(blocked=True)}).routed
    assert Mirror("https://m").tags is MirrorTags.CHECKED

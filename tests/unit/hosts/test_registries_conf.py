from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import HostConfig, HostsConfig, HostsFileError, InvalidReferenceError, RegistryName
from ocidist.hosts.host import MirrorTags

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.hosts.config import Route

FULL = """
unqualified-search-registries = ["registry.lan:5000", "docker.io"]
short-name-mode = "Permissive"

[[registry]]
prefix = "docker.io"
location = "docker.io"

[[registry.mirror]]
location = "mirror.lan:5000/hub"
insecure = true

[[registry.mirror]]
location = "second.lan"
pull-from-mirror = "digest-only"

[[registry.mirror]]
location = "third.lan"
pull-from-mirror = "tag-only"

[[registry]]
location = "registry.lan/team"
blocked = true

[[registry]]
prefix = "registry.lan/team/open"
location = "moved.lan/elsewhere"

[[registry]]
prefix = "*.evil.example"
blocked = true

[[registry]]
location = "lab.lan"
insecure = true

[[registry]]
prefix = "pinned.lan"
location = "pinned.lan"
mirror-by-digest-only = true
[[registry.mirror]]
location = "cache.lan"

[aliases]
"alpine" = "docker.io/library/alpine"
"tools/jq" = "ghcr.io/acme/jq"
"""


def route(hosts: HostsConfig, name: str) -> Route | None:
    host, _, repository = name.partition("/")
    return hosts.route(RegistryName.parse(host), repository)


def found(hosts: HostsConfig, name: str) -> Route:
    made = route(hosts, name)
    assert made is not None
    return made


async def read(tmp_path: Path, text: str) -> HostsConfig:
    path = tmp_path / "registries.conf"
    path.write_text(text)
    return await HostsConfig.from_registries_conf(path)


async def test_n7_a_registries_conf_with_everything_in_it(tmp_path: Path) -> None:
    hosts = await read(tmp_path, FULL)
    hub = found(hosts, "docker.io/library/alpine").config
    assert [str(mirror) for mirror in hub.mirrors] == ["mirror.lan:5000", "second.lan", "third.lan"]
    assert [mirror.tags for mirror in hub.mirrors] == [MirrorTags.TRUSTED, MirrorTags.NEVER, MirrorTags.TRUSTED]
    assert [mirror.digests for mirror in hub.mirrors] == [True, True, False]
    assert not any(mirror.ns for mirror in hub.mirrors)
    assert hub.mirrors[0].repository_for("library/alpine", "") == "hub/library/alpine"
    assert hosts.for_host(RegistryName.parse("mirror.lan:5000")) == HostConfig(insecure=True, verify=False)
    assert hub.location is None
    assert hosts.for_host(RegistryName.parse("lab.lan")) == HostConfig(insecure=True, verify=False)
    (cache,) = found(hosts, "pinned.lan/x").config.mirrors
    assert cache.tags is MirrorTags.NEVER


async def test_n7_the_longest_prefix_decides(tmp_path: Path) -> None:
    hosts = await read(tmp_path, FULL)
    assert found(hosts, "registry.lan/team/app").config.blocked
    assert found(hosts, "registry.lan/team").config.blocked
    assert route(hosts, "registry.lan/teams/app") is None
    moved = found(hosts, "registry.lan/team/open/app")
    assert not moved.config.blocked
    location = moved.config.location
    assert location is not None
    assert str(location) == "moved.lan"
    assert location.repository_for("team/open/app", moved.key) == "elsewhere/app"
    assert location.repository_for("team/open", "team/open") == "elsewhere"


async def test_n7_a_wildcard_is_for_every_host_below(tmp_path: Path) -> None:
    hosts = await read(tmp_path, FULL)
    for host in ("a.evil.example", "b.a.evil.example"):
        assert found(hosts, f"{host}/x").config.blocked
    for host in ("evil.example", "notevil.example", "evil.example.org"):
        assert route(hosts, f"{host}/x") is None


async def test_n7_short_names_mean_what_the_file_says(tmp_path: Path) -> None:
    names = (await read(tmp_path, FULL)).short_names
    assert names is not None
    meant = {name: [str(reference) for reference in names.candidates(name)] for name in (
        "alpine", "alpine:3.20", "tools/jq@sha256:" + "0" * 64, "debian:12", "ghcr.io/x/y:1", "localhost/z",
        "REGISTRY/x",
    )}  # fmt: skip
    assert meant == {
        "alpine": ["docker.io/library/alpine"],
        "alpine:3.20": ["docker.io/library/alpine:3.20"],
        "tools/jq@sha256:" + "0" * 64: ["ghcr.io/acme/jq@sha256:" + "0" * 64],
        "debian:12": ["registry.lan:5000/debian:12", "docker.io/library/debian:12"],
        "ghcr.io/x/y:1": ["ghcr.io/x/y:1"],
        "localhost/z": ["localhost/z"],
        "REGISTRY/x": ["REGISTRY/x"],
    }
    with pytest.raises(InvalidReferenceError):
        names.candidates("No Name")


async def test_n7_drop_ins_are_read_in_order_and_win(tmp_path: Path) -> None:
    directory = tmp_path / "registries.conf.d"
    directory.mkdir()
    (directory / "20.conf").write_text('[[registry]]\nlocation = "a.lan"\nblocked = true\n[aliases]\nx = ""\n')
    (directory / "10.conf").write_text(
        'unqualified-search-registries = ["b.lan"]\n[aliases]\nx = "a.lan/x"\ny = "a.lan/y"\n'
    )
    (directory / "ignored.txt").write_text("not TOML at all [")
    hosts = await read(tmp_path, 'unqualified-search-registries = ["a.lan"]\n[[registry]]\nlocation = "a.lan"\n')
    assert found(hosts, "a.lan/x").config.blocked
    assert hosts.short_names is not None
    assert hosts.short_names.search == ("b.lan",)
    assert dict(hosts.short_names.aliases) == {"y": "a.lan/y"}


async def test_n7_the_drop_ins_alone_will_do_and_nothing_will_not(tmp_path: Path) -> None:
    with pytest.raises(HostsFileError, match=r"registries\.conf"):
        await HostsConfig.from_registries_conf(tmp_path / "registries.conf")
    (tmp_path / "registries.conf.d").mkdir()
    (tmp_path / "registries.conf.d" / "1.conf").write_text('[[registry]]\nlocation = "a.lan"\nblocked = true\n')
    assert found(await HostsConfig.from_registries_conf(str(tmp_path / "registries.conf")), "a.lan/x").config.blocked


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ('[registries.search]\nregistries = ["docker.io"]', "registries", "unqualified-search-registries = [...]"),
        ('unqualified-search-registries = "docker.io"', "unqualified-search-registries", "an array"),
        ('unqualified-search-registries = ["a b"]', "unqualified-search-registries", "host"),
        ("registry = 1", "registry", "an array"),
        ("registry = [1]", "registry[0]", "a table"),
        ("[[registry]]\nblocked = true", "registry[0].location", "neither"),
        ('[[registry]]\nprefix = "a.lan"', "registry[0].location", "missing"),
        ('[[registry]]\nlocation = "https://a.lan"', "registry[0].location", "scheme"),
        ('[[registry]]\nprefix = "a.lan"\nlocation = "http://b.lan"', "registry[0].location", "scheme"),
        ('[[registry]]\nlocation = "a.lan/UPPER"', "registry[0].prefix", "lower case"),
        ('[[registry]]\nlocation = "a.lan"\nblocked = "no"', "registry[0].blocked", "true or false"),
        ('[[registry]]\nlocation = "a.lan"\n[[registry.mirror]]', "registry[0].mirror[0].location", "missing"),
        (
            '[[registry]]\nlocation = "a.lan"\n[[registry.mirror]]\nlocation = "m.lan"\npull-from-mirror = "never"',
            "registry[0].mirror[0].pull-from-mirror",
            "digest-only",
        ),
        (
            """
                [[registry]]
                location = "a"
                mirror-by-digest-only = true
                [[registry.mirror]]
                location = "m"
                pull-from-mirror = "all"
            """,
            "registry[0].mirror[0].pull-from-mirror",
            "already",
        ),
        ('[[registry]]\nlocation = "/team"', "registry[0].prefix", "names no host"),
        (
            '[[registry]]\nlocation = "a.lan"\n[[registry.mirror]]\nlocation = "/m"',
            "registry[0].mirror[0].location",
            "names no host",
        ),
        ('[aliases]\nx = "docker.io/x:tag"', "aliases.x", "without a tag"),
        ("[aliases]\nx = 1", "aliases.x", "a string"),
        ('[aliases]\nx = "acme/jq"', "aliases.x", "names a registry"),
        ('[aliases]\n"a.lan/x" = "b.lan/x"', "aliases.a.lan/x", "no short name"),
        ('[aliases]\n"x:tag" = "b.lan/x"', "aliases.x:tag", "not a repository name"),
        ('short-name-mode = "enforcng"', "short-name-mode", "none of enforcing"),
        ('unqualified-search-registries = ["https://a.lan"]', "unqualified-search-registries", "no scheme"),
        ('unqualified-search-registries = [""]', "unqualified-search-registries", "names no registry"),
        ('[[registry]]\nlocation = "a.lan"\nBlocked = true', "registry[0].Blocked", "spelled blocked"),
        ('[[Registry]]\nlocation = "a.lan"\nblocked = true', "Registry", "spelled registry"),
        (
            '[[registry]]\nlocation = "a.lan"\nblocked = true\n[[registry]]\nlocation = "A.lan/"',
            "registry[1].blocked",
            "says otherwise",
        ),
        (
            '[[registry]]\nlocation = "a.lan"\n[[registry]]\nprefix = "a.lan"\nlocation = "b.lan"\ninsecure = true',
            "registry[1].insecure",
            "says otherwise",
        ),
        (
            """
                [[registry]]
                prefix = "a"
                location = "c"
                insecure = true
                [[registry]]
                prefix = "b"
                location = "C"
            """,
            "registry[1].insecure",
            "the same location",
        ),
        ('[[registry]]\nlocation = "a"\npull-from-mirror = "all"', "registry[0].pull-from-mirror", "it is for mirrors"),
        ('credential-helpers = "pass"', "credential-helpers", "an array"),
        ('credential-helpers = ["pass", ""]', "credential-helpers", "no name"),
        ("x = ", None, "not TOML"),
        ("x = " + "1" * 5000, None, "not TOML"),
    ],
)  # fmt: skip
async def test_n7_what_is_wrong_is_told_with_file_and_key(
    tmp_path: Path, text: str, key: str | None, reason: str
) -> None:
    with pytest.raises(HostsFileError) as caught:
        await read(tmp_path, text)
    assert caught.value.path == str(tmp_path / "registries.conf")
    assert caught.value.key == key
    assert reason in caught.value.reason


# --- what must not get lost ------------------------------------------------------------------------------------------


async def test_n7_an_insecure_part_of_a_host_does_not_unblock_it(tmp_path: Path) -> None:
    text = """
        [[registry]]
        prefix = "*.evil.example"
        blocked = true

        [[registry]]
        location = "a.evil.example/lab"
        insecure = true
    """
    hosts = await read(tmp_path, text)
    assert found(hosts, "a.evil.example/x").config.blocked
    # The longest prefix decides, as ever.
    assert route(hosts, "a.evil.example/lab/x") is None
    assert hosts.for_host(RegistryName.parse("a.evil.example")).insecure


async def test_n7_the_first_table_of_a_prefix_counts(tmp_path: Path) -> None:
    text = """
        [[registry]]
        prefix = "a.lan"
        location = "b.lan"
        [[registry]]
        prefix = "A.lan"
        location = "c.lan"
    """
    assert str(found(await read(tmp_path, text), "a.lan/x").config.location) == "b.lan"


async def test_n7_a_key_that_says_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = """
        credential-helpers = ["containers-auth.json"]
        unknown = 1
        [[registry]]
        location = "a.lan"
        block = true
        [[registry.mirror]]
        location = "m.lan"
        pull-form-mirror = "digest-only"
    """
    await read(tmp_path, text)
    told = [record.getMessage().partition(": ")[2] for record in caplog.records if record.name == "ocidist.hosts"]
    assert told == [
        "the key unknown is not used",
        "the key registry[0].block is not used",
        "the key registry[0].mirror[0].pull-form-mirror is not used",
    ]


async def test_n7_a_registry_whose_name_holds_no_dot_is_looked_in(tmp_path: Path) -> None:
    names = (await read(tmp_path, 'unqualified-search-registries = ["lab", "a.lan/"]')).short_names
    assert names is not None
    assert [str(meant.registry) for meant in names.candidates("debian:12")] == ["lab", "a.lan"]


async def test_n7_short_names_that_must_be_clear(tmp_path: Path) -> None:
    text = """
        unqualified-search-registries = ["a.lan", "b.lan"]
        short-name-mode = "enforcing"
        [aliases]
        x = "c.lan/x"
    """
    names = (await read(tmp_path, text)).short_names
    assert names is not None
    assert [str(meant) for meant in names.candidates("x:1")] == ["c.lan/x:1"]
    assert [str(meant) for meant in names.candidates("b.lan/y")] == ["b.lan/y"]
    with pytest.raises(InvalidReferenceError, match="any of 2 registries"):
        names.candidates("y")
    one = (await read(tmp_path, text.replace('"a.lan", ', ""))).short_names
    assert one is not None
    assert [str(meant) for meant in one.candidates("y")] == ["b.lan/y"]


async def test_n7_an_empty_choice_of_pulls_is_none(tmp_path: Path) -> None:
    text = """
        [[registry]]
        location = "a.lan"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.lan"
        pull-from-mirror = ""
    """
    (mirror,) = found(await read(tmp_path, text), "a.lan/x").config.mirrors
    assert mirror.tags is MirrorTags.NEVER


async def test_n7_directories_among_the_drop_ins_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "registries.conf.d" / "old.conf").mkdir(parents=True)
    assert not (await read(tmp_path, "")).routed


async def test_n7_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    directory = tmp_path / "registries.conf.d"
    directory.mkdir()
    (directory / "1.conf").write_text("")
    path = tmp_path / "registries.conf"
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(HostsFileError, match=r"registries\.conf: it cannot be read: No such file"):
        await HostsConfig.from_registries_conf(path)
    path.unlink()
    (directory / "2.conf").symlink_to(directory / "2.conf")
    with pytest.raises(HostsFileError, match=r"2\.conf: it cannot be read"):
        await HostsConfig.from_registries_conf(path)


async def test_n7_a_path_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostsFileError, match="name too long"):
        await HostsConfig.from_registries_conf(tmp_path / ("x" * 300))


async def test_n7_helpers_for_every_registry(tmp_path: Path) -> None:
    helpers = 'credential-helpers = ["containers-auth.json", "pass"]'
    hosts = await read(tmp_path, helpers)
    assert hosts.credential_helpers == ("containers-auth.json", "pass")
    assert (hosts | {"a.lan": HostConfig(blocked=True)}).credential_helpers == hosts.credential_helpers
    assert (hosts | HostsConfig(credential_helpers=["other"])).credential_helpers == ("other",)
    (tmp_path / "registries.conf.d").mkdir()
    (tmp_path / "registries.conf.d" / "1.conf").write_text("unqualified-search-registries = []")
    assert (await read(tmp_path, helpers)).credential_helpers == hosts.credential_helpers
    (tmp_path / "registries.conf.d" / "2.conf").write_text("credential-helpers = []")
    assert (await read(tmp_path, helpers)).credential_helpers == ()

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ocidist import HostConfig, MirrorFileError, UsageError
from ocidist.transfer.config import MAX_RULES, MirrorConfig, MirrorRule
from ocidist.transfer.filters import TagFilter
from ocidist.transfer.options import CopyOptions, Referrers
from ocidist.transfer.plan import MAX_AT_ONCE

if TYPE_CHECKING:
    from pathlib import Path

FULL = """
# What we need here.
[defaults]
images_at_once = 4
blobs_at_once = 12
digest_tags = true
delete = true
tags = { deny = ["*-rc*"] }

[hosts."registry.acme.io"]
concurrency = 4
rate = 50
ca = "acme.pem"
client_cert = ["client.cert", "client.key"]

[hosts."localhost:5000"]
scheme = "http"
insecure = true
verify = false
chunk_size = 1048576

[[mirror]]
source = "ghcr.io/acme/app"
destination = "localhost:5000/mirror/app"
tags = { allow = ["v*", "latest"], semver = ">=1.2, <3" }
platforms = ["linux/amd64", "linux/arm64"]
referrers = true
delete = false

[[mirror]]
source = "ghcr.io/acme/*"
destination = "localhost:5000"
digest_tags = false
foreign_layers = true
force = true
[mirror.referrers]
depth = 1
artifact_types = ["application/spdx+json"]

[[mirror]]
source = "docker.io/library/alpine:3"
destination = "oci:/srv/alpine"
"""


async def test_a_file_with_everything_in_it(tmp_path: Path) -> None:
    file = tmp_path / "mirror.toml"
    file.write_text(FULL)
    for name in ("acme.pem", "client.cert", "client.key"):
        (tmp_path / name).touch()
    config = await MirrorConfig.from_file(file)
    assert (config.images_at_once, config.blobs_at_once) == (4, 12)
    first, second, third = config.rules
    assert first == MirrorRule(
        source="ghcr.io/acme/app",
        destination="localhost:5000/mirror/app",
        tags=TagFilter(allow=["v*", "latest"], semver=">=1.2, <3"),
        options=CopyOptions(platforms=["linux/amd64", "linux/arm64"], referrers=True, digest_tags=True),
    )
    assert second == MirrorRule(
        source="ghcr.io/acme/*",
        destination="localhost:5000",
        tags=TagFilter(deny=["*-rc*"]),
        options=CopyOptions(
            referrers=Referrers(1, artifact_types=["application/spdx+json"]), foreign_layers=True, force=True
        ),
        delete=True,
    )
    # What all share is about tags to choose from, of which one image has none.
    assert third == MirrorRule(
        source="docker.io/library/alpine:3", destination="oci:/srv/alpine", options=CopyOptions(digest_tags=True)
    )
    assert config.hosts == {
        "registry.acme.io": HostConfig(
            concurrency=4,
            rate=50,
            ca=(tmp_path / "acme.pem",),
            client_cert=(tmp_path / "client.cert", tmp_path / "client.key"),
        ),
        "localhost:5000": HostConfig(scheme="http", insecure=True, verify=False, chunk_size=1048576),
    }


def test_configurations_are_told_apart_by_what_they_mirror() -> None:
    config = MirrorConfig.from_toml(FULL)
    assert config.digest == MirrorConfig.from_toml(FULL.replace("rate = 50", "rate = 5")).digest
    assert config.digest != MirrorConfig.from_toml(FULL.replace('"v*"', '"w*"')).digest


RULE = "[[mirror]]\nsource = 'a.io/b'\ndestination = 'b.io/c'\n"
DIGEST = f"sha256:{'0' * 64}"
TWO = f"{RULE}[[mirror]]\nsource = 'a.io/c'\ndestination = 'b.io/d'\n"


@pytest.mark.parametrize(
    ("text", "key", "line", "reason"),
    [
        ("", "mirror", None, "nothing to mirror"),
        ("mirror = []", "mirror", 1, "nothing to mirror"),
        ("[mirror]\nsource = 'a.io/b'", "mirror", 1, "must be an array"),
        ("mirror = ['a.io/b']", "mirror[0]", None, "must be a table"),
        (f"{RULE}[rules]", "rules", 4, "means nothing here"),
        (f"{RULE}filter = 1", "mirror[0].filter", 4, "means nothing here"),
        ("[[mirrors]]", "mirrors", 1, "did you mean 'mirror'?"),
        ("[[sync]]", "sync", 1, "did you mean 'mirror'?"),
        (f"{RULE}[default]", "default", 4, "did you mean 'defaults'?"),
        ("[mirror]\nsource = 'a.io/b'", "mirror", 1, "in double brackets, one for each rule: [[mirror]]"),
        ("[[mirror]]\nsource = 'a.io/b'\ntarget = 'b.io/c'", "mirror[0].target", 3, "mean 'destination'?"),
        ("[[mirror]]\nsource = 'a.io/b'\ndest = 'b.io/c'", "mirror[0].dest", 3, "mean 'destination'?"),
        ("[[mirror]]\nsource = 'oci:x/*'\ndestination = 'b.io'", "mirror[0].source", 2, "layouts have no wildcards"),
        ("[[mirror]]\nsource = 'a.io/b'\ndestination = './x'", "mirror[0].destination", 3, "is 'oci:./x'"),
        ("[[mirror]]\ndestination = 'b.io/c'", "mirror[0].source", 1, "missing"),
        ("[[mirror]]\nsource = 'a.io/b'", "mirror[0].destination", 1, "missing"),
        ("[[mirror]]\nsource = 1\ndestination = 'b.io/c'", "mirror[0].source", 2, "must be a string, not a number"),
        ("[[mirror]]\nsource = ''\ndestination = 'b.io/c'", "mirror[0].source", 2, "empty"),
        ("[[mirror]]\nsource = 'alpine'\ndestination = 'b.io/c'", "mirror[0].source", 2, "docker.io/library/alpine"),
        ("[[mirror]]\nsource = 'acme/app'\ndestination = 'b.io/c'", "mirror[0].source", 2, "docker.io/acme/app"),
        ("[[mirror]]\nsource = 'https://a.io/b'\ndestination = 'b.io/c'", "mirror[0].source", 2, ""),
        ("[[mirror]]\nsource = 'user:secret@a.io/b'\ndestination = 'b.io/c'", "mirror[0].source", 2, ""),
        ("[[mirror]]\nsource = 'oci-archive:x.tar'\ndestination = 'b.io/c'", "mirror[0].source", 2, "archives"),
        ("[[mirror]]\nsource = 'a.io/B'\ndestination = 'b.io/c'", "mirror[0].source", 2, "lower case"),
        ("[[mirror]]\nsource = 'a.io/A*'\ndestination = 'b.io/c'", "mirror[0].source", 2, "matches no repository"),
        ("[[mirror]]\nsource = 'oci:'\ndestination = 'b.io/c'", "mirror[0].source", 2, "no path"),
        ("[[mirror]]\nsource = 'a.io/b'\ndestination = 'b.io/*'", "mirror[0].destination", 3, "wildcards"),
        ("[[mirror]]\nsource = 'a.io/b'\ndestination = 'b.io/c:v1'", "mirror[0].destination", 3, "more than one image"),
        (
            f"[[mirror]]\nsource = 'a.io/b'\ndestination = 'b.io/c@sha256:{'0' * 64}'",
            "mirror[0].destination",
            3,
            "digest",
        ),
        ("[[mirror]]\nsource = 'a.io/b'\ndestination = 'a.io/b'", "mirror[0].destination", 3, "the same"),
        ("[[mirror]]\nsource = 'a.io/b:v1'\ndestination = 'a.io/b'", "mirror[0].destination", 3, "the same"),
        ("[[mirror]]\nsource = 'a.io'\ndestination = 'a.io'", "mirror[0].destination", 3, "same registry"),
        ("[[mirror]]\nsource = 'a.io/x/*'\ndestination = 'a.io'", "mirror[0].destination", 3, "same registry"),
        ("[[mirror]]\nsource = 'oci:x'\ndestination = 'oci:./x'", "mirror[0].destination", 3, "the same"),
        (f"{RULE}tags = ['v*']", "mirror[0].tags", 4, "must be a table, not an array"),
        (f"{RULE}tags = ['v*']", "mirror[0].tags", 4, '{ allow = ["v*"] }'),
        (f"{RULE}tag = 'v1'", "mirror[0].tag", 4, "did you mean 'tags'?"),
        (f"{RULE}tags = {{ alow = ['v*'] }}", "mirror[0].tags.alow", 4, "did you mean 'allow'?"),
        (f"{RULE}tags = {{ exclude = ['v*'] }}", "mirror[0].tags.exclude", 4, "did you mean 'deny'?"),
        (f"{RULE}tags = {{ zzz = ['v*'] }}", "mirror[0].tags.zzz", 4, "means nothing here (known are"),
        (f"{RULE}tags = {{ allow = ['v.+'] }}", "mirror[0].tags.allow", 4, "no regular expression"),
        (f"{RULE}digestTags = true", "mirror[0].digestTags", 4, "did you mean 'digest_tags'?"),
        (f"{RULE}platform = 'linux/amd64'", "mirror[0].platform", 4, "did you mean 'platforms'?"),
        (f"{RULE}[mirror.tags]\nallow = 'v*'", "mirror[0].tags.allow", 5, "must be an array"),
        (f"{RULE}[mirror.tags]\ndeny = [1]", "mirror[0].tags.deny", 5, "must hold strings"),
        (f"{TWO}tags = {{ allow = ['*'], semver = 'foo' }}", "mirror[1].tags.semver", 7, "not a range of versions"),
        (f"{RULE}platforms = 'linux/amd64'", "mirror[0].platforms", 4, "must be an array"),
        (f"{RULE}platforms = ['linux']", "mirror[0].platforms", 4, "not a platform"),
        (f"{RULE}referrers = 'all'", "mirror[0].referrers", 4, "true, false, or a table"),
        (f"{RULE}referrers = {{ depth = 0 }}", "mirror[0].referrers.depth", 4, "from 1 to 32"),
        (f"{RULE}referrers = {{ kinds = [] }}", "mirror[0].referrers.kinds", 4, "means nothing here"),
        (f"{RULE}delete = 1", "mirror[0].delete", 4, "must be true or false, not a number"),
        (f"{RULE}Delete = true", "mirror[0].Delete", 4, "did you mean 'delete'?"),
        ("[[mirror]]\nsource = 'a.io/b:v1'\ndestination = 'b.io/c'\ndelete = true", "mirror[0].delete", 4, "one image"),
        (
            "[[mirror]]\nsource = 'a.io/b:1'\ndestination = 'b.io/c'\ntags.allow = ['v']",
            "mirror[0].tags",
            1,
            "one image",
        ),
        (f"{RULE}[defaults]\nimages_at_once = 0", "defaults.images_at_once", 5, f"from 1 to {MAX_AT_ONCE}"),
        (f"{RULE}[defaults]\nimages_at_once = true", "defaults.images_at_once", 5, "whole number"),
        (f"{RULE}[defaults]\nimages_at_once = {MAX_AT_ONCE + 1}", "defaults.images_at_once", 5, "whole number"),
        (f"{RULE}[defaults]\nsource = 'a.io/b'", "defaults.source", 5, "means nothing here"),
        (f"{RULE}[hosts.'b.io']\nrate = -1", "hosts.b.io.rate", 5, "above 0"),
        (f"{RULE}[hosts.'b.io']\nconcurrency = '4'", "hosts.b.io.concurrency", 5, "whole number"),
        (f"{RULE}[hosts.'b.io']\nscheme = 'ftp'", "hosts.b.io.scheme", 5, "http"),
        (f"{RULE}[hosts.'b.io']\npassword = 'x'", "hosts.b.io.password", 5, "credentials are where docker login"),
        (f"{RULE}[hosts.b.c.io]\nrate = 1", "hosts.b.c.io", 4, '[hosts."b.c.io"]'),
        (f"{RULE}[hosts.'b.io']\nca = ['']", "hosts.b.io.ca", 5, "names no file"),
        (f"{RULE}[hosts.'b.io']\nclient_cert = ['a', 'b', 'c']", "hosts.b.io.client_cert", 5, "one file"),
        (f"{RULE}[hosts.'not a host']", "hosts.not a host", 4, "host"),
        (f"{RULE}hosts = 1", "mirror[0].hosts", 4, "means nothing here"),
        (
            "[[mirror]]\nsource = 'a.io'\ndestination = 'b.io/x'\n[[mirror]]\nsource = 'b.io'\ndestination = 'a.io/y'",
            "mirror",
            1,
            "feed each other",
        ),
    ],
)
def test_every_mistake_is_told_with_file_key_and_reason(text: str, key: str, line: int | None, reason: str) -> None:
    with pytest.raises(MirrorFileError) as caught:
        MirrorConfig.from_toml(text, name="/etc/mirror.toml")
    error = caught.value
    assert (error.path, error.key, error.line) == ("/etc/mirror.toml", key, line)
    assert reason in error.reason
    assert str(error) == f"/etc/mirror.toml{f':{line}' if line else ''}: {key}: {error.reason}"
    assert "secret" not in str(error)


def test_what_is_not_toml_is_told_with_its_line() -> None:
    with pytest.raises(MirrorFileError, match="line 2") as caught:
        MirrorConfig.from_toml("[defaults]\nx = = 1")
    assert caught.value.key is None


async def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(MirrorFileError, match=r"nothing\.toml: it cannot be read"):
        await MirrorConfig.from_file(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(MirrorFileError, match="not UTF-8"):
        await MirrorConfig.from_file(str(tmp_path / "latin.toml"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MirrorFileError, match="not a regular file"):
        await MirrorConfig.from_file(tmp_path / "pipe")
    (tmp_path / "large.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(MirrorFileError, match="larger"):
        await MirrorConfig.from_file(tmp_path / "large.toml")


async def test_certificates_that_are_not_there_are_told_before_anybody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    text = f"{RULE}[hosts.'b.io']\nca = ['ca.pem', 'nothing.pem']\n"
    (tmp_path / "mirror.toml").write_text(text, encoding="utf-8")
    with pytest.raises(MirrorFileError, match=r"there is no file .*nothing\.pem") as caught:
        await MirrorConfig.from_file(tmp_path / "mirror.toml")
    assert (caught.value.key, caught.value.line) == ("hosts.b.io.ca", 5)


# --- rules made in Python --------------------------------------------------------------------------------------------


def test_rules_are_checked_as_well_where_they_are_made_in_python() -> None:
    good = MirrorRule(source="a.io/b", destination="b.io/c")
    with pytest.raises(UsageError, match="nothing to mirror"):
        MirrorConfig(rules=[])
    with pytest.raises(UsageError, match="images_at_once"):
        MirrorConfig(rules=[good], images_at_once=0)
    with pytest.raises(UsageError, match="a rule is a MirrorRule"):
        MirrorConfig(rules=["a.io/b"])  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(UsageError, match="more than"):
        MirrorConfig(rules=[good] * (MAX_RULES + 1))
    with pytest.raises(UsageError, match="no tags to choose from"):
        MirrorRule(source="a.io/b:v1", destination="b.io/c", tags=TagFilter(deny=["x"]))
    with pytest.raises(UsageError, match="nothing is deleted"):
        MirrorRule(source="a.io/b:v1", destination="b.io/c", delete=True)
    MirrorConfig(rules=[good] * MAX_RULES)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # One after the other, in a chain.
        (("a.io", "b.io/a"), ("b.io/a/*", "c.io")),
        # To and fro, but other repositories.
        (("a.io/x/*", "b.io/a"), ("b.io/y/*", "a.io/b")),
        # Within itself: what is below the destination is left out.
        (("a.io", "a.io/copy"), ("b.io", "b.io/copy")),
        # A tag that gets a second name.
        (("a.io/b:v1", "a.io/b:stable"), ("a.io/b", "a.io/c")),
    ],
)
def test_rules_that_only_look_as_if_they_fed_each_other_are_taken(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    rules = [MirrorRule(source=source, destination=destination) for source, destination in (first, second)]
    MirrorConfig(rules=rules)

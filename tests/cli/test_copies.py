"""Copies and mirrors, as they are asked for and reported; what they do has tests of its own (``tests/transfer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Digest
from ocidist.server.faults import FOREVER, Fault
from ocidist.testing.content import Content
from ocidist.testing.registry import serve
from ocidist.wire.endpoints import GetManifest
from tests.peers.clients import Skopeo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command
    from tests.peers.peer import Peer

TAGS = ("v1", "v2", "v3")
DENIED = b'{"errors":[{"code":"DENIED"}]}'


@pytest.fixture
def source() -> Iterator[LoopbackRegistry]:
    """A registry with two repositories that share a layer."""
    with serve() as registry:
        for name in ("app", "web"):
            content = Content().blob("base", b"a base" * 100)
            for tag in TAGS:
                content.image(tag, layers=["base"], tags=[tag], annotations={"name": name})
            registry.add(f"acme/{name}", content)
        yield registry


@pytest.fixture
def rules(source: LoopbackRegistry, registry: LoopbackRegistry, tmp_path: Path) -> Path:
    """A file that mirrors one to the other."""
    path = tmp_path / "mirror.toml"
    path.write_text(f"""
[hosts."{source.host}"]
scheme = "http"
[hosts."{registry.host}"]
scheme = "http"
[[mirror]]
source = "{source.host}/acme/*"
destination = "{registry.host}/copy"
tags = {{ deny = ["v3"] }}
""")
    return path


def vanish(registry: LoopbackRegistry, tag: str) -> None:
    """Let a tag that is listed not be there."""
    answer = b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
    registry.faults.add(Fault(reference=tag, repository="acme/app", status=404, times=FOREVER, body=answer))


def test_a_mirror_says_what_it_did(
    rules: Path, registry: LoopbackRegistry, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = ocidist("mirror", "-o", "json", "--checkpoint", "done").json
    assert (report["copied"], report["present"], report["failed"]) == (4, 0, 0)
    assert not (tmp_path / "done").exists()
    assert ocidist("ls", f"{registry.url}/copy/acme/app").out == b"v1\nv2\n"
    *images, last = ocidist("mirror", "--file", rules, "-o", "jsonl").lines
    assert [image["outcome"] for image in images] == ["present"] * 4
    assert (last["kind"], last["blobs_copied"]) == ("report", 0)
    text = ocidist("mirror", "-f", "-", stdin=rules.read_bytes())
    assert (text.status, text.text.startswith("0 copied, 4 there already")) == (0, True)


def test_a_mirror_that_is_not_complete_is_status_6(
    rules: Path, source: LoopbackRegistry, registry: LoopbackRegistry, ocidist: Command
) -> None:
    vanish(source, "v2")
    done = ocidist("mirror", "-f", rules)
    assert done.status == 6
    assert done.err == "error: 1 of 4 images were not mirrored: the report says which\n"
    assert f"failed   {source.host}/acme/app:v2 -> {registry.host}/copy/acme/app" in done.text
    assert ocidist("ls", f"{registry.url}/copy/acme/web").out == b"v1\nv2\n"
    told = ocidist("mirror", "-f", rules, "-o", "json")
    assert (told.status, told.json["failed"], told.error["exit_code"]) == (6, 1, 6)
    foretold = ocidist("mirror", "-f", rules, "--dry-run")
    assert foretold.status == 6
    assert foretold.text.count("present") == 3


def test_a_mirror_of_which_nothing_works_says_why(rules: Path, source: LoopbackRegistry, ocidist: Command) -> None:
    source.faults.add(Fault(times=FOREVER, status=403, body=DENIED))
    done = ocidist("mirror", "-f", rules)
    assert done.status == 4
    assert "answered 403" in done.err


def test_a_plan_is_made_here_and_done_there_by_several(
    rules: Path, registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    planned = ocidist("mirror", "-f", rules, "--plan")
    assert (planned.status, planned.err) == (0, "")
    (tmp_path / "plan.json").write_bytes(planned.out)
    foretold = ocidist("mirror", "-f", rules, "--from", tmp_path / "plan.json", "--dry-run", "-o", "json").json
    assert [image["present"] for image in foretold["images"]] == [False] * 4
    assert ocidist("ls", registry.url).out == b""
    copied = []
    for shard in ("0/2", "1/2"):
        words = ("--from", tmp_path / "plan.json", "--shard", shard, "-o", "json")
        mine = ocidist("mirror", "-f", rules, *words, "--dry-run").json["images"]
        done = ocidist("mirror", "-f", rules, *words).json["images"]
        assert [image["destination"] for image in done] == [image["destination"] for image in mine]
        copied += done
    assert [image["outcome"] for image in copied] == ["copied"] * 4
    # A plan is enough where the registries need no settings: on loopback, http is found out.
    assert ocidist("mirror", "--from", tmp_path / "plan.json", "-o", "json").json["present"] == 4
    (tmp_path / "plan.json").write_text("[]")
    assert ocidist("mirror", "--from", tmp_path / "plan.json").status == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("mirror", "there is no mirror.toml here"),
        ("mirror -f none.toml", "none.toml"),
        ("mirror -f mirror.toml --shard 2/2", "of 2 shards the last is 1"),
        ("mirror -f mirror.toml --shard all", "is not a shard"),
        ("mirror --insecure", "--insecure-host HOST names one"),
        ("mirror --plan --dry-run", "--plan prints the whole plan"),
        ("mirror --plan --shard 0/2", "--plan prints the whole plan"),
        ("mirror --plan --checkpoint done", "--plan prints the whole plan"),
        ("mirror --from none.json", "none.json"),
    ],
)
def test_what_a_mirror_cannot_use_is_status_2(
    words: str, said: str, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = ocidist(*words.split())
    assert (done.status, done.out) == (2, b"")
    assert said in done.err


def test_mistakes_in_the_rules_are_named(ocidist: Command) -> None:
    done = ocidist("mirror", "-f", "-", stdin=b'[[mirror]]\nsource = "a.b/c"\ndestination = "d.e/f"\ncolour = 1\n')
    assert done.status == 2
    assert "colour" in done.err
    assert ocidist("mirror", "-f", "-", stdin=b"\xff").status == 2


def test_every_tag_is_copied_and_one_that_is_gone_keeps_none_back(
    source: LoopbackRegistry, registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    words = ("cp", f"{source.url}/acme/app", f"{registry.url}/all", "--all-tags")
    assert sorted(line.partition(" ")[0] for line in ocidist(*words).text.splitlines()) == list(TAGS)
    vanish(source, "v2")
    partial = ocidist(*words, "-o", "json")
    assert (partial.status, len(partial.json["copied"])) == (6, 2)
    assert [each["tag"] for each in partial.json["failed"]] == ["v2"]
    assert ocidist(*words[:2], f"{registry.url}/all:v1", "--all-tags").status == 2
    archive = f"oci-archive:{tmp_path / 'all.tar'}"
    assert ocidist("cp", f"{source.url}/acme/web", archive, "--all-tags", "-o", "jsonl").status == 0
    assert ocidist("ls", archive).out == b"v1\nv2\nv3\n"
    assert ocidist("cp", archive, f"{registry.url}/again", "--all-tags").status == 0
    assert ocidist("ls", f"{registry.url}/again").out == b"v1\nv2\nv3\n"


def test_a_copy_fails_as_its_side_does(source: LoopbackRegistry, registry: LoopbackRegistry, ocidist: Command) -> None:
    words = ("cp", f"{source.url}/acme/app:v1", f"{registry.url}/copy", "-o", "json")
    source.faults.add(Fault(on=GetManifest, times=FOREVER, status=403, body=DENIED))
    denied = ocidist(*words)
    assert (denied.status, denied.error["side"], denied.error["cause"]["type"]) == (4, "source", "DeniedError")
    source.faults.clear()
    assert ocidist(*words, "--platform", "linux/s390x").status == 3


def test_what_was_copied_is_the_same_to_skopeo(
    docker_registry: Peer, fresh_name: str, source: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    there = f"{docker_registry.origin}/{fresh_name}:v1"
    done = ocidist("cp", f"{source.url}/acme/app:v1", there)
    assert done.status == 0, done.err
    assert ocidist("cp", there, f"oci:{tmp_path}/layout:v1").text == done.text
    seen = anyio.run(Skopeo(docker_registry).manifest, f"{fresh_name}:v1")
    assert Digest.of(seen) == done.text.strip()


def test_the_demonstration_proves_what_it_says(ocidist: Command) -> None:
    done = ocidist("demo", "-o", "json")
    assert done.status == 0, done.err
    assert done.json["mirrored"]["copied"] == done.json["again"]["present"] == 12
    assert done.json["again"]["blobs_copied"] == 0
    assert done.json["verified"] == {
        "tags": 12,
        "manifests": 60,
        "referrers": 24,
        "blobs": 72,
        "bytes": done.json["verified"]["bytes"],
    }

"""Files that become artifacts, and artifacts that become files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from ocidist import Descriptor, build_artifact
from ocidist.cli.commands import referrers
from ocidist.cli.connecting import Place
from ocidist.model.builder import EMPTY_BLOB, EMPTY_DESCRIPTOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command

TITLE = "org.opencontainers.image.title"
OTHER = f"sha256:{'0' * 64}"


def put(registry: LoopbackRegistry, *titles: str, data: bytes = b"some data") -> str:
    """Store an artifact whose files have these names, and return its reference."""
    layers = [Descriptor("text/plain", Descriptor.of(data).digest, len(data), annotations={TITLE: t}) for t in titles]
    manifest = build_artifact("application/vnd.example", layers)
    repository = registry.store.repository("acme/files")
    registry.call(repository.blobs.push, data)
    registry.call(repository.blobs.push, EMPTY_BLOB, EMPTY_DESCRIPTOR)
    registry.call(lambda: repository.manifests.push(manifest, tags=["v1"]))
    return f"{registry.url}/acme/files:v1"


def test_files_come_back_as_they_were(
    registry: LoopbackRegistry, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    contents = {
        "plain.txt": b"plain",
        "deep/er/größe.json": b"{}",
        "empty": b"",
        "with:colon/x": b"c",
        "a b.bin": b"\0",
    }
    for name, data in contents.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(data)
    monkeypatch.chdir(source)
    reference = f"{registry.url}/acme/data:v1"
    words = [f"{name}:application/json" if name.endswith(".json") else name for name in contents]
    pushed = ocidist("push", reference, *words, "--artifact-type", "application/vnd.example", "-o", "json").json
    assert [each["title"] for each in pushed["files"]] == list(contents)
    types = [each["mediaType"] for each in pushed["files"]]
    assert types == ["application/octet-stream", "application/json", *["application/octet-stream"] * 3]
    assert (pushed["artifactType"], pushed["tags"]) == ("application/vnd.example", ["v1"])

    done = ocidist("pull", reference, "--dir", tmp_path / "out")
    assert done.text.splitlines() == [str(tmp_path / "out" / name) for name in contents]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in contents} == contents


def test_what_is_there_is_replaced_by_force_only(registry: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> None:
    reference = put(registry, "deep/one.txt", "two.txt")
    (tmp_path / "two.txt").write_bytes(b"mine")
    done = ocidist("pull", reference, "--dir", tmp_path)
    assert done.status == 1
    assert "two.txt is there already\nhint: --force" in done.err
    # Looked at before anything is written.
    assert not (tmp_path / "deep").exists()
    assert (tmp_path / "two.txt").read_bytes() == b"mine"
    assert ocidist("pull", reference, "--dir", tmp_path, "--force").status == 0
    assert (tmp_path / "two.txt").read_bytes() == b"some data"


@pytest.mark.parametrize(
    "title",
    ["../up", "/etc/passwd", "a/../../up", "..", ".", "", "a\\..\\b", "bell\a", "\u202etxt.exe", "x" * 1025],
)
def test_names_that_lead_elsewhere_are_refused(
    title: str, registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    reference = put(registry, "fine.txt", title)
    folder = tmp_path / "in" / "here"
    done = ocidist("pull", reference, "--dir", folder, "--force")
    assert done.status == 1
    assert "no such file is written anywhere" in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.txt"))


@pytest.mark.parametrize("titles", [("one", "one"), ("one", "./one"), ("one", "one/two")])
def test_names_that_exclude_each_other_are_refused(
    titles: tuple[str, ...], registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    assert ocidist("pull", put(registry, *titles), "--dir", tmp_path / "out").status == 1
    assert not (tmp_path / "out").exists()


def test_a_directory_in_the_place_of_a_file_is_not_to_be_replaced(
    full_registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    done = ocidist("blob", "get", f"{full_registry.url}/acme/app@{OTHER}", tmp_path)
    assert (done.status, done.err) == (1, f"error: cannot write {tmp_path}: it is a directory\n")


def test_a_manifest_that_is_not_what_its_digest_names_is_the_files_fault(
    registry: LoopbackRegistry, ocidist: Command
) -> None:
    done = ocidist("manifest", "put", f"{registry.url}/acme/app@{OTHER}", "-", stdin=b'{"schemaVersion":2}')
    assert done.status == 5
    assert done.err.endswith("hint: standard input is not what the digest names\n")


def test_a_link_in_the_way_is_not_followed(registry: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    done = ocidist("pull", put(registry, "link/file"), "--dir", tmp_path / "out", "--force")
    assert done.status == 1
    assert "is a link" in done.err
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_link_in_the_place_of_a_file_is_replaced(
    registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "file").symlink_to(tmp_path / "precious")
    reference = put(registry, "file")
    assert ocidist("pull", reference, "--dir", tmp_path).status == 1
    assert ocidist("pull", reference, "--dir", tmp_path, "--force").status == 0
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (tmp_path / "file").read_bytes() == b"some data"


def test_titles_are_names_within_the_artifact(
    registry: LoopbackRegistry, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "one").write_bytes(b"1")
    monkeypatch.chdir(tmp_path / "here")
    pushed = ocidist("push", f"{registry.url}/acme/data", "../one", "-o", "json").json
    assert [each["title"] for each in pushed["files"]] == ["one"]
    assert pushed["tags"] == []
    done = ocidist("push", f"{registry.url}/acme/data", "../one", str(tmp_path / "one"))
    assert (done.status, done.out) == (2, b"")


@pytest.mark.parametrize("name", ["back\\slash", "line\nbreak", "bell\a"])
def test_what_nobody_could_pull_is_not_pushed(
    name: str, registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"data")
    done = ocidist("push", f"{registry.url}/acme/data:v1", tmp_path / name)
    assert (done.status, done.out) == (2, b"")
    assert "no such file is written anywhere" in done.err
    assert not registry.requests


def test_an_artifact_may_have_a_config_a_subject_and_no_file(
    full_registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    app = f"{full_registry.url}/acme/app"
    (tmp_path / "config.json").write_bytes(b'{"a":1}')
    config = f"{tmp_path / 'config.json'}:application/vnd.example.config+json"
    done = ocidist("push", app, "--subject", "v1", "--artifact-type", "application/x", "--artifact-config", config)
    assert done.status == 0
    view = json.loads(ocidist("manifest", "get", f"{app}@{done.text.strip()}").out)
    assert view["config"]["mediaType"] == "application/vnd.example.config+json"
    assert view["subject"]["digest"] == ocidist("resolve", f"{app}:v1").text.strip()
    found = ocidist("referrers", f"{app}:v1", "--artifact-type", "application/x", "-o", "jsonl").lines
    assert [each["digest"] for each in found] == [done.text.strip()]


def test_a_layout_is_read_like_a_registry(full_registry: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> None:
    source, layout = f"{full_registry.url}/acme/app", f"oci:{tmp_path}/layout"
    assert ocidist("cp", f"{source}:v1", f"{layout}:v1", "--referrers").status == 0
    assert ocidist("ls", layout).out == b"v1\n"
    assert ocidist("resolve", f"{layout}:v1").out == ocidist("resolve", f"{source}:v1").out
    assert ocidist("manifest", "get", f"{layout}:v1").out == ocidist("manifest", "get", f"{source}:v1").out

    def tree(reference: str) -> Any:  # noqa: ANN401 -- JSON may be anything
        return ocidist("referrers", reference, "-o", "json").json["referrers"]

    assert tree(f"{layout}:v1") == tree(f"{source}:v1")
    blob = ocidist("manifest", "get", f"{layout}:v1", "--platform", "linux/amd64", "-o", "json").json
    digest = blob["manifest"]["layers"][0]["digest"]
    assert ocidist("blob", "get", f"{layout}@{digest}").out == b"the base of both\n" * 100
    assert ocidist("blob", "get", f"{layout}@{digest}", tmp_path / "blob").status == 0
    assert (tmp_path / "blob").stat().st_size == ocidist("blob", "head", f"{layout}@{digest}", "-o", "json").json[
        "size"
    ]
    assert ocidist("ls", f"oci:{tmp_path}/nothing").status == 3


def test_blobs_go_in_from_stdin_and_files_and_come_out(
    registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    app = f"{registry.url}/acme/app"
    data = bytes(range(256)) * 1000
    digest = ocidist("blob", "put", app, "-", stdin=data).text.strip()
    (tmp_path / "data").write_bytes(data)
    assert ocidist("blob", "put", app, tmp_path / "data", "--digest", digest).text.strip() == digest
    assert ocidist("blob", "get", f"{app}@{digest}").out == data
    assert ocidist("blob", "put", app, "-", "--digest", digest, stdin=b"other").status == 5
    assert ocidist("blob", "put", app, tmp_path).status == 2
    done = ocidist("blob", "put", app, "/dev/null")
    assert "a device, a pipe or a socket" in done.err
    other = f"{registry.url}/acme/other"
    assert ocidist("blob", "put", other, tmp_path / "data", "--mount-from", "acme/app").status == 0
    assert any(request.method == "POST" and "mount=" in request.query for request in registry.requests)


def test_manifests_go_in_from_stdin_and_files(registry: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> None:
    app = f"{registry.url}/acme/app"
    index = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    (tmp_path / "index.json").write_bytes(index)
    digest = ocidist("manifest", "put", f"{app}:a", "-", stdin=index).text.strip()
    assert ocidist("manifest", "put", f"{app}@{digest}", tmp_path / "index.json").text.strip() == digest
    assert ocidist("manifest", "get", f"{app}:a").out == index
    wrong = ocidist("manifest", "put", f"{app}@{digest}", "-", stdin=index.replace(b"2", b"2 ", 1))
    assert wrong.status == 5
    large = ocidist("manifest", "put", f"{app}:b", "-", stdin=b" " * (4 * 1024 * 1024 + 1))
    assert (large.status, "has more than" in large.err) == (2, True)
    assert ocidist("manifest", "delete", f"{app}@{digest}", "-o", "json").json == {
        "deleted": f"{registry.host}/acme/app@{digest}"
    }
    assert ocidist("manifest", "head", f"{app}:a").status == 3


def test_tags_are_set_and_deleted_one_by_one(full_registry: LoopbackRegistry, ocidist: Command) -> None:
    app = f"{full_registry.url}/acme/app"
    assert ocidist("tag", f"{app}:v1", "stable", "v1.0").status == 0
    assert ocidist("tag", f"{app}:v1", "--delete").status == 0
    assert ocidist("ls", app).text.split() == ["latest", "stable", "v1-amd64", "v1.0"]
    assert ocidist("tag", f"{app}:none", "new").status == 3
    assert ocidist("tag", f"{app}:none", "--delete").status == 3


def test_referrers_are_a_tree(full_registry: LoopbackRegistry, ocidist: Command) -> None:
    reference = f"{full_registry.url}/acme/app:v1"
    lines = ocidist("referrers", reference).text.splitlines()
    assert [line.partition("sha256:")[0] for line in lines[1:]] == [
        "├── application/spdx+json ",
        "│   └── application/vnd.example.signature ",
        "└── application/vnd.example.report ",
    ]
    assert len(ocidist("referrers", reference, "--depth", "1").text.splitlines()) == 3
    assert [each["depth"] for each in ocidist("referrers", reference, "-o", "jsonl").lines] == [1, 2, 1]
    assert ocidist("referrers", f"{full_registry.url}/acme/empty:v1").text.count("\n") == 1


def test_a_registry_whose_referrers_refer_to_themselves_is_not_followed_for_ever() -> None:
    found = Descriptor.of(b"a referrer", "application/vnd.oci.image.manifest.v1+json")

    class Lying:
        asked = 0

        async def referrers(self, _subject: object, *, artifact_type: str | None) -> AsyncIterator[Descriptor]:
            assert artifact_type is None
            self.asked += 1
            yield found
            yield found

    lying = Lying()
    place: Any = Place(cast("Any", lying), found.digest, "localhost:5000/acme/app")

    async def walk() -> int:
        branch = referrers._Branch(depth=32, open=(), seen=frozenset())
        return len([node async for node in referrers._walk(place, found.digest, None, branch)])

    # Each is followed once, below the first that it is found at.
    assert anyio.run(walk) == 6
    assert lying.asked == 3

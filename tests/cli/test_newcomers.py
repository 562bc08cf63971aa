"""What people write who come from other tools, or who have just come, and what they are told."""

from __future__ import annotations

import json
import socket
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from ocidist.cli.misuse import ELSEWHERE
from ocidist.server.faults import FOREVER, Fault
from ocidist.testing.registry import serve
from tests.peers import images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command

HELM = "application/vnd.cncf.helm.config.v1+json"


@pytest.fixture
def nobody() -> Iterator[str]:
    """A port where nobody listens, and that nobody else gets."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{kept.getsockname()[1]}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("attach", "acme.io/app:v1", "sbom.json"), "--subject TAG"),
        (("copy", "a", "b"), "ocidist cp SOURCE DESTINATION"),
        (("inspect", "acme.io/app:v1"), "ocidist manifest get REF"),
        (("catalog", "acme.io"), "ocidist ls REGISTRY"),
        (("lss", "acme.io"), 'Did you mean "ls"?'),
        (("manifest", "inspect", "x"), 'Unknown command "inspect"'),
        (("mirror", "mirror.toml"), "no place for 'mirror.toml'"),
        (("push", "oci://acme.io/charts/web", "web.tgz"), "Leave out oci://"),
        (("tag", "acme.io/app:v1", "acme.io/app:stable"), "is no tag"),
    ],
)
def test_what_other_tools_call_it_is_known(ocidist: Command, words: tuple[str, ...], said: str) -> None:
    done = ocidist(*words)
    assert (done.status, done.out) == (2, b"")
    assert said in done.err


def test_what_is_advised_can_be_typed(ocidist: Command) -> None:
    for advice in set(ELSEWHERE.values()):
        assert ocidist(*advice.split(" -")[0].split()[:1], "--help").status == 0


def test_a_helm_chart_is_what_its_configuration_says(
    registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    for name in ("web-1.0.0.tgz", "config.json"):
        (tmp_path / name).write_text("{}")
    words = ("push", f"{registry.url}/charts/web:1.0.0", tmp_path / "web-1.0.0.tgz")
    config = ("--artifact-config", f"{tmp_path}/config.json:{HELM}")
    assert ocidist(*words, *config).status == 0
    manifest = json.loads(ocidist("manifest", "get", f"{registry.url}/charts/web:1.0.0").out)
    assert (manifest["config"]["mediaType"], manifest.get("artifactType")) == (HELM, None)
    pushed = ocidist(*words, *config, "--artifact-type", "application/x.y", "-o", "json").json
    assert pushed["artifactType"] == "application/x.y"
    # Without files there is the empty layer, as the specification wants it.
    assert ocidist(*words[:2], *config).status == 0
    assert ocidist("pull", f"{registry.url}/charts/web:1.0.0", "--dir", tmp_path).err == ""


def test_a_subject_is_named_by_its_tag_alone(full_registry: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text("{}")
    where = f"{full_registry.url}/acme/app"
    whole = ocidist("push", where, tmp_path / "sbom.json", "--subject", f"{full_registry.host}/acme/app:v1")
    assert whole.status == 2
    assert "The subject is in the same repository" in whole.err
    digest = ocidist("resolve", f"{where}:v1").text.strip()
    named = ocidist("push", f"{where}@{digest}", tmp_path / "sbom.json")
    assert f"--subject {digest}" in named.err


def test_a_part_of_an_image_says_that_signatures_of_the_whole_stay(
    full_registry: LoopbackRegistry, ocidist: Command
) -> None:
    source, platform = f"{full_registry.url}/acme/app:v1", ("--platform", "linux/amd64")
    whole = ocidist("resolve", source).text.strip()
    said = f"this is a part of {whole}"
    assert said in ocidist("cp", source, f"{full_registry.url}/copy/a", *platform, "--referrers").err
    assert said not in ocidist("cp", source, f"{full_registry.url}/copy/b", *platform).err
    assert said not in ocidist("cp", source, f"{full_registry.url}/copy/c", "--referrers").err


def test_a_registry_that_is_not_there_is_told_soon(
    nobody: str, ocidist: Command, full_registry: LoopbackRegistry
) -> None:
    for where in (nobody, f"http://{nobody}/acme/app"):
        assert "(after 2 attempts)" in ocidist("ls", where).err
    copied = ocidist("cp", f"{full_registry.url}/acme/app:v1", f"{nobody}/acme/app", "-o", "json").error
    assert "Connection refused" in copied["message"]
    assert "after 2 attempts" in copied["message"]


def test_with_progress_for_programs_everything_on_stderr_is_json(
    full_registry: LoopbackRegistry, ocidist: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("cp", f"{full_registry.url}/acme/app:v1", f"{full_registry.url}/copy/app", "--progress=json", "-v")
    lines = [json.loads(line) for line in ocidist(*words).err.splitlines()]
    assert {"CopyStarted", "CopyFinished"} <= {line.get("event") for line in lines}
    assert any("copied in" in line.get("message", "") for line in lines)
    assert all({"event", "message"} & set(line) for line in lines)

    full_registry.faults.add(Fault(reference="v1", status=503, headers=(("Retry-After", "0"),), times=2))
    lines = [json.loads(line) for line in ocidist(*words).err.splitlines()]
    assert any(line.get("level") == "info" for line in lines)

    denied = b'{"errors":[{"code":"DENIED"}]}'
    known = (("X-Request-Id", "x-1"),)
    full_registry.faults.add(Fault(reference="v1", status=403, headers=known, body=denied, times=FOREVER))
    monkeypatch.setenv("OCIDIST_PROGRESS", "json")
    *_, last = ocidist(*words[:3], "-v").err.splitlines()
    assert json.loads(last)["error"]["exit_code"] == 4


def test_who_has_no_credentials_is_told_how_to_get_some_and_once(
    full_registry: LoopbackRegistry, ocidist: Command
) -> None:
    basic = (("WWW-Authenticate", 'Basic realm="acme"'),)
    with serve() as private:
        private.faults.add(Fault(status=401, headers=basic, times=FOREVER))
        for words in (
            ("ls", f"{private.url}/acme/app"),
            ("cp", f"{full_registry.url}/acme/app:v1", f"{private.url}/copy"),
        ):
            told = ocidist(*words).err
            assert told.count(f"Log in: ocidist login {private.host}; its --show-sources") == 1, told
            assert "client" not in told


# --- layouts and archives --------------------------------------------------------------------------------------------


def test_what_is_no_layout_is_told_with_its_path(registry: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> None:
    images.write_layout(images.image(), tmp_path / "acme" / "app", "v1")
    for words in (("ls", f"oci:{tmp_path}"), ("cp", f"oci:{tmp_path}", f"{registry.url}/copy")):
        done = ocidist(*words)
        assert (done.status, done.err.count(f"{tmp_path} is no image layout: it has no file oci-layout")) == (3, 1)
    (tmp_path / "app.tar").touch()
    assert f"oci-archive:{tmp_path}/app.tar" in ocidist("ls", f"oci:{tmp_path}/app.tar").err
    assert f"there is no directory {tmp_path}/nothing" in ocidist("ls", f"oci:{tmp_path}/nothing").err
    (tmp_path / "mirror.toml").write_text(
        f"[[mirror]]\nsource = 'oci:{tmp_path}'\ndestination = '{registry.host}/copy'\n", encoding="utf-8"
    )
    mirrored = ocidist("mirror", "-f", tmp_path / "mirror.toml")
    assert (mirrored.status, f"{tmp_path} is no image layout" in mirrored.text) == (3, True)


def test_a_layout_without_names_says_what_is_in_it(
    registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    top = images.index()
    _, two = both = top.children
    images.write_layout(top, tmp_path / "app", "v1")
    index = json.loads((tmp_path / "app" / "index.json").read_bytes())
    entries = [each.manifest.descriptor for each in both]
    (tmp_path / "app" / "index.json").write_text(json.dumps({**index, "manifests": entries}))
    told = ocidist("cp", f"oci:{tmp_path}/app", f"{registry.url}/copy")
    assert told.status == 2
    assert all(f"@{each.digest}" in told.err for each in both)
    assert ocidist("cp", f"oci:{tmp_path}/app@{two.digest}", f"{registry.url}/copy").text.strip() == two.digest


def test_content_that_was_altered_on_the_disk_blames_no_registry(
    registry: LoopbackRegistry, ocidist: Command, tmp_path: Path
) -> None:
    image = images.image()
    images.write_layout(image, tmp_path / "app", "v1")
    blob = tmp_path / "app" / "blobs" / "sha256" / image.blobs[1].digest.partition(":")[2]
    blob.write_bytes(b"x" * blob.stat().st_size)
    told = ocidist("cp", f"oci:{tmp_path}/app", f"{registry.url}/copy")
    assert (told.status, told.err.count("altered on the disk"), told.err.count("proxy")) == (5, 1, 0)


# --- extras ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "needed", "extra"),
    [("ocidist.transfer.dask", "distributed", "dask"), ("ocidist.observe.otel", "opentelemetry", "otel")],
)
def test_what_an_extra_brings_is_told_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, module: str, needed: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, needed, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'ocidist\[{extra}\]'") as caught:
        import_module(module)
    assert caught.value.name == needed

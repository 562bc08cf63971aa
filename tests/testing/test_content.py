from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import Descriptor, Digest, ImageIndex, ImageManifest, MemoryRegistry, Platform, UsageError
from ocidist.model.mediatype import DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LIST, DOCKER_MANIFEST, OCI_LAYER
from ocidist.testing import Content

if TYPE_CHECKING:
    from collections.abc import Callable


def sample() -> Content:
    """Declare one of each, users before what they use."""
    return (
        Content()
        .index("multi", ["app", "arm"], tags=["latest"])
        .image("app", ["base", "files"], tags=["v1", "v1.0"], config={"config": {"Env": ["A=1"]}})
        .image("arm", platform="linux/arm64/v8")
        .artifact("sbom", "application/spdx+json", subject="app", layers=["text"], annotations={"by": "me"})
        .artifact("signature", subject="sbom")
        .blob("base", size=5000)
        .blob("text", "{}", media_type="application/json")
        .layer("files", {"etc/motd": "hello", "bin/x": b"\x7fELF"})
    )


def test_n12_digests_sizes_and_subjects_are_filled_in() -> None:
    built = sample().build()
    for piece in built.values():
        assert piece.digest == Digest.of(piece.data)
        assert piece.size == len(piece.data)
    image, index = built["app"], built["multi"]
    assert image.manifest is not None
    assert index.manifest is not None
    view = image.manifest.parse()
    assert isinstance(view, ImageManifest)
    assert [layer.digest for layer in view.layers] == [built["base"].digest, built["files"].digest]
    assert {layer.media_type for layer in view.layers} == {OCI_LAYER}
    assert view.config.digest == built[".app.config"].digest
    config = json.loads(built[".app.config"].data)
    assert config["rootfs"]["diff_ids"] == [built["base"].digest, built["files"].digest]
    assert (config["architecture"], config["config"]) == ("amd64", {"Env": ["A=1"]})
    listed = index.manifest.parse()
    assert isinstance(listed, ImageIndex)
    assert [(each.digest, each.platform) for each in listed.manifests] == [
        (image.digest, Platform("linux", "amd64")),
        (built["arm"].digest, Platform("linux", "arm64", "v8")),
    ]
    sbom, signature = built["sbom"].manifest, built["signature"].manifest
    assert sbom is not None
    assert signature is not None
    assert sbom.subject == image.manifest.descriptor
    assert (sbom.artifact_type, dict(sbom.annotations)) == ("application/spdx+json", {"by": "me"})
    assert signature.subject == sbom.descriptor
    with tarfile.open(fileobj=io.BytesIO(built["files"].data)) as archive:
        assert archive.getnames() == ["bin/x", "etc/motd"]


def test_what_is_used_comes_before_its_user() -> None:
    order = list(sample().build())
    for before, after in [("base", "app"), (".app.config", "app"), ("app", "multi"), ("app", "sbom"), ("text", "sbom")]:
        assert order.index(before) < order.index(after)


def test_equal_declarations_have_the_digests_they_always_had() -> None:
    built = sample().build()
    assert {name: piece.digest for name, piece in built.items()} == {
        name: piece.digest for name, piece in sample().build().items()
    }
    # Users may write these down.
    known = {
        "base": "sha256:60b0b1fa64e0796d50d291ef7d0cf5a4e231964b4c6ed77d39179096217ff8ab",
        "app": "sha256:ab7bc45b783961800d8f3aae781d4aef1666450339a4187eec2b7a7394b9b672",
        "multi": "sha256:5f49b0206f117d0d2d3d4a3ac89fb09b78bf5d8973682422a4b1ecd6ca126555",
        "signature": "sha256:660c4e2388ddc738c21c3d7bbd67bc400960d0f02e61db43d49dcf27c3b6cb19",
    }
    assert {name: built[name].digest for name in known} == known


def test_a_mapping_declares_the_same() -> None:
    declared: dict[str, dict[str, Any]] = {
        "blobs": {"base": {"size": 5000}, "text": {"data": "{}", "media_type": "application/json"}, "plain": b"x"},
        "layers": {"files": {"etc/motd": "hello"}},
        "images": {"app": {"layers": ["base", "files"], "tags": ["v1"]}},
        "indexes": {"multi": {"manifests": ["app"]}, "short": ["app"]},
        "artifacts": {"sbom": {"subject": "app"}},
    }
    ours = (
        Content()
        .blob("base", size=5000)
        .blob("text", "{}", media_type="application/json")
        .blob("plain", b"x")
        .layer("files", {"etc/motd": "hello"})
        .image("app", ["base", "files"], tags=["v1"])
        .index("multi", ["app"])
        .index("short", ["app"])
        .artifact("sbom", subject="app")
    )
    assert dict(Content.of(declared).build()) == dict(ours.build())


def test_docker_images_have_docker_types() -> None:
    content = Content().blob("base", b"x").image("app", ["base"], media_type=DOCKER_MANIFEST)
    built = content.index("list", ["app"], media_type=DOCKER_LIST).build()
    assert built["app"].manifest is not None
    assert [each.media_type for each in built["app"].manifest.references] == [DOCKER_CONFIG, DOCKER_LAYER_GZIP]
    assert built["list"].media_type == DOCKER_LIST


def test_a_blob_can_be_the_configuration_and_a_descriptor_the_subject() -> None:
    nowhere = Descriptor.of(b"nowhere", "application/vnd.oci.image.manifest.v1+json")
    built = Content().blob("settings", b"{}").image("app", config="settings", subject=nowhere).build()
    assert built["app"].manifest is not None
    assert built["app"].manifest.references[0].digest == built["settings"].digest
    assert built["app"].manifest.subject == nowhere
    assert ".app.config" not in built


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Content().image("app", ["gone"]), "'app' refers to 'gone', which is not declared"),
        (Content().artifact("a", subject="gone"), "'a' refers to 'gone', which is not declared"),
        (Content().index("a", ["b"]).index("b", ["c"]).index("c", ["b"]), "content refers to itself: b -> c -> b"),
        (Content().image("app", subject="app"), "content refers to itself: app -> app"),
        (Content().blob("b", b"").index("i", ["b"]), "'i' refers to 'b' as a manifest, which it is not"),
        (Content().image("a").image("b", ["a"]), "'b' refers to 'a' as a blob, which it is not"),
    ],
)
def test_what_cannot_be_built_says_why(content: Content, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        content.build()
    assert caught.value.message == said


CONTENT = Content().blob("a", b"")


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: CONTENT.image("a"), "'a' is declared already"),
        (lambda: CONTENT.image(".a"), "'.a' is no id: a string that does not begin with a dot"),
        (lambda: CONTENT.blob("b"), "blob 'b' needs either data or a size"),
        (lambda: CONTENT.blob("b", b"", size=0), "blob 'b' needs either data or a size"),
        (lambda: CONTENT.image("c", "layer"), "layers of 'c' is a collection of ids, not one string"),
        (lambda: CONTENT.image("c", tags="v1"), "tags is a collection of tags, not one string"),
        (lambda: Content.of({"tags": {}}), "content has no 'tags', only blobs, layers, images, indexes, artifacts"),
    ],
)
def test_what_cannot_be_declared_says_why(declare: Callable[[], Content], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        declare()
    assert caught.value.message == said
    assert repr(CONTENT) == "<Content a>"


def test_arguments_that_a_declaration_does_not_take_are_named() -> None:
    with pytest.raises(UsageError, match=r"images: 'a': .*unexpected keyword argument 'layer'"):
        Content.of({"images": {"a": {"layer": []}}})
    with pytest.raises(UsageError):
        Content().image("c", tags=["no tag"])


async def test_n12_content_goes_into_any_store() -> None:
    repository = MemoryRegistry().repository("demo/app")
    built = await sample().push_to(repository)
    assert await repository.tags.list().collect() == ["latest", "v1", "v1.0"]
    assert (await repository.manifests.get("v1")).data == built["app"].data
    assert await repository.blobs.get(built["text"].digest) == b"{}"
    assert [each.digest for each in await repository.referrers(built["app"].digest).collect()] == [built["sbom"].digest]


def test_building_content_needs_neither_pytest_nor_a_server() -> None:
    program = (
        "import sys; from ocidist.testing import Content; Content().image('app').build();"
        "print(sorted({'pytest', '_pytest', 'uvicorn', 'httpx', 'asyncio', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"

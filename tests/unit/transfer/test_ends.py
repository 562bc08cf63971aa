from __future__ import annotations

import pytest

from ocidist import MirrorRule, UsageError
from ocidist.transfer.ends import Repositories

ZEROS = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:5000", "localhost:5000/acme/app"),
        ("localhost:5000//", "localhost:5000/acme/app"),
        ("localhost:5000/mirror/", "localhost:5000/mirror/acme/app"),
        # Not below "library": what is put before names is no official image.
        ("docker.io/mirror", "docker.io/mirror/acme/app"),
        ("docker.io", "docker.io/acme/app"),
        ("oci:/srv/all/", "oci:/srv/all/acme/app"),
    ],
)
def test_names_are_put_behind_a_destination(text: str, expected: str) -> None:
    assert Repositories.destination(text).within("acme/app") == expected


def test_a_repository_of_docker_hub_has_its_full_name() -> None:
    assert Repositories.source("docker.io/alpine").within("") == "docker.io/library/alpine"
    assert Repositories.destination("docker.io/alpine").within("") == "docker.io/library/alpine"
    with pytest.raises(UsageError, match="the same"):
        MirrorRule(source="docker.io/alpine", destination="docker.io/library/alpine")


@pytest.mark.parametrize(
    ("text", "path", "tag"),
    [
        ("oci:/srv/a", "/srv/a", None),
        ("oci:/srv/a:v1", "/srv/a", "v1"),
        ("oci:/srv/a:", "/srv/a", None),
        ("oci:/srv/ü b:v1", "/srv/ü b", "v1"),
    ],
)
def test_layouts_are_named_as_for_copies(text: str, path: str, tag: str | None) -> None:
    found = Repositories.source(text)
    assert (found.path, found.tag, found.is_image) == (path, tag, tag is not None)


@pytest.mark.parametrize(
    "text", ["oci:", "oci::v1", "oci:/srv/a:b/c", "oci:/srv/a:v1:v2", "oci:/srv/a\0b", f"oci:@{ZEROS}"]
)
def test_what_names_no_layout_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Repositories.source(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(f"oci:/srv/a@{ZEROS}", "no digest"), (f"a.io/b@{ZEROS}", "no digest"), ("a.io/b/*", "no wildcards")],
)
def test_what_is_no_destination_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Repositories.destination(text)


@pytest.mark.parametrize("text", ["https://ghcr.io/acme/app", "http://localhost:5000"])
def test_names_have_no_scheme(text: str) -> None:
    for read in (Repositories.source, Repositories.destination):
        with pytest.raises(UsageError, match="without a scheme"):
            read(text)


def test_wildcards_are_not_for_tags() -> None:
    with pytest.raises(UsageError, match="'tags'"):
        Repositories.source("ghcr.io/acme/app:v*")


def test_one_directory_by_two_names_is_no_mirror() -> None:
    with pytest.raises(UsageError, match="the same"):
        MirrorRule(source="oci:all/app", destination="oci:./all/../all/app")

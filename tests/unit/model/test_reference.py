from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from ocidist.errors import InvalidDigestError, InvalidReferenceError
from ocidist.model.digest import MAX_DIGEST_LENGTH, Digest
from ocidist.model.reference import (
    MAX_NAME_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_TAG_LENGTH,
    Reference,
    RegistryName,
    RepositoryName,
    Tag,
    repository_name,
)

SHA = "sha256:" + "c0ffee00" * 8
SHA512 = "sha512:" + "c0ffee00" * 16

# text, canonical form, familiar form (None: the same as the canonical one)
VALID: list[tuple[str, str, str | None]] = [
    ("busybox", "docker.io/library/busybox", "busybox"),
    ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
    (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}", f"busybox@{SHA}"),
    (f"busybox:1@{SHA}", f"docker.io/library/busybox:1@{SHA}", f"busybox:1@{SHA}"),
    (f"busybox@{SHA512}", f"docker.io/library/busybox@{SHA512}", f"busybox@{SHA512}"),
    ("library/busybox", "docker.io/library/busybox", "busybox"),
    ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
    ("docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
    ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
    ("index.docker.io/acme/app", "docker.io/acme/app", "acme/app"),
    ("registry-1.docker.io/acme/app", "docker.io/acme/app", "acme/app"),
    ("DOCKER.IO/acme/app", "docker.io/acme/app", "acme/app"),
    ("acme/app", "docker.io/acme/app", "acme/app"),
    ("acme/team/app", "docker.io/acme/team/app", "acme/team/app"),
    ("library/acme/app", "docker.io/library/acme/app", "library/acme/app"),
    ("docker.io/io.acme/app", "docker.io/io.acme/app", None),
    ("docker.io/localhost/app", "docker.io/localhost/app", None),
    ("localhost/app", "localhost/app", None),
    ("localhost/library/app", "localhost/library/app", None),
    ("localhost:5000/app", "localhost:5000/app", None),
    ("LOCALHOST:5000/app", "localhost:5000/app", None),
    ("localhost:1/a", "localhost:1/a", None),
    ("localhost:65535/a", "localhost:65535/a", None),
    ("localhost:05000/a", "localhost:5000/a", None),
    ("registry:5000/app", "registry:5000/app", None),
    ("registry.acme.io/app", "registry.acme.io/app", None),
    ("registry.acme.io/app:v1", "registry.acme.io/app:v1", None),
    ("registry.acme.io:443/team/app:v1", "registry.acme.io:443/team/app:v1", None),
    (f"registry.acme.io:443/app:v1@{SHA}", f"registry.acme.io:443/app:v1@{SHA}", None),
    ("Registry.Acme.IO/app", "registry.acme.io/app", None),
    ("REGISTRY/app", "REGISTRY/app", None),
    ("Registry/app:V1", "REGISTRY/app:V1", None),
    ("my-registry.io/app", "my-registry.io/app", None),
    ("xn--n3h.example/app", "xn--n3h.example/app", None),
    ("a--b.example/app", "a--b.example/app", None),
    ("1.2.3.4/app", "1.2.3.4/app", None),
    ("127.0.0.1:5000/app:latest", "127.0.0.1:5000/app:latest", None),
    ("0.0.0.0/app", "0.0.0.0/app", None),
    ("[::1]/app", "[::1]/app", None),
    ("[::1]:5000/app", "[::1]:5000/app", None),
    ("[::]:5000/app", "[::]:5000/app", None),
    ("[2001:db8::17]:5000/team/app:v1", "[2001:db8::17]:5000/team/app:v1", None),
    ("[2001:DB8:0:0:0:0:0:17]/app", "[2001:db8::17]/app", None),
    (f"[fd00:1:2::3]:75/app@{SHA}", f"[fd00:1:2::3]:75/app@{SHA}", None),
    ("a", "docker.io/library/a", "a"),
    ("0", "docker.io/library/0", "0"),
    ("a/a/a/a/a", "docker.io/a/a/a/a/a", "a/a/a/a/a"),
    ("aa/bb/9", "docker.io/aa/bb/9", "aa/bb/9"),
    ("a.b", "docker.io/library/a.b", "a.b"),
    ("a_b", "docker.io/library/a_b", "a_b"),
    ("a__b", "docker.io/library/a__b", "a__b"),
    ("a-b", "docker.io/library/a-b", "a-b"),
    ("a---b", "docker.io/library/a---b", "a---b"),
    ("a.b_c__d-e--f", "docker.io/library/a.b_c__d-e--f", "a.b_c__d-e--f"),
    ("x/y.z_w/v--u", "docker.io/x/y.z_w/v--u", "x/y.z_w/v--u"),
    ("a/localhost", "docker.io/a/localhost", "a/localhost"),
    ("a:5000", "docker.io/library/a:5000", "a:5000"),
    ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
    ("a.b:5000", "docker.io/library/a.b:5000", "a.b:5000"),
    ("a:_", "docker.io/library/a:_", "a:_"),
    ("a:_x.y-z_0", "docker.io/library/a:_x.y-z_0", "a:_x.y-z_0"),
    ("a:V1.0-RC.2", "docker.io/library/a:V1.0-RC.2", "a:V1.0-RC.2"),
    ("a:latest", "docker.io/library/a:latest", "a:latest"),
    ("a:" + "t" * MAX_TAG_LENGTH, "docker.io/library/a:" + "t" * MAX_TAG_LENGTH, "a:" + "t" * MAX_TAG_LENGTH),
    ("a@md5:abc", "docker.io/library/a@md5:abc", "a@md5:abc"),
    ("a@x+y:Z_-=", "docker.io/library/a@x+y:Z_-=", "a@x+y:Z_-="),
    ("f" * 63, "docker.io/library/" + "f" * 63, "f" * 63),
    ("f" * 65, "docker.io/library/" + "f" * 65, "f" * 65),
    ("f" * 64 + ":tag", "docker.io/library/" + "f" * 64 + ":tag", "library/" + "f" * 64 + ":tag"),
    ("library/" + "f" * 64, "docker.io/library/" + "f" * 64, "library/" + "f" * 64),
    ("g" * 64, "docker.io/library/" + "g" * 64, "g" * 64),
]

INVALID = [
    "",
    " ",
    "/",
    ":",
    "@",
    ":tag",
    f"@{SHA}",
    f":tag@{SHA}",
    "/a",
    "a/",
    "a//b",
    "//a",
    "a///b",
    "./a",
    "../a",
    "a/..",
    "a/../b",
    "a/./b",
    ".a",
    "a.",
    "-a",
    "a-",
    "_a",
    "a_",
    "a..b",
    "a___b",
    "a._b",
    "a-_b",
    "a_-b",
    "a.-b",
    "Busybox",
    "BUSYBOX:tag",
    "acme/App",
    "docker.io/acme/App",
    "registry.acme.io/App",
    "registry.acme.io/",
    "registry.acme.io:5000/",
    "registry.acme.io:/a",
    "registry.acme.io:x/a",
    "registry.acme.io:0/a",
    "registry.acme.io:65536/a",
    "registry.acme.io:123456/a",
    "registry.acme.io:-1/a",
    "registry.acme.io:+80/a",
    "registry.acme.io:8_0/a",
    "registry.acme.io:\u0668\u0660/a",
    "registry.acme.io:80:80/a",
    "registry..acme.io/a",
    ".acme.io/a",
    "acme.io./a",
    "localhost./a",
    "-acme.io/a",
    "acme-.io/a",
    "acme_corp.io/a",
    "user@acme.io/a",
    "user:secret@acme.io/a",
    "acme.io?x=y/a",
    "acme.io#x/a",
    "acme.io\\x/a",
    "bücher.example/a",
    "İ.example/a",
    "\u212aelvin.example/a",
    "registry\u3002example/a",
    "https://acme.io/a",
    "http://acme.io/a",
    "oci://acme.io/a",
    "docker://busybox",
    "a://b",
    "://a",
    "::1/a",
    "::1:5000/a",
    "[::1]",
    "[::1]:5000",
    "[::1]a/b",
    "[::1/a",
    "::1]/a",
    "[]/a",
    "[]:5000/a",
    "[1.2.3.4]/a",
    "[localhost]/a",
    "[:::1]/a",
    "[1:2:3]/a",
    "[1::2::3]/a",
    "[fe80::1%eth0]:5000/a",
    "[fe80::1%25eth0]/a",
    "[::ffff:127.0.0.1]/a",
    "[2001:db8::10000]/a",
    "[::\u0661]/a",
    "[[::1]]/a",
    "a:",
    "a:.b",
    "a:-b",
    "a:b c",
    "a:b/c",
    "a:b:c",
    "a:b+c",
    "a:b%2f",
    "a:b?n=1",
    "a:é",
    "a:\u0661",
    "a:" + "t" * (MAX_TAG_LENGTH + 1),
    "a@",
    "a@sha256",
    "a@sha256:",
    "a@sha256:abc",
    f"a@{SHA}0",
    f"a@{SHA[:-1]}",
    f"a@{SHA.upper()}",
    f"a@{SHA}@{SHA}",
    f"a@{SHA}:tag",
    f"a@@{SHA}",
    f"a:@{SHA}",
    f"a:tag:tag@{SHA}",
    SHA + "/a",
    "0123456789abcdef" * 4,
    "a\n",
    "a:b\n",
    f"a@{SHA}\n",
    "\na",
    "a\r\nHost: evil",
    "a\x00",
    "a\t",
    " a",
    "a ",
    "a b",
    "a%2fb",
    "a%00",
    "a?x",
    "a#x",
    "a\\b",
    "a+b",
    "a,b",
    "a;b",
    "a*",
    "é",
    "\u0430cme/app",
    "a/\u0661",
    "a/²",
    "a/\ufb00",
]


@pytest.mark.parametrize(("text", "canonical", "familiar"), VALID, ids=[ascii(row[0][:60]) for row in VALID])
def test_a_reference_reads_as_docker_reads_it(text: str, canonical: str, familiar: str | None) -> None:
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == (familiar or canonical)
    assert Reference.parse(canonical) == reference
    assert Reference.parse(reference.familiar) == reference


@pytest.mark.parametrize("text", INVALID, ids=lambda text: ascii(text[:60]))
def test_t39_text_that_is_no_reference_is_refused_and_never_encoded(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as raised:
        Reference.parse(text)
    assert not set("\r\n\x00") & set(str(raised.value))


def test_the_tables_hold_a_hundred_rows_and_no_row_twice() -> None:
    texts = [row[0] for row in VALID] + INVALID
    assert len(texts) == len(set(texts)) > 150


@pytest.mark.parametrize("value", [None, 5, b"busybox", ["busybox"]])
def test_only_strings_are_parsed(value: object) -> None:
    for parse in (Reference.parse, RegistryName.parse, RepositoryName, Tag):
        with pytest.raises(InvalidReferenceError, match="is a string, not"):
            parse(value)  # type: ignore[arg-type]  # a wrong argument is the point


@pytest.mark.parametrize("size", [MAX_NAME_LENGTH - 1, MAX_NAME_LENGTH, MAX_NAME_LENGTH + 1])
def test_host_and_repository_together_have_255_characters_at_most(size: int) -> None:
    text = "registry.acme.io:5000/" + "a" * (size - len("registry.acme.io:5000/"))
    if size <= MAX_NAME_LENGTH:
        assert Reference.parse(f"{text}:{'t' * MAX_TAG_LENGTH}").name == text
    else:
        with pytest.raises(InvalidReferenceError, match="longer than 255 characters"):
            Reference.parse(text)


def test_what_docker_adds_counts_for_the_length() -> None:
    Reference.parse("a" * (MAX_NAME_LENGTH - len("docker.io/library/")))
    with pytest.raises(InvalidReferenceError):
        Reference.parse("a" * (MAX_NAME_LENGTH - len("docker.io/library/") + 1))


@pytest.mark.parametrize("size", [MAX_NAME_LENGTH - 1, MAX_NAME_LENGTH, MAX_NAME_LENGTH + 1])
def test_a_repository_name_alone_has_255_characters_at_most(size: int) -> None:
    if size <= MAX_NAME_LENGTH:
        assert repository_name("a" * size) == "a" * size
    else:
        with pytest.raises(InvalidReferenceError, match="at most 255"):
            repository_name("a" * size)


@pytest.mark.parametrize("size", [MAX_TAG_LENGTH - 1, MAX_TAG_LENGTH, MAX_TAG_LENGTH + 1])
def test_a_tag_has_128_characters_at_most(size: int) -> None:
    if size <= MAX_TAG_LENGTH:
        assert Tag("t" * size) == "t" * size
    else:
        with pytest.raises(InvalidReferenceError, match="at most 128"):
            Tag("t" * size)


def test_the_longest_reference_is_accepted_and_one_more_character_is_not_looked_at() -> None:
    name = "acme.io/" + "a" * (MAX_NAME_LENGTH - len("acme.io/"))
    text = f"{name}:{'t' * MAX_TAG_LENGTH}@x:{'y' * (MAX_DIGEST_LENGTH - 2)}"
    assert len(text) == MAX_REFERENCE_LENGTH
    assert str(Reference.parse(text)) == text
    with pytest.raises(InvalidReferenceError, match="too long for a reference"):
        Reference.parse(text + "y")


@pytest.mark.parametrize("text", ["a" * 5_000_000, "a/" * 2_000_000, "a-" * 2_000_000, "[" + ":" * 3_000_000])
def test_t39_megabytes_are_refused_by_their_length_and_shown_shortened(text: str) -> None:
    for parse in (Reference.parse, RegistryName.parse, RegistryName, RepositoryName, Tag):
        with pytest.raises(InvalidReferenceError) as raised:
            parse(text)
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "text", ["a\n", "a/b\n", "a/\u0663", "a/\uff41", "\u017f", "a/\u200b", "a\u2028", "a/b\x0b", "a/b\x85", "a\ufeff"]
)
def test_t40_repository_names_are_ascii_and_end_where_the_text_ends(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        RepositoryName(text)


@pytest.mark.parametrize("text", ["v1\n", "v\uff11", "v\u0663", "é", "v\u200b", "\u017f", "v1\r"])
def test_t40_tags_are_ascii_and_end_where_the_text_ends(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        Tag(text)


@pytest.mark.parametrize(
    "text", ["x?y=z", "..", ".", "%2f", "a/b", "a:b", "a@b", "", " ", "a\r\nb", "a\x00", "#", "a&b"]
)
def test_t39_a_tag_cannot_carry_anything_into_a_url(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        Tag(text)
    with pytest.raises(InvalidReferenceError):
        Reference.parse("acme/app").with_tag(text)


@pytest.mark.parametrize(
    "text", ["../a", "a/../b", "a?b", "a%2fb", "a b", "a\r\nb", "/a", "a/", "a//b", "A", "", "a#b", "a:b"]
)
def test_t39_a_repository_name_cannot_carry_anything_into_a_url(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        RepositoryName(text)
    with pytest.raises(InvalidReferenceError):
        Reference(RegistryName("acme.io"), text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("docker://busybox", "leave the scheme out"),
        ("0" * 64, "could be an image id"),
        ("acme/App", "must be lower case"),
        ("acme//app", "empty part"),
        ("acme/app?", "lower-case letters and digits"),
        ("a@sha256:abc", "bad digest: .*exactly 64"),
        ("acme.io:http/a", "does not end in a port"),
        ("acme.io:70000/a", "not a port"),
    ],
)
def test_a_refusal_says_why(text: str, reason: str) -> None:
    with pytest.raises(InvalidReferenceError, match=reason):
        Reference.parse(text)


def test_q01_every_spelling_of_docker_hub_is_one_registry() -> None:
    for host in ("docker.io", "index.docker.io", "registry-1.docker.io", "Docker.IO", ""):
        registry = RegistryName.parse(host)
        assert registry == RegistryName("docker.io")
        assert registry.is_docker_hub
        assert registry.api_host == "registry-1.docker.io"
        assert registry.credential_key == "https://index.docker.io/v1/"


def test_q01_a_repository_without_a_namespace_is_docker_hubs_library() -> None:
    assert Reference.parse("alpine").repository == "library/alpine"
    assert Reference.parse("docker.io/alpine").repository == "library/alpine"
    assert Reference(RegistryName("docker.io"), RepositoryName("alpine")).repository == "library/alpine"
    assert Reference.parse("acme.io/alpine").repository == "alpine"
    assert Reference.parse("alpine", default_registry="acme.io").repository == "alpine"


def test_the_default_registry_may_carry_a_scheme_and_a_port() -> None:
    reference = Reference.parse("app", default_registry="http://localhost:5000")
    assert reference.registry == RegistryName("localhost", 5000, "http")
    assert str(reference) == "localhost:5000/app"


def test_the_default_tag_is_used_only_where_nothing_else_is_named() -> None:
    assert Reference.parse("a").tag is None
    assert Reference.parse("a", default_tag="latest").tag == "latest"
    assert Reference.parse("a:v1", default_tag="latest").tag == "v1"
    assert Reference.parse(f"a@{SHA}", default_tag="latest").tag is None
    with pytest.raises(InvalidReferenceError):
        Reference.parse("a", default_tag="not a tag")


def test_the_locator_is_the_digest_then_the_tag_then_latest() -> None:
    assert Reference.parse(f"a:v1@{SHA}").locator == Digest(SHA)
    assert Reference.parse("a:v1").locator == Tag("v1")
    assert Reference.parse("a").locator == Tag("latest")


def test_with_tag_drops_the_digest_and_with_digest_keeps_the_tag() -> None:
    reference = Reference.parse(f"acme/app:v1@{SHA}")
    assert str(reference.with_tag("v2")) == "docker.io/acme/app:v2"
    assert str(reference.with_digest(SHA512)) == f"docker.io/acme/app:v1@{SHA512}"
    with pytest.raises(InvalidDigestError):
        reference.with_digest("sha256:short")


def test_a_single_label_host_never_turns_into_a_docker_hub_namespace() -> None:
    reference = Reference(RegistryName("registry"), RepositoryName("team/app"))
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar).registry.host == "registry"


def test_references_are_values() -> None:
    reference = Reference.parse(f"localhost:5000/acme/app:v1@{SHA}")
    assert {reference: 1}[Reference.parse(str(reference))] == 1
    for twin in (pickle.loads(pickle.dumps(reference)), copy.deepcopy(reference)):  # noqa: S301 -- our own
        assert twin == reference
        assert [type(part) for part in (twin.repository, twin.tag, twin.digest)] == [RepositoryName, Tag, Digest]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reference.tag = None  # type: ignore[misc]  # that it cannot be set is the point


def test_docker_hub_with_its_scheme_named_is_as_familiar() -> None:
    assert Reference(RegistryName.parse("https://docker.io"), "alpine").familiar == "alpine"
    assert Reference(RegistryName.parse("docker.io:443"), "alpine").familiar == "docker.io:443/library/alpine"


# The text that was given is a variable of the frames it went through, as it is of the caller's own.
@pytest.mark.usefixtures("secrets_may_show")
@pytest.mark.parametrize("text", ["u:s3cret@acme.io/a", "https://u:s3cret@acme.io/a", "u:s3cret@acme.io:5000/a:v1"])
def test_t45_a_password_in_a_reference_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="as credentials") as caught:
        Reference.parse(text)
    assert "s3cret" not in str(caught.value)


@pytest.mark.usefixtures("secrets_may_show")
@pytest.mark.parametrize("text", ["u:s3cret@acme.io", "https://u:s3cret@acme.io", "s3cret@acme.io:5000"])
def test_t45_a_password_in_a_registry_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="as credentials") as caught:
        RegistryName.parse(text)
    assert "s3cret" not in str(caught.value)

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest

from ocidist.errors import DigestMismatchError, DigestUnsupportedError, InvalidDigestError
from ocidist.model.digest import MAX_DIGEST_LENGTH, Digest, Hasher

HEX64 = "0123456789abcdef" * 4
HEX128 = HEX64 * 2

VALID = [
    f"sha256:{HEX64}",
    f"sha512:{HEX128}",
    f"blake3:{HEX64}",
    f"sha384:{'a' * 96}",
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "multihash+base58:QmTDMoVqvyBkNMRhzvukTDznntByUNDwyNdSfV8dZ3VKRC",
    "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    f"tarsum.v1+sha256:{HEX64}",
    "a:b",
    "0:0",
    "a+b.c_d-e:Z=",
    "x:" + "y" * (MAX_DIGEST_LENGTH - 2),
]

INVALID = [
    "",
    ":",
    "sha256",
    "sha256:",
    f":{HEX64}",
    HEX64,
    f"sha256:{HEX64[:-1]}",
    f"sha256:{HEX64}0",
    f"sha256:{HEX64[:-1]}G",
    f"sha256:{HEX64.upper()}",
    f"SHA256:{HEX64}",
    f"Sha256:{HEX64}",
    f"sha512:{HEX64}",
    f"sha512:{HEX128[:-1]}",
    f"sha512:{HEX128}0",
    f"blake3:{HEX64}0",
    f"sha256:{HEX64}\n",
    f"\nsha256:{HEX64}",
    f" sha256:{HEX64}",
    f"sha256:{HEX64} ",
    f"sha256: {HEX64}",
    f"sha256:{HEX64}\r\nHost: evil.example",
    f"sha256:{HEX64}\x00",
    f"sha256:{HEX64}?ns=evil",
    f"sha256:{HEX64}/../x",
    f"sha256:{HEX64}%2f",
    f"sha256::{HEX64}",
    f"sha256@{HEX64}",
    "sha256:../../../../etc/passwd",
    "sha256:" + "\u0663" * 64,
    "sha256:" + "\uff10" * 64,
    f"\u0455ha256:{HEX64}",
    f"sha256:{HEX64[:-1]}é",
    "a++b:c",
    "+a:b",
    "a+:b",
    "a b:c",
    "a:b c",
    "a:b.c",
    "a:b+c",
    "md5:",
    "x:" + "y" * (MAX_DIGEST_LENGTH - 1),
    "a" * 1_000_000 + ":b",
    "a+" * 500_000,
]


@pytest.mark.parametrize("text", VALID)
def test_a_digest_that_follows_the_grammar_is_kept_as_it_is(text: str) -> None:
    digest = Digest(text)
    assert digest == text
    assert f"{digest.algorithm}:{digest.encoded}" == text


@pytest.mark.parametrize("text", INVALID, ids=lambda text: ascii(text[:40]))
def test_t17_a_string_that_is_not_a_digest_never_becomes_one(text: str) -> None:
    with pytest.raises(InvalidDigestError) as raised:
        Digest(text)
    assert len(str(raised.value)) < 2 * MAX_DIGEST_LENGTH + 200
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [None, 5, b"sha256:" + HEX64.encode(), ["a:b"]])
def test_t17_only_strings_become_digests(value: object) -> None:
    with pytest.raises(InvalidDigestError, match="a digest is a string"):
        Digest(value)  # type: ignore[arg-type]  # a wrong argument is the point


@pytest.mark.parametrize("length", [63, 64, 65])
def test_t17_the_encoded_part_of_sha256_has_exactly_64_digits(length: int) -> None:
    text = "sha256:" + "a" * length
    if length == 64:
        assert Digest(text).encoded == "a" * length
    else:
        with pytest.raises(InvalidDigestError, match="exactly 64 lower-case hex digits"):
            Digest(text)


@pytest.mark.parametrize("text", ["sha256:" + "²" * 64, "sha256:" + "a" * 64 + "\n", "a:b\n", "a:\u00ef"])
def test_t40_digests_are_ascii_and_end_where_the_text_ends(text: str) -> None:
    with pytest.raises(InvalidDigestError):
        Digest(text)


@pytest.mark.parametrize(("algorithm", "verifiable"), [("sha256", True), ("sha512", True), ("blake3", False)])
def test_only_sha256_and_sha512_say_they_can_be_verified(algorithm: str, *, verifiable: bool) -> None:
    encoded = HEX128 if algorithm == "sha512" else HEX64
    assert Digest(f"{algorithm}:{encoded}").verifiable is verifiable


@pytest.mark.parametrize(
    "name", ["md5", "sha1", "sha224", "shake_128", "blake2b", "blake3", "sha512-256", "rsa-sha256", ""]
)
def test_t18_an_algorithm_a_server_names_is_never_looked_up_in_hashlib(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("hashlib.new was called with a name from outside")

    monkeypatch.setattr(hashlib, "new", refuse)
    with pytest.raises(DigestUnsupportedError):
        Hasher(name)
    with pytest.raises(DigestUnsupportedError):
        Digest.of(b"content", name)


def test_t18_the_right_md5_of_the_right_content_is_refused() -> None:
    content = b"content"
    digest = Digest("md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest())
    with pytest.raises(DigestUnsupportedError, match="md5"):
        digest.verify(content)
    with pytest.raises(DigestUnsupportedError, match="Only sha256 and sha512"):
        digest.hasher()


def test_digest_of_bytes_is_what_hashlib_says() -> None:
    assert Digest.of(b"{}") == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert Digest.of(b"{}", "sha512").encoded == hashlib.sha512(b"{}").hexdigest()


def test_verify_passes_for_the_content_and_names_both_digests_otherwise() -> None:
    digest = Digest.of(b"right", "sha512")
    digest.verify(b"right")
    with pytest.raises(DigestMismatchError) as raised:
        digest.verify(b"wrong")
    assert (raised.value.expected, raised.value.actual) == (digest, Digest.of(b"wrong", "sha512"))
    assert raised.value.size == 5


def test_a_hasher_fed_in_pieces_agrees_with_the_whole() -> None:
    hasher = Digest.of(b"").hasher()
    for piece in (b"one", bytearray(b"two"), memoryview(b"three")):
        hasher.update(piece)
    assert hasher.digest() == Digest.of(b"onetwothree")
    assert hasher.size == 11
    assert repr(hasher) == "<Hasher sha256, 11 bytes>"


def test_a_hashers_size_counts_bytes_not_items() -> None:
    hasher = Hasher()
    hasher.update(memoryview(bytes(8)).cast("I"))
    assert hasher.size == 8


def test_a_copied_hasher_goes_its_own_way() -> None:
    hasher = Hasher("sha512")
    hasher.update(b"shared")
    twin = hasher.copy()
    twin.update(b" and more")
    assert hasher.digest() == Digest.of(b"shared", "sha512")
    assert (twin.digest(), twin.size) == (Digest.of(b"shared and more", "sha512"), 15)


def test_a_digest_is_a_plain_string_to_dicts_json_pickle_and_copy() -> None:
    digest = Digest.of(b"x")
    assert {str(digest): 1}[digest] == 1
    for twin in (pickle.loads(pickle.dumps(digest)), copy.deepcopy(digest), Digest.parse(digest)):  # noqa: S301 -- our own bytes
        assert twin == digest
        assert type(twin) is Digest


def test_a_digest_is_not_checked_twice() -> None:
    digest = Digest.of(b"x")
    assert Digest(digest) is digest


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        (f"sha256:{HEX64}", f"sha256-{HEX64}"),
        (f"sha512:{HEX128}", f"sha512-{HEX128[:64]}"),
        ("md5:d41d8cd98f00b204", "md5-d41d8cd98f00b204"),
        (
            "one+two+three+four+five+six+seven+eight:Nine=Ten" + "=" * 60,
            "one-two-three-four-five-six-seve-Nine-Ten" + "-" * 56,
        ),
        ("a.b_c-d+e:F_g-h=", "a.b_c-d-e-F_g-h-"),
        ("a" * 32 + "z:" + "b" * 65, "a" * 32 + "-" + "b" * 64),
    ],
)
def test_q48_the_referrers_tag_is_cut_and_cleaned(digest: str, tag: str) -> None:
    assert Digest(digest).referrers_tag == tag

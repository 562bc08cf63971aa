from __future__ import annotations

import json

import pytest

from ocidist import Basic, CredentialStoreError, IdentityToken
from ocidist.credentials.document import ConfigDocument
from ocidist.model.reference import HUB_INDEX

CI = {"auth": "Y2k6czNjcmV0"}  # ci:s3cret


def document(**fields: object) -> ConfigDocument:
    return ConfigDocument.parse(json.dumps(fields).encode(), "the file")


def test_q5_namespaces_choose_among_entries() -> None:
    found = document(
        auths={"quay.io": CI, "quay.io/acme": {"identitytoken": "acme"}, "quay.io/acme/app": {"identitytoken": "app"}}
    )
    assert found.has_namespaces
    assert found.resolve("quay.io") == Basic("ci", "s3cret")
    assert found.resolve("quay.io", "else/where") == Basic("ci", "s3cret")
    assert found.resolve("quay.io", "acme/lib") == IdentityToken("acme")
    assert found.resolve("quay.io", "acme/app") == IdentityToken("app")
    assert found.resolve("ghcr.io", "acme/app") is None


def test_q6_an_empty_entry_lets_the_next_spelling_speak() -> None:
    found = document(auths={"x.io": {}, "https://x.io/v1/": CI})
    assert found.resolve("x.io") == Basic("ci", "s3cret")


def test_s12_the_helper_of_a_host_goes_before_that_of_all() -> None:
    found = document(credsStore="all", credHelpers={"x.io": "one", "https://y.io/v2/": "two", "z.io": ""})
    assert found.helper_for("x.io") == "one"
    assert found.helper_for("y.io", "a/b") == "two"
    assert found.helper_for("z.io") is None
    assert found.helper_for("other.io") == "all"
    assert document(credsStore="").helper_for("x.io") is None
    assert document(credHelpers=None, auths=None).helper_for("x.io") is None
    assert document(credsStore="all", credHelpers={"x.io": None}).helper_for("x.io") is None


def test_q6_a_helper_is_asked_in_the_spelling_it_was_told() -> None:
    assert document().servers("x.io:5000") == ("x.io:5000",)
    assert document(auths={"https://x.io/v1/": {}}).servers("x.io") == ("https://x.io/v1/", "x.io")
    assert document(auths={"x.io": CI}).servers("x.io") == ("x.io",)
    assert document().servers("index.docker.io") == (HUB_INDEX, "docker.io")
    assert document(auths={"quay.io/acme": {}}).servers("quay.io", "acme/app") == ("quay.io/acme", "quay.io")
    many: dict[str, object] = {f"http{'s' * (n % 2)}://x.io/{n}": {} for n in range(9)}
    assert len(document(auths=many).servers("x.io")) == 4


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"5",
        b'"hunter2"',
        b'{"auths": []}',
        b'{"auths": "hunter2"}',
        b'{"credHelpers": ["hunter2"]}',
        b'{"credHelpers": {"x.io": 5}}',
        b'{"credsStore": {"hunter2": 1}}',
        b'{"auths": {"x.io": {"auth": "hunter2',
        b"hunter2",
        b'{"auths": hunter2}',
        b'\xef\xbb\xbf{"auths": {}}',
        '{"auths": {}}'.encode("utf-16"),
        b'{"hunter2": "\xff"}',
        b'{"a": NaN}',
        b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_f177_what_is_no_credential_file_is_refused_without_a_word_of_it(text: bytes) -> None:
    with pytest.raises(CredentialStoreError) as caught:
        ConfigDocument.parse(text, "/some/config.json")
    assert "/some/config.json" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def test_f177_it_says_where_json_ends_to_be_json() -> None:
    with pytest.raises(CredentialStoreError, match=r"line 2 column \d+"):
        ConfigDocument.parse(b'{"auths":\n {,}}', "f")
    with pytest.raises(CredentialStoreError, match="byte order mark"):
        ConfigDocument.parse(b"\xef\xbb\xbf{}", "f")


def test_f177_one_bad_entry_is_no_harm_to_the_others() -> None:
    found = document(auths={"bad.io": {"auth": "hunter2"}, "x.io": CI})
    assert found.resolve("x.io") == Basic("ci", "s3cret")
    with pytest.raises(CredentialStoreError, match=r"bad\.io of the file") as caught:
        found.resolve("bad.io")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b" \n", b"{}", b'{"auths": {}}', b'{"auths": null}'])
def test_a_file_without_anything_says_nothing(text: bytes) -> None:
    assert ConfigDocument.parse(text, "f").resolve("x.io") is None


def test_q5_dockercfg_in_both_its_forms() -> None:
    as_json = json.dumps({"https://index.docker.io/v1/": CI, "x.io": CI}).encode()
    for text, hosts in (
        (as_json, ("docker.io", "x.io")),
        (b"auth = Y2k6czNjcmV0\nemail = ci@acme.io\n", ("docker.io",)),
    ):
        found = ConfigDocument.parse(text, ".dockercfg", legacy=True)
        for host in hosts:
            assert found.resolve(host) == Basic("ci", "s3cret")
        assert found.helper_for("docker.io") is None
    with pytest.raises(CredentialStoreError, match="auth line") as caught:
        ConfigDocument.parse(b"password = hunter2\n", ".dockercfg", legacy=True)
    assert "hunter2" not in str(caught.value)


def test_what_is_not_known_stays_and_every_spelling_goes() -> None:
    before = document(
        auths={"https://x.io/v1/": CI, "x.io": {**CI, "email": "e"}, "x.io/ns": CI, "y.io": CI}, proxies={"a": [1.5]}
    )
    after = before.with_entry("x.io", "", Basic("new", "one"))
    assert after.resolve("x.io") == Basic("new", "one")
    assert after.value["proxies"] == {"a": [1.5]}
    assert after.value["auths"]["x.io"]["email"] == "e"  # type: ignore[index]  # it is an object of JSON
    gone = after.without_entry("x.io", "")
    assert list(gone.value["auths"]) == ["x.io/ns", "y.io"]  # type: ignore[call-overload]  # it is an object of JSON
    assert gone.value["proxies"] == {"a": [1.5]}
    assert before.resolve("x.io") == Basic("ci", "s3cret")


def test_nothing_of_it_is_shown() -> None:
    assert "Y2k6" not in repr(document(auths={"x.io": CI}))

from __future__ import annotations

import base64
from typing import Any

import pytest

from ocidist import ANONYMOUS, Basic, Credential, IdentityToken, InvalidCredentialError, RegistryToken, UsageError
from ocidist.credentials.entry import Problem, read_entry, write_entry

SECRET = "hunter2"


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        ({"auth": b64("ci:s3cret")}, Basic("ci", "s3cret")),
        ({"auth": f" {b64('ci:s3cret')}\n"}, Basic("ci", "s3cret")),
        # As base64(1) breaks lines, and as Docker reads them all the same.
        ({"auth": base64.encodebytes(f"ci:{'s3cret' * 20}".encode()).decode()}, Basic("ci", "s3cret" * 20)),
        ({"auth": "Y2k6\r\nczNjcmV0"}, Basic("ci", "s3cret")),
        ({"username": "ci", "password": "s3cret"}, Basic("ci", "s3cret")),
        ({"auth": b64("ci:auth"), "username": "other", "password": "fields"}, Basic("ci", "auth")),
        ({"auth": "", "username": "ci", "password": "s3cret"}, Basic("ci", "s3cret")),
        ({"identitytoken": "refresh"}, IdentityToken("refresh")),
        ({"auth": b64("00000000-0000-0000-0000-000000000000:"), "identitytoken": "acr"}, IdentityToken("acr")),
        ({"identitytoken": "refresh", "registrytoken": "access"}, RegistryToken("access")),
        ({"auth": b64("<token>:refresh")}, IdentityToken("refresh")),
        ({"auth": b64("ci:pässwörd")}, Basic("ci", "pässwörd")),
        ({"auth": b64("ci:s"), "email": None, "serveraddress": "x"}, Basic("ci", "s")),
    ],
)
def test_s12_every_field_that_holds_a_credential_is_read(entry: dict[str, Any], credential: Credential) -> None:
    assert read_entry(entry) == credential


@pytest.mark.parametrize(
    "entry",
    # The last one is what scripts write whose variables are empty: for Docker and Podman that is nobody.
    [{}, None, {"auth": ""}, {"auth": None}, {"email": "a@b.io"}, {"username": ""}, {"auth": b64(":")}],
)
def test_q6_an_entry_without_a_secret_says_to_ask_the_helper(entry: object) -> None:
    assert read_entry(entry) is None


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        ({"auth": b64("ci:s3cret\0")}, Basic("ci", "s3cret")),
        ({"auth": b64("ci:s3cret\0\0\0\0")}, Basic("ci", "s3cret")),
        ({"username": "ci", "password": "s3cret\0"}, Basic("ci", "s3cret")),
        ({"auth": b64("ci:a:b:c")}, Basic("ci", "a:b:c")),
        ({"auth": b64("ci::")}, Basic("ci", ":")),
        ({"username": "ci", "password": "a:b"}, Basic("ci", "a:b")),
    ],
)
def test_q7_nuls_at_the_end_and_colons_in_passwords(entry: dict[str, Any], credential: Credential) -> None:
    assert read_entry(entry) == credential


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": b64(SECRET)},
        {"auth": b64(f":{SECRET}")},
        {"auth": b64("ci:")},
        {"auth": f"{SECRET}!"},
        {"auth": b64(f"ci:{SECRET}") + "="},
        {"auth": b64(b"ci:\xff\xfe" + SECRET.encode())},
        {"auth": b64(f"ci:{SECRET}\n")},
        {"auth": b64(f"ci:\0{SECRET}")},
        {"username": "c:i", "password": SECRET},
        {"username": "ci"},
        {"password": SECRET},
        {"auth": 5},
        {"auth": [SECRET]},
        {"identitytoken": f"{SECRET} {SECRET}"},
        {"registrytoken": f"{SECRET}\r\nX: y"},
        SECRET,
        [SECRET],
    ],
)
def test_q7_what_cannot_be_sent_is_a_problem_that_does_not_repeat_it(entry: object) -> None:
    problem = read_entry(entry)
    assert isinstance(problem, Problem)
    assert SECRET not in problem.reason
    assert b64(SECRET).strip("=") not in problem.reason


CONTROLS = [*map(chr, range(32)), "\x7f"]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda text: f"{ord(text):02x}")
def test_t42_control_characters_are_refused_in_every_part(control: str) -> None:
    for user, password in ((f"c{control}i", "x"), ("ci", f"x{control}y"), ("ci", control), (control, "x")):
        with pytest.raises(InvalidCredentialError) as caught:
            Basic(user, password)
        assert control not in caught.value.message
    for kind in (IdentityToken, RegistryToken):
        with pytest.raises(InvalidCredentialError):
            kind(f"to{control}ken")


@pytest.mark.parametrize("user", ["a:b", ":", ":a", "a:"])
def test_t42_a_colon_is_refused_in_user_names_and_taken_in_passwords(user: str) -> None:
    with pytest.raises(InvalidCredentialError, match="':'"):
        Basic(user, "x")
    assert Basic("x", user).password == user


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_t42_text_that_utf8_cannot_encode_is_refused(text: str) -> None:
    for user, password in ((text, "x"), ("x", text)):
        with pytest.raises(InvalidCredentialError, match="UTF-8"):
            Basic(user, password)


@pytest.mark.parametrize("text", ["pässwörd", "пароль", "密码", "🔑", "€"])
def test_t42_other_scripts_survive_being_kept(text: str) -> None:
    assert read_entry(write_entry(Basic(text, text))) == Basic(text, text)


@pytest.mark.parametrize(
    "credential", [Basic("ci", "a:b"), IdentityToken("refresh"), RegistryToken("access")], ids=repr
)
def test_what_is_written_is_read_again_and_unknown_fields_stay(credential: Credential) -> None:
    old = {"auth": b64("old:old"), "identitytoken": "old", "registrytoken": "old", "email": "a@b.io", "x": [1]}
    entry = write_entry(credential, old)
    assert read_entry(entry) == credential
    assert entry["email"] == "a@b.io"
    assert entry["x"] == [1]
    assert "old" not in str(entry)


def test_nobody_cannot_be_kept() -> None:
    with pytest.raises(UsageError, match="log out"):
        write_entry(ANONYMOUS)

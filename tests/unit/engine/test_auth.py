"""The Engine's credential header, and the bodies that were there before it."""

from __future__ import annotations

import base64
import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocidist import ANONYMOUS, Basic, IdentityToken, InvalidCredentialError, ProtocolError, RegistryToken
from ocidist.engine import (
    AUTH_HEADER,
    AuthConfig,
    AuthenticateOKBody,
    DecodedAuth,
    decode_auth,
    decode_auth_body,
    encode_auth,
)
from ocidist.engine.auth import MAX_AUTH

# As Go programs write them: no blanks, "<", ">" and "&" escaped, letters beyond ASCII as they are.
ALICE = (
    AuthConfig(username="alice", password="p&ss>?ÿ", server_address="registry.acme.io"),
    '{"username":"alice","password":"p\\u0026ss\\u003e?ÿ","serveraddress":"registry.acme.io"}',
    "eyJ1c2VybmFtZSI6ImFsaWNlIiwicGFzc3dvcmQiOiJwXHUwMDI2c3NcdTAwM2U_w78iLCJzZXJ2ZXJhZGRyZXNzIjoicmVnaXN0cnkuYWNtZS5pbyJ9",
)
HUB = (
    AuthConfig(identity_token="eyJ0", server_address="https://index.docker.io/v1/"),
    '{"serveraddress":"https://index.docker.io/v1/","identitytoken":"eyJ0"}',
    "eyJzZXJ2ZXJhZGRyZXNzIjoiaHR0cHM6Ly9pbmRleC5kb2NrZXIuaW8vdjEvIiwiaWRlbnRpdHl0b2tlbiI6ImV5SjAifQ==",
)
EVERYTHING = AuthConfig(
    username="u",
    password="pa55word",
    auth="dTpwYTU1",
    email="u@acme.io",
    server_address="h:1",
    identity_token="1dent1ty",
    registry_token="reg1stry",
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize(("config", "document", "header"), [ALICE, HUB, (AuthConfig(), "{}", "e30=")])
def test_a15_the_header_is_what_dockers_own_client_sends(config: AuthConfig, document: str, header: str) -> None:
    assert AUTH_HEADER == "X-Registry-Auth"
    assert config.to_json() == document.encode()
    assert encode_auth(config) == header
    assert decode_auth(header) == config
    assert decode_auth(header.rstrip("=")) == config
    assert decode_auth_body(document.encode()) == config


@given(st.builds(AuthConfig, username=TEXTS, password=TEXTS, server_address=TEXTS, registry_token=TEXTS))
def test_a15_whatever_is_in_there_comes_back(config: AuthConfig) -> None:
    assert decode_auth(encode_auth(config)) == config
    # Any JSON reader sees the same.
    assert json.loads(config.to_json()).get("password", "") == config.password


def test_fields_are_in_the_order_of_the_engine_and_empty_ones_left_out() -> None:
    assert list(json.loads(EVERYTHING.to_json())) == [
        *("username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken"),
    ]


@pytest.mark.parametrize("text", ["", "e30=", "bnVsbA==", "eyJVc2VyTmFtZSI6bnVsbCwieCI6MX0="])
def test_nobody_is_an_empty_credential(text: str) -> None:
    assert decode_auth(text) == AuthConfig()


def test_field_names_are_found_in_any_case_but_only_once() -> None:
    assert decode_auth_body(b'{"Username":"u","PASSWORD":"p"}') == AuthConfig(username="u", password="p")
    with pytest.raises(InvalidCredentialError):
        decode_auth_body(b'{"username":"u","Username":"v"}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"s3cret"',
        b'{"password":1}',
        b'{"password":["s3cret"]}',
        b'{"password":"s3cret"',
        b'{"password":"s3cret"} x',
        b'{"password":"\xff"}',
        b'{"password":"\\ud800"}',
        b"[" * 100_000,
        b'{"password":"' + b"s" * MAX_AUTH + b'"}',
    ],
)
def test_a15_what_cannot_be_read_is_an_error_that_tells_nothing_of_it(body: bytes) -> None:
    for text in (base64.urlsafe_b64encode(body).decode(), "s3cret!", "a"):
        if not text:
            continue
        with pytest.raises(InvalidCredentialError) as caught:
            decode_auth(text)
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(InvalidCredentialError):
        decode_auth_body(body)


@pytest.mark.parametrize(
    "text",
    [
        "!!!!",
        base64.urlsafe_b64encode(b"[]").decode(),
        "é",
        # The other alphabet: the Engine does not take it.
        base64.b64encode(b'{"password":"???~~~"}').decode(),
        "e30=e30=",
    ],
)
def test_a15_there_is_a_credential_in_any_case_for_who_does_not_want_to_be_strict(text: str) -> None:
    config, error = decode_auth(text, strict=False)
    assert config == AuthConfig()
    assert isinstance(error, InvalidCredentialError)
    assert decode_auth(HUB[2], strict=False) == DecodedAuth(HUB[0], None)
    assert decode_auth_body(b"{}", strict=False) == DecodedAuth(AuthConfig())
    assert decode_auth_body(b"{", strict=False).error is not None


def test_no_secret_shows() -> None:
    for secret in ("pa55word", "dTpwYTU1", "1dent1ty", "reg1stry"):
        assert secret not in repr(EVERYTHING)
    assert "1dent1ty" not in repr(AuthenticateOKBody("1dent1ty"))


@pytest.mark.parametrize(
    ("config", "credential"),
    [
        (AuthConfig(), ANONYMOUS),
        (AuthConfig(username="u", password="p"), Basic("u", "p")),
        (AuthConfig(auth="dTpw", username="x", password="y"), Basic("u", "p")),
        (AuthConfig(username="u", password="p", identity_token="t"), IdentityToken("t")),
        (AuthConfig(identity_token="t", registry_token="r"), RegistryToken("r")),
        (AuthConfig(username="<token>", password="t"), IdentityToken("t")),
    ],
)
def test_a_credential_is_what_a_credential_file_would_make_of_it(config: AuthConfig, credential: object) -> None:
    assert config.to_credential() == credential


@pytest.mark.parametrize("credential", [Basic("u", "p"), IdentityToken("t"), RegistryToken("r"), ANONYMOUS])
def test_credentials_of_the_library_can_be_handed_to_the_engine(credential: Basic) -> None:
    config = AuthConfig.of(credential, server_address="h")
    assert config.server_address == "h"
    assert decode_auth(encode_auth(config)).to_credential() == credential


@pytest.mark.parametrize(
    "config", [AuthConfig(auth="pa55"), AuthConfig(username="u"), AuthConfig(registry_token="a b")]
)
def test_what_cannot_be_sent_is_no_credential(config: AuthConfig) -> None:
    with pytest.raises(InvalidCredentialError) as caught:
        config.to_credential()
    assert "pa55" not in str(caught.value)


def test_fields_are_text() -> None:
    with pytest.raises(InvalidCredentialError):
        AuthConfig(username=1)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(InvalidCredentialError):
        AuthConfig(password="\ud800")


def test_the_answer_to_a_login_is_read_and_written() -> None:
    document = b'{"IdentityToken":"","Status":"Login Succeeded"}'
    assert AuthenticateOKBody.from_json(document) == AuthenticateOKBody()
    assert AuthenticateOKBody().to_json() == document
    with pytest.raises(ProtocolError):
        AuthenticateOKBody.from_json(b"[]")

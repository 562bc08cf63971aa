"""Spec: distribution-spec, "Error Codes"."""

from __future__ import annotations

import json

import pytest

from ocidist import errors
from ocidist.errors import ErrorInfo, ResponseError
from ocidist.wire.errorbody import (
    CODES,
    MAX_DETAIL_CHARS,
    MAX_ERROR_BYTES,
    MAX_ERRORS,
    MAX_SHOWN_CHARS,
    Subject,
    body_note,
    error_for,
    parse_errors,
)

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


@pytest.mark.parametrize(
    ("body", "infos"),
    [
        (
            '{"errors":[{"code":"NAME_UNKNOWN","message":"no such","detail":{"name":"a/b"}}]}',
            [ErrorInfo("NAME_UNKNOWN", "no such", '{"name":"a/b"}')],
        ),
        (
            '{"errors":[{"code":"DENIED"},{"code":"UNKNOWN","message":"m"}]}',
            [ErrorInfo("DENIED"), ErrorInfo("UNKNOWN", "m")],
        ),
        ('{"errors":[{"code":"toomanyrequests","message":"slow down"}]}', [ErrorInfo("TOOMANYREQUESTS", "slow down")]),
        ('{"errors":[{"code":"name unknown"}]}', [ErrorInfo("NAME_UNKNOWN")]),
        ('{"errors":[{"code":"VENDOR_CODE_7","message":"m"}]}', [ErrorInfo("VENDOR_CODE_7", "m")]),
        ('{"errors":{"code":"DENIED","message":"single"}}', [ErrorInfo("DENIED", "single")]),
        ('{"errors":["just text"]}', [ErrorInfo("UNKNOWN", "just text")]),
        ('{"errors":"just text"}', [ErrorInfo("UNKNOWN", "just text")]),
        ('{"errors":null}', []),
        ('{"errors":[]}', []),
        ('{"errors":[],"message":"beside"}', [ErrorInfo("UNKNOWN", "beside")]),
        ('{"errors":[null,5,[],{}]}', []),
        ('{"errors":[{"status":404,"message":"no such"}]}', [ErrorInfo("UNKNOWN", "no such")]),
        ('{"errors":[{"code":404,"message":"no such"}]}', [ErrorInfo("UNKNOWN", "no such")]),
        ('{"code":"DENIED","message":"bare"}', [ErrorInfo("DENIED", "bare")]),
        ('[{"code":"DENIED","message":"list"}]', [ErrorInfo("DENIED", "list")]),
        ('{"message":"bare"}', [ErrorInfo("UNKNOWN", "bare")]),
        ('{"detail":"bare"}', [ErrorInfo("UNKNOWN", "bare")]),
        ('{"details":"wrong password"}', [ErrorInfo("UNKNOWN", "wrong password")]),
        ('{"error":"text"}', [ErrorInfo("UNKNOWN", "text")]),
        ('{"error":{"code":"denied","message":"nested"}}', [ErrorInfo("DENIED", "nested")]),
        ('{"error":"invalid_grant","error_description":"expired"}', [ErrorInfo("INVALID_GRANT", "expired")]),
        ('{"error":"unauthorized","message":"log in"}', [ErrorInfo("UNKNOWN", "log in")]),
        ('{"tags":["a"]}', []),
        ("{}", []),
        ("null", []),
        ('"text"', []),
        ("5", []),
        ("", []),
        ("<html><body>502 Bad Gateway</body></html>", []),
        ("404 page not found", []),
        ('{"errors":[{"code":"DENIED"', []),
        ("[" * 60_000, []),
        ('{"errors":[{"code":"A' + "A" * 200 + '"}]}', [ErrorInfo("A" * 64)]),
        ('{"errors":[{"code":"<script>","message":"m"}]}', [ErrorInfo("UNKNOWN", "m")]),
        ('{"errors":[{"code":"DENIED","message":null,"detail":null}]}', [ErrorInfo("DENIED")]),
        ('{"errors":[{"code":"DENIED","message":5,"detail":[]}]}', [ErrorInfo("DENIED")]),
    ],
)
def test_q63_every_shape_of_error_body_is_read(body: str, infos: list[ErrorInfo]) -> None:
    assert list(parse_errors(body.encode())) == infos


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x00" * 100, b'{"message":"\\ud800"}', b'{"message":1e999}'])
def test_q63_bytes_that_are_no_text_are_no_errors(data: bytes) -> None:
    assert parse_errors(data) == ()


def test_t46_messages_codes_and_details_lose_control_characters() -> None:
    body = {"errors": [{"code": "DENIED", "message": "\x1b]0;pwned\x07red\n", "detail": "\x1b[2J\u202e"}]}
    (info,) = parse_errors(json.dumps(body).encode())
    assert info == ErrorInfo("DENIED", "]0;pwnedred", "[2J")
    error = error_for(403, infos=(info,), url="https://r.example/\x1b[1m", request_id="a\x1bb", note="\x9b")
    assert str(error).isprintable()
    assert error.request_id == "ab"


def test_t46_a_note_from_a_body_is_short_and_clean() -> None:
    assert body_note(b"<html>\x1b[31m\xff\n" + b"x" * 10_000).startswith("<html>[31m")
    assert len(body_note(b"x" * 10_000)) == 200
    assert body_note(b"") == ""


def test_an_error_body_is_read_up_to_its_cap_and_shown_up_to_4_kib() -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "x" * 3000, "detail": "d" * 3000}] * 10}).encode()
    infos = parse_errors(body)
    assert len(infos) == 10
    assert sum(len(info.message) for info in infos) == MAX_SHOWN_CHARS
    assert all(len(info.detail) <= MAX_DETAIL_CHARS for info in infos)
    assert parse_errors(b'{"message":"x"}'.ljust(MAX_ERROR_BYTES)) != ()
    assert parse_errors(b'{"message":"x"}'.ljust(MAX_ERROR_BYTES + 1)) == ()


def test_no_more_entries_are_kept_than_an_image_has_layers() -> None:
    assert len(parse_errors(json.dumps({"errors": [{"code": "DENIED"}] * 1000}).encode())) == MAX_ERRORS


# --- which exception -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
        "RANGE_INVALID",
        "TAG_INVALID",
        "MANIFEST_UNVERIFIED",
        "PAGINATION_NUMBER_INVALID",
        "UNAVAILABLE",
    ],
)
def test_q63_each_code_has_its_exception(code: str) -> None:
    error = error_for(400, infos=(ErrorInfo(code, "why"),), method="GET", url="https://r.example/v2/")
    assert type(error) is CODES[code]
    assert CODES[code].code == code
    assert "why" in str(error)
    assert error.errors == (ErrorInfo(code, "why"),)


def test_every_exception_with_a_code_is_found_by_it() -> None:
    def classes(base: type[ResponseError]) -> set[type[ResponseError]]:
        return {base}.union(*map(classes, base.__subclasses__()))

    own = {kind for kind in classes(ResponseError) if "code" in vars(kind) and kind.code is not None}
    assert own <= set(CODES.values())


@pytest.mark.parametrize(
    ("status", "subject", "kind"),
    [
        (304, Subject.MANIFEST, errors.NotModifiedError),
        (400, Subject.OTHER, errors.UnexpectedStatusError),
        (401, Subject.MANIFEST, errors.UnauthorizedError),
        (403, Subject.MANIFEST, errors.DeniedError),
        (404, Subject.TAG, errors.TagUnknownError),
        (404, Subject.MANIFEST, errors.ManifestUnknownRevisionError),
        (404, Subject.BLOB, errors.BlobUnknownError),
        (404, Subject.UPLOAD, errors.BlobUploadUnknownError),
        (404, Subject.REPOSITORY, errors.NameUnknownError),
        (404, Subject.OTHER, errors.NotFoundError),
        (410, Subject.BLOB, errors.BlobUnknownError),
        (405, Subject.OTHER, errors.UnsupportedError),
        (409, Subject.UPLOAD, errors.UnexpectedStatusError),
        (412, Subject.MANIFEST, errors.PreconditionFailedError),
        (413, Subject.MANIFEST, errors.PayloadTooLargeError),
        (416, Subject.UPLOAD, errors.RangeInvalidError),
        (418, Subject.OTHER, errors.UnexpectedStatusError),
        (429, Subject.BLOB, errors.RateLimitedError),
        (500, Subject.BLOB, errors.ServerError),
        (501, Subject.BLOB, errors.UnsupportedError),
        (503, Subject.BLOB, errors.ServerError),
        (599, Subject.BLOB, errors.ServerError),
        (302, Subject.BLOB, errors.UnexpectedStatusError),
    ],
)
def test_q63_an_answer_without_a_body_is_told_by_its_status(
    status: int, subject: Subject, kind: type[ResponseError]
) -> None:
    error = error_for(status, method="HEAD", subject=subject)
    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "codes", "kind"),
    [
        (401, ["DENIED"], errors.DeniedError),
        (404, ["NAME_UNKNOWN"], errors.NameUnknownError),
        (404, ["NOT_FOUND"], errors.TagUnknownError),
        (404, ["MANIFEST_UNKNOWN"], errors.TagUnknownError),
        (404, ["BLOB_UNKNOWN"], errors.BlobUnknownError),
        (400, ["VENDOR", "DIGEST_INVALID"], errors.DigestInvalidError),
        (403, ["FORBIDDEN"], errors.DeniedError),
        (412, ["DENIED"], errors.PreconditionFailedError),
        (416, ["BLOB_UPLOAD_UNKNOWN"], errors.RangeInvalidError),
        (416, ["SIZE_INVALID"], errors.RangeInvalidError),
        (429, ["DENIED"], errors.RateLimitedError),
        (403, ["TOOMANYREQUESTS"], errors.RateLimitedError),
        (503, ["TOOMANYREQUESTS"], errors.RateLimitedError),
        (500, ["MANIFEST_UNKNOWN"], errors.ServerError),
        (500, ["UNKNOWN"], errors.ServerError),
        (501, ["UNSUPPORTED"], errors.UnsupportedError),
        (503, ["UNAVAILABLE"], errors.ServerError),
    ],
)
def test_q63_a_known_code_decides_and_a_failing_server_is_not_believed(
    status: int, codes: list[str], kind: type[ResponseError]
) -> None:
    error = error_for(status, infos=[ErrorInfo(code) for code in codes], subject=Subject.TAG)
    assert type(error) is kind


def test_a_missing_manifest_is_a_missing_revision_when_it_was_asked_for_by_digest() -> None:
    error = error_for(404, infos=[ErrorInfo("MANIFEST_UNKNOWN")], subject=Subject.MANIFEST)
    assert type(error) is errors.ManifestUnknownRevisionError


def test_missing_blobs_are_named_by_digest() -> None:
    body = {
        "errors": [
            {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown", "detail": A},
            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": {"digest": B}},
            {"code": "MANIFEST_BLOB_UNKNOWN", "message": f"no {A}", "detail": {"x": 1}},
        ]
    }
    error = error_for(404, infos=parse_errors(json.dumps(body).encode()), subject=Subject.MANIFEST)
    assert type(error) is errors.ManifestBlobUnknownError
    assert error.digests == (A, B)


def test_several_reasons_against_a_manifest_are_one_verification_error() -> None:
    error = error_for(400, infos=[ErrorInfo("MANIFEST_UNVERIFIED"), ErrorInfo("MANIFEST_BLOB_UNKNOWN", A)])
    assert type(error) is errors.ManifestVerificationError
    assert len(error.errors) == 2


def test_t45_the_url_of_an_error_has_no_secrets() -> None:
    error = error_for(404, method="PUT", url="https://me:canary@r.example/u?_state=canary&digest=sha256:ab#canary")
    assert "canary" not in str(error)
    assert error.url == "https://r.example/u?_state=***&digest=sha256:ab"


def test_what_the_registry_said_is_kept() -> None:
    error = error_for(429, method="GET", url="https://r.example/", request_id="id-1", retry_after=7.5, note="slow")
    assert (error.request_id, error.retry_after, error.method) == ("id-1", 7.5, "GET")
    assert "slow" in str(error)

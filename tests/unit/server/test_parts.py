from __future__ import annotations

import errno
import json

import anyio
import pytest

from ocidist.errors import (
    BlobUnknownError,
    DigestMismatchError,
    DigestUnsupportedError,
    ErrorInfo,
    MalformedManifestError,
    OciError,
    PreconditionFailedError,
    ResponseError,
    SizeMismatchError,
    StorageError,
    UsageError,
)
from ocidist.model.digest import Digest
from ocidist.server import Limits
from ocidist.server.refusal import as_refusal, body_of, of_pushed_content, said
from ocidist.server.service import Turns, names_entity
from ocidist.storage.layout_disk import broken, failed

A, B = Digest.of(b"a"), Digest.of(b"b")


@pytest.mark.parametrize(
    ("value", "digest", "weak", "expected"),
    [
        (f'"{A}"', A, False, True),
        (f'"{A}"', B, False, False),
        (f'"{B}" , "{A}"', A, False, True),
        (f'W/"{A}"', A, True, True),
        (f'W/"{A}"', A, False, False),
        ("*", A, False, True),
        ("*", None, False, False),
        (f'"{A}"', None, True, False),
        (str(A), A, True, False),
        ("", A, True, False),
    ],
)
def test_entity_tags_name_content(value: str, digest: Digest | None, weak: bool, expected: bool) -> None:
    assert names_entity(value, digest, weak=weak) is expected


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (said(BlobUnknownError, 404, "no"), 404, "BLOB_UNKNOWN"),
        (said(PreconditionFailedError, 412, "no"), 412, "UNKNOWN"),
        (DigestUnsupportedError("md5"), 400, "DIGEST_INVALID"),
        (StorageError("the memory store is full"), 507, "UNAVAILABLE"),
        (failed("write to /srv/x", OSError(errno.ENOSPC, "No space left")), 507, "UNAVAILABLE"),
        (failed("write to /srv/x", OSError(errno.EDQUOT, "Quota exceeded")), 507, "UNAVAILABLE"),
        (failed("write to /srv/x", OSError(errno.EACCES, "Permission denied")), 500, "UNAVAILABLE"),
        (failed("read /srv/x", OSError(errno.EIO, "Input/output error")), 500, "UNAVAILABLE"),
        (broken("the layout is damaged"), 500, "UNAVAILABLE"),
        (DigestMismatchError(A, B), 500, "UNAVAILABLE"),
        (UsageError("a defect"), 500, "UNAVAILABLE"),
    ],
)
def test_failures_become_refusals(error: OciError, status: int, code: str) -> None:
    refusal = as_refusal(error)
    assert (refusal.status, json.loads(body_of(refusal))["errors"][0]["code"]) == (status, code)
    assert b"srv" not in body_of(refusal)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DigestMismatchError(A, B), 400, "DIGEST_INVALID"),
        (SizeMismatchError(1, 2), 400, "SIZE_INVALID"),
        (MalformedManifestError("no"), 400, "MANIFEST_INVALID"),
        (StorageError("full"), 507, "UNAVAILABLE"),
    ],
)
def test_what_was_pushed_is_to_blame_for_itself(error: OciError, status: int, code: str) -> None:
    refusal = of_pushed_content(error)
    assert (refusal.status, json.loads(body_of(refusal))["errors"][0]["code"]) == (status, code)


def test_error_bodies_have_the_form_of_the_specification() -> None:
    error = ResponseError(400, errors=[ErrorInfo("A", "first", "detail"), ErrorInfo("B")])
    assert json.loads(body_of(error)) == {
        "errors": [{"code": "A", "message": "first", "detail": "detail"}, {"code": "B", "message": ""}]
    }
    assert json.loads(body_of(ResponseError(418, note="tea")))["errors"][0]["code"] == "UNKNOWN"


@pytest.mark.parametrize(
    "field",
    [
        "max_manifest",
        "max_uploads",
        "upload_ttl",
        "page",
        "referrers_page",
        "idle",
        "max_target",
        "max_head",
        "max_blob",
        "max_pending",
        "min_chunk",
    ],
)
def test_limits_that_make_no_sense_are_refused(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        Limits(**{field: -1})


@pytest.mark.parametrize("field", ["max_manifest", "max_uploads", "upload_ttl", "page", "referrers_page", "idle"])
def test_most_limits_are_positive(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        Limits(**{field: 0})
    assert getattr(Limits(**{field: 1}), field) == 1


def test_a_blob_limit_of_nothing_is_a_limit() -> None:
    assert Limits(max_blob=0, min_chunk=0).max_blob == 0


async def test_turns_are_taken_one_after_the_other_for_each_name() -> None:
    turns = Turns()
    inside: list[str] = []
    together: list[tuple[str, ...]] = []

    async def enter(name: str) -> None:
        async with turns.of(name):
            inside.append(name)
            await anyio.wait_all_tasks_blocked()
            together.append(tuple(sorted(inside)))
            inside.remove(name)

    async with anyio.create_task_group() as tasks:
        for name in ("a", "b", "a", "b", "a"):
            tasks.start_soon(enter, name)
    assert len(together) == 5
    assert all(len(set(names)) == len(names) for names in together)
    assert ("a", "b") in together
    assert not vars(turns)["_locks"]


async def test_a_turn_that_is_given_up_leaves_nothing() -> None:
    turns = Turns()

    async def give_up() -> None:
        with anyio.move_on_after(0):
            async with turns.of("a"):
                pytest.fail("it is somebody else's turn")

    async with turns.of("a"), anyio.create_task_group() as tasks:
        tasks.start_soon(give_up)
    assert not vars(turns)["_locks"]

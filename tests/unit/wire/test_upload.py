from __future__ import annotations

import json

import attrs
import pytest

from ocidist.errors import ProtocolError, UsageError
from ocidist.model.digest import Digest
from ocidist.model.profile import RegistryProfile
from ocidist.model.reference import RepositoryName
from ocidist.wire.upload import (
    DEFAULT_CHUNK,
    LEAST_CHUNK,
    MAX_MIN_CHUNK,
    MIB,
    Advance,
    Answer,
    AskStatus,
    Conflict,
    Resend,
    Restart,
    Shrink,
    looked_into,
    parse_min_chunk,
    patched,
    piece_stop,
    reconciled,
    refused,
    resumed,
    started,
)
from ocidist.wire.upload_state import UploadState

OLD = "https://r.example/v2/a/blobs/uploads/1?_state=old"
NEW = "https://r.example/v2/a/blobs/uploads/1?_state=new"


def state_at(offset: int) -> UploadState:
    return UploadState("r.example", RepositoryName("a"), OLD, offset, chunk_size=100)


def begin(answer: Answer, chunk_size: int = DEFAULT_CHUNK, profile: RegistryProfile | None = None) -> UploadState:
    return started(
        answer,
        registry="r.example",
        repository=RepositoryName("a"),
        chunk_size=chunk_size,
        at=5.0,
        algorithm="sha512",
        profile=profile or RegistryProfile(),
    )


# --- the saved state -------------------------------------------------------------------------------------------------


def test_a_state_comes_back_from_json_as_it_was() -> None:
    state = UploadState("r.example:5000", RepositoryName("a/b"), NEW, 7, 100, 10, 1700000000.5, "sha512")
    assert UploadState.from_json(state.to_json()) == state


def test_a_state_that_knows_no_prefix_and_one_of_an_earlier_version_are_read() -> None:
    state = attrs.evolve(state_at(3), prefix=Digest.of(b"abc"))
    assert UploadState.from_json(state.to_json()) == state
    older = json.loads(state.to_json())
    del older["prefix"]
    assert UploadState.from_json(json.dumps(older)) == state_at(3)


def test_s07_a_saved_state_keeps_the_whole_location_with_its_query() -> None:
    assert UploadState.from_json(state_at(3).to_json()).location == OLD


def test_the_repr_of_a_state_does_not_show_the_capability_in_its_location() -> None:
    assert "old" not in repr(state_at(0))
    assert "/v2/a/blobs/uploads/1" in repr(state_at(0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("version", True),
        ("version", "1"),
        ("registry", ""),
        ("registry", None),
        ("repository", "Upper/Case"),
        ("repository", 5),
        ("location", ""),
        ("location", "http://r\r\nX: y"),
        ("location", "x" * 10_000),
        ("offset", -1),
        ("offset", 1.5),
        ("offset", True),
        ("offset", 2**63),
        ("chunk_size", 0),
        ("min_chunk", "1"),
        ("started_at", "now"),
        ("algorithm", "md5"),
        ("algorithm", ["sha256"]),
    ],
)
def test_a_state_that_was_tampered_with_or_comes_from_elsewhere_is_refused(field: str, value: object) -> None:
    fields = json.loads(state_at(0).to_json())
    fields[field] = value
    with pytest.raises(UsageError):
        UploadState.from_json(json.dumps(fields))


NEEDED = ["version", *(each.name for each in attrs.fields(UploadState) if each.name != "prefix")]


@pytest.mark.parametrize("name", NEEDED)
def test_a_state_that_lacks_a_field_is_refused(name: str) -> None:
    fields = json.loads(state_at(0).to_json())
    del fields[name]
    with pytest.raises(UsageError):
        UploadState.from_json(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 5000, " " * 70_000])
def test_text_that_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        UploadState.from_json(text)


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_new_session_stands_at_the_answers_location_and_offset_0() -> None:
    state = begin(Answer(202, NEW), chunk_size=10)
    assert (state.location, state.offset, state.chunk_size, state.algorithm) == (NEW, 0, 10, "sha512")
    assert state.started_at == 5.0


@pytest.mark.parametrize("header", ["0-0", "0-99", "bytes=0-5", "garbage"])
def test_q29_the_range_of_a_new_session_means_nothing_has_arrived(header: str) -> None:
    assert begin(Answer(202, NEW, range=header)).offset == 0


def test_f130_a_session_without_a_location_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="Location"):
        begin(Answer(202, None))


def test_s14_chunks_are_16_mib_unless_somebody_says_otherwise() -> None:
    assert DEFAULT_CHUNK == 16 * MIB


@pytest.mark.parametrize(
    ("header", "chunk_size"),
    [
        (None, 10),
        ("0", 10),
        ("9", 10),
        ("11", 11),
        (" 11 ", 11),
        ("-5", 10),
        ("1e9", 10),
        ("\u0661\u0661", 10),
        (str(MAX_MIN_CHUNK - 1), MAX_MIN_CHUNK - 1),
        (str(MAX_MIN_CHUNK), MAX_MIN_CHUNK),
        (str(MAX_MIN_CHUNK + 1), MAX_MIN_CHUNK),
        ("9" * 19, MAX_MIN_CHUNK),
        ("9" * 400, 10),
    ],
)
def test_f143_the_registrys_minimum_raises_the_chunk_size_up_to_a_limit(header: str | None, chunk_size: int) -> None:
    assert begin(Answer(202, NEW, min_chunk=header), chunk_size=10).chunk_size == chunk_size


def test_the_caller_may_want_chunks_larger_than_any_registry_may_impose() -> None:
    assert begin(Answer(202, NEW, min_chunk="5"), chunk_size=2 * MAX_MIN_CHUNK).chunk_size == 2 * MAX_MIN_CHUNK


def test_q31_a_known_maximum_lowers_the_chunk_size_and_a_stated_minimum_wins() -> None:
    capped = RegistryProfile(max_chunk=100)
    assert begin(Answer(202, NEW), chunk_size=101, profile=capped).chunk_size == 100
    assert begin(Answer(202, NEW), chunk_size=99, profile=capped).chunk_size == 99
    assert begin(Answer(202, NEW, min_chunk="200"), chunk_size=101, profile=capped).chunk_size == 200
    assert begin(Answer(202, NEW), chunk_size=1, profile=RegistryProfile(min_chunk=5)).chunk_size == 5


@pytest.mark.parametrize(
    ("offset", "stop", "most", "expected"),
    [(0, 100, None, 100), (0, 100, 100, 100), (0, 100, 99, 50), (50, 100, 20, 67), (0, 7, 2, 2), (7, 7, 2, 7)],
)
def test_what_is_larger_than_a_chunk_is_sent_in_even_parts(
    offset: int, stop: int, most: int | None, expected: int
) -> None:
    assert piece_stop(state_at(offset), stop, most) == expected


def test_a_minimum_is_read_in_bytes() -> None:
    assert parse_min_chunk("5242880") == 5 * MIB


# --- after a chunk that was accepted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 202, 204])
def test_q32_every_success_of_a_chunk_advances_by_the_own_counter(status: int) -> None:
    assert patched(state_at(100), 200, Answer(status, NEW, "0-199"), exact=True) == Advance(
        attrs.evolve(state_at(200), location=NEW)
    )


MEANINGLESS = [None, "0-199", "0-200", "bytes=0-199", "0-0", "", "nonsense", "0-" + "9" * 40]
SHORT = ["0--1", "100-149", "0-99", "0-149", "0-5", "bytes=0-198"]


@pytest.mark.parametrize("header", MEANINGLESS)
def test_q30_the_own_counter_is_trusted_where_the_range_says_nothing_else(header: str | None) -> None:
    step = patched(state_at(100), 200, Answer(202, NEW, header), exact=True)
    assert isinstance(step, Advance)
    assert step.state.offset == 200


@pytest.mark.parametrize("header", SHORT)
def test_q30_a_range_that_falls_short_is_looked_into_unless_it_is_known_to_mean_nothing(header: str) -> None:
    assert patched(state_at(100), 200, Answer(202, NEW, header), exact=True) == AskStatus()
    step = patched(state_at(100), 200, Answer(202, NEW, header), exact=False)
    assert step == Advance(attrs.evolve(state_at(200), location=NEW))


@pytest.mark.parametrize("status", [None, Answer(404), *(Answer(204, NEW, each) for each in [*MEANINGLESS, "0-50"])])
def test_q30_where_the_status_does_not_confirm_it_the_chunk_was_taken(status: Answer | None) -> None:
    step = looked_into(state_at(100), 200, status)
    assert isinstance(step, Advance)
    assert step.state.offset == 200


@pytest.mark.parametrize("reported", [100, 150, 199])
def test_f135_a_part_that_the_status_confirms_is_gone_on_from(reported: int) -> None:
    step = looked_into(state_at(100), 200, Answer(204, NEW, f"0-{reported - 1}"))
    assert step == Resend(attrs.evolve(state_at(reported), location=NEW))


def test_f136_a_registry_that_reports_more_than_was_sent_is_in_conflict() -> None:
    assert isinstance(patched(state_at(100), 200, Answer(202, NEW, "0-201"), exact=True), Conflict)
    assert isinstance(looked_into(state_at(100), 200, Answer(204, NEW, "0-201")), Conflict)


def test_f138_the_newest_location_counts_and_an_omitted_one_keeps_the_old() -> None:
    changed = patched(state_at(0), 100, Answer(202, NEW), exact=True)
    omitted = patched(state_at(0), 100, Answer(202, None), exact=True)
    assert isinstance(changed, Advance)
    assert isinstance(omitted, Advance)
    assert (changed.state.location, omitted.state.location) == (NEW, OLD)


# --- after a refusal -------------------------------------------------------------------------------------------------


def after_refusal(status: int, *, asked: bool = False, sent: int = 100, min_chunk: int = 0) -> object:
    return refused(status, asked=asked, sent=sent, min_chunk=min_chunk)


@pytest.mark.parametrize("status", [404, 410])
def test_f139_a_session_that_vanished_is_begun_again(status: int) -> None:
    step = after_refusal(status)
    assert isinstance(step, Restart)
    # It may also be that chunks are not known there.
    assert not step.gone


def test_q36_a_416_leads_to_one_question_and_a_second_one_to_a_new_session() -> None:
    assert after_refusal(416) == AskStatus()
    step = after_refusal(416, asked=True)
    assert isinstance(step, Restart)
    assert not step.gone


def test_q31_a_large_chunk_that_is_refused_at_the_right_offset_is_too_large() -> None:
    assert after_refusal(416, sent=16 * MIB) == AskStatus()
    assert after_refusal(416, asked=True, sent=16 * MIB) == Shrink(4 * MIB)
    assert after_refusal(416, asked=True, sent=MIB) == Shrink(LEAST_CHUNK)
    assert isinstance(after_refusal(416, asked=True, sent=LEAST_CHUNK), Restart)


def test_q34_a_chunk_that_a_proxy_refuses_for_its_size_is_made_smaller_down_to_a_limit() -> None:
    assert after_refusal(413, sent=16 * MIB) == Shrink(4 * MIB)
    assert after_refusal(413, sent=16 * MIB, min_chunk=5 * MIB) == Shrink(5 * MIB)
    assert after_refusal(413, sent=LEAST_CHUNK) is None
    assert after_refusal(413, sent=5 * MIB, min_chunk=5 * MIB) is None


@pytest.mark.parametrize("status", [400, 401, 403, 405, 413, 500])
def test_any_other_refusal_stands(status: int) -> None:
    assert after_refusal(status) is None


# --- after asking ----------------------------------------------------------------------------------------------------


def test_a_prefix_is_known_only_at_its_own_offset() -> None:
    state = attrs.evolve(state_at(100), prefix=Digest.of(b"x"))
    for step in (
        patched(state, 200, Answer(202, NEW), exact=True),
        reconciled(state, 200, Answer(204, NEW, "0-149")),
        resumed(state, Answer(204, NEW, "0-149")),
    ):
        assert isinstance(step, Advance | Resend)
        assert step.state.prefix is None
    again = reconciled(state, 200, Answer(204, NEW, "0-99"))
    assert isinstance(again, Resend)
    assert again.state.prefix == state.prefix


def test_t67_a_lost_answer_is_reconciled_with_what_the_registry_has() -> None:
    def after(header: str) -> object:
        return reconciled(state_at(100), 200, Answer(204, NEW, header))

    assert after("0-199") == Advance(attrs.evolve(state_at(200), location=NEW))
    assert after("0-99") == Resend(attrs.evolve(state_at(100), location=NEW))
    assert after("0-149") == Resend(attrs.evolve(state_at(150), location=NEW))
    assert isinstance(after("0-200"), Conflict)
    assert isinstance(after("0-98"), Conflict)


@pytest.mark.parametrize("answer", [Answer(404), Answer(410), Answer(204, NEW, None)])
def test_a_session_whose_offset_nobody_knows_is_begun_again(answer: Answer) -> None:
    step = reconciled(state_at(100), 200, answer)
    assert isinstance(step, Restart)
    assert step.gone is (answer.status != 204)


@pytest.mark.parametrize(
    ("offset", "stop", "expected"),
    [
        # One byte was acknowledged before: that is the one.
        (1, 100, Resend),
        (1, 1, Advance),
        # Nothing was sent.
        (0, 0, Advance),
        # The first chunk was lost: nothing or one byte of it may be there. A registry that has it refuses another one.
        (0, 1, Resend),
        (0, 100, Resend),
        # More had been acknowledged.
        (2, 100, Conflict),
    ],
)
def test_q29_range_0_0_is_zero_or_one_byte_and_the_own_counter_decides(
    offset: int, stop: int, expected: type[object]
) -> None:
    step = reconciled(state_at(offset), stop, Answer(204, NEW, "0-0"))
    assert isinstance(step, expected)
    if isinstance(step, Advance | Resend):
        assert step.state.offset == offset
    assert getattr(step, "unclear", False) is (offset == 0 and stop > 0)


@pytest.mark.parametrize(
    ("saved", "header", "offset"),
    [(100, "0-99", 100), (100, "0-149", 150), (100, "0-49", 50), (0, "0-0", 0), (1, "0-0", 1), (0, "bytes=0-9", 10)],
)
def test_a_resumed_session_goes_on_where_the_registry_is(saved: int, header: str, offset: int) -> None:
    step = resumed(state_at(saved), Answer(204, NEW, header))
    assert isinstance(step, Advance)
    assert (step.state.offset, step.state.location) == (offset, NEW)


@pytest.mark.parametrize("answer", [Answer(404), Answer(204, NEW), Answer(204, NEW, "0-0"), Answer(204, NEW, "?")])
def test_s13_a_session_that_cannot_be_resumed_is_begun_again(answer: Answer) -> None:
    assert isinstance(resumed(state_at(100), answer), Restart)

"""Where httpx's own transport behaves otherwise, and why that is no reason to ask less of ours.

A case named here is not asked of httpx's transport, for the reason beside it. ``test`` stands for all cases of a test,
and ``test[case]`` for those whose name has this part, or for one of the table that the test goes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.transport.support import Kind

_T = TypeVar("_T")


def _each(test: str, why: str, *cases: str) -> dict[str, str]:
    return {f"{test}[{case}]": why for case in cases}


_LENGTHS: Final = ("5,5", "5, 5", "twice the same", "2 to the 64 and five", "20 digits", "on the next line")

HTTPX: Final[dict[str, str]] = {
    # --- framing
    "test_a_body_ends_where_it_says_and_the_next_request_goes_over_the_same_connection[1.0 with keep-alive]": (
        "h11 closes every HTTP/1.0 connection"
    ),
    **_each(
        "test_an_answer_to_nothing_is_not_taken_for_the_next_one",
        "h11 keeps the bytes for the next answer",
        *("with the answer", "right behind"),
    ),
    "test_bytes_behind_an_answer_end_its_connection[with the answer]": "h11 keeps the bytes for the next answer",
    **_each(
        "test_t77_chunks_that_are_ambiguous_or_never_end_are_refused_at_once",
        "h11 allows 20 digits, and LF for an end of line",
        *("a size of 2 to the 64", "a size of 2 to the 64 and five", "a bare LF at the end"),
    ),
    # --- heads
    "test_t77_interim_answers_have_a_limit[1]": "httpcore has no limit",
    "test_t77_a_head_that_never_ends_is_refused[interim answers]": "httpcore has no limit and would never return",
    **_each("test_t77_a_head_of_more_is_refused", "httpcore allows 100 KiB", *("65537", "65540", "81920")),
    # --- malformed answers
    **_each(
        "test_f014_what_does_not_begin_as_an_answer_is_refused",
        "h11 allows any digits",
        *("HTTP/0.9", "HTTP/2.0", "HTTP/3.7"),
    ),
    **_each(
        "test_f014_a_malformed_field_is_refused",
        "h11 puts lines together and takes LF for an end of line",
        *("a continued line", "a continued line with a tab", "a continued length", "a bare LF that hides a field"),
    ),
    **_each(
        "test_f015_a_length_that_is_none_is_refused",
        "h11 takes several equal lengths, any number of 20 digits, and continued lines",
        *_LENGTHS,
    ),
    **_each(
        "test_f015_a_length_that_is_none_is_refused_even_where_there_is_no_body",
        "h11 takes several equal lengths, any number of 20 digits, and continued lines",
        *_LENGTHS,
    ),
    **_each(
        "test_f015_a_body_whose_end_is_told_in_two_ways_is_refused",
        "h11 takes the chunks and ignores the length, and puts lines together",
        *("and a length", "and a length behind it", "and a length of zero", "with a continued line"),
    ),
    "test_f015_chunks_in_http_1_0_are_refused": "h11 takes the chunks",
    "test_f015_an_ambiguous_head_is_refused_whatever_its_status[two ways]": "h11 takes the chunks",
    **_each(
        "test_an_answer_that_ends_early_is_no_answer",
        "h11 takes LF for an end of line",
        *("lines that end with LF only", "a head that ends with LF only"),
    ),
    "test_t77_a_head_that_others_would_end_elsewhere_is_refused": "h11 takes LF for an end of line",
    # --- requests
    "test_t77_a_body_of_another_length_than_announced_is_an_error_and_ends_the_connection": (
        "httpcore lets h11's own exception through"
    ),
    "test_a_host_that_was_given_is_sent_once_and_where_it_was_given": "h11 sends it first",
    # --- early answers
    "test_t76_an_early_refusal_is_the_answer_while_nobody_reads_the_body_any_more": "httpcore looks when all was sent",
    "test_t76_an_early_refusal_is_the_answer_when_the_server_hangs_up[RST]": (
        "anyio drops what was received before the reset, and the broken body is left to the garbage collector"
    ),
    "test_t76_a_server_that_hangs_up_without_a_word_is_an_error[RST]": (
        "httpcore leaves the body to the garbage collector, of which trio warns"
    ),
    "test_t76_the_rest_of_a_body_that_was_refused_is_not_sent": "httpcore looks when all was sent",
    # --- timeouts
    "test_a_server_that_does_not_read_is_a_write_timeout[bytes]": (
        "httpcore leaves the body to the garbage collector, of which trio warns"
    ),
    # --- sockets
    "test_f010_a_safe_request_that_met_the_end_of_its_connection_is_sent_again_once": "httpcore sends nothing again",
    "test_f010_the_second_end_is_an_error": "httpcore sends nothing again",
    # --- closing
    "test_a_response_that_nobody_closes_ends_with_its_last_reference": "httpcore keeps the connection",
    "test_closing_a_transport_ends_whatever_waits[contended]": "httpcore's pool goes on with those that wait",
    "test_closing_a_transport_ends_a_handshake": "httpcore's pool does not know of it",
    "test_a_closed_transport_opens_no_connection": "httpcore's pool goes on",
    # --- TLS
    "test_a_second_connection_goes_on_with_the_session_of_the_first": "httpcore begins a new session each time",
    "test_the_session_is_kept_of_a_connection_that_the_server_ends_after_each_answer": (
        "httpcore begins a new session each time"
    ),
    "test_f027_without_a_good_certificate_there_is_no_answer[TLS 1.3]": "anyio lets ssl's own exception through",
    "test_a_body_without_a_length_ends_with_close_notify": "h11 keeps the connection until FIN comes",
    "test_f025_without_close_notify_it_was_cut": "anyio and trio are told to take any end for the end of the body",
    "test_t77_what_tls_still_holds_behind_an_answer_is_not_the_next_answer": "h11 keeps the bytes for the next answer",
    "test_f026_an_alert_in_the_middle_of_a_request_is_an_error": "anyio lets ssl's own exception through",
    "test_f010_an_idle_connection_that_the_server_ended_is_not_used[close_notify]": "anyio waits for FIN",
    "test_f010_nor_is_one_whose_close_notify_came_with_the_answer[alone]": "anyio waits for FIN",
    # --- cancellation
    "test_t70_after_a_storm_of_cancellations_nothing_is_left_and_everything_works": (
        "httpcore's pool keeps places for requests that were cancelled, for good (encode/httpcore#1093)"
    ),
    "test_t70_a_storm_over_tls_leaves_nothing_either": "httpcore forgets connections cancelled in their handshake",
    "test_t70_so_can_one_in_its_handshake": "httpcore forgets connections cancelled in their handshake",
    "test_t70_a_request_can_be_cancelled_at_each_of_its_steps[https]": (
        "httpcore forgets connections cancelled in their handshake"
    ),
}


def why_skipped(test: str, case: str) -> str | None:
    """Return why a case is not asked of httpx's transport, or None if it is.

    Args:
        test: Name of the test function.
        case: The names of its parameters, joined with hyphens.
    """
    for named, why in HTTPX.items():
        name, _, part = named.removesuffix("]").partition("[")
        if name == test and (not part or f"-{part}-" in f"-{case}-"):
            return why
    return None


class Cases:
    """Leaves out of a test's table what is not asked of a transport.

    Args:
        test: Name of the test function.
        kind: Whose transport it is.
    """

    def __init__(self, test: str, kind: Kind) -> None:
        self._test = test
        self._kind = kind

    def __call__(self, table: Mapping[str, _T]) -> dict[str, _T]:
        """Return the cases to ask."""
        return {
            name: case for name, case in table.items() if self._kind == "ours" or f"{self._test}[{name}]" not in HTTPX
        }

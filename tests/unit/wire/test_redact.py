from __future__ import annotations

import pytest

from ocidist.wire.redact import clean_text, redact_url


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("", ""),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("two\r\nlines\tand a tab", "two  lines and a tab"),
        ("bell\x07 and backspace\x08", "bell and backspace"),
        ("c1 \x9b31m", "c1 31m"),
        ("right-to-left \u202eevil", "right-to-left evil"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("half \ud800 pair", "half  pair"),
        ("nul\x00", "nul"),
        ("Grüße 世界", "Grüße 世界"),
    ],
)
def test_t46_server_text_loses_what_a_terminal_would_act_on(text: str, clean: str) -> None:
    assert clean_text(text) == clean


def test_t46_long_text_is_shortened_visibly() -> None:
    assert clean_text("x" * 11, 10) == "xxxxxxx..."
    assert clean_text("x" * 10, 10) == "x" * 10
    assert clean_text("x" * 5, 0) == ""
    assert clean_text("x" * 5, 2) == ".."


def test_t46_invisible_floods_are_cut_too() -> None:
    assert len(clean_text("\u200b" * 10_000_000 + "x", 100)) <= 100


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://r.example/v2/a/tags/list?n=10&last=v1", "https://r.example/v2/a/tags/list?n=10&last=v1"),
        ("https://user:secret@r.example/v2/", "https://r.example/v2/"),
        ("https://a@b:secret@r.example/v2/", "https://r.example/v2/"),
        ("//user:secret@r.example/v2/", "//r.example/v2/"),
        ("user:secret@r.example/v2/", "r.example/v2/"),
        ("https://r.example/u?_state=secret&digest=sha256:ab", "https://r.example/u?_state=***&digest=sha256:ab"),
        (
            "https://c.example/b?X-Amz-Signature=secret&X-Amz-Date=1",
            "https://c.example/b?X-Amz-Signature=***&X-Amz-Date=***",
        ),
        ("https://c.example/b?secret", "https://c.example/b?***"),
        ("https://c.example/b?N=secret", "https://c.example/b?N=***"),
        ("https://c.example/b?", "https://c.example/b?"),
        ("https://c.example/b#secret", "https://c.example/b"),
        ("https://c.example/b?n=1#secret", "https://c.example/b?n=1"),
        (
            "https://t.example/t?service=s&scope=repository:a/b:pull&account=me",
            "https://t.example/t?service=s&scope=repository:a/b:pull&account=***",
        ),
        ("https://r.example/v2/\x1b[31m", "https://r.example/v2/[31m"),
        ("", ""),
    ],
)
def test_t45_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "name", ["n", "last", "digest", "mount", "from", "scope", "service", "artifactType", "ns", "tag"]
)
def test_t45_values_that_say_what_was_asked_are_kept(name: str) -> None:
    assert redact_url(f"https://r.example/x?{name}=kept") == f"https://r.example/x?{name}=kept"

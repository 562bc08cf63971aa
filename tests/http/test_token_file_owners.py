"""Whose file the tokens are kept in: nobody else's, and no other program's."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

import pytest

from ocidist import TokenOwner
from ocidist.http import tokenfile
from ocidist.http.tokenfile import FileTokenCache
from tests.http.test_token_file import SECRET, change_mode, found, keep, kept_in, path, put, text_of, token

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["path"]


def make_link(path: Path, to: Path) -> None:
    """Put a symbolic link where the file should be."""
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(to)


def be_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all files belong to others."""
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)


async def test_t50_a_file_of_somebody_else_is_neither_believed_nor_written_to(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await keep(path, token("theirs"))
    before = text_of(path)
    be_somebody_else(monkeypatch)
    # Root could write there, and what it writes would belong to them.
    with caplog.at_level(logging.WARNING, "ocidist"):
        assert await found(path) is None
        await keep(path, token())
    assert text_of(path) == before
    assert "belongs to somebody else" in caplog.text
    assert "not kept" in caplog.text


async def test_t50_a_link_of_somebody_else_chooses_no_file_to_overwrite(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    precious = tmp_path / "precious"
    put(precious, "mine")
    make_link(path, precious)
    # The link is theirs, what it leads to is ours.
    theirs, real = os.geteuid() + 1, os.lstat
    monkeypatch.setattr(os, "lstat", lambda place: os.stat_result((*real(place)[:4], theirs, *real(place)[5:10])))
    with caplog.at_level(logging.WARNING, "ocidist"):
        await keep(path, token())
    monkeypatch.undo()
    assert text_of(precious) == "mine"
    assert "belongs to somebody else" in caplog.text


async def test_a_link_of_ones_own_is_followed(path: Path, tmp_path: Path) -> None:
    make_link(path, tmp_path / "real.json")
    await keep(path, token())
    assert await found(tmp_path / "real.json") == SECRET


@pytest.mark.parametrize("mode", [0o600, 0o644])
async def test_a_file_of_another_program_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture, mode: int) -> None:
    config = '{"auths":{"x.io":{"auth":"Y2k6eA=="}}}'
    put(path, config)
    change_mode(path, mode)
    with caplog.at_level(logging.WARNING, "ocidist"):
        await keep(path, token())
    assert text_of(path) == config
    assert ("another program" if mode == 0o600 else "not private") in caplog.text


async def test_leaving_takes_no_longer_than_promised_however_many_owners_there_are(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(owner: TokenOwner, salt: bytes) -> str:
        time.sleep(0.05)
        return owner.origin + salt.hex()

    monkeypatch.setattr(tokenfile, "_key_of", slow)
    monkeypatch.setattr(tokenfile, "SAVE_SECONDS", 0.5)
    async with FileTokenCache(path) as cache:
        for number in range(60):
            cache.store(TokenOwner(f"https://h{number}", "r", "s", "i"), token())
    # All of them would take three seconds. What is left out is asked for again.
    assert 0 < len(kept_in(path)) < 60

"""Helpers as small shell scripts: what they print, and how they misbehave, is up to each test."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MakeHelper = Callable[..., "Path"]


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that comes first in ``PATH``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def make_helper(bin_dir: Path) -> MakeHelper:
    """Install a helper: ``make_helper("name", "shell script")``."""

    def make(name: str, script: str, *, mode: int = stat.S_IRWXU, interpreter: str = "/bin/sh") -> Path:
        path = bin_dir / f"docker-credential-{name}"
        path.write_text(f"#!{interpreter}\n{script}\n")
        path.chmod(mode)
        return path

    return make

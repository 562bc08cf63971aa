"""Finding the real programs, and what happens where one is missing."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

INSTALL = "apt-get update && apt-get install -y --no-install-recommends {package}"


def missing(what: str, how: str) -> NoReturn:
    """Skip the test, saying how to get what it needs; with ``CI=true`` fail it, so that nothing goes untested."""
    text = f"{what} is not installed; to run this test: {how}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def program(name: str, *, package: str | None = None) -> str:
    """Return the path of an installed program, or skip (see ``missing``).

    Args:
        name: The program.
        package: The Debian package it is in, if it has another name.
    """
    return shutil.which(name) or missing(name, INSTALL.format(package=package or name))

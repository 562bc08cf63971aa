"""What the tests of credentials share."""

from __future__ import annotations

import base64
import json
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def told(error: BaseException) -> str:
    """Return all that a traceback with variables shows, apart from the tests' own."""
    lines = [str(error), repr(error)]
    seen: BaseException | None = error
    while seen is not None:
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                lines += (f"{name} = {value!r}" for name, value in frame.f_locals.items())
        seen = seen.__cause__ or seen.__context__
        lines.append(repr(seen))
    return "\n".join(lines)


def config(**users: str) -> str:
    """Return a ``config.json`` with an entry ``NAME.io`` for each user, whose password is ``x``."""
    return json.dumps({"auths": {f"{name}.io": {"auth": _pair(user)} for name, user in users.items()}})


def put_json(path: Path, value: object) -> None:
    """Write a JSON document."""
    path.write_text(json.dumps(value), encoding="utf-8")


def get_json(path: Path) -> Any:  # noqa: ANN401 -- whatever JSON holds
    """Read a JSON document."""
    return json.loads(path.read_text(encoding="utf-8"))


def _pair(user: str) -> str:
    return base64.b64encode(f"{user}:x".encode()).decode()

"""What the tests of credentials share."""

from __future__ import annotations

import traceback


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

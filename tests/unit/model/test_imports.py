from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = ["digest", "reference", "mediatype", "platform", "descriptor", "manifest", "builder", "strictjson", "sniff"]
BANNED = ["cattrs", "httpx", "anyio", "socket", "ssl", "asyncio", "subprocess"]


@pytest.mark.parametrize("module", MODULES)
def test_importing_the_model_loads_neither_cattrs_nor_anything_that_does_io(module: str) -> None:
    program = f"import sys, ocidist.model.{module}; print([name for name in {BANNED!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"

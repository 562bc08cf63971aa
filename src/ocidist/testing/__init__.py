"""For users' own test suites: a registry on loopback, content for it, and a pytest plugin that has both as fixtures.

Needs the extra ``testing``. ``serve()`` and ``Content`` work without pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocidist.testing.bound import BoundContent
    from ocidist.testing.content import Content
    from ocidist.testing.pieces import Built, Piece
    from ocidist.testing.registry import LoopbackRegistry, Serving, serve
    from ocidist.testing.requests import SeenRequest
    from ocidist.testing.runner import LoopbackServer, loopback

__all__ = [
    "BoundContent",
    "Built",
    "Content",
    "LoopbackRegistry",
    "LoopbackServer",
    "Piece",
    "SeenRequest",
    "Serving",
    "loopback",
    "serve",
]

_WHERE = {
    "bound": "BoundContent",
    "content": "Content",
    "pieces": "Built Piece",
    "registry": "LoopbackRegistry Serving serve",
    "requests": "SeenRequest",
    "runner": "LoopbackServer loopback",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}


def __getattr__(name: str) -> object:
    # The plugin is part of every pytest session where this is installed; the rest is for those that use it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"ocidist.testing.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        raise ModuleNotFoundError(f"{name} needs uvicorn: pip install 'ocidist[testing]'", name=error.name) from None

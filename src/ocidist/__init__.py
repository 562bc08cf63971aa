"""Asynchronous OCI distribution client: pull, push, list, mount and attach on any OCI or Docker registry."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 -- nobody should pay for it who does not ask

        return version("ocidist")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

"""What the fault tests of blobs share: waits that take no time, and a registry that takes uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist.remote import _channel, _pushing, _stream, _upload, _upload_answers
from tests.faults.uploads import UploadRegistry

if TYPE_CHECKING:
    from tests.peers.wire_server import WireServer


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_channel, "BREAK_WAIT_S", 0.001)
    monkeypatch.setattr(_stream, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(_upload, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(_upload_answers, "LAG_WAITS", (0.001, 0.001))
    monkeypatch.setattr(_pushing, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def registry(wire_server: WireServer) -> UploadRegistry:
    """The upload endpoints of ``acme/app``."""
    made = UploadRegistry()
    wire_server.on("*", "/*", made)
    return made

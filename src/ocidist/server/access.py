"""The access log: one record for each request, without anything that lets somebody in.

A record's message is for people; its attribute ``oci_request`` has the same as a mapping. Upload sessions are
capabilities, so their names are left out, as are headers, bodies and unknown query parameters.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from ocidist.wire.redact import MASK, clean_text, redact_url

if TYPE_CHECKING:
    from ocidist.server.exchange import Exchange

MAX_SHOWN: Final = 512
_SESSION: Final = re.compile(r"(/blobs/uploads/)[^/?]+")

_logger = logging.getLogger("ocidist.server.access")


def log(exchange: Exchange, seconds: float) -> None:
    """Write down a request that is over; status 0 stands for a client that went away before there was an answer."""
    if not _logger.isEnabledFor(logging.INFO):
        return
    target = exchange.path + (f"?{exchange.query}" if exchange.query else "")
    request = {
        "client": exchange.client,
        "account": clean_text(exchange.account, MAX_SHOWN),
        "method": clean_text(exchange.method, MAX_SHOWN),
        "target": clean_text(redact_url(_SESSION.sub(rf"\g<1>{MASK}", target)), MAX_SHOWN),
        "status": exchange.status,
        "received": exchange.received,
        "sent": exchange.sent,
        "seconds": round(seconds, 6),
        "user_agent": clean_text(exchange.headers.get("user-agent", ""), MAX_SHOWN),
    }
    _logger.info(
        "%(client)s %(account)s %(method)s %(target)s %(status)s, %(received)s bytes in, %(sent)s out, %(seconds)s s",
        request,
        extra={"oci_request": request},
    )

"""How many of the requests to one host may be repetitions of others."""

from __future__ import annotations

from typing import Final

LEAST_KEPT: Final = 10.0
"""Retries that a host may save up where its reserve is smaller."""


class RetryBudget:
    """Retries that one host has left.

    Where a host fails every request, retries would multiply what it cannot answer as it is.

    Args:
        share: Part of the requests that may be sent again.
        reserve: Retries that are there at the beginning, and the most that can be saved up.
    """

    def __init__(self, share: float, reserve: int) -> None:
        self._share = share
        self._most = max(float(reserve), LEAST_KEPT)
        self._left = float(reserve)
        self._seen = 0

    def spend(self, requests: int) -> bool:
        """Take one retry, and return whether there was one.

        Args:
            requests: Requests that were begun at the host so far, retries not counted.
        """
        self._left = min(self._most, self._left + self._share * (requests - self._seen))
        self._seen = requests
        # Tenths add up to a little less than one.
        if self._left < 1.0 - 1e-6:
            return False
        self._left -= 1.0
        return True

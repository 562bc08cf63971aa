"""All faults of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.matrix import (
    cases_auth,
    cases_blob_get,
    cases_blob_push,
    cases_connect,
    cases_list,
    cases_manifest,
    cases_mirror,
    cases_redirect,
)

if TYPE_CHECKING:
    from tests.faults.matrix.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *cases_connect.FAULTS,
    *cases_auth.FAULTS,
    *cases_redirect.FAULTS,
    *cases_manifest.FAULTS,
    *cases_list.FAULTS,
    *cases_blob_get.FAULTS,
    *cases_blob_push.FAULTS,
    *cases_mirror.FAULTS,
)

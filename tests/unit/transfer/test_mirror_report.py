from __future__ import annotations

import json
import pickle

import pytest

from ocidist import Digest, MirrorError, OciError, TransportError, UsageError
from ocidist.transfer.mirror_report import MirroredImage, MirrorOutcome, MirrorReport
from ocidist.transfer.plan import MirrorFailure

IMAGES = "1 copied, 1 there already, 1 deleted, 2 failed"
DIGEST = Digest.of(b"image")
COPIED = MirroredImage(f"a.io/b:v1@{DIGEST}", "b.io/b:v1", DIGEST, MirrorOutcome.COPIED, 1536)
THERE = MirroredImage(f"a.io/b:v0@{DIGEST}", "b.io/b:v0", DIGEST, MirrorOutcome.PRESENT)
REPORT = MirrorReport(
    images=(COPIED, THERE),
    failures=(
        MirrorFailure("a.io/b:v2", "b.io/b:v2", UsageError("it is odd")),
        MirrorFailure("a.io/c", "b.io/c", TransportError("nobody answers")),
    ),
    deleted=("b.io/b:v9",),
    warnings=("a.io/d: it has no tags",),
    blobs_copied=2,
    blobs_mounted=3,
    blobs_skipped=4,
    bytes_copied=1536,
    seconds=1.25,
)


def test_a_report_for_people() -> None:
    assert str(REPORT).splitlines() == [
        f"copied   a.io/b:v1@{DIGEST} -> b.io/b:v1 (1.5 KiB sent)",
        "deleted  b.io/b:v9",
        "warning  a.io/d: it has no tags",
        "failed   a.io/b:v2 -> b.io/b:v2: it is odd",
        "failed   a.io/c -> b.io/c: nobody answers",
        "1 copied, 1 there already, 1 deleted, 2 failed; 2 blobs sent (1.5 KiB), 3 mounted, 4 skipped; 1.2 s",
    ]
    assert str(MirrorReport()) == "0 copied, 0 there already; 0 blobs sent (0 B), 0 mounted, 0 skipped; 0.0 s"


def test_a_report_for_programs() -> None:
    found = json.loads(json.dumps(REPORT.to_json()))
    assert (found["copied"], found["present"], found["failed"]) == (1, 1, 2)
    assert found["images"][0] == {
        "source": f"a.io/b:v1@{DIGEST}",
        "destination": "b.io/b:v1",
        "digest": str(DIGEST),
        "outcome": "copied",
        "bytes_copied": 1536,
    }
    assert found["failures"][1]["error"] == "TransportError"
    assert found["deleted"] == ["b.io/b:v9"]
    assert set(found) == {
        *("copied", "present", "failed", "deleted", "warnings", "shard", "images", "failures"),
        *("blobs_copied", "blobs_mounted", "blobs_skipped", "manifests_copied", "referrers_copied"),
        *("bytes_copied", "seconds"),
    }


def test_failures_are_raised_together() -> None:
    MirrorReport().raise_failures()
    with pytest.raises(MirrorError) as caught:
        REPORT.raise_failures()
    error = caught.value
    assert error.report is REPORT
    assert isinstance(error, OciError)
    assert [type(each) for each in error.exceptions] == [UsageError, TransportError]
    assert "2 failed" in str(error)
    left = error.subgroup(TransportError)
    assert isinstance(left, MirrorError)
    assert left.report is REPORT
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 -- its own


def test_failures_are_caught_one_kind_at_a_time() -> None:
    seen: list[str] = []
    try:
        REPORT.raise_failures()
    except* UsageError:
        seen.append("usage")
    except* TransportError:
        seen.append("transport")
    assert seen == ["usage", "transport"]

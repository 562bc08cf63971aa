from __future__ import annotations

import pytest

from ocidist import HostConfig, RegistryProfile, UsageError
from ocidist.hosts.profiles import ARTIFACT_REGISTRY, ECR, GHCR, profile_for

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("ghcr.io", GHCR),
        ("GHCR.io", GHCR),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", ECR),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", ECR),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", ECR),
        ("123456789012.dkr-ecr.us-east-1.on.aws", ECR),
        ("public.ecr.aws", ECR),
        ("gcr.io", ARTIFACT_REGISTRY),
        ("eu.gcr.io", ARTIFACT_REGISTRY),
        ("us-central1-docker.pkg.dev", ARTIFACT_REGISTRY),
    ],
)
def test_q33_services_with_wishes_of_their_own_are_known_by_their_host(host: str, expected: RegistryProfile) -> None:
    assert profile_for(host) == expected


@pytest.mark.parametrize(
    "host",
    [
        *("docker.io", "quay.io", "localhost", "ghcr.io.evil.example", "notghcr.io", "xgcr.io", "pkg.dev"),
        *("dkr.ecr.eu-west-1.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com", "ghcr.io\n", "127.0.0.1"),
    ],
)
def test_nothing_is_known_of_other_hosts(host: str) -> None:
    assert profile_for(host) == RegistryProfile()


def test_what_is_known_is_what_was_seen() -> None:
    assert (GHCR.max_chunk, GHCR.max_body, GHCR.chunked) == (4 * MIB, None, True)
    assert (ECR.min_chunk, ECR.exact_range) == (5 * MIB, False)
    assert not ARTIFACT_REGISTRY.chunked


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_chunk": -1},
        {"min_chunk": None},
        {"min_chunk": 1.5},
        {"max_chunk": 0},
        {"max_chunk": True},
        {"max_body": -5},
        {"max_body": "1"},
        {"min_chunk": 10, "max_chunk": 9},
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RegistryProfile(**wrong)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("profile", "wanted", "expected"),
    [
        (RegistryProfile(), 7, 7),
        (RegistryProfile(min_chunk=10), 7, 10),
        (RegistryProfile(max_chunk=5), 7, 5),
        (RegistryProfile(min_chunk=5, max_chunk=5), 7, 5),
    ],
)
def test_chunks_have_the_size_that_is_wanted_within_what_is_taken(
    profile: RegistryProfile, wanted: int, expected: int
) -> None:
    assert profile.chunk_size(wanted) == expected


def test_a_host_may_have_a_profile_of_its_own() -> None:
    mine = RegistryProfile(max_body=1)
    assert HostConfig().profile is None
    assert (HostConfig(chunk_size=5) | HostConfig(profile=mine)).profile == mine

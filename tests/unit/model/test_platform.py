from __future__ import annotations

import pytest

from ocidist.errors import UsageError
from ocidist.model.platform import MAX_PLATFORM_LENGTH, Platform


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("Linux/AMD64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("linux/armel", Platform("linux", "arm", "v6")),
        ("linux/i386", Platform("linux", "386")),
        ("macos/arm64", Platform("darwin", "arm64")),
        ("windows(10.0.20348)/amd64", Platform("windows", "amd64", None, "10.0.20348")),
        ("unknown/unknown", Platform("unknown", "unknown")),
        ("linux/riscv64/rva20u64", Platform("linux", "riscv64", "rva20u64")),
    ],
)
def test_a_platform_reads_as_users_and_uname_write_it(text: str, expected: Platform) -> None:
    assert Platform.parse(text) == expected
    assert Platform.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "linux",
        "/",
        "linux/",
        "/amd64",
        "linux//v8",
        "a/b/c/d",
        "linux/amd64\n",
        "linux /amd64",
        "linux/\u0430\u043c\u043464",
        "windows()/amd64",
        "windows(10/amd64",
        "linux/..",
        "linux/amd64?x",
        "l" * MAX_PLATFORM_LENGTH + "/amd64",
    ],
)
def test_text_that_is_no_platform_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("offered", "wanted", "matches"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "windows/amd64", False),
        ("linux/amd64", "linux/arm64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/amd64/v1", "linux/amd64", True),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/ppc64le/power9", "linux/ppc64le", True),
        ("linux/ppc64le", "linux/ppc64le/power9", False),
        ("windows(10.0.20348.1)/amd64", "windows/amd64", True),
        ("windows(10.0.20348.1)/amd64", "windows(10.0.20348.999)/amd64", True),
        ("windows(10.0.17763.1)/amd64", "windows(10.0.20348.1)/amd64", False),
        ("windows/amd64", "windows(10.0.20348)/amd64", False),
        ("windows(10.0)/amd64", "windows(10.0.1)/amd64", False),
        ("freebsd(14.1)/amd64", "freebsd(14.2)/amd64", False),
        ("freebsd(14.1)/amd64", "freebsd(14.1)/amd64", True),
    ],
)
def test_a_platform_matches_what_is_wanted(offered: str, wanted: str, *, matches: bool) -> None:
    assert Platform.parse(offered).matches(Platform.parse(wanted)) is matches


def test_features_an_image_needs_must_be_among_those_wanted_if_any_are_named() -> None:
    needs = Platform("windows", "amd64", os_features=("win32k",))
    assert needs.matches(Platform("windows", "amd64"))
    assert needs.matches(Platform("windows", "amd64", os_features=("win32k", "other")))
    assert not needs.matches(Platform("windows", "amd64", os_features=("other",)))


def test_lower_variants_are_acceptable_nearest_first() -> None:
    assert [str(p) for p in Platform.parse("linux/arm/v7").acceptable()] == [
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/arm/v5",
    ]
    assert [str(p) for p in Platform.parse("linux/amd64").acceptable()] == ["linux/amd64"]
    assert [str(p) for p in Platform.parse("linux/s390x").acceptable()] == ["linux/s390x"]

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocidist.credentials.paths import SEARCH_ORDER, CredentialSource, login_path, places

HOME = {"HOME": "/home/ci"}
EVERYTHING = {
    **HOME,
    "DOCKER_AUTH_CONFIG": '{"auths": {"x.io": {"auth": "aHVudGVyMjpodW50ZXIy"}}}',
    "REGISTRY_AUTH_FILE": "/run/secrets/auth.json",
    "DOCKER_CONFIG": "/etc/docker",
    "XDG_RUNTIME_DIR": "/run/user/7",
    "XDG_CONFIG_HOME": "/etc/xdg",
}


def where(environ: dict[str, str]) -> list[str]:
    return [str(place.path) for place in places(environ=environ) if place.path]


def test_a12_places_are_looked_at_in_the_order_that_is_documented() -> None:
    found = places(environ=EVERYTHING)
    assert tuple(place.source for place in found) == SEARCH_ORDER
    assert found[0].text == EVERYTHING["DOCKER_AUTH_CONFIG"]
    assert "aHVudGVy" not in repr(found)
    assert where(EVERYTHING) == [
        "/run/secrets/auth.json",
        "/etc/docker/config.json",
        "/run/user/7/containers/auth.json",
        "/etc/xdg/containers/auth.json",
        "/home/ci/.dockercfg",
    ]


def test_a12_without_variables_the_home_directory_and_podmans_own_place_are_left() -> None:
    assert where(HOME) == [
        "/home/ci/.docker/config.json",
        f"/run/containers/{os.getuid()}/auth.json",
        "/home/ci/.config/containers/auth.json",
        "/home/ci/.dockercfg",
    ]


@pytest.mark.parametrize("name", ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"])
def test_a12_relative_xdg_directories_are_ignored(name: str) -> None:
    assert where({**HOME, name: "here"}) == where(HOME)


@pytest.mark.parametrize(
    "name", ["DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"]
)
def test_a12_an_empty_variable_is_none(name: str) -> None:
    assert places(environ={**HOME, name: ""}) == places(environ=HOME)


def test_a12_the_order_can_be_any_other() -> None:
    podmans = (CredentialSource.CONTAINERS_RUNTIME, CredentialSource.DOCKER_CONFIG)
    assert tuple(place.source for place in places(podmans, EVERYTHING)) == podmans


def test_a12_a_login_is_written_where_it_will_be_read() -> None:
    assert login_path(EVERYTHING) == Path("/run/secrets/auth.json")
    assert login_path({**HOME, "DOCKER_CONFIG": "/etc/docker"}) == Path("/etc/docker/config.json")
    assert login_path(HOME) == Path("/home/ci/.docker/config.json")
    assert login_path({}) is None
    assert where({}) == [f"/run/containers/{os.getuid()}/auth.json"]

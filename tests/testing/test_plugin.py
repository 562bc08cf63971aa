"""The plugin in pytest sessions of its own; ``nox -s wheel`` runs the same sample from the built wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import Digest, RegistryName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocidist.testing import BoundContent, LoopbackRegistry
    from ocidist.testing.plugin import StartRegistry

SAMPLE = Path(__file__).parent / "sample"
PLUGIN = ("-p", "ocidist.testing.plugin")


def session(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest where nothing of this project is; only the plugins that are named are loaded."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--strict-markers"]
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=50
    )


def suite(folder: Path, text: str) -> Path:
    """Write a suite of one module."""
    (folder / "test_it.py").write_text(text)
    return folder


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The sample project, in a folder of its own."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__")))


def test_n12_a_suite_uses_the_plugin_in_two_lines(sample: Path) -> None:
    done = session(sample, *PLUGIN, "-p", "anyio", "plain", "with_anyio")
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_a_session_that_does_not_use_it_loads_nothing_for_it(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "def test_nothing_is_loaded(request):\n"
        "    assert request.config.pluginmanager.has_plugin('ocidist.testing.plugin')\n"
        "    loaded = {'anyio', 'attrs', 'cattrs', 'httpx', 'ssl', 'uvicorn', 'ocidist.model', 'ocidist.server'}\n"
        "    assert not loaded & set(sys.modules)\n"
    )
    done = session(suite(tmp_path, program), *PLUGIN)
    assert done.returncode == 0, done.stdout


def test_a_wrong_marker_says_what_is_wrong(tmp_path: Path) -> None:
    program = (
        "import pytest\n"
        "@pytest.mark.oci_registry('tls')\n"
        "def test_by_position(oci_registry): pass\n"
        "@pytest.mark.oci_registry(tsl=True)\n"
        "def test_misspelt(oci_registry): pass\n"
    )
    done = session(suite(tmp_path, program), *PLUGIN)
    assert done.returncode == 1
    assert "takes arguments by name only" in done.stdout
    assert "has no argument 'tsl', only auth, " in done.stdout


# --- the fixtures ----------------------------------------------------------------------------------------------------


async def test_n12_the_fixtures_work_on_every_event_loop(
    oci_registry: LoopbackRegistry, oci_content: BoundContent
) -> None:
    pushed = oci_content.blob("data", b"x").image("app", ["data"], tags=["v1"]).push()
    async with oci_registry.client() as client:
        repository = client.repository(f"{oci_registry.host}/test/app")
        assert await repository.blobs.get(Digest.of(b"x")) == b"x"
        await repository.tags.delete("v1")
    tags = oci_registry.store.repository("test/app").tags
    assert oci_registry.call(tags.list().collect) == []
    assert oci_content.image("more", tags=["v2"]).push()["app"] == pushed["app"]
    assert oci_registry.call(tags.list().collect) == ["v1", "v2"]


class TestOptions:
    """Where the arguments of a registry come from."""

    pytestmark = pytest.mark.oci_registry(read_only=True, auth=("class", "pass"))

    @pytest.fixture
    def oci_registry_options(self) -> Mapping[str, Any]:
        """Arguments for all registries of the class."""
        return {"tls": True, "auth": ("options", "pass")}

    @pytest.mark.oci_registry(auth=("nearest", "pass"))
    def test_the_nearest_wins(self, oci_registry: LoopbackRegistry) -> None:
        """The marker of a test comes before that of its class."""
        assert oci_registry.url.startswith("https://")
        assert oci_registry.username == "nearest"

    def test_a_class_may_have_a_marker(self, oci_registry: LoopbackRegistry) -> None:
        """A marker comes before the fixture with the arguments for all."""
        assert oci_registry.username == "class"

    def test_a_factory_starts_more_of_them(
        self, oci_registry: LoopbackRegistry, oci_registry_factory: StartRegistry
    ) -> None:
        """The factory knows the arguments for all, and no marker."""
        second, third = oci_registry_factory(), oci_registry_factory(tls=False)
        assert second.username == "options"
        assert third.url.startswith("http://")
        assert len({oci_registry.host, second.host, third.host}) == 3
        assert RegistryName.parse(third.host).port is not None

"""What can be run on this project: ``nox -l`` lists it, ``nox -s tests`` is what every change must pass."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.sessions = ["tests", "lint", "types", "imports", "docs"]

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
WHEEL_CHECK = """
from importlib import resources
import ocidist
assert resources.files(ocidist).joinpath("py.typed").is_file()
print(ocidist.__version__, *(getattr(ocidist, name) for name in getattr(ocidist, "__all__", ())), sep="\\n")
"""

SAMPLE_OPTIONS = (
    *("-q", "-W", "error", "--strict-markers"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),  # pytest-asyncio warns of its own default
)
SAMPLE_RUNS = [
    ("plain", "with_anyio", "asyncio_strict"),
    ("--asyncio-mode=auto", "plain", "asyncio_auto"),
    ("--numprocesses=2", "plain"),
]


def _group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite against the installed package; arguments go to pytest (and then it runs in one process)."""
    session.install(".[server,issuer,uvloop,cli]", *_group("test"))
    # Most tests wait for something most of the time.
    workers = 3 * (os.cpu_count() or 2) // 2
    session.run("pytest", *(session.posargs or [f"--numprocesses={workers}"]))


@nox.session
def faults(session: nox.Session) -> None:
    """Let everything go wrong that is known to, on every event loop, and count what was survived."""
    session.install(".[server,issuer,uvloop,cli]", *_group("test"))
    workers = 3 * (os.cpu_count() or 2) // 2
    session.run(
        "pytest",
        *("-k", "test_fault or test_f0 or test_f1 or test_f2 or test_l12", f"--numprocesses={workers}"),
        *session.posargs,
        env={"OCIDIST_ALL_FAULTS": "1"},
    )


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the suite once more and report which lines and branches it reaches."""
    session.install(".[server,issuer,uvloop,cli]", *_group("test"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the code with every rule of ruff, and its formatting."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy and pyright, and that everything public has them."""
    session.install(".[server,issuer,uvloop,cli]", *_group("types"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "ocidist", "--ignoreexternal")


@nox.session
def imports(session: nox.Session) -> None:
    """Check that every layer imports from lower ones only."""
    session.install(".[server,issuer,cli]", *_group("imports"))
    session.run("lint-imports", "--no-cache")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings as errors; arguments are sphinx-build's, the last the output folder."""
    session.install(".[server,issuer,otel,cli,dask]", *_group("docs"))
    output = session.posargs or [str(Path(session.create_tmp()) / "html")]
    session.run("sphinx-build", "-nW", "--keep-going", "-E", "docs", *output)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare with other clients, side by side; arguments go to the benchmarks, see ``nox -s bench -- --help``."""
    session.install(".[server,issuer]", *_group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the readers of heads and chunks for half a minute; arguments are libFuzzer's, ``-max_total_time=28800``."""
    session.install(".", *_group("fuzz"))
    corpus = Path(session.create_tmp()) / "corpus"
    corpus.mkdir(exist_ok=True)
    session.run(
        "python",
        str(ROOT / "tests" / "fuzz" / "heads_and_chunks.py"),
        str(corpus),
        *(session.posargs or ["-max_total_time=30"]),
    )


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, and use it where there is nothing but what it asks for."""
    folder = Path(session.create_tmp()).resolve() / "dist"
    session.install("build")
    for old in folder.glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(folder))
    (built,) = folder.glob("*.whl")
    session.install(str(built))
    session.chdir(folder)
    session.run("python", "-W", "error", "-c", WHEEL_CHECK)
    session.install(f"{built}[testing]", "anyio[trio]", "pytest", "pytest-asyncio", "pytest-xdist")
    # Somebody else's project, which uses the pytest plugin in all the ways there are.
    with TemporaryDirectory() as outside:
        sample = shutil.copytree(ROOT / "tests" / "testing" / "sample", Path(outside) / "sample")
        session.chdir(sample)
        for arguments in SAMPLE_RUNS:
            session.run("python", "-m", "pytest", *SAMPLE_OPTIONS, *arguments)
        session.chdir(folder)

"""On what it was measured."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.servers import MissingError, program

_PACKAGES = (
    "ocidist",
    "httpx",
    "httpcore",
    "h11",
    "anyio",
    "trio",
    "uvloop",
    "httptools",
    "aiohttp",
    "oras",
    "python-dxf",
    "docker-registry-client-async",
)
_PROGRAMS = (
    ("docker-registry", "docker-registry", "--version"),
    ("nginx", "nginx-light", "-v"),
    ("skopeo", "skopeo", "--version"),
)


def describe() -> dict[str, str]:
    """Return what there is to know, by its name."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "CPU": f"{_first('/proc/cpuinfo', 'model name') or platform.processor()}, {os.cpu_count()} cores",
        "memory": f"{int((_first('/proc/meminfo', 'MemTotal') or '0').split()[0]) >> 20} GiB",
        "load before": load,
        "system": f"{_first('/etc/os-release', 'PRETTY_NAME') or platform.system()}, kernel {platform.release()}",
        "Python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "libraries": ", ".join(filter(None, map(_library, _PACKAGES))),
        "programs": ", ".join(filter(None, (_program(*one) for one in _PROGRAMS))),
    }


def _first(path: str, name: str) -> str | None:
    """Return the first value of this name in a file of names and values."""
    with suppress(OSError):
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            key, _, value = re.sub("[:=]", "=", line, count=1).partition("=")
            if key.strip() == name:
                return value.strip().strip('"')
    return None


def _library(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _program(name: str, package: str, option: str) -> str:
    try:
        done = subprocess.run([program(name, package), option], capture_output=True, text=True, check=True)
    except MissingError:
        return ""
    found = re.search(r"\d+\.[0-9][^ \n]*", f"{done.stdout}{done.stderr}")
    return f"{name} {found.group()}" if found else name

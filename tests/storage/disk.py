"""A disk that writes down what it is asked to do, and what is left of that when the power goes; and one that refuses.

What was not flushed may be there or not, each write and each name by itself: a file system is not asked for more here
than POSIX promises.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.storage import layout_disk

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

OPENS: Final = ("open_at",)
CHANGES: Final = ("create", "write", "truncate", "sync", "touch", "rename", "link", "unlink", "mkdir", "rmdir")


@attrs.define(eq=False)
class File:
    """A file: what is on the disk, and what was written since."""

    kept: bytes = b""
    pending: list[tuple[int, bytes | None]] = attrs.field(factory=list)

    def now(self) -> bytes:
        """Return what whoever reads it sees."""
        return self.after(lambda data: data)

    def after(self, survive: Callable[[bytes], bytes]) -> bytes:
        """Return what is left, where of each write *survive* is left."""
        found = bytearray(self.kept)
        for offset, data in self.pending:
            if data is None:
                del found[offset:]
                continue
            left = survive(data)
            if left:
                found.extend(bytes(max(0, offset - len(found))))
                found[offset : offset + len(left)] = left
        return bytes(found)

    def sync(self) -> None:
        """Flush it."""
        self.kept, self.pending = self.now(), []


@attrs.define(eq=False)
class Folder:
    """A directory: the names that are on the disk, and what was done since."""

    kept: dict[str, File | Folder] = attrs.field(factory=dict)
    pending: list[tuple[str, File | Folder | None]] = attrs.field(factory=list)

    def names(self, survives: Callable[[], bool] = lambda: True) -> dict[str, File | Folder]:
        """Return the names, where of what was not flushed only that is left which survives."""
        found = dict(self.kept)
        for name, inner in self.pending:
            if survives():
                found.pop(name, None)
                if inner is not None:
                    found[name] = inner
        return found

    def sync(self) -> None:
        """Flush it."""
        self.kept, self.pending = self.names(), []


@attrs.frozen
class Step:
    """A call that changed something: its name, and paths and bytes in place of descriptors."""

    call: str
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""


class Recorder:
    """Writes down what is done below a directory.

    Attributes:
        steps: All of it.
    """

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self._root = os.fspath(root)
        self.steps: list[Step] = []
        self._lock = threading.Lock()
        for name in CHANGES:
            if name != "touch":
                patch.setattr(layout_disk, name, self._recording(name, getattr(layout_disk, name)))

    def _recording(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def recording(*arguments: Any) -> Any:  # noqa: ANN401 -- whatever the real one takes and gives
            with self._lock:
                before = None if call in {"create", "write"} else self._step(call, arguments)
                # Nothing here depends on what is on the real disk.
                result = None if call == "sync" else real(*arguments)
                after = before if before is not None else self._step(call, arguments, result)
                self.steps.append(after)
                return result

        return recording

    def _step(self, call: str, arguments: tuple[Any, ...], result: int | None = None) -> Step:
        match call, arguments:
            case "write", (file, data, offset):
                return Step(call, self._path(file), offset=offset, data=bytes(data[:result]))
            case "truncate", (file, size):
                return Step(call, self._path(file), offset=size)
            case "sync", (file,):
                return Step(call, self._path(file))
            case (("rename" | "link"), (name, folder, new, new_folder)):
                return Step(call, self._path(folder, name), self._path(new_folder, new))
            case _, (name, folder):
                return Step(call, self._path(folder, name))
            case _:
                raise AssertionError(call)

    def _path(self, file: int, *below: str) -> str:
        path = os.path.join(os.readlink(f"/proc/self/fd/{file}"), *below)  # noqa: PTH118, PTH115 -- text in, text out
        return os.path.relpath(path, self._root)


def replay(steps: list[Step]) -> Iterator[Folder]:
    """Yield the disk, as it is before the first step and after each one."""
    root = Folder()
    yield root
    for step in steps:
        _do(root, step)
        yield root


def _do(root: Folder, step: Step) -> None:
    folder, name = _place(root, step.path)
    here = root if step.path == "." else folder.names().get(name)
    match step.call:
        case "create":
            folder.pending.append((name, File()))
        case "mkdir":
            folder.pending.append((name, Folder()))
        case "unlink" | "rmdir":
            folder.pending.append((name, None))
        case "sync":
            assert here is not None, step
            here.sync()
        case "write" | "truncate":
            assert isinstance(here, File), step
            here.pending.append((step.offset, step.data if step.call == "write" else None))
        case "rename" | "link":
            assert here is not None, step
            other, new = _place(root, step.other)
            other.pending.append((new, here))
            if step.call == "rename":
                folder.pending.append((name, None))
        case _:
            raise AssertionError(step)


def _place(root: Folder, path: str) -> tuple[Folder, str]:
    *above, name = path.split("/")
    for each in above:
        found = root.names()[each]
        assert isinstance(found, Folder)
        root = found
    return root, name


def write_out(disk: Folder, path: Path, chance: random.Random | None) -> None:
    """Make real what the loss of power leaves: nothing that was not flushed, or what chance has it."""

    def survives() -> bool:
        return chance is not None and chance.random() < 0.5

    def part(data: bytes) -> bytes:
        if chance is None:
            return b""
        return chance.choice([data, data[: chance.randrange(len(data) + 1)], bytes(len(data)), b""])

    path.mkdir()
    for name, inner in disk.names(survives).items():
        if isinstance(inner, Folder):
            write_out(inner, path / name, chance)
        else:
            (path / name).write_bytes(inner.after(part))


class Refusing:
    """Lets one call fail, the nth of those that are counted.

    Attributes:
        count: Calls so far.
        failed: The call that failed.
    """

    def __init__(self, patch: pytest.MonkeyPatch, calls: tuple[str, ...], number: int) -> None:
        self._number = number
        self.at = -1
        self.count = 0
        self.failed = ""
        for name in (*OPENS, *CHANGES):
            real = getattr(layout_disk, name)
            patch.setattr(layout_disk, name, self._refusing(name, real, counts=name in calls))

    def _refusing(self, call: str, real: Callable[..., Any], *, counts: bool) -> Callable[..., Any]:
        def refusing(*arguments: Any) -> Any:  # noqa: ANN401 -- whatever the real one takes and gives
            self.count += counts
            if counts and self.count == self.at:
                self.failed = call
                raise OSError(self._number, os.strerror(self._number))
            return None if call == "sync" else real(*arguments)

        return refusing

    def fail(self, at: int) -> None:
        """Count anew, and let this call fail; none if it is negative."""
        self.at, self.count, self.failed = at, 0, ""

"""One repository on disk, as its blobs, manifests and tags share it."""

from __future__ import annotations

import errno
import random
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import anyio

from ocidist.errors import BlobUnknownError, NameUnknownError
from ocidist.storage.answers import refusal
from ocidist.storage.layout_disk import broken
from ocidist.storage.layout_files import Busy, Files
from ocidist.storage.layout_known import Known
from ocidist.storage.layout_upload import KEEP_S, sweep
from ocidist.storage.layout_work import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import TypeVar, TypeVarTuple

    from ocidist.model.digest import Digest, Hasher
    from ocidist.model.reference import RepositoryName
    from ocidist.storage.layout_files import Change
    from ocidist.storage.layout_index import Index

    T = TypeVar("T")
    Args = TypeVarTuple("Args")

LOCK_TIMEOUT_S: Final = 60.0
_FIRST_WAIT_S: Final = 0.001
_LONGEST_WAIT_S: Final = 0.02
_MOST_HASHERS: Final = 1024


class State:
    """One repository on disk.

    Args:
        name: Its name.
        root: A directory.
        below: The layout's directory within that, one part after the other.
        or_root: Whether the directory itself is the layout, if it is one.
        check_references: Whether a manifest is refused while content it names is missing.
        lock_timeout: Seconds to wait for others who change the same layout.

    Attributes:
        name: See above.
        check_references: See above.
        files: Its files.
        known: Its manifests.
        hashers: What uploads have been hashed to that somebody may go on with, with what their files looked like.
        others: Returns another repository of the same registry.
        all_others: Returns all of them.
    """

    def __init__(
        self,
        name: RepositoryName,
        root: Path,
        below: tuple[str, ...] = (),
        *,
        or_root: bool = False,
        check_references: bool,
        lock_timeout: float,
    ) -> None:
        self.name = name
        self.check_references = check_references
        self.files: Files = Files(root, below, or_root=or_root)
        self.known: Known = Known(self.files)
        self.hashers: OrderedDict[str, tuple[Hasher, tuple[int, int, int]]] = OrderedDict()
        self.others: Callable[[RepositoryName], State] | None = None
        self.all_others: Callable[[], Awaitable[list[State]]] | None = None
        self._lock_timeout = lock_timeout
        self._turn = anyio.Lock()
        self._swept = False

    async def read(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Do something that changes nothing. Raises what it raises, and ``StorageError``."""
        return await run(f"read {self.files.path}", work, *args)

    async def patiently(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Do something that takes the lock, as soon as nobody else has it.

        Raises:
            StorageError: Somebody had it for too long, or the operating system refused something.
        """
        wait = _FIRST_WAIT_S
        deadline = anyio.current_time() + self._lock_timeout
        while True:
            try:
                return await run(f"write to {self.files.path}", work, *args)
            except Busy:
                if anyio.current_time() >= deadline:
                    message = f"somebody else has been changing {self.files.path} for {self._lock_timeout:g} s"
                    raise broken(message, errno.EAGAIN) from None
            await anyio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 -- so that two who wait do not keep step
            wait = min(2 * wait, _LONGEST_WAIT_S)

    async def change(self, work: Callable[[Change], T]) -> T:
        """Change something; tasks of one process take turns. Raises as ``patiently``."""
        async with self._turn:
            if not self._swept:
                self._swept = True
                await self.read(sweep, self.files, KEEP_S)
            return await self.patiently(self.files.change, work)

    async def make(self) -> None:
        """Make sure that there is a layout. Raises as ``patiently``."""
        if not await self.read(self.files.exists):
            await self.change(lambda _: None)

    def need(self) -> Index:
        """Return the index. Blocks.

        Raises:
            NameUnknownError: There is no layout.
            StorageError: It is damaged.
        """
        index = self.files.load()
        if index is None:
            raise refusal(NameUnknownError, 404, f"there is no repository {self.name}")
        return index

    def keep_hasher(self, name: str, hasher: Hasher, seen: tuple[int, int, int]) -> None:
        """Remember what an upload has been hashed to."""
        self.hashers[name] = hasher, seen
        self.hashers.move_to_end(name)
        while len(self.hashers) > _MOST_HASHERS:
            self.hashers.popitem(last=False)

    def no_blob(self, digest: Digest) -> BlobUnknownError:
        """Return the error for a blob that is not there."""
        return refusal(BlobUnknownError, 404, f"there is no blob {digest} in {self.name}", digest)

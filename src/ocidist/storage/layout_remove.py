"""Removing a layout from a registry on disk."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from ocidist.errors import NameUnknownError
from ocidist.storage import layout_disk as disk
from ocidist.storage.answers import refusal
from ocidist.storage.layout_files import BLOBS, GONE, INDEX, LOCK, MARKER, WORK, emptied
from ocidist.storage.layout_index import Index
from ocidist.storage.layout_work import in_steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from ocidist.storage.layout_files import Change, Files
    from ocidist.storage.layout_state import State


async def remove(state: State) -> None:
    """Remove a layout with everything in it.

    Whenever this ends early, the layout is empty or not there.

    Raises:
        NameUnknownError: There is none.
        StorageError: Something cannot be removed.
    """
    unknown = refusal(NameUnknownError, 404, f"there is no repository {state.name}")
    if not await state.read(state.files.exists):
        raise unknown
    gone = f"{GONE}{secrets.token_hex(8)}"

    def change(this: Change) -> None:
        this.write(Index.empty())
        disk.unlink(MARKER, this.folder)
        disk.sync(this.folder)
        disk.unlink(INDEX, this.folder)
        with suppress(FileNotFoundError):
            disk.rename(BLOBS, this.folder, gone, this.inner)
        for name in disk.names_in(this.inner):
            if name not in {gone, LOCK}:
                with suppress(OSError):
                    disk.unlink(name, this.inner)
        disk.sync(this.folder)

    await state.change(change)
    await in_steps(f"remove {state.files.path}", _emptied(state.files, gone))


def _emptied(files: Files, gone: str) -> Generator[None, None, None]:
    yield from emptied(files, gone)
    # The rest goes only if nobody has come back meanwhile.
    with suppress(OSError), files.locked() as (folder, inner):
        if not files.exists():
            disk.unlink(LOCK, inner)
            disk.rmdir(WORK, folder)
    with suppress(OSError):
        files.remove_all()

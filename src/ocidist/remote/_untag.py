"""Deleting a tag and nothing else.

Spec: distribution-spec, "Deleting tags".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.errors import ResponseError, UnsupportedError
from ocidist.remote._answers import restated
from ocidist.remote._push import remove

if TYPE_CHECKING:
    from ocidist.model.reference import Tag
    from ocidist.remote._channel import Channel

_ADVICE = (
    "this registry does not delete single tags; delete the manifest with every tag it has (manifests.delete), or use"
    " tags.delete(..., strategy=TagDelete.DUMMY)"
)


async def delete_tag(channel: Channel, tag: Tag) -> None:
    """Delete a tag; manifests are left alone.

    Raises:
        TagUnknownError: There is no such tag.
        UnsupportedError: The registry does not delete single tags.
        OciError: See ``Sender.exchange``.
    """
    try:
        await remove(channel, tag)
    except ResponseError as error:
        # The specification lets a registry say so with 400 or 405; the codes that come with it differ.
        if error.status in {400, 405, 501} or isinstance(error, UnsupportedError):
            raise restated(UnsupportedError, _ADVICE, error) from None
        raise

"""What a request needs to be allowed, by endpoint: the whole table, and nothing else is let in.

HEAD needs what GET needs. A mount reads from its source. An upload session belongs to whoever may push.

Spec: docker registry auth, "Resource Scope Grammar".
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ocidist.errors import DeniedError
from ocidist.server.refusal import said
from ocidist.wire import endpoints
from ocidist.wire.scope import CATALOG, NO_SCOPES, PULL, PUSH, repository_scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocidist.wire.endpoints import Endpoint
    from ocidist.wire.scope import ScopeSet

DELETE: Final = "delete"
READ: Final = (PULL,)
WRITE: Final = (PULL, PUSH)
REMOVE: Final = (DELETE, PULL)

ACTIONS: Final[Mapping[type[Endpoint], tuple[str, ...]]] = MappingProxyType(
    {
        endpoints.GetBlob: READ,
        endpoints.StatBlob: READ,
        endpoints.DeleteBlob: REMOVE,
        endpoints.GetManifest: READ,
        endpoints.StatManifest: READ,
        endpoints.PutManifest: WRITE,
        endpoints.DeleteManifest: REMOVE,
        endpoints.ListTags: READ,
        endpoints.ListReferrers: READ,
        endpoints.StartUpload: WRITE,
        endpoints.PostBlob: WRITE,
        endpoints.MountBlob: WRITE,
        endpoints.PatchUpload: WRITE,
        endpoints.PutUpload: WRITE,
        endpoints.UploadStatus: WRITE,
        endpoints.CancelUpload: WRITE,
    }
)
"""Actions on the repository that an endpoint names."""


def needed(endpoint: Endpoint) -> ScopeSet:
    """Return the scopes that a request needs; none for ``/v2/``, which only asks who somebody is.

    Raises:
        DeniedError: Nobody may do it: the table does not have it.
    """
    kind = type(endpoint)
    if kind is endpoints.Ping:
        return NO_SCOPES
    if kind is endpoints.ListRepositories:
        return CATALOG
    actions = ACTIONS.get(kind)
    repository = getattr(endpoint, "repository", None)
    if actions is None or repository is None:
        raise said(DeniedError, 403, "nobody may do that")
    scopes = repository_scope(repository, *actions)
    if isinstance(endpoint, endpoints.MountBlob) and endpoint.source is not None:
        scopes |= repository_scope(endpoint.source, *READ)
    return scopes

"""Asynchronous OCI distribution client: pull, push, list, mount and attach on any OCI or Docker registry.

Every public name is here. The errors are imported at once, everything else when it is first used.
"""
# ruff: noqa: I001 -- packed by hand: one name a line would hide the page that this file is

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ocidist import errors
from ocidist.errors import *  # noqa: F403 -- the module's own __all__ says which

# fmt: off
if TYPE_CHECKING:
    from ocidist._io.body import Body, Progress, Source
    from ocidist._io.pages import Paginator
    from ocidist._io.partial import sweep_downloads
    from ocidist.client import Client
    from ocidist.credentials.authfile import AuthFile
    from ocidist.credentials.files import DefaultCredentials, FileCredentials
    from ocidist.credentials.helper import CredentialHelper
    from ocidist.credentials.paths import CredentialSource
    from ocidist.credentials.store import (
        ANONYMOUS, Anonymous, Basic, ChainCredentials, Credential, CredentialProvider, Credentials, IdentityToken,
        RegistryToken, StaticCredentials,
    )
    from ocidist.errors._transfer import Side
    from ocidist.hosts.config import HostsConfig
    from ocidist.hosts.host import HostConfig, Mirror, MirrorTags
    from ocidist.hosts.shortnames import ShortNames
    from ocidist.http.caches import ChallengeCache, MemoryChallengeCache, MemoryTokenCache, TokenCache, TokenOwner
    from ocidist.http.foreign import ForeignLayers
    from ocidist.http.limits import HostLimits
    from ocidist.http.retry import RetryPolicy
    from ocidist.http.sender import Call
    from ocidist.http.timeouts import Timeouts
    from ocidist.http.tokenfile import FileTokenCache
    from ocidist.http.tokens import TokenOptions
    from ocidist.model.builder import build_artifact, build_image, build_index
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.digest import Digest, Hasher
    from ocidist.model.manifest import ArtifactManifest, ImageIndex, ImageManifest, Manifest, Schema1View
    from ocidist.model.platform import Platform
    from ocidist.model.profile import RegistryProfile
    from ocidist.model.ratelimit import RateLimit
    from ocidist.model.reference import Reference, RegistryName, RepositoryName, Tag
    from ocidist.model.result import LoginResult, Mounted, OnExit, Page, PushResult, RegistryInfo
    from ocidist.observe.events import (
        BlobMounted, ConcurrencyChanged, ContentCopied, ContentMounted, ContentSkipped, CopyEvent, CopyFinished,
        CopyStarted, Event, MirrorFailed, NamesSkipped, RateLimitSeen, RequestRedirected, RequestRetried,
        TransferEvent, TransferFailed, TransferFinished, TransferProgressed, TransferResumed, TransferStarted,
        WarningReceived,
    )
    from ocidist.observe.hooks import Hook
    from ocidist.observe.logging import log_events
    from ocidist.remote.blobs import Blobs
    from ocidist.remote.manifests import Manifests
    from ocidist.remote.reader import BlobReader
    from ocidist.remote.registry import Registry
    from ocidist.remote.repository import Repository
    from ocidist.remote.tags import TagDelete, Tags
    from ocidist.remote.writer import BlobWriter
    from ocidist.storage.archive import Archive, ArchiveMode
    from ocidist.storage.layout import Layout, LayoutRegistry
    from ocidist.storage.layout_fsck import FsckProblem, FsckProblemKind, FsckReport
    from ocidist.storage.layout_gc import GcReport
    from ocidist.storage.memory import MemoryRegistry
    from ocidist.transfer.config import MirrorConfig, MirrorRule
    from ocidist.transfer.copying import Copier, copy
    from ocidist.transfer.filters import TagFilter
    from ocidist.transfer.graph import Survey
    from ocidist.transfer.mirror import make_plan, mirror, run_plan
    from ocidist.transfer.mirror_report import MirrorOutcome, MirrorReport, MirroredImage
    from ocidist.transfer.moving import Outcome
    from ocidist.transfer.options import CopyOptions, Referrers
    from ocidist.transfer.places import Place, Where, open_place
    from ocidist.transfer.plan import CopyTask, DeleteTask, MirrorFailure, MirrorPlan, PlannedBlob
    from ocidist.transfer.report import CopyReport
    from ocidist.transfer.shard import Shard
    from ocidist.wire.challenge import Challenge
    from ocidist.wire.egress import EgressPolicy
    from ocidist.wire.scope import Scope, ScopeSet
    from ocidist.wire.token import Token
    from ocidist.wire.upload_state import UploadStarted, UploadState

__all__ = [
    "ANONYMOUS", "Anonymous", "Archive", "ArchiveMode", "ArtifactManifest", "AuthFile", "Basic", "BlobMounted",
    "BlobReader", "BlobWriter", "Blobs", "Body", "Call", "ChainCredentials", "Challenge", "ChallengeCache", "Client",
    "ConcurrencyChanged", "ContentCopied", "ContentMounted", "ContentSkipped", "Copier", "CopyEvent", "CopyFinished",
    "CopyOptions", "CopyReport", "CopyStarted", "CopyTask", "Credential", "CredentialHelper", "CredentialProvider",
    "CredentialSource", "Credentials", "DefaultCredentials", "DeleteTask", "Descriptor", "Digest", "EgressPolicy",
    "Event", "FileCredentials", "FileTokenCache", "ForeignLayers", "FsckProblem", "FsckProblemKind", "FsckReport",
    "GcReport", "Hasher", "Hook", "HostConfig", "HostLimits", "HostsConfig", "IdentityToken", "ImageIndex",
    "ImageManifest", "Layout", "LayoutRegistry", "LoginResult", "Manifest", "Manifests", "MemoryChallengeCache",
    "MemoryRegistry", "MemoryTokenCache", "Mirror", "MirrorConfig", "MirrorFailed", "MirrorFailure", "MirrorOutcome",
    "MirrorPlan", "MirrorReport", "MirrorRule", "MirrorTags", "MirroredImage", "Mounted", "NamesSkipped", "OnExit",
    "Outcome", "Page", "Paginator", "Place", "PlannedBlob", "Platform", "Progress", "PushResult", "RateLimit",
    "RateLimitSeen", "Reference", "Referrers", "Registry", "RegistryInfo", "RegistryName", "RegistryProfile",
    "RegistryToken", "Repository", "RepositoryName", "RequestRedirected", "RequestRetried", "RetryPolicy",
    "Schema1View", "Scope", "ScopeSet", "Shard", "ShortNames", "Side", "Source", "StaticCredentials", "Survey", "Tag",
    "TagDelete", "TagFilter", "Tags", "Timeouts", "Token", "TokenCache", "TokenOptions", "TokenOwner",
    "TransferEvent", "TransferFailed", "TransferFinished", "TransferProgressed", "TransferResumed", "TransferStarted",
    "UploadStarted", "UploadState", "WarningReceived", "Where", "build_artifact", "build_image", "build_index",
    "copy", "log_events", "make_plan", "mirror", "open_place", "run_plan", "sweep_downloads",
]
__all__ += errors.__all__

_WHERE = {
    "_io.body": "Body Progress Source",
    "_io.pages": "Paginator",
    "_io.partial": "sweep_downloads",
    "client": "Client",
    "credentials.authfile": "AuthFile",
    "credentials.files": "DefaultCredentials FileCredentials",
    "credentials.helper": "CredentialHelper",
    "credentials.paths": "CredentialSource",
    "credentials.store": "ANONYMOUS Anonymous Basic ChainCredentials Credential "
        "CredentialProvider Credentials IdentityToken RegistryToken StaticCredentials",
    "errors._transfer": "Side",
    "hosts.config": "HostsConfig",
    "hosts.host": "HostConfig Mirror MirrorTags",
    "hosts.shortnames": "ShortNames",
    "http.caches": "ChallengeCache MemoryChallengeCache MemoryTokenCache TokenCache TokenOwner",
    "http.foreign": "ForeignLayers",
    "http.limits": "HostLimits",
    "http.retry": "RetryPolicy",
    "http.sender": "Call",
    "http.timeouts": "Timeouts",
    "http.tokenfile": "FileTokenCache",
    "http.tokens": "TokenOptions",
    "model.builder": "build_artifact build_image build_index",
    "model.descriptor": "Descriptor",
    "model.digest": "Digest Hasher",
    "model.manifest": "ArtifactManifest ImageIndex ImageManifest Manifest Schema1View",
    "model.platform": "Platform",
    "model.profile": "RegistryProfile",
    "model.ratelimit": "RateLimit",
    "model.reference": "Reference RegistryName RepositoryName Tag",
    "model.result": "LoginResult Mounted OnExit Page PushResult RegistryInfo",
    "observe.events": "BlobMounted ConcurrencyChanged ContentCopied ContentMounted ContentSkipped CopyEvent "
        "CopyFinished CopyStarted Event MirrorFailed NamesSkipped RateLimitSeen RequestRedirected RequestRetried "
        "TransferEvent TransferFailed TransferFinished TransferProgressed TransferResumed TransferStarted "
        "WarningReceived",
    "observe.hooks": "Hook",
    "observe.logging": "log_events",
    "remote.blobs": "Blobs",
    "remote.manifests": "Manifests",
    "remote.reader": "BlobReader",
    "remote.registry": "Registry",
    "remote.repository": "Repository",
    "remote.tags": "TagDelete Tags",
    "remote.writer": "BlobWriter",
    "storage.archive": "Archive ArchiveMode",
    "storage.layout": "Layout LayoutRegistry",
    "storage.layout_fsck": "FsckProblem FsckProblemKind FsckReport",
    "storage.layout_gc": "GcReport",
    "storage.memory": "MemoryRegistry",
    "transfer.config": "MirrorConfig MirrorRule",
    "transfer.copying": "Copier copy",
    "transfer.filters": "TagFilter",
    "transfer.graph": "Survey",
    "transfer.mirror": "make_plan mirror run_plan",
    "transfer.mirror_report": "MirrorOutcome MirrorReport MirroredImage",
    "transfer.moving": "Outcome",
    "transfer.options": "CopyOptions Referrers",
    "transfer.places": "Place Where open_place",
    "transfer.plan": "CopyTask DeleteTask MirrorFailure MirrorPlan PlannedBlob",
    "transfer.report": "CopyReport",
    "transfer.shard": "Shard",
    "wire.challenge": "Challenge",
    "wire.egress": "EgressPolicy",
    "wire.scope": "Scope ScopeSet",
    "wire.token": "Token",
    "wire.upload_state": "UploadStarted UploadState",
}
# fmt: on
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("ocidist._version").version()
    if name in _MODULES:
        return getattr(import_module(f"ocidist.{_MODULES[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

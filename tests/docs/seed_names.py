"""Every name of the five seeds: those of their indexes, and the fields and methods that their texts explain."""

from __future__ import annotations

from typing import Final

_TEXT: Final = {
    "ruasec `distribution/remote`": """
        AuthProvider BlobStore.Delete BlobStore.Exists BlobStore.Fetch BlobStore.FetchDigest BlobStore.Push
        BlobStore.Stat BlobWriteCloser.Cancel BlobWriteCloser.ChunkSize BlobWriteCloser.Close
        BlobWriteCloser.Commit BlobWriteCloser.ID BlobWriteCloser.Size BlobWriteCloser.Write ChallengeCache
        ChallengeCache.Delete ChallengeCache.Get ChallengeCache.Set Client Client.AuthProvider
        Client.ChallengeCache Client.Client Client.Do Client.Header Client.NewRegistry Client.NewRepository
        Client.TokenCache Client.TokenOptions DetectScheme DockerContentDigestHeader IsDirectRequest
        ListOption.Offset ListOption.PageSize ManifestAcceptHeader ManifestStore.Delete ManifestStore.Exists
        ManifestStore.Fetch ManifestStore.FetchDigest ManifestStore.FetchTagOrDigest ManifestStore.Push
        ManifestStore.Stat NewAuthProviderFromAuthFile NewAuthProviderFromAuthFilePath NewClient Registry
        Registry.DeleteBlob Registry.DeleteManifest Registry.GetBlob Registry.GetManifest Registry.GetReferrers
        Registry.GetVersion Registry.ListReferrers Registry.ListRepositories Registry.ListTags
        Registry.MountBlob Registry.Name Registry.Ping Registry.PushBlob Registry.PushBlobChunked
        Registry.PushBlobChunkedResume Registry.PushManifest Registry.Repository Registry.RepositoryE
        Registry.Spec Registry.StatBlob Registry.StatManifest Repository Repository.Blobs Repository.Manifests
        Repository.Name Repository.Registry Repository.Tags TagStore.List TagStore.Stat TagStore.Tag
        TagStore.Untag TokenCache TokenOptions TokenOptions.ClientID TokenOptions.ForceAttemptOAuth2
        TokenOptions.OfflineToken WithDirectRequest authfile authn.AuthConfig authn.CleanScopes
        authn.ParseChallenge authn.Scope name
    """,
    "registry-admin `app/registry`": """
        APIError AccessToken ApiResponse Basic Certs CertsName ClientToken ErrNoMorePages FetchUsers ImageTags
        ManifestSchemaV2 NewRegistry NewRegistryToken ParseURLForNextLink Registry Registry.APIVersionCheck
        Registry.Catalog Registry.DeleteTag Registry.GetBlob Registry.ListingImageTags Registry.Login
        Registry.Manifest Registry.ParseAuthenticateHeaderRequest Registry.Token Registry.UpdateHtpasswd
        Repositories SelfToken Settings Settings.AuthType Settings.CertificatesPaths Settings.HTTPSCert
        Settings.Host Settings.HtpasswdPath Settings.InsecureRequest Settings.Issuer Settings.Port
        Settings.Service Settings.TokenTTL TokenExpiration TokenIssuer TokenLogger TokenOption TokenRequest
        UsersFn
    """,
    "docker `distribution`": """
        BlobCreateOption BlobCreateOption.Apply BlobDeleter BlobDescriptorService BlobDescriptorService.Clear
        BlobDescriptorService.SetDescriptor BlobDescriptorServiceFactory
        BlobDescriptorServiceFactory.BlobAccessController BlobEnumerator BlobIngester BlobIngester.Create
        BlobIngester.Put BlobIngester.Resume BlobProvider BlobProvider.Get BlobProvider.Open BlobServer
        BlobServer.ServeBlob BlobService BlobStatter BlobStore BlobWriter BlobWriter.Cancel BlobWriter.Close
        BlobWriter.Commit BlobWriter.ID BlobWriter.ReadFrom BlobWriter.Size BlobWriter.StartedAt
        BlobWriter.Write CreateOptions CreateOptions.Mount.From CreateOptions.Mount.ShouldMount
        CreateOptions.Mount.Stat Describable Descriptor Descriptor.Descriptor ErrAccessDenied
        ErrBlobDigestUnsupported ErrBlobExists ErrBlobInvalidDigest ErrBlobInvalidDigest.Error
        ErrBlobInvalidLength ErrBlobMounted ErrBlobMounted.Error ErrBlobUnknown ErrBlobUploadUnknown
        ErrManifestBlobUnknown ErrManifestBlobUnknown.Error ErrManifestNameInvalid ErrManifestNameInvalid.Error
        ErrManifestNotFound ErrManifestNotModified ErrManifestUnknown ErrManifestUnknown.Error
        ErrManifestUnknownRevision ErrManifestUnknownRevision.Error ErrManifestUnverified
        ErrManifestUnverified.Error ErrManifestVerification ErrManifestVerification.Error
        ErrRepositoryNameInvalid ErrRepositoryNameInvalid.Error ErrRepositoryUnknown ErrRepositoryUnknown.Error
        ErrSchemaV1Unsupported ErrTagUnknown ErrTagUnknown.Error ErrTagUntrusted ErrUnsupported GlobalScope
        Manifest Manifest.Payload Manifest.References ManifestBuilder ManifestBuilder.AppendReference
        ManifestBuilder.Build ManifestBuilder.References ManifestEnumerator ManifestMediaTypes ManifestService
        ManifestService.Delete ManifestService.Exists ManifestService.Get ManifestService.Put
        ManifestServiceOption ManifestServiceOption.Apply Namespace Namespace.BlobStatter Namespace.Blobs
        Namespace.Repositories Namespace.Repository Namespace.Scope ReadSeekCloser RegisterManifestSchema
        Repository Repository.Blobs Repository.Manifests Repository.Named Repository.Tags RepositoryEnumerator
        RepositoryRemover Scope Scope.Contains TagService TagService.All TagService.Get TagService.Lookup
        TagService.Tag TagService.Untag UnmarshalFunc UnmarshalManifest WithManifestMediaTypes
        WithManifestMediaTypesOption WithManifestMediaTypesOption.Apply WithTag WithTagOption
        WithTagOption.Apply
    """,
    "docker `api/types/registry`": """
        AuthConfig AuthHeader AuthenticateOKBody DecodeAuthConfig DecodeAuthConfigBody DistributionInspect
        EncodeAuthConfig IndexInfo NetIPNet NetIPNet.MarshalJSON NetIPNet.String NetIPNet.UnmarshalJSON
        RepositoryInfo SearchResult SearchResults ServiceConfig
        ServiceConfig.AllowNondistributableArtifactsCIDRs ServiceConfig.AllowNondistributableArtifactsHostnames
        ServiceConfig.IndexConfigs ServiceConfig.InsecureRegistryCIDRs ServiceConfig.Mirrors
    """,
    "docker `registry`, before 2015": """
        APIVersion APIVersion.String APIVersion1 APIVersion2 AddRequiredHeadersToRedirectedRequests AuthConfig
        CONFIGFILE ConfigFile ConfigFile.ResolveAuthConfig ConnectTimeout DefaultAPIVersion Endpoint
        Endpoint.Ping Endpoint.VersionString ErrAlreadyExists ErrConfigFileMissing ErrDoesNotExist
        ErrInvalidRepositoryName FSLayer HTTPRequestFactory INDEXSERVER ImgData IndexServerAddress LoadConfig
        Login ManifestData ManifestHistory NewEndpoint NewService NewSession NoTimeout REGISTRYSERVER
        ReceiveTimeout RegistryInfo RepositoryData ResolveRepositoryName SaveConfig SearchResult SearchResults
        Service Service.Auth Service.Search Session Session.GetAuthConfig Session.GetRemoteHistory
        Session.GetRemoteImageJSON Session.GetRemoteImageLayer Session.GetRemoteTags Session.GetRepositoryData
        Session.GetV2ImageBlob Session.GetV2ImageBlobReader Session.GetV2ImageManifest Session.GetV2RemoteTags
        Session.GetV2Version Session.LookupRemoteImage Session.PostV2ImageMountBlob
        Session.PushImageChecksumRegistry Session.PushImageJSONIndex Session.PushImageJSONRegistry
        Session.PushImageLayerRegistry Session.PushRegistryTag Session.PutV2ImageBlob Session.PutV2ImageManifest
        Session.SearchRepositories TimeoutType
    """,
}

NAMES: Final = {seed: frozenset(text.split()) for seed, text in _TEXT.items()}
"""Names by the heading of the seed's section in ``docs/reference/seeds.md``."""

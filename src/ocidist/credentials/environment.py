"""Who asks where a program says nothing: whoever has logged in on this machine, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.credentials.store import StaticCredentials, as_provider

if TYPE_CHECKING:
    from ocidist.credentials.store import Credential, CredentialProvider, Credentials


class EnvironmentCredentials:
    """``DefaultCredentials``, whose modules are loaded, and whose environment is read, when it is first asked.

    Args:
        helpers: Helpers to ask for every registry, see there.
    """

    def __init__(self, helpers: tuple[str, ...] = ()) -> None:
        self._helpers = helpers
        self._found: CredentialProvider | None = None

    async def get(self, host: str, *, repository: str | None = None) -> Credential:
        """Return what ``DefaultCredentials.get`` does."""
        found = self._found or await self._load()
        return await found.get(host, repository=repository)

    async def _load(self) -> CredentialProvider:
        from ocidist._io.load import load_module  # noqa: PLC0415 -- credentials alone need no event loop

        await load_module("ocidist.credentials.files")
        from ocidist.credentials.files import DefaultCredentials  # noqa: PLC0415 -- see above

        if self._found is None:
            self._found = DefaultCredentials(helpers=self._helpers)
        return self._found

    def __repr__(self) -> str:
        return "EnvironmentCredentials()"


def client_credentials(
    credentials: Credentials | None, *, trust_env: bool, helpers: tuple[str, ...] = ()
) -> CredentialProvider:
    """Return the provider for what a client was given as ``credentials=``.

    Args:
        credentials: What that is.
        trust_env: What None means: the files and helpers of the environment, or anonymous everywhere.
        helpers: Helpers that a configuration names for every registry; for the environment only.

    Raises:
        InvalidReferenceError: A key of a mapping is not a registry name.
        UsageError: It is something else, or a value of a mapping is no credential.
    """
    if credentials is not None:
        return as_provider(credentials)
    return EnvironmentCredentials(helpers) if trust_env else StaticCredentials({})

"""Options that every verb has."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import attrs
from cyclopts import Group, Parameter


class Format(enum.Enum):
    """What the data on standard output look like."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


class Showing(enum.Enum):
    """How progress is shown, on standard error."""

    AUTO = "auto"
    PLAIN = "plain"
    NONE = "none"
    JSON = "json"


Flag = Annotated[bool, Parameter(show_default=False)]
"""An option without a value, off unless it is given."""

Texts = Annotated[tuple[str, ...], Parameter(show_default=False)]
"""An option that can be given several times."""

if TYPE_CHECKING:
    FileName: TypeAlias = str
    """The name of a file as it was written: a path would lose the difference between ``-`` and ``./-``."""
else:
    # It stays text, which comes first; that it might be a path lets shells complete it.
    FileName = str | Path

FILE: Final = "FILE"
"""What help calls such names."""

_OUTPUT: Final = Group("Output", sort_key=10)
_CONNECTION: Final = Group("Connection", sort_key=11)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Common:
    """What can be said with every verb."""

    output: Annotated[
        Format,
        Parameter(
            name=("--output", "-o"), group=_OUTPUT, help="Format of the data on stdout.", env_var="OCIDIST_OUTPUT"
        ),
    ] = Format.TEXT
    progress: Annotated[
        Showing,
        Parameter(group=_OUTPUT, help="Progress on stderr; auto: bars on a terminal.", env_var="OCIDIST_PROGRESS"),
    ] = Showing.AUTO
    verbose: Annotated[Flag, Parameter(name=("--verbose", "-v"), group=_OUTPUT, help="Tell more on stderr.")] = False
    debug_http: Annotated[
        Flag,
        Parameter(group=_OUTPUT, help="Show every request on stderr, without secrets and bodies."),
    ] = False
    insecure: Annotated[
        Flag,
        Parameter(
            group=_CONNECTION,
            show_default=False,
            help="Try plain http, and do not verify TLS, at the registries that the command names.",
        ),
    ] = False
    insecure_host: Annotated[Texts, Parameter(group=_CONNECTION, help="The same for this host; repeatable.")] = ()
    ca_file: Annotated[
        Path | None,
        Parameter(group=_CONNECTION, help="Trust these authorities (PEM), too.", env_var="OCIDIST_CA_FILE"),
    ] = None
    config: Annotated[
        Path | None,
        Parameter(
            group=_CONNECTION,
            help="Registries' settings: a directory (hosts.toml, certs.d), registries.conf or daemon.json.",
            env_var="OCIDIST_CONFIG",
        ),
    ] = None
    trust_realm: Annotated[
        Texts,
        Parameter(group=_CONNECTION, help="A token server that may see credentials; repeatable."),
    ] = ()


DEFAULTS: Final = Common()

"""What is wrong with a command line, and what may have been meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cyclopts.exceptions import UnknownCommandError, UnusedCliTokensError

from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from cyclopts import CycloptsError

ELSEWHERE: Final = {
    "attach": "push REPOSITORY FILE --subject TAG",
    "catalog": "ls REGISTRY",
    "copy": "cp SOURCE DESTINATION",
    "delete": "tag --delete REF, or ocidist manifest delete REF@DIGEST",
    "digest": "resolve REF",
    "discover": "referrers REF",
    "export": "cp REF oci-archive:FILE",
    "help": "--help",
    "image": "cp SOURCE DESTINATION, or ocidist manifest get REF",
    "inspect": "manifest get REF",
    "list-tags": "ls REPOSITORY",
    "repo": "ls REGISTRY|REPOSITORY",
    "rm": "tag --delete REF, or ocidist manifest delete REF@DIGEST",
    "save": "cp REF oci-archive:FILE",
    "sync": "mirror -f mirror.toml",
    "tags": "ls REPOSITORY",
    "version": "--version",
    "whoami": "login REGISTRY --show-sources",
}
"""What other tools call their commands, and what to write here."""


def explained(error: CycloptsError) -> tuple[str, str]:
    """Return what is wrong with a command line, and what may help."""
    text = clean_text(str(error))
    if isinstance(error, UnknownCommandError):
        word = next(iter(error.unused_tokens or ()), "")
        if word in ELSEWHERE and not error.command_chain:
            return f'Unknown command "{word}".', f"Try: ocidist {ELSEWHERE[word]}"
        return text.partition(" Available commands")[0], "Try: ocidist --help"
    if isinstance(error, UnusedCliTokensError):
        text = clean_text(f"There is no place for {' '.join(error.unused_tokens or ())!r}.")
    return text, f"Try: {' '.join(['ocidist', *(error.command_chain or ())])} --help"

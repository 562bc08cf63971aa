"""From the words of a command line to an exit status."""

from __future__ import annotations

import inspect
import os
import shlex
import traceback
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnknownCommandError

from ocidist._version import version
from ocidist.cli.failure import (
    BROKEN_PIPE,
    FAILED,
    SIGNAL,
    USAGE,
    ReaderGoneError,
    described,
    hint_of,
    is_expected,
    message_of,
    status_of,
)
from ocidist.cli.options import Common, Format
from ocidist.cli.output import document
from ocidist.cli.people import is_terminal, put
from ocidist.cli.running import InterruptedCommandError, carry_out
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ABOUT: Final = "Move, list and inspect images and artifacts on any OCI or Docker registry."
_COMMANDS: Final = "ocidist.cli.commands"

VERBS: Final = {
    "ls": "List the repositories of a registry, or the tags of a repository.",
    "resolve": "Print the digest that a tag names.",
    "push": "Push files as an artifact.",
    "pull": "Pull the files of an artifact.",
    "cp": "Copy an image or an artifact, with everything it leads to.",
    "mirror": "Let registries have what others have, by the rules of a file.",
    "referrers": "Show what refers to a manifest.",
    "tag": "Let tags name a manifest, or delete a tag.",
    "login": "Tell a registry who you are.",
    "logout": "Forget who you are at a registry.",
    "ping": "Ask whether a registry is there.",
    "serve": "Run a registry.",
    "demo": "Mirror one registry to another, on this machine, and prove that nothing is missing.",
    "completion": "Print a script that lets a shell complete commands.",
}
"""The verbs, with what their help says in one line; a verb's own module is loaded when it is used."""

GROUPS: Final = {
    "manifest": (
        "Read, store and delete manifests.",
        {
            "get": "Print a manifest.",
            "head": "Print a manifest's media type, digest and size.",
            "put": "Store a manifest.",
            "delete": "Delete a manifest, and every tag that names it.",
        },
    ),
    "blob": (
        "Read and store blobs.",
        {
            "get": "Print a blob, or write it to a file.",
            "head": "Print a blob's digest and size.",
            "put": "Store a blob.",
        },
    ),
}
"""Verbs that have verbs of their own."""

COMMON: Final = {
    **dict.fromkeys(
        ("-o", "--output", "--progress", "--insecure-host", "--ca-file", "--config", "--trust-realm"), True
    ),
    **dict.fromkeys(("-v", "--verbose", "--debug-http", "--insecure"), False),
}
"""Options that may stand before the verb, and whether a value follows them."""

RESUMED: Final = {
    "mirror": "what is complete is at its destination, and is not sent again",
    "cp": "what is at the destination is not sent again",
    "push": "what the registry has completely is not sent again",
    "pull": "files that were complete are there, and large ones go on where they were",
    "blob_get": "a large blob goes on where it was",
    "blob_put": "with --journal, a file goes on where it was",
}
"""What an interrupted command leaves for the next run of the same command line."""


def application() -> App:
    """Return the application; the modules of the verbs are not loaded."""
    app = App(
        name="ocidist",
        help=_ABOUT,
        version=version,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        result_action="return_value",
    )
    for verb, about in VERBS.items():
        app.command(f"{_COMMANDS}.{verb}:{verb}", name=verb, help=about)
    for group, (about, verbs) in GROUPS.items():
        nested = App(name=group, help=about)
        for verb, line in verbs.items():
            nested.command(f"{_COMMANDS}.{group}_{verb}:{group}_{verb}", name=verb, help=line)
        app.command(nested)
    return app


def _verb_first(words: list[str]) -> list[str]:
    """Return a command line whose common options stand behind the verb; people write them before it, too."""
    index = 0
    while index < len(words):
        name, equals, _ = words[index].partition("=")
        if name not in COMMON:
            break
        index += 1 if equals or not COMMON[name] else 2
    before, rest = words[:index], words[index:]
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *before, *rest[end:]] if rest else words


def run(words: Sequence[str]) -> int:
    """Carry out a command line.

    Returns:
        The exit status.
    """
    given = list(words)
    teller = _Teller(given)
    try:
        command, bound, _ = application().parse_args(_verb_first(given), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return teller.misused(error)
    except KeyboardInterrupt:
        return teller.interrupted(SIGNAL + 2, None)
    teller.verbose = any(common.verbose for common in bound.arguments.values() if isinstance(common, Common))
    try:
        found = _call(command, partial(command, *bound.args, **bound.kwargs))
    except InterruptedCommandError as error:
        return teller.interrupted(error.status, RESUMED.get(command.__name__))
    except KeyboardInterrupt:
        return teller.interrupted(SIGNAL + 2, None)
    except (BrokenPipeError, ReaderGoneError):
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 -- whatever it is, its reader gets a message and a status
        return teller.failed(error)
    return found if isinstance(found, int) else 0


def _call(command: Callable[..., Any], work: Callable[[], Any]) -> object:
    if not inspect.iscoroutinefunction(command):
        return work()
    # Here, where nothing waits for it.
    import_module("ocidist.client")
    carry_out(work)
    return 0


class _Teller:
    """Tells people, or programs, why a command line was not carried out.

    Args:
        words: The command line.

    Attributes:
        verbose: Whether to tell more.
    """

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._json = _wants_json(words)
        self.verbose = False

    def failed(self, error: Exception) -> int:
        """Tell of an error."""
        status = status_of(error)
        if not is_expected(error):
            return self._bug(error)
        value = described(error, status=status)
        self._tell(message_of(error), hint_of(error), value)
        if self.verbose and value.get("request_id"):
            put(f"request id: {value['request_id']}\n")
        return status

    def misused(self, error: CycloptsError) -> int:
        """Tell what is wrong with the command line."""
        text = clean_text(str(error))
        verb = " ".join(["ocidist", *(error.command_chain or ())])
        hint = f"Try: {verb} --help"
        if isinstance(error, UnknownCommandError):
            text, hint = text.partition(" Available commands")[0], "Try: ocidist --help"
        value = {"type": "UsageError", "message": text, "hint": hint, "exit_code": USAGE}
        self._tell(text, hint, value)
        return USAGE

    def interrupted(self, status: int, kept: str | None) -> int:
        """Tell that somebody ended the command, and how to go on."""
        again = shlex.join(["ocidist", *self._words])
        value: dict[str, object] = {"type": "Interrupted", "message": "interrupted", "exit_code": status}
        if self._json:
            self._tell("", None, value if kept is None else {**value, "hint": kept, "resume": again})
        elif kept is None:
            put("interrupted\n")
        else:
            put(f"interrupted: {kept}. To go on:\n  {again}\n")
        return status

    def _bug(self, error: Exception) -> int:
        text = f"{type(error).__name__}: {message_of(error)}"
        value = {"type": type(error).__name__, "message": text, "exit_code": FAILED}
        self._tell(text, "This is a bug in ocidist: please report it, with what -v shows", value)
        if self.verbose:
            put("".join(traceback.format_exception(error)))
        return FAILED

    def _tell(self, text: str, hint: str | None, value: dict[str, object]) -> None:
        if self._json:
            put(f"{document({'error': value})}\n")
            return
        red, plain = ("\x1b[1;31m", "\x1b[0m") if is_terminal() and not os.environ.get("NO_COLOR") else ("", "")
        put(f"{red}error:{plain} {text}\n")
        if hint:
            put(f"hint: {hint}\n")


def _wants_json(words: Sequence[str]) -> bool:
    """Return whether JSON was asked for, as far as words tell that perhaps cannot be parsed."""
    wanted = os.environ.get("OCIDIST_OUTPUT", "")
    for number, word in enumerate(words):
        if word == "--":
            break
        if word in {"-o", "--output"}:
            wanted = "".join(words[number + 1 : number + 2])
        elif word.startswith(("--output=", "-o")):
            wanted = word.partition("=")[2] if "=" in word else word[2:]
    return wanted in {Format.JSON.value, Format.JSONL.value}

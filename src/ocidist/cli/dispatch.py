"""From the words of a command line to an exit status."""

from __future__ import annotations

import inspect
import os
import shlex
import shutil
import sys
import traceback
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App, CycloptsError, Parameter

from ocidist._version import version
from ocidist.cli import sources
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
from ocidist.cli.misuse import explained
from ocidist.cli.options import Common, Format, Showing
from ocidist.cli.output import document
from ocidist.cli.people import is_terminal, put
from ocidist.cli.running import InterruptedCommandError, carry_out

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

ENVIRONMENT: Final = "OCIDIST_"
"""What the names of variables that stand for options begin with."""

NARROWEST: Final = 20
"""Columns that help needs."""

RESUMED: Final = {
    "mirror": "what is complete is at its destination, and is not sent again",
    "cp": "what is at the destination is not sent again",
    "push": "what the registry has completely is not sent again",
    "pull": "files that were complete are there, and large ones go on where they were",
    "blob_get": "a large blob goes on where it was",
    "blob_put": "with --journal, a file goes on where it was",
}
"""What an interrupted command leaves for the next run of the same command line."""


def application(words: Sequence[str] = ()) -> App:
    """Return the application; the modules of the verbs are not loaded.

    Args:
        words: A command line; the help of its verb has all that there is to say, and not the one line of the overview.
    """
    app = App(
        name="ocidist",
        help=_ABOUT,
        version=version,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        result_action="return_value",
    )
    for verb, about in VERBS.items():
        text = None if verb in words[:1] else about
        app.command(f"{_COMMANDS}.{verb}:{verb}", name=verb, help=text)
    for group, (about, verbs) in GROUPS.items():
        nested = App(name=group, help=about)
        for verb, line in verbs.items():
            text = None if [group, verb] == list(words[:2]) else line
            nested.command(f"{_COMMANDS}.{group}_{verb}:{group}_{verb}", name=verb, help=text)
        app.command(nested)
    return app


def _verb_first(words: list[str]) -> list[str]:
    """Return a command line whose common options stand behind the verb; people write them before it, too."""
    index = 0
    while index < len(words):
        name, equals, _ = words[index].partition("=")
        if name.startswith("-o"):
            # Its value may stand right behind it.
            name, equals = "-o", words[index][2:]
        if name not in COMMON:
            break
        index += 1 if equals or not COMMON[name] else 2
    before, rest = words[:index], words[index:]
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *before, *rest[end:]] if rest else words


def run(words: Sequence[str] | None) -> int:
    """Carry out a command line.

    Args:
        words: Command line without the program's name; None for the process's own.

    Returns:
        The exit status.
    """
    given = sys.argv[1:] if words is None else list(words)
    teller = _Teller(given, program() if words is None else ["ocidist"])
    if any(_is_empty(word) for word in given):
        return teller.misused("an argument is empty: perhaps a variable is not set", "Leave it out")
    # Set to nothing is not set: an empty path would be the directory that one happens to be in.
    for name in [name for name, text in os.environ.items() if name.startswith(ENVIRONMENT) and not text]:
        del os.environ[name]
    ordered = _verb_first(given)
    if len(ordered) < 2 or not {"--help", "-h"}.isdisjoint(ordered):
        _make_room()
    try:
        command, bound, _ = application(ordered).parse_args(ordered, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return teller.misused(*explained(error))
    except KeyboardInterrupt:
        return teller.interrupted(SIGNAL + 2, None)
    teller.verbose = any(common.verbose for common in bound.arguments.values() if isinstance(common, Common))
    try:
        found = _call(command, partial(command, *bound.args, **bound.kwargs))
    except InterruptedCommandError as error:
        # What was read from standard input cannot be read again, nor what was printed be taken back.
        bound.apply_defaults()
        kept = None if sources.STDIN in bound.args or sources.STDIN in bound.kwargs.values() else command.__name__
        return teller.interrupted(error.status, RESUMED.get(kept or ""))
    except KeyboardInterrupt:
        return teller.interrupted(SIGNAL + 2, None)
    except (BrokenPipeError, ReaderGoneError, SystemExit):
        # The last is how rich puts it.
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


def _make_room() -> None:
    # Help never ends where there is no room for a word, and knows no terminal without columns.
    if shutil.get_terminal_size().columns < NARROWEST or os.environ.get("COLUMNS") == "0":
        os.environ["COLUMNS"] = str(NARROWEST)


def _is_empty(word: str) -> bool:
    option, equals, value = word.partition("=")
    return not word or (option.startswith("--") and bool(equals) and not value)


class _Teller:
    """Tells people, or programs, why a command line was not carried out.

    Args:
        words: The command line.
        name: The words that started the program.

    Attributes:
        verbose: Whether to tell more.
    """

    def __init__(self, words: list[str], name: list[str]) -> None:
        self._words = words
        self._program = name
        self._json = _wants_json(words)
        self.verbose = False

    def failed(self, error: Exception) -> int:
        """Tell of an error."""
        status = status_of(error)
        if not is_expected(error):
            return self._bug(error)
        value = described(error, status=status)
        self._tell(message_of(error), hint_of(error), value)
        if self.verbose and not self._json and value.get("request_id"):
            put(f"request id: {value['request_id']}\n")
        return status

    def misused(self, text: str, hint: str) -> int:
        """Tell what is wrong with the command line."""
        value = {"type": "UsageError", "message": text, "hint": hint, "exit_code": USAGE}
        self._tell(text, hint, value)
        return USAGE

    def interrupted(self, status: int, kept: str | None) -> int:
        """Tell that somebody ended the command, and how to go on."""
        again = " ".join(map(quoted, [*self._program, *self._words]))
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
        hint = "This is a bug in ocidist: please report it, with what -v shows"
        trace = "".join(traceback.format_exception(error)) if self.verbose else ""
        value: dict[str, object] = {"type": type(error).__name__, "message": text, "hint": hint, "exit_code": FAILED}
        self._tell(text, hint, {**value, "traceback": trace} if trace else value)
        if trace and not self._json:
            put(trace)
        return FAILED

    def _tell(self, text: str, hint: str | None, value: dict[str, object]) -> None:
        if self._json:
            put(f"{document({'error': value})}\n")
            return
        red, plain = ("\x1b[1;31m", "\x1b[0m") if is_terminal() and not os.environ.get("NO_COLOR") else ("", "")
        put(f"{red}error:{plain} {text}\n")
        if hint:
            put(f"hint: {hint}\n")


def program() -> list[str]:
    """Return the words that started this program, as they can be typed again."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        # python -m ocidist
        return sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    found = shutil.which("ocidist")
    if script.name != "ocidist" or found is None or not script.exists() or not script.samefile(found):
        return [sys.argv[0]]
    return ["ocidist"]


def quoted(word: str) -> str:
    """Return a word as a shell reads it; what a terminal cannot show is spelled out, as bash, zsh and ksh read it."""
    if word.isprintable():
        return shlex.quote(word)
    spelled = (
        f"\\{char}"
        if char in "\\'"
        else char
        if char.isprintable()
        else "".join(f"\\{byte:03o}" for byte in char.encode(errors="surrogateescape"))
        for char in word
    )
    return f"$'{''.join(spelled)}'"


def _wants_json(words: Sequence[str]) -> bool:
    """Return whether JSON was asked for, as far as words tell that perhaps cannot be parsed."""
    output, progress = os.environ.get("OCIDIST_OUTPUT", ""), os.environ.get("OCIDIST_PROGRESS", "")
    for number, word in enumerate(words):
        if word == "--":
            break
        following = "".join(words[number + 1 : number + 2])
        if word in {"-o", "--output"}:
            output = following
        elif word.startswith(("--output=", "-o")):
            output = word.partition("=")[2] if "=" in word else word[2:]
        elif word == "--progress":
            progress = following
        elif word.startswith("--progress="):
            progress = word.partition("=")[2]
    # Values may be written in capitals, too.
    return output.lower() in {Format.JSON.value, Format.JSONL.value} or progress.lower() == Showing.JSON.value

"""``ocidist completion``."""

from __future__ import annotations

from typing import Literal

from ocidist.cli.main import application
from ocidist.cli.options import DEFAULTS, Common, Format
from ocidist.cli.output import document, encoded, put


def completion(shell: Literal["bash", "zsh", "fish"], /, *, common: Common = DEFAULTS) -> None:
    """Print a script that lets a shell complete verbs and options.

    bash: ocidist completion bash > ~/.local/share/bash-completion/completions/ocidist

    Args:
        shell: The shell.
        common: Options of every verb.
    """
    script = application().generate_completion(shell=shell)
    if common.output is Format.TEXT:
        put(encoded(script if script.endswith("\n") else f"{script}\n"))
    else:
        put(encoded(f"{document({'shell': shell, 'script': script})}\n"))

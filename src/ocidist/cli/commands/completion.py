"""``ocidist completion``."""

from __future__ import annotations

from typing import Final, Literal

from ocidist.cli.dispatch import application
from ocidist.cli.options import DEFAULTS, Common, Format
from ocidist.cli.output import document, encoded, put

# Otherwise the function is only defined, by a file of whatever name, and never called.
_ZSH: Final = """
if [[ $funcstack[1] == _ocidist ]]; then
  _cyclopts_ocidist "$@"
else
  compdef _cyclopts_ocidist ocidist
fi
"""


def completion(shell: Literal["bash", "zsh", "fish"], /, *, common: Common = DEFAULTS) -> None:
    """Print a script that lets a shell complete verbs and options.

    bash: ocidist completion bash > ~/.local/share/bash-completion/completions/ocidist

    Args:
        shell: The shell.
        common: Options of every verb.
    """
    script = application().generate_completion(shell=shell)
    match shell:
        case "bash":
            # Words with colons are several to bash, and what is meant by them is not found: files are, then.
            script = script.replace("complete -F", "complete -o default -F")
        case "zsh":
            script += _ZSH
        case "fish":
            pass
    if common.output is Format.TEXT:
        put(encoded(script if script.endswith("\n") else f"{script}\n"))
    else:
        put(encoded(f"{document({'shell': shell, 'script': script})}\n"))

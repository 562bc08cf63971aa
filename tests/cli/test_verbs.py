"""Every verb: its help, its data as JSON, and an error, compared with what they were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from ocidist.cli.dispatch import GROUPS, VERBS
from tests.cli.support import compare, tidied

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command

EVERY_VERB: Final = [
    *((verb,) for verb in VERBS),
    *((group, verb) for group, (_, verbs) in GROUPS.items() for verb in verbs),
]


@attrs.frozen
class Case:
    """A verb's examples: words for a good run, words for a bad one and its exit status, and standard input."""

    good: str
    bad: str
    status: int
    stdin: bytes = b""


INDEX: Final = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

CASES: Final = {
    "ls": Case("{app}", "{host}/acme/none", 3),
    "resolve": Case("{app}:v1 --platform linux/arm64", "{app}:none", 3),
    "push": Case("{app}:data {dir}/data.txt:text/plain --annotation a=b", "{app}:data {dir}", 2),
    "pull": Case("{files} --dir {dir}/out", "{app}:v1 --dir {dir}/out", 2),
    "cp": Case("{app}:v1 {host}/acme/copy:v2 --referrers", "{app}:none {host}/acme/copy", 3),
    "mirror": Case("-f {rules}", "-f {rules} --shard 4/4", 2),
    "demo": Case("", "more", 2),
    "referrers": Case("{app}:v1", "{app}:v1 --depth 0", 2),
    "tag": Case("{app}:v1 stable v1.0", "{app}:v1 b@d", 2),
    "login": Case("{host} --show-sources", "{host}/acme -u me", 2, b"word\n"),
    "logout": Case("{host}", "not/a/host", 2),
    "ping": Case("{host}", "{host}/acme/app", 2),
    "serve": Case("", "--port 70000", 2),
    "completion": Case("fish", "csh", 2),
    "manifest get": Case("{app}:v1", "{app}@sha256:12", 2),
    "manifest head": Case("{app}", "{app}:none", 3),
    "manifest put": Case("{app}:new -", "{app}:new -", 2, INDEX),
    "manifest delete": Case("{app}@{index}", "{app}:v1", 2),
    "blob get": Case("{app}@{blob} {dir}/blob", "{app}:v1", 2),
    "blob head": Case("{app}@{blob}", "{app}:v1", 2),
    "blob put": Case("{app} -", "{app}:v1 -", 2, b"some bytes"),
}


@pytest.fixture
def words(full_registry: LoopbackRegistry, ocidist: Command, tmp_path: Path) -> dict[str, str]:
    """What stands for places in the cases."""
    (tmp_path / "data.txt").write_text("some data\n")
    app = f"{full_registry.url}/acme/app"
    files = f"{full_registry.url}/acme/files:v1"
    assert ocidist("push", files, tmp_path / "data.txt").status == 0
    rules = tmp_path / "mirror.toml"
    rules.write_text(
        f'[hosts."{full_registry.host}"]\nscheme = "http"\n'
        f'[[mirror]]\nsource = "{full_registry.host}/acme/app:v1-amd64"\ndestination = "{full_registry.host}/copy"\n'
    )
    image = ocidist("manifest", "get", f"{app}:v1-amd64", "-o", "json").json
    return {
        "host": full_registry.url,
        "app": app,
        "files": files,
        "dir": str(tmp_path),
        "rules": str(rules),
        "index": ocidist("resolve", f"{app}:v1").text.strip(),
        "blob": image["manifest"]["layers"][0]["digest"],
    }


def test_every_verb_has_examples() -> None:
    assert set(CASES) == {" ".join(verb) for verb in EVERY_VERB}


@pytest.mark.parametrize("verb", EVERY_VERB, ids="-".join)
def test_the_help_of_a_verb_is_what_it_was(verb: tuple[str, ...], ocidist: Command, tmp_path: Path) -> None:
    done = ocidist(*verb, "--help")
    assert (done.status, done.err) == (0, "")
    compare(f"{'-'.join(verb)}.help", tidied(done.text, tmp_path))


def test_the_help_of_all_is_what_it_was(ocidist: Command, tmp_path: Path) -> None:
    assert ocidist().out == ocidist("--help").out
    compare("help", tidied(ocidist("--help").text, tmp_path))


@pytest.mark.parametrize("verb", [verb for verb in CASES if verb not in {"demo", "serve"}])
def test_the_json_of_a_verb_is_what_it_was(verb: str, ocidist: Command, words: dict[str, str], tmp_path: Path) -> None:
    case = CASES[verb]
    given = case.good.format(**words).split()
    done = ocidist(*verb.split(), *given, "-o", "json", stdin=case.stdin)
    assert done.status == 0, done.err
    if verb != "completion":
        compare(f"{verb.replace(' ', '-')}.json", tidied(json.dumps(done.json, indent=2), tmp_path))


@pytest.mark.parametrize("verb", CASES)
def test_the_error_of_a_verb_is_what_it_was(verb: str, ocidist: Command, words: dict[str, str], tmp_path: Path) -> None:
    case = CASES[verb]
    stdin = b"no manifest" if verb == "manifest put" else case.stdin
    given = [*verb.split(), *case.bad.format(**words).split()]
    done = ocidist(*given, stdin=stdin)
    told = ocidist(*given, "--output=json", stdin=stdin)
    assert (done.status, done.out) == (told.status, told.out) == (case.status, b"")
    assert told.error["exit_code"] == case.status
    assert "Traceback" not in done.err
    compare(f"{verb.replace(' ', '-')}.error", tidied(f"{done.err}\n{json.dumps(told.error, indent=2)}", tmp_path))

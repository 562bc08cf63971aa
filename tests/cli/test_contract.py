"""What every command keeps to: where data, words and errors go, and which exit status stands for what."""

from __future__ import annotations

import io
import json
import re
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import Digest
from ocidist.cli import main
from ocidist.cli.dispatch import COMMON
from ocidist.cli.failure import hint_of, message_of, status_of
from ocidist.errors import (
    ArchiveError,
    AuthError,
    AuthRealmRefusedError,
    ConnectError,
    CopyError,
    CredentialStoreError,
    DeniedError,
    DigestMismatchError,
    HostsFileError,
    InvalidDigestError,
    ManifestInvalidError,
    ManifestUnknownError,
    PlatformUnknownError,
    RegistryBlockedError,
    ServerError,
    TlsError,
    TruncatedBodyError,
    UnauthorizedError,
    UsageError,
)
from ocidist.errors._transfer import Side
from ocidist.http.auth import explained
from ocidist.http.failure import _CERTIFICATE_HINT
from ocidist.remote._untag import _ADVICE
from ocidist.server.faults import FOREVER, Fault
from ocidist.server.limits import Limits
from ocidist.testing.content import Content
from ocidist.testing.registry import serve
from ocidist.transfer.blame import copy_error
from ocidist.transfer.one_copy import _LEFT_OUT, _WITHDRAWN
from ocidist.wire.endpoints import GetBlob, GetManifest, ListTags
from tests.cli.support import SNAPSHOTS

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist.testing.registry import LoopbackRegistry
    from tests.cli.support import Command


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ServerError(500), 1),
        (ConnectError("no connection"), 1),
        (TruncatedBodyError(10, 5), 1),
        (ArchiveError("no archive"), 1),
        (RegistryBlockedError("blocked"), 1),
        (InvalidDigestError("no digest"), 2),
        (HostsFileError("a file", "a reason"), 2),
        (ManifestUnknownError(404), 3),
        (PlatformUnknownError("linux/s390x", ()), 3),
        (UnauthorizedError(401), 4),
        (DeniedError(403), 4),
        (AuthRealmRefusedError("a", "b", "c"), 4),
        (CredentialStoreError("no helper"), 4),
        (DigestMismatchError("a", "b"), 5),
        (KeyError("a bug"), 1),
    ],
)
def test_each_failure_has_its_status_also_within_a_copy(error: Exception, status: int) -> None:
    around = CopyError("what is around it", Side.SOURCE)
    around.__cause__ = error
    assert status_of(error) == status_of(around) == status


def test_data_go_to_stdout_and_nothing_else_does(full_registry: LoopbackRegistry, ocidist: Command) -> None:
    done = ocidist("ls", full_registry.url)
    assert (done.status, done.out, done.err) == (0, b"acme/app\nacme/empty\n", "")
    lines = ocidist("ls", f"{full_registry.url}/acme/app", "-o", "jsonl").lines
    assert lines == [{"tag": "latest"}, {"tag": "v1"}, {"tag": "v1-amd64"}]


def test_the_format_may_come_from_the_environment(
    full_registry: LoopbackRegistry, ocidist: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIDIST_OUTPUT", "json")
    assert ocidist("ls", full_registry.url).json["repositories"] == ["acme/app", "acme/empty"]
    assert ocidist("ls", full_registry.url, "-o", "text").out == b"acme/app\nacme/empty\n"
    assert ocidist("ls").error["exit_code"] == 2


@pytest.mark.parametrize("form", ["text", "jsonl", "json"])
def test_long_lists_are_written_page_by_page(form: str, ocidist: Command) -> None:
    pages = Limits(page=2)
    with serve(limits=pages, faults=[Fault(on=ListTags, skip=2, times=FOREVER, status=400)]) as registry:
        registry.add("acme/app", Content().image("app", tags=[f"v{number}" for number in range(9)]))
        done = ocidist("ls", f"{registry.url}/acme/app", "-o", form)
    assert done.status == 1
    # What one document holds is either all there or not.
    assert len(done.out.splitlines()) == (0 if form == "json" else 4)


def test_a_manifest_comes_out_byte_for_byte(full_registry: LoopbackRegistry, ocidist: Command) -> None:
    reference = f"{full_registry.url}/acme/app:v1"
    raw = ocidist("manifest", "get", reference).out
    assert not raw.endswith(b"\n")
    told = ocidist("manifest", "get", reference, "-o", "json").json
    assert told["manifest"] == json.loads(raw)
    assert told["size"] == len(raw)
    assert ocidist("manifest", "get", f"{full_registry.url}/acme/app", "--platform", "linux/arm64").out != raw


def test_altered_content_is_status_5(full_registry: LoopbackRegistry, ocidist: Command) -> None:
    app = f"{full_registry.url}/acme/app"
    digest = ocidist("resolve", f"{app}:v1").text.strip()
    full_registry.faults.add(Fault(on=(GetManifest, GetBlob), times=FOREVER, corrupt_at=9))
    done = ocidist("manifest", "get", f"{app}@{digest}")
    assert (done.status, done.out) == (5, b"")
    assert "hint: " in done.err


def test_an_error_has_one_message_and_no_traceback(full_registry: LoopbackRegistry, ocidist: Command) -> None:
    unknown = b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
    headers = (("X-Request-Id", "abc-1"),)
    full_registry.faults.add(Fault(on=GetManifest, status=404, times=FOREVER, headers=headers, body=unknown))
    words = ("manifest", "get", f"{full_registry.url}/acme/app:v9")
    done = ocidist(*words)
    assert done.status == 3
    assert done.err.startswith("error: pull manifest")
    assert len(done.err.splitlines()) == 1
    assert "request id: abc-1" in ocidist(*words, "-v").err
    assert ocidist(*words, "-o", "json").error["request_id"] == "abc-1"


def test_a_bug_is_called_a_bug(ocidist: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("ocidist.cli.naming.registry_in", broken)
    done = ocidist("ls", "localhost:5000")
    assert done.status == 1
    assert done.err.startswith("error: ZeroDivisionError: nobody thought of this\nhint: This is a bug in ocidist")
    assert "Traceback" not in done.err
    assert "Traceback" in ocidist("ls", "localhost:5000", "-v").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ls", "WHERE requires an argument"),
        ("ls one two", "no place for 'two'"),
        ("lst x", 'Unknown command "lst"'),
        ("ls x --nonsense", "Unknown option"),
        ("ls x -o yaml", 'Invalid value "yaml"'),
        ("ls localhost:5000/Upper", "lower case"),
        ("ls oci:dir:tag", "leave the tag out"),
        ("ls localhost:5000/app:v1", "ls lists the tags"),
        ("ls localhost:5000 --ca-file /no/such", "there is no such file"),
        ("ls localhost:5000 --config /no/such", "there is no such file or directory"),
        ("resolve localhost:5000/app:v1 --platform all", "is not a platform"),
        ("resolve localhost:5000/app@sha256:12", "is not a digest"),
        ("resolve user:word@localhost:5000/app", "hold no user name and password: ocidist login keeps them"),
        ("push localhost:5000/app:v1 /no/such/file", "No such file"),
        ("push oci:dir:v1 file", "is not on a registry"),
        ("push localhost:5000/app:v1 --annotation x", "is no annotation"),
        ("tag localhost:5000/app:v1", "no tag was given"),
        ("tag --delete localhost:5000/app", "takes one tag"),
        ("blob put localhost:5000/app - --journal j", "needs a file"),
        ("blob get localhost:5000/app:v1", "write repository@digest"),
        ("resolve ./app", "a layout in a directory is 'oci:./app'"),
        ("resolve docker-daemon:app", "'docker-daemon' are not known"),
        ("cp docker-daemon:app localhost:5000/app", "'docker-daemon' are not known"),
        ("cp localhost:5000/app oci://ghcr.io/acme/app", "is ambiguous"),
        ("pull oci://ghcr.io/acme/app:v1", "is ambiguous"),
        ("cp localhost:5000 localhost:5001", "cp copies between repositories"),
        ("manifest delete localhost:5000/app:v1", "with all its tags"),
    ],
)
def test_what_cannot_be_meant_is_status_2_before_any_request(words: str, said: str, ocidist: Command) -> None:
    done = ocidist(*words.split())
    assert (done.status, done.out) == (2, b"")
    assert said in done.err
    told = ocidist(*words.split(), "--output", "json")
    assert told.status == 2
    assert " yaml" in words or told.error["exit_code"] == 2


def test_common_options_may_stand_before_the_verb(full_registry: LoopbackRegistry, ocidist: Command) -> None:
    expected = ocidist("ls", full_registry.url, "-o", "json").out
    assert ocidist("-o", "json", "ls", full_registry.url).out == expected
    assert ocidist("--output=json", "-v", "ls", "--", full_registry.url).out == expected
    assert ocidist("--insecure-host", full_registry.host, "--output", "json", "ls", full_registry.url).out == expected
    assert ocidist("-ojson", "ls", full_registry.url).out == expected
    assert ocidist("-o", "JSON", "ls", full_registry.url).out == expected
    assert ocidist("-o", "JSON", "ls", f"{full_registry.url}/acme/none").error["exit_code"] == 3
    assert ocidist("--nonsense", "ls", full_registry.url).status == 2
    assert ocidist("-o").status == 2


def test_the_common_options_are_those_that_verbs_have() -> None:
    text = (SNAPSHOTS / "ls.help.txt").read_text()
    found = re.findall(r"^ (--[a-z-]+)(?: (-[a-z]))?(?: ([A-Z]+))?", text[text.index(" Output\n") :], re.MULTILINE)
    assert {name: bool(value) for *names, value in found for name in names if name} == COMMON


@pytest.mark.parametrize(
    "words", [("ls", ""), ("pull", "localhost:5000/app", "--dir", ""), ("ls", "localhost:5000", "--config=")]
)
def test_an_empty_argument_is_a_variable_that_is_not_set(words: tuple[str, ...], ocidist: Command) -> None:
    done = ocidist(*words)
    assert (done.status, done.out) == (2, b"")
    assert done.err.startswith("error: an argument is empty")


def test_a_variable_that_is_set_to_nothing_is_not_set(
    full_registry: LoopbackRegistry, ocidist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise this directory would be one of registries' settings.
    (tmp_path / full_registry.host).mkdir()
    (tmp_path / full_registry.host / "hosts.toml").write_text("no TOML")
    monkeypatch.chdir(tmp_path)
    for name in ("OUTPUT", "PROGRESS", "CA_FILE", "CONFIG"):
        monkeypatch.setenv(f"OCIDIST_{name}", "")
    assert ocidist("ls", full_registry.url).text == "acme/app\nacme/empty\n"


@pytest.mark.parametrize("proxy", ["garbage://", "http://[::1"])
def test_a_proxy_that_is_none_is_no_bug(proxy: str, ocidist: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    done = ocidist("ls", "registry.invalid")
    assert done.status == 2
    assert done.err.startswith("error: a proxy that the environment names cannot be used: ")


@pytest.mark.parametrize("columns", ["0", "1", "7"])
def test_help_has_room_on_any_terminal(columns: str, ocidist: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    done = ocidist("ping", "--help")
    assert (done.status, done.err) == (0, "")
    assert max(len(line) for line in done.text.splitlines()) <= 20


def test_no_verb_has_two_options_of_one_name() -> None:
    for path in SNAPSHOTS.glob("*.help.txt"):
        names = re.findall(r"^ (?:\*  )?(--[a-z-]+)", path.read_text(), re.MULTILINE)
        assert len(names) == len(set(names)), path.name


def test_what_the_library_advises_is_said_in_words_of_the_command_line() -> None:
    turn: Any = SimpleNamespace(host="http://registry.lan", withheld=True)
    plain = explained(turn, AuthError("why"))
    assert message_of(plain).endswith("was only found out: write http:// before its name if they may be sent")
    assert hint_of(plain) is None
    assert message_of(UsageError(_ADVICE)) == (
        "this registry does not delete single tags: ocidist manifest delete deletes all its tags, with the manifest"
    )
    copied = copy_error(ManifestInvalidError(400), Side.DESTINATION, None, hint=_LEFT_OUT)
    assert str(hint_of(copied)).endswith("; --foreign-layers copies them")
    copied = copy_error(ManifestInvalidError(400), Side.DESTINATION, None, hint=_WITHDRAWN)
    assert str(hint_of(copied)).endswith("; without --referrers they are left out")
    assert _LEFT_OUT not in message_of(copied)
    assert message_of(TlsError(_CERTIFICATE_HINT)).endswith("given with --config can name one")
    assert hint_of(TlsError("[SSL: WRONG_VERSION_NUMBER] wrong version number")) == (
        "If it speaks plain http: --insecure, or http:// before its name"
    )


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("term", "no_color", "red"),
    [("xterm", "", True), ("xterm", "1", False), ("dumb", "", False), ("unknown", "", False)],
)
def test_colours_are_for_terminals_that_know_them(
    term: str, no_color: str, red: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", _Terminal(shown))
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert main(["ls"]) == 2
    assert (b"\x1b[1;31merror:\x1b[0m" in shown.getvalue()) is red
    assert (b"\x1b" in shown.getvalue()) is red


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("größe\tand\r\nmore\n".encode(), 0),
        (b"\x1b[31mred", 2),
        (b"bell\a", 2),
        ("\x9b31m".encode(), 2),
        (b"x" * 300_000 + b"\0", 2),
    ],
)
def test_what_a_registry_has_cannot_steer_a_terminal(
    data: bytes,
    status: int,
    registry: LoopbackRegistry,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    registry.call(registry.store.repository("acme/app").blobs.push, data)
    words = ["blob", "get", f"{registry.url}/acme/app@{Digest.of(data)}"]
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", _Terminal(shown))
    assert main(words) == status
    assert shown.getvalue() == data if status == 0 else data.startswith(shown.getvalue())
    assert not status or "would upset the terminal" in capfd.readouterr().err

"""No secret escapes from any test: the suite's credentials are canaries, and everything that can be read is searched.

What is searched, for each test: every log record at DEBUG, with the variables of ocidist's frames in its traceback;
what was printed; events; every exception that ``pytest.raises`` catches, with its causes, attributes and the variables
of ocidist's frames; ocidist's temporary files that are left. In plain, base64, URL-encoded and hexadecimal form.

A test that shows secrets on purpose asks for the fixture ``secrets_may_show``.
"""

from __future__ import annotations

import base64
import logging
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx
import pytest
from _pytest.raises import RaisesExc

import ocidist
from ocidist import OciError
from ocidist.http import session
from ocidist.observe import hooks
from ocidist.transfer import moving, one_copy

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from ocidist.observe.events import Event
    from ocidist.observe.hooks import Hook

USER: Final = "alice"
ALICE_PASSWORD: Final = "s3cret"
"""What alice proves herself with, all over the suite."""
PASSWORD: Final = "canary-password-7f3a"
TOKEN: Final = "canary-access-token-91c2"
REFRESH: Final = "canary-refresh-token-04de"
STATE: Final = "canary-upload-state-5b6e"
SIGNATURE: Final = "canary-signature-c8d9"
COOKIE: Final = "canary-cookie-33aa"

SECRETS: Final = (
    *(ALICE_PASSWORD, PASSWORD, TOKEN, REFRESH, STATE, SIGNATURE, COOKIE),
    *(f"{USER}:{ALICE_PASSWORD}", f"{USER}:{PASSWORD}"),
    # Those of the attackers' tests.
    *("canary-bearer-1f0d-of-the-registry", "canary-refresh-2e1c-of-the-registry"),
    *("canary-cookie-3d2b-of-the-registry", "canary-kept-token-7a1b", "canary-kept-refresh-8b2c"),
)
EMITTING: Final = (session, moving, one_copy)
"""The modules that hand out events."""

_SOURCE: Final = str(Path(ocidist.__file__).parent)
_MOST: Final = 256 * 1024
_MIB: Final = 1024 * 1024


def forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, URL-encoded, in hexadecimal, and in base64 at each of the three places in a group."""
    raw = secret.encode()
    yield from (secret, quote(secret, safe=""), raw.hex(), raw.hex().upper())
    for shift in range(3):
        # What stands before and after changes the outermost letters.
        text = base64.b64encode(b"\0" * shift + raw)[(shift * 8 + 5) // 6 :].rstrip(b"=").decode()
        core = text if (shift + len(raw)) % 3 == 0 else text[:-1]
        yield from (core, core.replace("+", "-").replace("/", "_"))


class Canaries:
    """The secrets that are searched for."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = {form: secret for secret in secrets for form in forms(secret)}
        self._minted: dict[str, str] = {}
        self.hits: list[str] = []

    def mint(self, secret: str) -> str:
        """Watch a secret that was made for the test that runs, and return it."""
        # Its end, which is the signature of a token: nothing else begins or ends like it.
        self._minted[secret[-40:]] = secret[-40:]
        return secret

    def begin(self) -> None:
        """Forget what belongs to the last test."""
        self._minted.clear()
        self.hits.clear()

    def found_in(self, text: str) -> list[str]:
        """Return the secrets in a text."""
        known = (secret for form, secret in self._forms.items() if form in text)
        return sorted({*known, *(secret for secret in self._minted if secret in text)})

    def search(self, where: str, text: str) -> None:
        """Search a text, and remember what was found for the end of the test."""
        self.hits += [f"{secret!r} is in {where}" for secret in self.found_in(text)]

    def search_exception(self, where: str, error: BaseException) -> None:
        """Search an exception, all that led to it, and the variables of ocidist's frames."""
        seen: set[int] = set()
        todo: list[BaseException | None] = [error]
        while todo:
            link = todo.pop()
            if link is None or id(link) in seen:
                continue
            seen.add(id(link))
            todo += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):
                todo += link.exceptions
            name = type(link).__name__
            if isinstance(link, OciError | httpx.HTTPError):
                self.search(f"{where}: {name}", "\n".join((str(link), shown(link), shown(vars(link)))))
            for frame, line in traceback.walk_tb(link.__traceback__):
                if frame.f_code.co_filename.startswith(_SOURCE):
                    place = f"{where}: {name}, {Path(frame.f_code.co_filename).name}:{line}"
                    for variable, value in frame.f_locals.items():
                        self.search(f"{place}, {variable}", shown(value))


CANARIES: Final = Canaries(SECRETS)


def shown(value: object) -> str:
    """Return what a traceback with variables shows of a value, as far as that is not megabytes."""
    try:
        if isinstance(value, str | bytes | bytearray):
            # Not the middle of a blob: secrets are in heads, and in small bodies.
            value = value[:_MOST]
        return repr(value)[: 4 * _MOST]
    except Exception as error:  # noqa: BLE001 -- anything may be half made
        return f"<{type(error).__name__}>"


class _Logs(logging.Handler):
    """Searches every record as it comes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Search a record."""
        where = f"the log of {record.name}"
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        CANARIES.search(where, f"{text}\n{record.args!r}")
        if record.exc_info and record.exc_info[1] is not None:
            CANARIES.search_exception(where, record.exc_info[1])


@pytest.fixture
def secrets_may_show() -> None:
    """Let a test show secrets: its subject is what may be shown."""


@pytest.fixture(autouse=True)
def no_secret_escapes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test that lets a secret be seen."""
    CANARIES.begin()
    if "secrets_may_show" in request.fixturenames:
        yield
        return
    # Asked for now, so that it is there afterwards.
    place = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    real_exit, real_emit = RaisesExc.__exit__, hooks.emit

    def searched(self: RaisesExc[BaseException], kind: object, error: BaseException | None, at: object) -> bool:
        if error is not None:
            CANARIES.search_exception("an error", error)
        return real_exit(self, kind, error, at)  # type: ignore[arg-type]  # passed on as they came

    def emitted(told: Iterable[Hook], event: Event) -> None:
        CANARIES.search("an event", repr(event))
        real_emit(told, event)

    monkeypatch.setattr(RaisesExc, "__exit__", searched)
    for module in EMITTING:
        monkeypatch.setattr(module, "emit", emitted)
    handler, loggers = _Logs(logging.DEBUG), [logging.getLogger(name) for name in ("ocidist", "httpx", "httpcore")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)
    if place is not None:
        _search_files(place, "*.part")
    if CANARIES.hits:
        pytest.fail("secrets escaped: " + "; ".join(CANARIES.hits), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def no_secret_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Search what the whole run leaves behind as temporary files."""
    place = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place))
        yield
    CANARIES.begin()
    _search_files(place, "*")
    if CANARIES.hits:
        pytest.fail("secrets escaped: " + "; ".join(CANARIES.hits), pytrace=False)


def _search_files(place: Path, pattern: str) -> None:
    for path in place.rglob(pattern):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _MIB:
            CANARIES.search(f"the file {path.name}", path.read_bytes().decode("latin-1"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Search what a test printed, and the traceback of one that failed: ocidist's frames with their variables."""
    report = yield
    if "secrets_may_show" in getattr(item, "fixturenames", ()):
        return report
    before = len(CANARIES.hits)
    if report.when == "teardown":
        CANARIES.search("what it printed", "\n".join(text for _, text in report.sections))
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        CANARIES.search_exception("its failure", call.excinfo.value)
    if len(CANARIES.hits) > before:
        hits = "\n".join(CANARIES.hits[before:])
        report.sections.append(("secrets that escaped", hits))
        if report.passed:
            report.outcome = "failed"
            report.longrepr = f"secrets escaped:\n{hits}"
    return report

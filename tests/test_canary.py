"""The search for secrets finds them, in every form and place; and every class of error keeps them to itself."""

from __future__ import annotations

import base64
import inspect
import logging
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

import ocidist
from ocidist import Basic, IdentityToken, OciError, RegistryToken, Token, errors
from ocidist.errors import ErrorInfo
from ocidist.wire.errorbody import error_for
from tests.canary import ALICE_PASSWORD, CANARIES, EMITTING, PASSWORD, REFRESH, SIGNATURE, TOKEN, USER, forms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.pytester import Pytester

pytest_plugins = ["pytester"]


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "quoted": lambda text: quote(text, safe=""),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "url-safe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "in a pair": lambda text: base64.b64encode(f"{USER}:{text}".encode()).decode(),
    "after one": lambda text: base64.b64encode(f"x{text}yz".encode()).decode(),
    "after two": lambda text: base64.b64encode(f"xx{text}y".encode()).decode(),
    "in json": lambda text: base64.b64encode(f'{{"p":"{text}"}}'.encode()).decode(),
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("secret", [ALICE_PASSWORD, PASSWORD, TOKEN])
def test_t45_a_secret_is_found_in_every_form(name: str, secret: str) -> None:
    assert secret in CANARIES.found_in(f"before{ENCODINGS[name](secret)}after")


def test_t45_what_is_no_secret_is_not_found() -> None:
    assert CANARIES.found_in("alice secret s3cre cret 7f3a password canary token " * 100) == []
    assert min(len(form) for form in forms(ALICE_PASSWORD)) >= 6


PLUGIN = """
from tests.canary import no_secret_escapes, no_secret_stays, pytest_runtest_makereport, secrets_may_show
"""
LEAKS = """
import logging, pytest
from ocidist import OciError
from ocidist.credentials.store import Basic, as_provider
SECRET = "canary-" + "password-7f3a"

def test_log():
    logging.getLogger("ocidist.http").debug("password is %s", SECRET)

def test_log_argument():
    logging.getLogger("ocidist.http").info("%.3s", SECRET)

def test_print():
    print(SECRET.encode().hex())

def test_error():
    with pytest.raises(OciError):
        raise OciError(SECRET)

def test_note_in_an_attribute():
    error = OciError("x")
    error.extra = SECRET
    with pytest.raises(OciError):
        raise error

def test_cause():
    with pytest.raises(OciError):
        try:
            raise OciError(SECRET)
        except OciError:
            raise OciError("y")

def test_variable_of_a_frame():
    class Provider:
        pass
    with pytest.raises(Exception):
        # Within ocidist's own frame the argument is a variable.
        from ocidist.wire.scope import Scope
        Scope.parse(SECRET + " ")

def test_file(tmp_path):
    (tmp_path / "x.part").write_text(SECRET)

def test_temporary():
    pass

def test_allowed(secrets_may_show):
    print(SECRET)

def test_clean():
    logging.getLogger("ocidist.http").debug("nothing")
    with pytest.raises(OciError):
        raise OciError("nothing")
"""


@pytest.mark.usefixtures("secrets_may_show")
def test_t45_every_way_to_leak_fails_the_test_that_does(pytester: Pytester) -> None:
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")
    failed = {
        report.nodeid.rpartition("::")[2]
        for report in [*result.reprec.getreports("pytest_runtest_logreport")]  # type: ignore[attr-defined]  # in-process runs have it
        if report.failed
    }
    assert failed == {
        "test_log",
        "test_log_argument",
        "test_print",
        "test_error",
        "test_note_in_an_attribute",
        "test_cause",
        "test_variable_of_a_frame",
        "test_file",
    }


def test_t45_events_are_searched_wherever_they_are_handed_out() -> None:
    source = Path(ocidist.__file__).parent
    names = {path for path in source.rglob("*.py") if re.search(r"hooks import .*\bemit\b", path.read_text())}
    assert {Path(module.__file__ or "") for module in EMITTING} == names


# --- every class of error --------------------------------------------------------------------------------------------

URL = f"https://{USER}:{PASSWORD}@registry.acme.io/v2/?sig={SIGNATURE}&token={TOKEN}"


def everything() -> Iterator[type[OciError]]:
    """Yield every public class of error."""
    for name in errors.__all__:
        found = getattr(errors, name)
        if inspect.isclass(found) and issubclass(found, OciError):
            yield found


@pytest.mark.parametrize("kind", list(everything()), ids=lambda kind: kind.__name__)
def test_t45_no_class_of_error_keeps_what_stood_around_it(kind: type[OciError]) -> None:
    """Raise it where secrets are variables, as a caller would, and look at all that it tells."""
    arguments: dict[str, object] = {}
    make: Callable[..., OciError] = kind
    for parameter in list(inspect.signature(kind).parameters.values()):
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            arguments[parameter.name] = _plain(parameter.name, str(parameter.annotation))
    try:
        made = make(*arguments.values())
    except TypeError:
        made = make(**arguments)
    made.locate(operation="pull", reference="acme/app:v1", host="registry.acme.io", attempts=2)
    told = "\n".join((str(made), repr(made), repr(vars(made)), repr(made.args)))
    assert CANARIES.found_in(told) == []


def _plain(name: str, annotation: str) -> object:
    if name == "failures":
        return [OciError("it failed")]
    if "int" in annotation or name in {"status", "limit", "expected_size"}:
        return 400
    return ["a"] if "Sequence" in annotation or "list" in annotation else "sha256:" + "0" * 64


def test_t45_what_a_registry_repeats_is_shown_without_its_secrets() -> None:
    made = error_for(500, infos=[ErrorInfo("UNKNOWN", "no", "")], method="GET", url=URL, note="x")
    told = "\n".join((str(made), repr(made), repr(vars(made))))
    assert CANARIES.found_in(told) == []
    assert "registry.acme.io" in told


@pytest.mark.parametrize(
    "value",
    [Basic(USER, PASSWORD), IdentityToken(REFRESH), RegistryToken(TOKEN), Token(TOKEN, 1.0, refresh_token=REFRESH)],
    ids=lambda value: type(value).__name__,
)
def test_t45_a_credential_in_a_traceback_shows_nothing(value: object) -> None:
    def fail(credential: object) -> None:
        raise ValueError(f"no {type(credential).__name__}")

    try:
        fail(value)
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert CANARIES.found_in("".join(shown.format())) == []
    logging.getLogger("ocidist").warning("%s %r", value, value)

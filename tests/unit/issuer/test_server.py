from __future__ import annotations

import base64
import inspect
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio
import pytest

import ocidist
from ocidist.errors import CredentialStoreError, UsageError
from ocidist.issuer import (
    MemoryRefreshTokens,
    RefreshGrant,
    StaticUsers,
    TokenApp,
    TokenIssuer,
    TokenLimits,
    TokenRequest,
)
from ocidist.issuer.refresh import RefreshToken
from ocidist.wire.scope import Scope, ScopeSet
from tests.unit.issuer.support import SERVICE, decoded, issuer, key, verifier
from tests.unit.server.support import Answer, call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist.issuer import Claims

PASSWORD = "s3cret-of-alice"
PUBLIC = Scope("repository", "public/app", frozenset({"pull"}))
USERS = {"alice": PASSWORD, "bob": "b0b"}
PULL = "repository:a/b:pull"
SOURCE = Path(ocidist.__path__[0])


async def authorize(account: str, requested: ScopeSet) -> ScopeSet:
    await anyio.lowlevel.checkpoint()
    if account == "alice":
        everything = frozenset({"pull", "push", "delete", "*"})
        return ScopeSet(tuple(Scope(each.type, each.name, everything) for each in requested))
    return ScopeSet((PUBLIC,))


def app(**options: Any) -> TokenApp:  # noqa: ANN401 -- any keyword argument of the application
    options = {"users": StaticUsers(USERS), "authorize": authorize, "refresh": MemoryRefreshTokens(), **options}
    users, decide = options.pop("users"), options.pop("authorize")
    return TokenApp(options.pop("issuer", issuer()), users, decide, **options)


def basic(name: str = "alice", password: str = PASSWORD) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


async def get(application: TokenApp, *pairs: tuple[str, str], login: tuple[str, str] | None = None) -> Answer:
    headers = [] if login is None else [login]
    return await call(application, "GET", f"/token?{urlencode(pairs)}", headers=headers)  # type: ignore[arg-type]  # an ASGI application as well


async def post(application: TokenApp, **fields: str) -> Answer:
    return await send(application, urlencode({"service": SERVICE, "client_id": "tests", **fields}).encode())


async def send(application: TokenApp, body: bytes) -> Answer:
    headers = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")]
    return await call(application, "POST", "/token", headers=headers, body=[body[:10], body[10:]])  # type: ignore[arg-type]  # see get


def read(answer: Answer) -> dict[str, Any]:
    assert answer.complete
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.body))
    found: dict[str, Any] = json.loads(answer.body)
    return found


def proven(answer: Answer) -> Claims:
    assert answer.status == 200, answer.body
    body = read(answer)
    assert body.get("token", body["access_token"]) == body["access_token"]
    claims = verifier().verify(body["access_token"])
    assert body["scope"] == str(claims.scopes)
    assert body["expires_in"] == claims.expires_at - claims.issued_at
    return claims


def refused(answer: Answer, status: int, error: str) -> None:
    body = read(answer)
    assert (answer.status, body["error"]) == (status, error)
    assert body["errors"][0]["code"]
    assert body["errors"][0]["message"] == body["error_description"]
    assert PASSWORD.encode() not in answer.body
    assert ("www-authenticate" in answer.headers) == (status == 401)


# --- GET -------------------------------------------------------------------------------------------------------------


async def test_a_user_gets_what_they_may_do_of_what_they_ask_for() -> None:
    both = "repository:a/b:pull,push", "repository:c/d:pull"
    answer = await get(app(), ("service", SERVICE), *(("scope", each) for each in both), login=basic())
    claims = proven(answer)
    assert claims.account == "alice"
    assert str(claims.scopes) == " ".join(both)
    assert "refresh_token" not in read(answer)


@pytest.mark.parametrize(
    ("scope", "granted"), [("repository:public/app:pull,push", "repository:public/app:pull"), (PULL, "")]
)
async def test_having_less_than_was_asked_for_is_no_error(scope: str, granted: str) -> None:
    for login, account in ((None, ""), (basic("bob", "b0b"), "bob")):
        claims = proven(await get(app(), ("service", SERVICE), ("scope", scope), login=login))
        assert (claims.account, str(claims.scopes)) == (account, granted)


async def test_scopes_in_one_field_are_taken_too_and_repeated_ones_count_once() -> None:
    claims = proven(await get(app(), ("scope", f"{PULL} repository:c/d:push"), ("scope", PULL), login=basic()))
    assert str(claims.scopes) == f"{PULL} repository:c/d:push"


async def test_no_scope_is_a_login() -> None:
    claims = proven(await get(app(), ("account", "mallory"), login=basic()))
    assert (claims.account, len(claims.scopes)) == ("alice", 0)


@pytest.mark.parametrize(
    "login",
    [
        basic("alice", "wrong"),
        basic("nobody", PASSWORD),
        basic("", ""),
        ("Authorization", "Basic"),
        ("Authorization", "Basic !!!"),
        ("Authorization", "Basic YWxpY2U="),
        ("Authorization", "Basic /w=="),
        ("Authorization", f"Bearer {PASSWORD}"),
        ("Authorization", "Basic " + "QUFB" * 5000),
    ],
)
async def test_a_wrong_login_is_refused_and_never_taken_for_nobody(login: tuple[str, str]) -> None:
    answer = await get(app(), ("service", SERVICE), ("scope", "repository:public/app:pull"), login=login)
    assert answer.status == 401
    refused(
        answer, 401, "invalid_grant" if login[1].startswith("Basic ") and ":" in _decoded(login) else "invalid_client"
    )
    assert answer.headers["www-authenticate"] == 'Basic realm="token server",charset="UTF-8"'


def _decoded(login: tuple[str, str]) -> str:
    try:
        text = base64.b64decode(login[1].removeprefix("Basic "), validate=True).decode()
    except ValueError:
        return ""
    return text if len(text) < 5000 else ""


async def test_two_logins_are_refused() -> None:
    answer = await call(app(), "GET", "/token", headers=[basic(), basic("bob", "b0b")])  # type: ignore[arg-type]  # see get
    refused(answer, 400, "invalid_request")


async def test_nobody_can_be_refused() -> None:
    closed = app(anonymous=False)
    refused(await get(closed, ("scope", "repository:public/app:pull")), 401, "invalid_client")
    assert proven(await get(closed, login=basic())).account == "alice"


@pytest.mark.parametrize(
    ("pairs", "status", "error"),
    [
        ([("service", "another")], 400, "invalid_request"),
        ([("service", SERVICE), ("service", SERVICE)], 400, "invalid_request"),
        ([("scope", 'repository:a/"b:pull')], 400, "invalid_scope"),
        ([("scope", "repository:a/b:pull\n")], 400, "invalid_scope"),
        ([("client_id", "caf\u00e9")], 400, "invalid_request"),
        ([("client_id", "x" * 1025)], 400, "invalid_request"),
        ([(str(n), "") for n in range(129)], 400, "invalid_request"),
        ([("scope", f"repository:a{n}/b:pull") for n in range(101)], 400, "invalid_scope"),
        ([("scope", " ".join(["x"] * 10_000))], 414, "invalid_request"),
    ],
)
async def test_t59_requests_beyond_the_limits_are_refused(
    pairs: Sequence[tuple[str, str]], status: int, error: str
) -> None:
    refused(await get(app(), *pairs, login=basic()), status, error)


async def test_t59_the_most_scopes_are_granted() -> None:
    scopes = [f"repository:a{n}:pull" for n in range(100)]
    claims = proven(await get(app(), *(("scope", each) for each in scopes), login=basic()))
    assert len(claims.scopes) == 100


@pytest.mark.parametrize("scope", ["repository:*:*", "repository:a/../b:pull", "unknown:a/b:pull", "opaque"])
async def test_t59_what_no_registry_has_is_not_even_asked_about(scope: str) -> None:
    asked = []

    async def watch(account: str, requested: ScopeSet) -> ScopeSet:
        asked.append(requested)
        return await authorize(account, requested)

    claims = proven(await get(app(authorize=watch), ("scope", scope), ("scope", PULL), login=basic()))
    assert str(claims.scopes) == PULL
    assert asked == [ScopeSet.parse(PULL)]


async def test_t59_a_star_is_not_more_than_the_policy() -> None:
    async def reading(_account: str, _requested: ScopeSet) -> ScopeSet:
        await anyio.lowlevel.checkpoint()
        return ScopeSet.parse("repository:a/b:pull,push repository:secret:*")

    application = app(authorize=reading)
    assert str(proven(await get(application, ("scope", "repository:a/b:*"))).scopes) == "repository:a/b:pull,push"


async def test_bytes_that_are_no_text_are_refused() -> None:
    answer = await call(app(), "GET", "/token?scope=%ff")  # type: ignore[arg-type]  # see get
    refused(answer, 400, "invalid_request")


# --- POST ------------------------------------------------------------------------------------------------------------


async def test_a_password_is_good_for_a_token() -> None:
    fields = {"grant_type": "password", "username": "alice", "password": PASSWORD}
    answer = await post(app(), **fields, scope=f"{PULL} repository:c/d:push")
    claims = proven(answer)
    assert (claims.account, str(claims.scopes)) == ("alice", f"{PULL} repository:c/d:push")
    assert "refresh_token" not in read(answer)
    offline = await post(app(), **fields, access_type="offline")
    assert proven(offline).scopes == ScopeSet()
    assert len(read(offline)["refresh_token"]) >= 43


async def test_scopes_in_several_fields_of_a_form_are_taken_too() -> None:
    # As Podman and skopeo send them, for a mount from another repository.
    fields = [("grant_type", "password"), ("service", SERVICE), ("client_id", "containers/image")]
    fields += [("username", "alice"), ("password", PASSWORD), ("scope", PULL), ("scope", "repository:c/d:push")]
    answer = await send(app(), urlencode(fields).encode())
    assert str(proven(answer).scopes) == f"{PULL} repository:c/d:push"


async def test_a_form_in_plain_utf_8_is_read_as_it_is() -> None:
    # As curl sends it, and Go reads it.
    application = app(users=StaticUsers({"bärbel": "grüße"}))
    body = f"grant_type=password&service={quote(SERVICE)}&client_id=curl&username=bärbel&password=grüße"
    assert proven(await send(application, body.encode())).account == "bärbel"
    refused(await send(application, body.encode("latin-1")), 400, "invalid_request")


async def offline(application: TokenApp, **fields: str) -> str:
    login = {"grant_type": "password", "username": "alice", "password": PASSWORD, "access_type": "offline"}
    token: str = read(await post(application, **(login | fields)))["refresh_token"]
    return token


async def test_a_refresh_token_is_good_for_further_tokens_and_stays_the_same() -> None:
    application = app()
    token = await offline(application)
    for scope in (PULL, "repository:c/d:push"):
        answer = await post(application, grant_type="refresh_token", refresh_token=token, scope=scope)
        claims = proven(answer)
        assert (claims.account, str(claims.scopes)) == ("alice", scope)
        assert read(answer)["refresh_token"] == token


async def test_a_refresh_token_from_get_is_good_too() -> None:
    application = app()
    for named in ([("client_id", "tests")], []):
        answer = await get(application, ("offline_token", "true"), *named, login=basic())
        token = read(answer)["refresh_token"]
        assert proven(await post(application, grant_type="refresh_token", refresh_token=token)).account == "alice"
    anonymous = await get(application, ("offline_token", "true"))
    assert "refresh_token" not in read(anonymous)


async def test_a_refresh_token_belongs_to_its_service_whichever_client_has_it() -> None:
    store = MemoryRefreshTokens()
    application = app(refresh=store)
    token = await offline(application)
    ask = {"grant_type": "refresh_token", "refresh_token": token}
    # As after docker login, when another program reads what that has stored.
    assert proven(await post(application, **ask, client_id="another")).account == "alice"
    other = TokenIssuer(key(), issuer="issuer of the tests", service="another")
    refused(await post(app(refresh=store, issuer=other), **ask, service="another"), 400, "invalid_grant")
    refused(await post(application, **ask, service="another"), 400, "invalid_request")
    assert proven(await post(application, **ask))


async def test_a_refresh_token_ends_when_it_is_revoked_or_the_password_changes() -> None:
    store = MemoryRefreshTokens()
    application = app(refresh=store)
    first, second = await offline(application), await offline(application)
    await store.revoke(RefreshToken(first).digest)
    refused(await post(application, grant_type="refresh_token", refresh_token=first), 400, "invalid_grant")
    assert proven(await post(application, grant_type="refresh_token", refresh_token=second))
    for users in (StaticUsers({"alice": "changed"}), StaticUsers({"bob": "b0b"})):
        third = await offline(application)
        changed = app(refresh=store, users=users)
        refused(await post(changed, grant_type="refresh_token", refresh_token=third), 400, "invalid_grant")
        refused(await post(application, grant_type="refresh_token", refresh_token=third), 400, "invalid_grant")


async def test_only_digests_of_refresh_tokens_are_kept() -> None:
    kept: dict[str, RefreshGrant] = {}

    class Store(MemoryRefreshTokens):
        async def put(self, digest: str, grant: RefreshGrant) -> None:
            kept[digest] = grant
            await super().put(digest, grant)

    store = Store()
    token = await offline(app(refresh=store))
    assert list(kept) == [RefreshToken(token).digest]
    assert token not in repr(kept) + repr(vars(store))


async def test_a_server_need_not_give_out_refresh_tokens() -> None:
    application = app(refresh=None)
    answer = await get(application, ("offline_token", "true"), login=basic())
    assert "refresh_token" not in read(answer)
    refused(await post(application, grant_type="refresh_token", refresh_token="x"), 400, "invalid_grant")


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"grant_type": "password", "username": "alice", "password": "wrong"}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": "nobody", "password": PASSWORD}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": "", "password": ""}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": "alice"}, 400, "invalid_request"),
        ({"grant_type": "password", "password": PASSWORD}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "password", "username": "alice", "password": "x" * 1025}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": ""}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 256}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 257}, 400, "invalid_request"),
        ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({}, 400, "invalid_request"),
        ({"grant_type": "password", "service": ""}, 400, "invalid_request"),
        ({"grant_type": "password", "client_id": ""}, 400, "invalid_request"),
        ({"grant_type": "password", "client_id": "a\nb"}, 400, "invalid_request"),
    ],
)
async def test_forms_that_are_not_good_are_refused(fields: dict[str, str], status: int, error: str) -> None:
    refused(await post(app(), **fields), status, error)


async def test_a_form_has_a_type_and_a_size() -> None:
    limits = TokenLimits()
    refused(await send(app(), b"x" * limits.max_request), 400, "invalid_request")
    refused(await send(app(), b"x" * (limits.max_request + 1)), 413, "invalid_request")
    answer = await call(app(), "POST", "/token", headers=[("Content-Type", "application/json")], body=[b"{}"])  # type: ignore[arg-type]  # see get
    refused(answer, 415, "invalid_request")
    twice = f"grant_type=password&service={quote(SERVICE)}&client_id=x&username=alice&password=x&password={PASSWORD}"
    refused(await send(app(), twice.encode()), 400, "invalid_request")


async def test_a_form_that_does_not_come_is_not_waited_for() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not sent:
            await anyio.sleep(30)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/token",
        "query_string": b"",
        "headers": [(b"content-type", b"application/x-www-form-urlencoded")],
    }
    with anyio.fail_after(5):
        await app(limits=TokenLimits(idle=0.05))(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_a_client_that_goes_away_is_not_answered() -> None:
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    answer = await call(app(), "POST", "/token", headers=headers, body=[b"a", b"b"], gone_after=1)  # type: ignore[arg-type]  # see get
    assert answer.status == 0


async def test_a_connection_that_breaks_while_it_is_answered_is_no_failure() -> None:
    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        raise BrokenPipeError

    scope = {"type": "http", "method": "GET", "path": "/token", "query_string": b"", "headers": []}
    await app()(scope, receive, send)


# --- the application -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("PUT", "/token", 405), ("HEAD", "/token", 405)]
)
async def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    answer = await call(app(), method, path)  # type: ignore[arg-type]  # see get
    assert answer.status == status
    assert ("allow" in answer.headers) == (status == 405)


async def test_it_can_be_mounted_and_have_another_path() -> None:
    answer = await call(app(path="/auth"), "GET", "/auth", root="/below")  # type: ignore[arg-type]  # see get
    assert answer.status == 200


async def test_it_serves_nothing_but_http_and_lifespan() -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:  # noqa: ANN401 -- as ASGI has it
        sent.append(message["type"])

    await app()({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(UsageError, match="websocket"):
        await app()({"type": "websocket"}, receive, send)


def test_it_needs_a_service_and_a_realm_that_can_be_written() -> None:
    with pytest.raises(UsageError, match="service"):
        app(issuer=TokenIssuer(key()))
    for realm in ('a"b', "a\nb", "caf\u00e9"):
        with pytest.raises(UsageError, match="realm"):
            app(realm=realm)
    with pytest.raises(UsageError, match="max_scopes"):
        TokenLimits(max_scopes=0)


class Slow(StaticUsers):
    """Users that take their time."""

    def __init__(self) -> None:
        super().__init__(USERS)
        self.go = anyio.Event()

    async def check(self, name: str, password: str) -> bool:
        """Wait until somebody says so."""
        await self.go.wait()
        return await super().check(name, password)


async def test_t60_logins_do_not_pile_up() -> None:
    users = Slow()
    application = app(users=users, limits=TokenLimits(max_checks=2))
    statuses = []

    async def login() -> None:
        answer = await get(application, login=basic())
        statuses.append(answer.status)
        if answer.status == 429:
            assert answer.headers["retry-after"] == "1"
            users.go.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(login)
    assert statuses == [429, 200, 200]
    assert (await get(application, login=basic())).status == 200


class Broken(StaticUsers):
    """Users that cannot be read."""

    async def check(self, name: str, password: str) -> bool:
        """Fail."""
        raise CredentialStoreError(f"the disk is on fire: {len(name + password)}")


async def test_failures_inside_are_told_to_the_operator_only(caplog: pytest.LogCaptureFixture) -> None:
    answer = await get(app(users=Broken(USERS)), login=basic())
    assert (answer.status, read(answer)["error"]) == (503, "temporarily_unavailable")
    assert b"fire" not in answer.body

    async def fail(_account: str, _requested: ScopeSet) -> ScopeSet:
        raise RuntimeError("inner workings")

    answer = await get(app(authorize=fail), ("scope", PULL), login=basic())
    assert (answer.status, read(answer)["error"]) == (500, "server_error")
    assert b"inner" not in answer.body
    assert "inner workings" in caplog.text
    assert "disk is on fire" in caplog.text


async def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    application = app()
    token = await offline(application)
    answers = [
        await get(application, ("scope", PULL), ("client_id", "x\ny"), login=basic()),
        await get(application, ("scope", PULL), login=basic()),
        await get(application, login=basic("alice", "wrong-password")),
        await post(application, grant_type="refresh_token", refresh_token=token, scope=PULL),
        await post(application, grant_type="refresh_token", refresh_token="wrong-token"),
    ]
    assert [answer.status for answer in answers] == [400, 200, 401, 200, 400]
    assert "alice" in caplog.text
    for secret in (PASSWORD, token, basic()[1], "wrong-password", "wrong-token", read(answers[1])["token"]):
        assert secret not in caplog.text


async def test_the_frames_around_a_policy_hold_no_secret() -> None:
    shown: list[str] = []

    async def look(account: str, requested: ScopeSet) -> ScopeSet:
        frame = inspect.currentframe()
        while frame is not None:
            # What the entry point is given, the ASGI server's own frames hold as well.
            if Path(frame.f_code.co_filename).is_relative_to(SOURCE) and frame.f_code.co_name != "__call__":
                shown.append(f"{frame.f_code.co_name}: {frame.f_locals!r}")
            frame = frame.f_back
        return await authorize(account, requested)

    application = app(authorize=look)
    token = await offline(application)
    await get(application, ("scope", PULL), login=basic())
    await post(application, grant_type="password", username="alice", password=PASSWORD, scope=PULL)
    await post(application, grant_type="refresh_token", refresh_token=token, scope=PULL)
    assert [each.partition(":")[0] for each in shown].count("_granted") == 3
    for secret in (PASSWORD, token, basic()[1]):
        assert secret not in "".join(shown)


def test_what_the_server_signs_is_what_the_issuer_signs() -> None:
    assert decoded(issuer().issue(TokenRequest()).token)[0]["x5c"] == key().x5c

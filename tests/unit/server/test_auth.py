from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist.errors import CredentialStoreError, UsageError
from ocidist.issuer import StaticUsers, TokenRequest
from ocidist.server import PasswordGuard, RegistryApp, TokenGuard
from ocidist.server.auth import MAX_CHECKS
from ocidist.storage.memory import MemoryRegistry
from ocidist.wire.challenge import parse_challenges
from ocidist.wire.scope import ScopeSet
from tests.peers import images
from tests.unit.issuer.support import SERVICE, claims, header, issuer, signed, verifier
from tests.unit.issuer.test_verify import ATTACKS
from tests.unit.server.support import Answer, call

if TYPE_CHECKING:
    from ocidist.wire.challenge import Challenge

REALM = "https://auth.test/token"
BLOB = "sha256:" + "0" * 64
PASSWORD = "s3cret-of-alice"


def with_tokens() -> RegistryApp:
    return RegistryApp(MemoryRegistry(check_references=False), auth=TokenGuard(verifier(), realm=REALM))


def bearer(*scopes: str, account: str = "alice") -> tuple[str, str]:
    made = issuer().issue(TokenRequest(account, scopes=ScopeSet.parse(" ".join(scopes))))
    return "Authorization", f"Bearer {made.token}"


def basic(name: str = "alice", password: str = PASSWORD) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def challenge_of(answer: Answer) -> Challenge:
    assert answer.status == 401
    (found,) = parse_challenges([answer.headers["www-authenticate"]])
    return found


async def test_nobody_is_asked_unless_somebody_is_to_be() -> None:
    assert (await call(RegistryApp(MemoryRegistry()), "GET", "/v2/")).status == 200


# --- tokens ----------------------------------------------------------------------------------------------------------

NEEDED = [
    ("GET", "/v2/", ""),
    ("HEAD", "/v2/", ""),
    ("GET", "/v2/_catalog", "registry:catalog:*"),
    ("GET", "/v2/a/b/tags/list", "repository:a/b:pull"),
    ("GET", f"/v2/a/b/referrers/{BLOB}", "repository:a/b:pull"),
    ("GET", "/v2/a/b/manifests/v1", "repository:a/b:pull"),
    ("HEAD", "/v2/a/b/manifests/v1", "repository:a/b:pull"),
    ("PUT", "/v2/a/b/manifests/v1", "repository:a/b:pull,push"),
    ("DELETE", f"/v2/a/b/manifests/{BLOB}", "repository:a/b:delete,pull"),
    ("DELETE", "/v2/a/b/manifests/v1", "repository:a/b:delete,pull"),
    ("GET", f"/v2/a/b/blobs/{BLOB}", "repository:a/b:pull"),
    ("HEAD", f"/v2/a/b/blobs/{BLOB}", "repository:a/b:pull"),
    ("DELETE", f"/v2/a/b/blobs/{BLOB}", "repository:a/b:delete,pull"),
    ("POST", "/v2/a/b/blobs/uploads/", "repository:a/b:pull,push"),
    ("POST", f"/v2/a/b/blobs/uploads/?digest={BLOB}", "repository:a/b:pull,push"),
    ("POST", f"/v2/a/b/blobs/uploads/?mount={BLOB}&from=c/d", "repository:a/b:pull,push repository:c/d:pull"),
    ("POST", f"/v2/a/b/blobs/uploads/?mount={BLOB}", "repository:a/b:pull,push"),
    ("GET", "/v2/a/b/blobs/uploads/x", "repository:a/b:pull,push"),
    ("PATCH", "/v2/a/b/blobs/uploads/x", "repository:a/b:pull,push"),
    ("PUT", f"/v2/a/b/blobs/uploads/x?digest={BLOB}", "repository:a/b:pull,push"),
    ("DELETE", "/v2/a/b/blobs/uploads/x", "repository:a/b:pull,push"),
]


@pytest.mark.parametrize(("method", "target", "scope"), NEEDED)
async def test_every_request_says_what_it_needs(method: str, target: str, scope: str) -> None:
    answer = await call(with_tokens(), method, target)
    found = challenge_of(answer)
    assert (found.scheme, found.realm, found.service) == ("bearer", REALM, SERVICE)
    assert found.scopes == ScopeSet.parse(scope)
    assert ("scope" in found.params) == bool(scope)
    assert found.error is None
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.code == "UNAUTHORIZED"


@pytest.mark.parametrize(("method", "target", "scope"), NEEDED)
async def test_a_token_for_exactly_that_is_let_in_and_one_for_less_is_not(method: str, target: str, scope: str) -> None:
    app = with_tokens()
    allowed = await call(app, method, target, headers=[bearer(scope)], body=[images.image().manifest.data])
    assert allowed.status not in {401, 403}
    everywhere_else = [
        bearer(),
        bearer("repository:other/one:pull,push,delete", "registry:catalog:*" if "catalog" not in scope else ""),
        *(
            bearer(*(f"{each.type}:{each.name}:{','.join(each.actions - {action})}" for each in ScopeSet.parse(scope)))
            for action in {action for each in ScopeSet.parse(scope) for action in each.actions}
        ),
    ]
    for token in everywhere_else if scope else ():
        refused = await call(app, method, target, headers=[token], body=[b"x"])
        assert challenge_of(refused).error == "insufficient_scope"
        assert challenge_of(refused).scopes == ScopeSet.parse(scope)


# No header can hold the first two, and the third is refused before anybody reads it (431).
UNSENT = {"not ASCII", "half a character", "a header of a mebibyte"}


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in UNSENT])
async def test_f215_a_token_that_does_not_verify_is_answered_with_401(attack: str) -> None:
    token = ATTACKS[attack]()
    answer = await call(with_tokens(), "GET", "/v2/a/b/tags/list", headers=[("Authorization", f"Bearer {token}")])
    assert challenge_of(answer).error == "invalid_token"
    assert answer.code == "UNAUTHORIZED"
    assert not token or token.encode() not in answer.body


@pytest.mark.parametrize("value", ["Bearer", "Basic YTpi", "Bearer a, Bearer b", "token", ""])
async def test_other_headers_are_no_token(value: str) -> None:
    answer = await call(with_tokens(), "GET", "/v2/", headers=[("Authorization", value)])
    assert challenge_of(answer).scheme == "bearer"


async def test_a_token_is_good_for_the_service_it_names() -> None:
    token = signed(header(), claims(aud="another"))
    answer = await call(with_tokens(), "GET", "/v2/", headers=[("Authorization", f"Bearer {token}")])
    assert challenge_of(answer).error == "invalid_token"
    assert "another service" in json.loads(answer.body)["errors"][0]["message"]


async def test_what_no_registry_offers_is_told_before_anybody_is_asked() -> None:
    assert (await call(with_tokens(), "PATCH", "/v2/")).status == 405
    assert (await call(with_tokens(), "GET", "/elsewhere")).status == 404


@pytest.mark.parametrize("realm", ["", "token", "ftp://auth.test"])
def test_a_realm_is_a_url(realm: str) -> None:
    with pytest.raises(UsageError, match="URL"):
        TokenGuard(verifier(), realm=realm)


@pytest.mark.parametrize("text", ["\n", "\u65e5"])
def test_a_challenge_has_to_be_writable(text: str) -> None:
    with pytest.raises(UsageError):
        TokenGuard(verifier(), realm=f"https://auth.test/{text}")
    with pytest.raises(UsageError):
        PasswordGuard(USERS, realm=text)
    if text.isprintable():
        with pytest.raises(UsageError):
            TokenGuard(verifier(service=text), realm=REALM)


# --- passwords -------------------------------------------------------------------------------------------------------


async def may_read(account: str, needed: ScopeSet) -> ScopeSet:
    await anyio.lowlevel.checkpoint()
    everything = ScopeSet.parse("repository:a/b:pull,push,delete registry:catalog:*")
    return everything if account == "alice" else ScopeSet.parse("repository:a/b:pull")


USERS = StaticUsers({"alice": PASSWORD, "bob": "b0b"})


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [basic("alice", "wrong")],
        [basic("nobody")],
        [("Authorization", "Basic !")],
        [("Authorization", "Basic YWxpY2U=")],
        [("Authorization", f"Bearer {PASSWORD}")],
        [("Authorization", "Basic " + "QUFB" * 2000)],
        [basic(), basic()],
    ],
)
async def test_without_the_password_there_is_a_challenge(headers: list[tuple[str, str]]) -> None:
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(USERS, realm="the tests"))
    answer = await call(app, "GET", "/v2/", headers=headers)
    found = challenge_of(answer)
    assert (found.scheme, found.realm) == ("basic", "the tests")
    assert answer.code == "UNAUTHORIZED"
    assert PASSWORD.encode() not in answer.body


async def test_with_the_password_everything_is_allowed_unless_a_policy_says_less() -> None:
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(USERS))
    assert (await call(app, "GET", "/v2/_catalog", headers=[basic()])).status == 200
    assert (await call(app, "POST", "/v2/x/blobs/uploads/", headers=[basic("bob", "b0b")])).status == 202
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(USERS, may_read))
    assert (await call(app, "POST", "/v2/a/b/blobs/uploads/", headers=[basic()])).status == 202
    assert (await call(app, "GET", "/v2/", headers=[basic("bob", "b0b")])).status == 200
    assert (await call(app, "GET", "/v2/a/b/tags/list", headers=[basic("bob", "b0b")])).status == 404
    for method, target in (("POST", "/v2/a/b/blobs/uploads/"), ("GET", "/v2/_catalog"), ("GET", "/v2/c/tags/list")):
        answer = await call(app, method, target, headers=[basic("bob", "b0b")])
        assert (answer.status, answer.code) == (403, "DENIED")
    mount = await call(app, "POST", f"/v2/a/b/blobs/uploads/?mount={BLOB}&from=c/d", headers=[basic()])
    assert (mount.status, mount.code) == (403, "DENIED")


class Slow(StaticUsers):
    """Users that take their time, or cannot be read."""

    def __init__(self) -> None:
        super().__init__({"alice": PASSWORD})
        self.go = anyio.Event()

    async def check(self, name: str, password: str) -> bool:
        """Wait until somebody says so."""
        if name == "broken":
            raise CredentialStoreError(f"the disk is on fire: {len(password)}")
        await self.go.wait()
        return await super().check(name, password)


async def test_t60_logins_at_a_registry_do_not_pile_up() -> None:
    users = Slow()
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(users))
    statuses = []

    async def login() -> None:
        answer = await call(app, "GET", "/v2/", headers=[basic()])
        statuses.append(answer.status)
        if answer.status == 429:
            assert answer.headers["retry-after"] == "1"
            users.go.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(MAX_CHECKS + 1):
            tasks.start_soon(login)
    assert statuses == [429, *[200] * MAX_CHECKS]


async def test_users_that_cannot_be_read_are_the_operators_business() -> None:
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(Slow()))
    answer = await call(app, "GET", "/v2/", headers=[basic("broken")])
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert b"fire" not in answer.body

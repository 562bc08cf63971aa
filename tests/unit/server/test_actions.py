"""What each request needs: the whole table, against every kind of token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from ocidist.errors import DeniedError
from ocidist.model.digest import Digest
from ocidist.server import PasswordGuard, RegistryApp, TokenGuard
from ocidist.server.actions import needed
from ocidist.server.app import HANDLERS
from ocidist.storage.memory import MemoryRegistry
from ocidist.wire import endpoints
from ocidist.wire.routing import parse
from ocidist.wire.scope import ScopeSet
from tests.peers import images
from tests.unit.issuer.support import verifier
from tests.unit.server.support import call
from tests.unit.server.test_auth import NEEDED, REALM, USERS, basic, bearer

if TYPE_CHECKING:
    from tests.unit.server.support import Answer

DATA = b"of c/d alone"
DIGEST = Digest.of(DATA)
SESSION = "/v2/a/b/blobs/uploads/x"

# Written down once more, by hand and without the scopes' own arithmetic: what is asked, and whom it may be granted.
HOLDERS = {
    "nobody in particular": "",
    "pull": "repository:a/b:pull",
    "push": "repository:a/b:push",
    "pull and push": "repository:a/b:pull,push",
    "delete": "repository:a/b:delete",
    "pull and delete": "repository:a/b:delete,pull",
    "push and delete": "repository:a/b:delete,push",
    "all three": "repository:a/b:delete,pull,push",
    "everything": "repository:a/b:*",
    "another repository": "repository:c/d:delete,pull,push",
    "a repository below": "repository:a/b/c:delete,pull,push",
    "one whose name begins so": "repository:a/bc:*",
    "another kind of thing": "registry:a/b:*",
    "the catalog": "registry:catalog:*",
    "the catalog to pull": "registry:catalog:pull",
    "push here, pull there": "repository:a/b:pull,push repository:c/d:pull",
    "push here, push there": "repository:a/b:pull,push repository:c/d:push",
}
READERS = {
    "pull", "pull and push", "pull and delete", "all three", "everything", "push here, pull there",
    "push here, push there",
}  # fmt: skip
WRITERS = {"pull and push", "all three", "everything", "push here, pull there", "push here, push there"}
REMOVERS = {"pull and delete", "all three", "everything"}


def _allowed(method: str, target: str) -> set[str]:
    if target == "/v2/":
        return set(HOLDERS)
    if target == "/v2/_catalog":
        return {"the catalog"}
    if "from=c/d" in target:
        return {"push here, pull there"}
    if method in {"GET", "HEAD"} and "uploads" not in target:
        return READERS
    return REMOVERS if method == "DELETE" and "uploads" not in target else WRITERS


@pytest.mark.parametrize("holder", HOLDERS)
async def test_t58_every_token_is_let_in_where_the_table_says_so_and_nowhere_else(holder: str) -> None:
    app = RegistryApp(MemoryRegistry(check_references=False), auth=TokenGuard(verifier(), realm=REALM))
    token = bearer(*HOLDERS[holder].split())
    body = [images.image().manifest.data]
    wrong = []
    for method, target, _ in NEEDED:
        answer = await call(app, method, target, headers=[token], body=body)
        if (answer.status not in {401, 403}) != (holder in _allowed(method, target)):
            wrong.append((method, target, answer.status))
    assert wrong == []


async def test_t58_every_route_is_in_the_table() -> None:
    parsed = {type(parse(method, target.partition("?")[0], target.partition("?")[2])) for method, target, _ in NEEDED}
    assert parsed == set(HANDLERS)
    for method, target, scope in NEEDED:
        endpoint = parse(method, target.partition("?")[0], target.partition("?")[2])
        assert needed(endpoint) == ScopeSet.parse(scope) == endpoint.scopes


async def test_t58_what_is_not_in_the_table_is_refused() -> None:
    @attrs.frozen
    class Invented(endpoints.ListTags):
        """An endpoint that somebody adds and forgets."""

    with pytest.raises(DeniedError):
        needed(Invented(endpoints.ListTags.__name__.lower()))  # type: ignore[arg-type]  # any name will do


async def _mount(app: RegistryApp, query: str, header: tuple[str, str]) -> Answer:
    return await call(app, "POST", f"/v2/a/b/blobs/uploads/?mount={DIGEST}{query}", headers=[header])


async def test_t58_f216_a_mount_reads_from_its_source_and_from_nowhere_else() -> None:
    store = MemoryRegistry()
    await store.repository("c/d").blobs.push(DATA)
    app = RegistryApp(store, auth=TokenGuard(verifier(), realm=REALM))
    push = bearer("repository:a/b:pull,push")
    assert (await _mount(app, "&from=c/d", push)).status == 401
    # Without a source the registry would have to look where the token does not reach.
    assert (await _mount(app, "", push)).status == 202
    assert (await call(app, "GET", f"/v2/a/b/blobs/{DIGEST}", headers=[push])).status == 404
    assert (await _mount(app, "&from=c/d", bearer("repository:a/b:pull,push", "repository:c/d:pull"))).status == 201
    assert (await call(app, "GET", f"/v2/a/b/blobs/{DIGEST}", headers=[push])).body == DATA


async def test_f216_who_may_push_may_not_delete() -> None:
    store = MemoryRegistry(check_references=False)
    image = images.image()
    await store.repository("a/b").manifests.push(image.manifest.data, tags=["v1"])
    await store.repository("a/b").blobs.push(DATA)
    by_token = RegistryApp(store, auth=TokenGuard(verifier(), realm=REALM))

    async def may_push(_account: str, _needed: ScopeSet) -> ScopeSet:
        return ScopeSet.parse("repository:a/b:pull,push")

    by_password = RegistryApp(store, auth=PasswordGuard(USERS, may_push))
    for target in ("manifests/v1", f"manifests/{image.digest}", f"blobs/{DIGEST}"):
        push = bearer("repository:a/b:pull,push")
        assert (await call(by_token, "DELETE", f"/v2/a/b/{target}", headers=[push])).status == 401
        assert (await call(by_password, "DELETE", f"/v2/a/b/{target}", headers=[basic()])).status == 403
        assert (await call(by_token, "HEAD", f"/v2/a/b/{target}", headers=[push])).status == 200


async def test_f216_a_password_without_pull_on_the_source_mounts_nothing() -> None:
    store = MemoryRegistry()
    await store.repository("c/d").blobs.push(DATA)

    async def own_only(_account: str, _needed: ScopeSet) -> ScopeSet:
        return ScopeSet.parse("repository:a/b:pull,push")

    app = RegistryApp(store, auth=PasswordGuard(USERS, own_only))
    assert (await _mount(app, "&from=c/d", basic())).status == 403
    assert (await _mount(app, "", basic())).status == 202
    assert not await store.repository("a/b").blobs.exists(DIGEST)


@pytest.mark.parametrize("guard", ["token", "password"])
async def test_t63_a_session_belongs_to_one_repository_and_one_account(guard: str) -> None:
    everything = ScopeSet.parse("repository:a/b:pull,push repository:c/d:pull,push")

    async def all_of_it(_account: str, _needed: ScopeSet) -> ScopeSet:
        return everything

    auth = TokenGuard(verifier(), realm=REALM) if guard == "token" else PasswordGuard(USERS, all_of_it)
    app = RegistryApp(MemoryRegistry(), auth=auth)
    alice, bob = (
        (bearer(str(everything)), bearer(str(everything), account="bob"))
        if guard == "token"
        else (basic(), basic("bob", "b0b"))
    )
    location = (await call(app, "POST", "/v2/a/b/blobs/uploads/", headers=[alice])).headers["location"]
    elsewhere = location.replace("/a/b/", "/c/d/")
    for method, target in (
        ("PATCH", location),
        ("GET", location),
        ("DELETE", location),
        ("PUT", f"{location}?digest={DIGEST}"),
    ):
        stolen = await call(app, method, target, headers=[bob], body=[DATA])
        moved = await call(app, method, target.replace(location, elsewhere), headers=[alice], body=[DATA])
        assert (stolen.status, stolen.code) == (moved.status, moved.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    wrong = await call(
        app, "PATCH", location, headers=[alice, ("Content-Range", "5-16"), ("Content-Length", "12")], body=[DATA]
    )
    assert (wrong.status, wrong.headers["range"]) == (416, "0-0")
    assert (await call(app, "PUT", f"{location}?digest={DIGEST}", headers=[alice], body=[DATA])).status == 201


async def test_t63_sessions_cannot_be_guessed() -> None:
    app = RegistryApp(MemoryRegistry())
    names = {
        (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"].rpartition("/")[2] for _ in range(50)
    }
    assert len(names) == 50
    # 122 bits of a version 4 UUID come from the system's source of randomness.
    assert all(len(name) == 36 and name[14] == "4" for name in names)

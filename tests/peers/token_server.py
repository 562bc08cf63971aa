"""A token server for tests: Docker's GET, and OAuth2 POST with password and refresh-token grants.

The tokens are JWTs as docker-registry 2.8.2 and 3.x both accept them: RS256, certificate in ``x5c``, ``aud`` a string.

Spec: docker token authentication, "Requesting a Token"; docker OAuth2, "Getting a token"; "Token Authentication
Implementation".
"""

from __future__ import annotations

import base64
import datetime as dt
import secrets
import threading
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import attrs
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.canary import ALICE_PASSWORD, CANARIES
from tests.peers.answers import respond_json
from tests.peers.wire_server import Connection, Request, WireServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

SERVICE = "registry of the tests"  # with blanks, as real ones have
ISSUER = "issuer of the tests"
LIFETIME_S = 300


@attrs.frozen
class User:
    """A user of the token server.

    Attributes:
        password: The password.
        grants: Pairs of a pattern for ``type:name`` and the actions allowed there.
    """

    password: str
    grants: tuple[tuple[str, frozenset[str]], ...] = ()


EVERYTHING = (("repository:*", frozenset({"pull", "push", "delete"})), ("registry:catalog", frozenset({"*"})))
PUBLIC = (("repository:public/*", frozenset({"pull"})),)
USERS = {"alice": User(ALICE_PASSWORD, EVERYTHING), "bob": User("b0b", PUBLIC)}


class SigningKey:
    """An RSA key with a self-signed certificate."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ISSUER)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .sign(self.private, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.x5c = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]


@attrs.frozen
class TokenCall:
    """A request for a token, decoded.

    Attributes:
        method: ``GET`` or ``POST``.
        params: Query or form fields, blank ones kept.
        basic: User name and password of the Authorization header, if it had them.
        status: What was answered.
    """

    method: str
    params: Mapping[str, list[str]]
    basic: tuple[str, str] | None
    status: int

    @property
    def scopes(self) -> list[str]:
        """The scopes asked for, one by one, sorted."""
        return sorted(scope for value in self.params.get("scope", []) for scope in value.split())

    def param(self, name: str) -> str | None:
        """Return the first value of a field."""
        return next(iter(self.params.get(name, [])), None)


class TokenServer:
    """A running token server; a context manager.

    Args:
        users: Who there is; nobody else gets more than *public*.
        public: What anonymous clients may do.
        oauth2: The status that POST is refused with (404 and 405 are what servers without OAuth2 say); None allows it.
        lifetime_s: How long tokens live, in seconds; docker-registry gives 60 more.

    Attributes:
        key: What tokens are signed with.
        calls: Every request so far.
        wire: The server underneath: its ``requests``, ``received`` and ``host``.
        overrides: Fields that replace those of a successful answer; a value of None leaves a field out.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, User] = USERS,
        public: tuple[tuple[str, frozenset[str]], ...] = PUBLIC,
        oauth2: int | None = None,
        lifetime_s: int = LIFETIME_S,
        key: SigningKey | None = None,
    ) -> None:
        self.key = key or SigningKey()
        self.calls: list[TokenCall] = []
        self.oauth2 = oauth2
        self.lifetime_s = lifetime_s
        self.overrides: dict[str, object] = {}
        self.wire = WireServer(self._answer)
        self._users = users
        self._public = public
        self._refresh: dict[str, str] = {}
        self._open = threading.Event()
        self._open.set()

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:port``."""
        return self.wire.origin

    @property
    def realm(self) -> str:
        """The URL that challenges name."""
        return f"{self.origin}/token"

    def __enter__(self) -> Self:
        self.wire.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.set()
        self.wire.__exit__(kind, error, at)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Answer nobody until the block ends."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def refresh_token(self, username: str) -> str:
        """Make a refresh token (an "identity token") for a user."""
        token = CANARIES.mint(f"refresh-{secrets.token_hex(8)}")
        self._refresh[token] = username
        return token

    def token(self, username: str = "", *scopes: str, lifetime_s: int | None = None) -> str:
        """Sign a token, without any HTTP: for registry tokens, stale ones and the like."""
        now = int(dt.datetime.now(dt.UTC).timestamp())
        claims = {
            "iss": ISSUER,
            "sub": username,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + (self.lifetime_s if lifetime_s is None else lifetime_s),
            "jti": secrets.token_hex(8),
            "access": self._access(username, scopes),
        }
        return CANARIES.mint(jwt.encode(claims, self.key.private, "RS256", headers={"x5c": self.key.x5c}))

    def _access(self, username: str, scopes: tuple[str, ...]) -> list[dict[str, object]]:
        user = self._users.get(username)
        grants = user.grants if user else self._public
        entries: list[dict[str, object]] = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, wanted = rest.rpartition(":")
            allowed = {a for pattern, actions in grants if fnmatchcase(f"{kind}:{name}", pattern) for a in actions}
            if actions := sorted(allowed & set(wanted.split(","))):
                entries.append({"type": kind, "name": name, "actions": actions})
        return entries

    def _answer(self, request: Request, connection: Connection) -> None:
        body = request.read()
        self._open.wait()
        form = body.decode() if request.method == "POST" else urlsplit(request.target).query
        params = parse_qs(form, keep_blank_values=True)
        status, value = self._decide(request, params)
        self.calls.append(TokenCall(request.method, params, _basic(request), status))
        challenge = {"WWW-Authenticate": 'Basic realm="tokens"'} if status == 401 else {}
        respond_json(status, value, challenge)(request, connection)

    def _decide(self, request: Request, params: Mapping[str, list[str]]) -> tuple[int, object]:
        if request.path != "/token":
            return 404, {"details": "no such place"}
        if request.method == "POST":
            return self._post(params)
        if request.method != "GET":
            return 405, {"details": "GET or POST"}
        username = ""
        if (basic := _basic(request)) is not None:
            if not self._knows(*basic):
                return 401, {"details": "wrong user name or password"}
            username = basic[0]
        value = self._grant(username, params)
        if params.get("offline_token") == ["true"] and username:
            value["refresh_token"] = self.refresh_token(username)
        return 200, self._overridden(value)

    def _post(self, form: Mapping[str, list[str]]) -> tuple[int, object]:
        if self.oauth2 is not None:
            return self.oauth2, {"details": "no OAuth2 here"}
        first = {name: values[0] for name, values in form.items()}
        if not first.get("service") or not first.get("client_id"):
            return 400, {"error": "invalid_request"}
        match first.get("grant_type"):
            case "password":
                username = first.get("username", "")
                if not self._knows(username, first.get("password", "")):
                    return 401, {"error": "invalid_grant"}
            case "refresh_token":
                username = self._refresh.get(first.get("refresh_token", ""), "")
                if not username:
                    return 401, {"error": "invalid_grant"}
            case _:
                return 400, {"error": "unsupported_grant_type"}
        value = self._grant(username, form)
        value["access_token"] = value.pop("token")
        value["scope"] = " ".join(form.get("scope", []))
        if first.get("grant_type") == "refresh_token":
            value["refresh_token"] = first["refresh_token"]
        elif first.get("access_type") == "offline":
            value["refresh_token"] = self.refresh_token(username)
        return 200, self._overridden(value)

    def _knows(self, username: str, password: str) -> bool:
        user = self._users.get(username)
        return user is not None and secrets.compare_digest(user.password.encode(), password.encode())

    def _grant(self, username: str, params: Mapping[str, list[str]]) -> dict[str, object]:
        scopes = tuple(scope for value in params.get("scope", []) for scope in value.split())
        issued = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"token": self.token(username, *scopes), "expires_in": self.lifetime_s, "issued_at": issued}

    def _overridden(self, value: dict[str, object]) -> dict[str, object]:
        return {name: field for name, field in (value | self.overrides).items() if field is not None}


def _basic(request: Request) -> tuple[str, str] | None:
    kind, _, encoded = (request.header("Authorization") or "").partition(" ")
    if kind.lower() != "basic":
        return None
    username, _, password = base64.b64decode(encoded).decode().partition(":")
    return username, password


def claims(token: str) -> dict[str, Any]:
    """Decode a token's claims without checking its signature."""
    return jwt.decode(token, options={"verify_signature": False})

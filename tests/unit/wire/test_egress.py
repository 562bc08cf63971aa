"""Where a server may send a client, purpose by purpose."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ocidist.errors import (
    AuthRealmRefusedError,
    LinkRefusedError,
    LocationRefusedError,
    RedirectRefusedError,
    UsageError,
)
from ocidist.wire.domains import same_registrable_domain
from ocidist.wire.egress import (
    DEFAULT_POLICY,
    EgressPolicy,
    Origin,
    address_refusal,
    check_link,
    check_location,
    check_realm,
    check_redirect,
)

REGISTRY = "https://registry.acme.io/v2/app/manifests/v1"

# --- private and local registries ------------------------------------------------------------------------------------


def test_private_addresses_are_reached_where_the_policy_says_so() -> None:
    policy = EgressPolicy(allow_private=True)
    assert check_redirect(REGISTRY, "https://10.0.0.5/x", policy).url == "https://10.0.0.5/x"
    with pytest.raises(RedirectRefusedError):
        check_redirect(REGISTRY, "https://127.0.0.1/x", policy)


@pytest.mark.parametrize(
    "registry", ["https://10.0.0.5:5000", "http://192.168.0.7", "http://127.0.0.1:5000", "https://[fd00::5]"]
)
def test_a_registry_that_the_user_named_may_name_itself(registry: str) -> None:
    assert check_redirect(f"{registry}/v2/", "/x").same_origin
    assert check_location(f"{registry}/v2/", f"{registry}/u").same_origin
    assert check_realm(f"{registry}/v2/", f"{registry}/token").credentials
    assert check_link(f"{registry}/v2/", "?last=a") == f"{registry}/v2/?last=a"


def test_a_registry_on_a_private_address_names_itself_only() -> None:
    assert not check_redirect("http://10.0.0.5:5000/", "http://10.0.0.5:9000/x").same_origin
    for target in ("http://10.0.0.6:5000/", "http://127.0.0.1/", "http://localhost/"):
        with pytest.raises(RedirectRefusedError):
            check_redirect("http://10.0.0.5:5000/", target)


def test_a_registry_on_this_machine_may_name_this_machine() -> None:
    assert not check_redirect("http://localhost:5000/v2/", "http://127.0.0.1:9000/x").same_origin
    assert not check_location("http://localhost:5000/v2/", "http://[::1]:9000/x").same_origin
    assert not check_realm("http://localhost:5000/v2/", "http://localhost:5001/token").credentials


def test_a_step_away_from_the_registry_cannot_name_internal_addresses() -> None:
    with pytest.raises(RedirectRefusedError):
        check_redirect("https://cdn.example/b", "https://10.0.0.5/", registry=REGISTRY)
    back = check_redirect("https://cdn.example/b", "https://10.0.0.5/x", registry="https://10.0.0.5/v2/")
    assert not back.same_origin


@pytest.mark.parametrize(
    ("address", "registry", "allowed"),
    [
        ("93.184.216.34", None, True),
        ("2606:4700::1111", None, True),
        ("10.0.0.5", None, False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "::ffff:10.0.0.5", True),
        ("10.0.0.6", "10.0.0.5", False),
        ("127.0.0.1", None, False),
        ("127.0.0.1", "registry.acme.io", False),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "10.0.0.5", False),
        ("169.254.169.254", "169.254.169.254", False),
        ("fe80::1%eth0", None, False),
        ("::ffff:127.0.0.1", None, False),
        ("1.1.1.1:443", None, False),
        ("::1::", "::1", False),
    ],
)
def test_an_address_is_judged_again_when_it_is_dialled(address: str, registry: str | None, allowed: bool) -> None:
    assert (address_refusal(address, registry=registry) is None) is allowed


def test_a_private_address_may_be_dialled_where_the_policy_says_so() -> None:
    assert address_refusal("10.0.0.5", registry=None, policy=EgressPolicy(allow_private=True)) is None


# --- realms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registry", "realm", "credentials"),
    [
        ("https://registry.acme.io/v2/", "https://registry.acme.io/token", True),
        ("https://registry.acme.io/v2/", "https://registry.acme.io:443/token", True),
        ("https://registry.acme.io/v2/", "/token", True),
        ("https://registry.acme.io/v2/", "https://auth.acme.io/token", True),
        ("https://registry.acme.io/v2/", "https://acme.io:8443/token", True),
        ("https://registry.acme.io:5000/v2/", "https://registry.acme.io/token", True),
        ("https://registry-1.docker.io/v2/", "https://auth.docker.io/token", True),
        ("https://registry.acme.co.uk/v2/", "https://auth.acme.co.uk/token", True),
        ("https://registry.internal/v2/", "https://registry.internal:8443/token", True),
        ("http://registry.acme.io/v2/", "https://auth.acme.io/token", True),
        ("http://localhost:5000/v2/", "http://localhost:5000/token", True),
        ("https://registry.acme.io/v2/", "https://auth.evil.io/token", False),
        ("https://registry.acme.io/v2/", "https://acme.io.evil.io/token", False),
        ("https://registry.acme.io/v2/", "https://evilacme.io/token", False),
        ("https://one.co.uk/v2/", "https://other.co.uk/token", False),
        ("https://one.github.io/v2/", "https://other.github.io/token", False),
        ("https://one.s3.amazonaws.com/v2/", "https://other.s3.amazonaws.com/token", False),
        ("https://registry.cluster.local/v2/", "https://other.cluster.local/token", False),
        ("https://registry/v2/", "https://other/token", False),
        ("http://registry.acme.io/v2/", "http://auth.acme.io/token", False),
        ("http://registry.acme.io/v2/", "http://registry.acme.io:8080/token", False),
        ("https://1.1.1.1/v2/", "https://1.1.1.1:8443/token", False),
        ("https://1.1.1.1/v2/", "https://8.1.1.1/token", False),
        ("http://localhost:5000/v2/", "http://localhost:5001/token", False),
        ("https://localhost:5000/v2/", "https://localhost:5001/token", False),
        ("http://a.localhost:5000/v2/", "https://b.localhost:5000/token", False),
    ],
)
def test_credentials_stay_with_their_owner(registry: str, realm: str, credentials: bool) -> None:
    assert check_realm(registry, realm).credentials is credentials


def test_t43_the_query_of_a_realm_is_kept() -> None:
    assert check_realm(REGISTRY, "/t?y=%7e+1").url == "https://registry.acme.io/t?y=%7e+1"
    assert check_realm(Origin.of(REGISTRY), "https://auth.acme.io/x?y=1").url == "https://auth.acme.io/x?y=1"


@pytest.mark.parametrize(
    "realm",
    [
        "http://registry.acme.io/token",
        "http://registry.acme.io:443/token",
        "http://auth.acme.io/token",
        "http://auth.evil.io/token",
    ],
)
@pytest.mark.parametrize(
    "policy", [DEFAULT_POLICY, EgressPolicy(trusted_realms=("http://auth.evil.io", "auth.acme.io"), allow_private=True)]
)
def test_an_https_registry_never_has_an_http_realm(realm: str, policy: EgressPolicy) -> None:
    with pytest.raises(AuthRealmRefusedError, match="never leads to http"):
        check_realm(REGISTRY, realm, policy=policy)


@pytest.mark.parametrize(
    ("entry", "realm", "trusted"),
    [
        ("auth.evil.io", "https://auth.evil.io/token", True),
        ("AUTH.evil.io", "https://auth.evil.io/token", True),
        ("auth.evil.io", "https://auth.evil.io:8443/token", False),
        ("auth.evil.io:8443", "https://auth.evil.io:8443/token", True),
        ("auth.evil.io:443", "https://auth.evil.io/token", True),
        ("https://auth.evil.io", "https://auth.evil.io/token", True),
        ("https://auth.evil.io/", "https://auth.evil.io/token", True),
        ("https://auth.evil.io:8443", "https://auth.evil.io/token", False),
        ("http://auth.evil.io", "https://auth.evil.io/token", False),
        ("evil.io", "https://auth.evil.io/token", False),
    ],
)
def test_a_trusted_realm_may_see_credentials(entry: str, realm: str, trusted: bool) -> None:
    policy = EgressPolicy(trusted_realms=(entry,))
    assert check_realm(REGISTRY, realm, policy=policy).credentials is trusted


def test_a_token_server_beside_a_local_registry_can_be_trusted() -> None:
    policy = EgressPolicy(trusted_realms=("localhost:5001", "[::1]:5002"))
    assert check_realm("http://localhost:5000/v2/", "http://localhost:5001/token", policy=policy).credentials
    assert check_realm("http://[::1]:5000/v2/", "http://[::1]:5002/token", policy=policy).credentials


def test_a_realm_that_is_not_trusted_is_asked_anonymously_or_not_at_all() -> None:
    decision = check_realm(REGISTRY, "https://auth.evil.io/token?x=canary")
    assert not decision.credentials
    assert "canary" not in repr(decision)
    refusal = decision.refusal()
    assert isinstance(refusal, AuthRealmRefusedError)
    assert "https://registry.acme.io" in str(refusal)
    assert "https://auth.evil.io" in str(refusal)
    with pytest.raises(AuthRealmRefusedError):
        check_realm(REGISTRY, "https://auth.evil.io/token", policy=EgressPolicy(allow_anonymous_realm=False))


@pytest.mark.parametrize(
    "options",
    [
        {"trusted_realms": ("",)},
        {"trusted_realms": ("https://auth.acme.io/token",)},
        {"trusted_realms": ("ftp://auth.acme.io",)},
        {"trusted_realms": ("*.acme.io",)},
        {"trusted_realms": ("user@auth.acme.io",)},
        {"trusted_realms": "auth.acme.io"},
        {"max_redirects": -1},
        {"max_redirects": True},
    ],
)
def test_a_policy_that_means_nothing_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        EgressPolicy(**options)  # type: ignore[arg-type]  # a wrong argument is the point


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.acme.io", "b.acme.io", True),
        ("acme.io", "acme.io.", True),
        ("registry", "registry", True),
        ("acme.io", "io", False),
        ("io", "com", False),
        ("co.uk", "a.co.uk", False),
        ("10.0.0.1", "10.0.0.1", False),
        ("localhost", "localhost", False),
        ("a.unknown-tld", "b.unknown-tld", False),
    ],
)
def test_a_registrable_domain_has_one_owner(one: str, other: str, same: bool) -> None:
    assert same_registrable_domain(one, other) is same


# --- redirects, locations, links -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "same_origin"),
    [
        ("https://cdn.acme.io/b?X-Amz-Signature=s", False),
        ("https://bucket.s3.amazonaws.com/b", False),
        ("https://registry.acme.io:8443/b", False),
        ("https://registry.acme.io./b", False),
        ("https://sub.registry.acme.io/b", False),
        ("https://REGISTRY.acme.io:443/b", True),
        ("/b", True),
    ],
)
def test_a_redirect_takes_secrets_along_to_the_same_origin_only(target: str, same_origin: bool) -> None:
    assert check_redirect(REGISTRY, target).same_origin is same_origin


@pytest.mark.parametrize(
    "target", ["http://registry.acme.io/b", "http://registry.acme.io:443/b", "http://cdn.example/b"]
)
def test_a_redirect_never_leads_from_https_to_http(target: str) -> None:
    with pytest.raises(RedirectRefusedError, match="never leads to http"):
        check_redirect(REGISTRY, target)


def test_a_redirect_may_lead_from_http_to_https() -> None:
    assert not check_redirect("http://registry.acme.io/", "https://registry.acme.io/").same_origin


def test_q03_a_location_without_the_port_of_the_registry_is_the_same_origin() -> None:
    assert check_location("https://r.example:443/v2/", "https://r.example/u?_state=x").same_origin
    assert check_location("https://r.example/v2/", "https://r.example:443/u?_state=x").same_origin


def test_an_upload_may_go_to_another_public_host_without_secrets() -> None:
    location = check_location(REGISTRY, "https://bucket.s3.amazonaws.com/u?sig=%2Fcanary")
    assert location.url == "https://bucket.s3.amazonaws.com/u?sig=%2Fcanary"
    assert not location.same_origin
    assert "canary" not in repr(location)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (REGISTRY, "http://registry.acme.io/u"),
        (REGISTRY, "http://registry.acme.io:443/u"),
        (REGISTRY, "http://registry.acme.io:5000/u"),
        (REGISTRY, "http://storage.example/u"),
        ("http://registry.acme.io:5000/", "http://storage.example/u"),
        ("http://registry.acme.io:5000/", "http://registry.acme.io:9000/u"),
    ],
)
def test_an_upload_goes_to_another_host_over_https_only(source: str, target: str) -> None:
    with pytest.raises(LocationRefusedError, match="behind a proxy"):
        check_location(source, target)


def test_an_upload_that_went_elsewhere_may_come_back() -> None:
    back = check_location("https://storage.example/u", "https://10.0.0.5/u", registry=Origin.of("https://10.0.0.5/"))
    assert back.url == "https://10.0.0.5/u"
    with pytest.raises(LocationRefusedError):
        check_location("https://storage.example/u", "https://10.0.0.6/u", registry="https://10.0.0.5/")


@pytest.mark.parametrize(
    ("source", "target", "url"),
    [
        ("https://r.example/v2/", "http://r.example/v2/?last=a", "https://r.example/v2/?last=a"),
        ("https://r.example/v2/", "http://r.example:80/v2/?last=a", "https://r.example/v2/?last=a"),
        ("https://r.example:5000/v2/", "http://r.example:5000/v2/?last=a", "https://r.example:5000/v2/?last=a"),
        ("https://r.example:5000/v2/", "http://r.example/v2/?last=a", "https://r.example:5000/v2/?last=a"),
        ("https://r.example/v2/", "http://r.example:443/v2/?last=a", "https://r.example/v2/?last=a"),
        ("http://r.example/v2/", "http://r.example/v2/?last=a", "http://r.example/v2/?last=a"),
        ("https://r.example:443/v2/", "https://r.example/v2/?last=a", "https://r.example/v2/?last=a"),
    ],
)
def test_q52_a_link_stays_with_its_host_and_goes_up_to_https(source: str, target: str, url: str) -> None:
    assert check_link(source, target) == url


@pytest.mark.parametrize(
    "target",
    [
        "https://x.example/",
        "//x.example/",
        "https://sub.r.example/",
        "https://r.example:8443/",
        "http://r.example:8080/",
        "http://x.example/",
        "https://r.example./",
    ],
)
def test_f093_a_link_to_another_origin_is_refused(target: str) -> None:
    with pytest.raises(LinkRefusedError):
        check_link("https://r.example/v2/", target)


def test_the_public_suffix_list_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, ocidist.wire.egress; sys.exit('publicsuffixlist' in sys.modules or 'httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

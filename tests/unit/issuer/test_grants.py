from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocidist.issuer import grant
from ocidist.wire.scope import Scope, ScopeSet


@pytest.mark.parametrize(
    ("requested", "allowed", "granted"),
    [
        ("repository:a/b:pull,push", "repository:a/b:pull", "repository:a/b:pull"),
        ("repository:a/b:pull", "repository:a/b:pull,push,delete", "repository:a/b:pull"),
        ("repository:a/b:push", "repository:a/b:pull", ""),
        ("repository:a/b:pull", "repository:a/c:pull", ""),
        ("repository:a/b:pull", "", ""),
        ("", "repository:a/b:pull", ""),
        ("repository:a/b:*", "repository:a/b:pull,push", "repository:a/b:pull,push"),
        ("repository:a/b:*", "repository:a/b:*", "repository:a/b:*"),
        ("repository:a/b:pull", "repository:a/b:*", "repository:a/b:pull"),
        ("registry:catalog:*", "registry:catalog:*", "registry:catalog:*"),
        ("registry:catalog:*", "repository:a/b:*", ""),
        ("registry:other:*", "registry:other:*", ""),
        ("repository(plugin):a/b:pull", "repository:a/b:pull", "repository:a/b:pull"),
        ("repository:a/b:pull repository:a/b:push", "repository:a/b:push,pull", "repository:a/b:pull,push"),
        ("repository:a/b:pull repository:c/d:pull", "repository:c/d:pull", "repository:c/d:pull"),
        # Names that no repository has, even where the policy is sloppy enough to allow them.
        ("repository:*:*", "repository:*:*", ""),
        ("repository:*:pull", "repository:a/b:pull", ""),
        ("repository:a/../b:pull", "repository:a/../b:pull", ""),
        ("repository:A/b:pull", "repository:A/b:pull", ""),
        ("repository:/a:pull", "repository:/a:pull", ""),
        (f"repository:{'a' * 256}:pull", f"repository:{'a' * 256}:pull", ""),
        ("unknown:a/b:pull", "unknown:a/b:pull", ""),
        ("opaque", "opaque", ""),
        ("repository:a/b:", "repository:a/b:pull", ""),
    ],
)
def test_t59_what_is_granted_is_in_both_and_is_something_a_registry_has(
    requested: str, allowed: str, granted: str
) -> None:
    assert grant(ScopeSet.parse(requested), ScopeSet.parse(allowed)) == ScopeSet.parse(granted)


_actions = st.frozensets(st.sampled_from(["pull", "push", "delete", "*"]), max_size=3)
_scopes = st.lists(
    st.builds(
        Scope,
        st.sampled_from(["repository", "repository(plugin)", "registry", "other"]),
        st.sampled_from(["a/b", "a", "catalog", "*", "../x"]),
        _actions,
    ),
    max_size=5,
)


@given(_scopes, _scopes)
def test_t59_nothing_is_granted_beyond_the_policy_or_the_request(requested: list[Scope], allowed: list[Scope]) -> None:
    granted = grant(requested, allowed)
    plain = [ScopeSet(tuple(Scope(*each.resource, each.actions) for each in every)) for every in (requested, allowed)]
    assert all(each.covers(granted) for each in plain)


def test_t59_a_policy_may_name_a_resource_twice() -> None:
    allowed = [Scope("repository", "a", frozenset({"pull"})), Scope("repository", "a", frozenset({"push"}))]
    assert grant(ScopeSet.parse("repository:a:pull,push"), allowed) == ScopeSet.parse("repository:a:pull,push")

from __future__ import annotations

import attrs
import pytest

from ocidist.errors import UsageError
from ocidist.wire.scope import CATALOG, MAX_SCOPE_CHARS, NO_SCOPES, Scope, ScopeSet, repository_scope


def scopes(text: str) -> ScopeSet:
    return ScopeSet.parse(text)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("repository:a/b:pull", Scope("repository", "a/b", {"pull"})),
        ("repository:a/b:push,pull", Scope("repository", "a/b", {"pull", "push"})),
        ("repository:host.example:5000/a/b:pull", Scope("repository", "host.example:5000/a/b", {"pull"})),
        ("repository(plugin):a/b:pull", Scope("repository(plugin)", "a/b", {"pull"})),
        ("registry:catalog:*", Scope("registry", "catalog", {"*"})),
        ("repository:a/b:", Scope("repository", "a/b", set())),
        ("repository:a/b:pull,,push,", Scope("repository", "a/b", {"pull", "push"})),
        ("aws", Scope("aws", "")),
        ("read:packages", Scope("read:packages", "")),
    ],
)
def test_a_scope_is_read_with_ports_classes_and_odd_forms(text: str, scope: Scope) -> None:
    assert Scope.parse(text) == scope


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("repository:a/b:push,pull,delete", "repository:a/b:delete,pull,push"),
        ("registry:catalog:*", "registry:catalog:*"),
        ("repository:a/b:pull,*", "repository:a/b:*"),
        ("aws", "aws"),
    ],
)
def test_a_scope_is_written_with_sorted_actions(text: str, written: str) -> None:
    assert str(Scope.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repository:a/b\r\nX-Evil: 1:pull",
        "repository:a/b:pull\n",
        "repository:a b:pull",
        "repository:a/b:pull,pu sh",
        "repository:\x00:pull",
        'repository:a"b:pull',
        "repository:a\\b:pull",
        "repository:ä/b:pull",
        "repository:a\u2028b:pull",
        ":a/b:pull",
        "repository:" + "a" * MAX_SCOPE_CHARS + ":pull",
    ],
)
def test_t39_what_no_scope_may_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Scope.parse(text)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("a/b", "pull\r\n"),
        ("a/b", "pull push"),
        ("a/b", "pull,push"),
        ("a/b", "x:y"),
        ("a b", "pull"),
        ("", "pull"),
        ("a\n", "pull"),
    ],
)
def test_t39_a_scope_cannot_be_built_from_pieces_that_add_another(name: str, action: str) -> None:
    with pytest.raises(UsageError):
        repository_scope(name, action)


def test_t39_one_string_is_not_taken_for_a_collection_of_letters() -> None:
    with pytest.raises(UsageError):
        Scope("repository", "a/b", "pull")


def test_a_set_merges_what_is_about_the_same_resource() -> None:
    merged = scopes("repository:b:pull repository:a:push repository:b:push repository:a:push")
    assert str(merged) == "repository:a:push repository:b:pull,push"
    assert merged == scopes("repository:a:push repository:b:push,pull")
    assert hash(merged) == hash(scopes("repository:b:push,pull  repository:a:push"))


def test_a_set_leaves_out_resources_without_an_action_and_keeps_opaque_scopes() -> None:
    assert scopes("repository:a: aws") == ScopeSet((Scope("aws", ""),))
    assert len(scopes("")) == 0
    assert scopes("") == NO_SCOPES


def test_sets_are_united() -> None:
    union = repository_scope("a", "pull") | repository_scope("a", "push") | CATALOG
    assert list(map(str, union)) == ["registry:catalog:*", "repository:a:pull,push"]
    assert union | NO_SCOPES == union
    assert Scope("registry", "catalog", {"*"}) in union


@pytest.mark.parametrize(
    ("mine", "other", "covered"),
    [
        ("repository:a:pull,push", "repository:a:pull", True),
        ("repository:a:pull", "repository:a:pull,push", False),
        ("repository:a:*", "repository:a:pull,push,delete", True),
        ("repository:a:pull,push", "repository:a:*", False),
        ("repository:a:pull", "repository:b:pull", False),
        ("repository:a:pull repository:b:pull", "repository:b:pull", True),
        ("repository:a:pull", "", True),
        ("", "repository:a:pull", False),
        ("", "", True),
        ("repository(plugin):a:pull", "repository:a:pull", True),
        ("repository:a:pull", "repository(plugin):a:pull", True),
        ("registry:catalog:*", "registry:catalog:*", True),
        ("aws", "aws", True),
        ("aws", "gcp", False),
    ],
)
def test_a_set_covers_what_its_token_is_good_for(mine: str, other: str, covered: bool) -> None:
    assert scopes(mine).covers(scopes(other)) is covered


def test_a_scope_covers_only_its_own_resource() -> None:
    scope = Scope("repository", "a", frozenset({"*"}))
    assert scope.covers(Scope("repository", "a", frozenset({"pull"})))
    assert not scope.covers(Scope("repository", "b", frozenset({"pull"})))


def test_two_classes_of_one_resource_are_one_resource() -> None:
    assert str(scopes("repository(plugin):a:pull repository:a:push")) == "repository:a:pull,push"


def test_q13_what_writes_comes_first() -> None:
    union = scopes("repository:base:pull repository:z/app:pull,push registry:catalog:*")
    assert list(map(str, union.first())) == ["registry:catalog:*", "repository:z/app:pull,push", "repository:base:pull"]


def test_q13_what_the_operation_wants_comes_before_everything_else() -> None:
    union = scopes("repository:base:push repository:app:pull")
    assert list(map(str, union.first(scopes("repository:app:pull")))) == ["repository:app:pull", "repository:base:push"]


def test_t39_a_list_of_scopes_is_read_up_to_its_cap() -> None:
    assert len(ScopeSet.parse("a " * (MAX_SCOPE_CHARS // 2))) == 1
    with pytest.raises(UsageError):
        ScopeSet.parse("a " * MAX_SCOPE_CHARS)


def test_a_scope_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        CATALOG.entries = ()  # type: ignore[misc]  # that it cannot be set is the point

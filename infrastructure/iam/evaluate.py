"""Evaluates the part of IAM that the template uses; what it does not know it refuses.

An identity's policies, in its own account: denied, unless a statement allows it and none denies it.
"""

from __future__ import annotations

import operator
import re
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STATEMENT: Final = {"Sid", "Effect", "Action", "Resource", "Condition"}


class Unknown(ValueError):
    """A policy says something that this evaluator does not know."""


def allowed(
    policies: Iterable[Mapping[str, Any]],
    *,
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Say whether the policies of one role allow one request.

    Args:
        policies: policy documents.
        action: `service:Operation`; case does not matter.
        resource: the ARN, or `*` for an action that has none.
        context: the request's condition keys; their case does not matter.

    Raises:
        Unknown: a statement has an element or an operator that is not known here.
    """
    keys = {name.lower(): value for name, value in (context or {}).items()}
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _list(policy["Statement"])
        if _applies(statement, action, resource, keys)
    }
    return effects == {"Allow"}


def _applies(
    statement: Mapping[str, Any], action: str, resource: str, keys: Mapping[str, str]
) -> bool:
    strange = statement.keys() - _STATEMENT
    if strange or statement["Effect"] not in {"Allow", "Deny"}:
        msg = f"a statement with {sorted(strange) or statement['Effect']}"
        raise Unknown(msg)
    # Every condition is looked at, also when the action is another one: a strange one is told.
    meets = [
        _meets(name, key, _list(patterns), keys)
        for name, tests in statement.get("Condition", {}).items()
        for key, patterns in tests.items()
    ]
    return (
        any(_matches(one.lower(), action.lower()) for one in _list(statement["Action"]))
        and any(_matches(one, resource) for one in _list(statement["Resource"]))
        and all(meets)
    )


def _meets(name: str, key: str, patterns: list[str], keys: Mapping[str, str]) -> bool:
    test = _OPERATORS.get(name)
    if test is None:
        msg = f"the condition operator {name}"
        raise Unknown(msg)
    value = keys.get(key.lower())
    return value is not None and any(test(pattern, value) for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    # IAM knows * and ?, and nothing of brackets.
    return re.fullmatch(translate(pattern.replace("[", "[[]")), text) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


#: Operators for one value; a key that the request lacks meets none of them.
_OPERATORS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "StringEquals": operator.eq,
    "StringLike": _matches,
    "ArnEquals": _matches,
}

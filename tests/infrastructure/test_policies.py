"""Who may send from where: the deployed roles against the product's own table."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import pytest

from infrastructure.iam.evaluate import Unknown, allowed
from infrastructure.iam.matrix import Question, main, questions, table
from infrastructure.template import Deployment, load
from siutindei.domain.mail import DISPATCHERS, Senders
from siutindei.domain.notification import LANES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEMPLATE: Final = load()


def wrong(deployment: Deployment) -> list[Question]:
    """Give the questions whose answer is not the expected one."""
    return [
        one
        for one in questions(deployment)
        if one.expected
        is not all(
            allowed(
                deployment.policies(one.role),
                action=one.action,
                resource=resource,
                context=one.context,
            )
            for resource in one.resources
        )
    ]


def test_each_function_sends_from_its_own_address_and_nothing_else_sends() -> None:
    """Of all functions, senders, configuration sets and ways to send, two combinations go."""
    deployment = Deployment()
    assert [] == wrong(deployment)
    sends = [one for one in questions(deployment) if one.expected]
    assert [
        ("create_auth_challenge", "hello@lx-software.com", "siutindei-codes"),
        ("processor", "no-reply@lx-software.com", "siutindei-tickets"),
    ] == [(one.function, one.sender, one.configuration_set) for one in sends]


def test_other_addresses_are_a_parameter_and_the_roles_follow() -> None:
    """Whoever deploys with senders of their own gets roles for these, and for no others."""
    deployment = Deployment(
        parameters={
            "MailDomain": "example.com",
            "CodesSender": "codes@example.com",
            "TicketsSender": "tickets@example.com",
        }
    )
    assert [] == wrong(deployment)
    assert {"codes@example.com", "tickets@example.com"} == {
        one.sender for one in questions(deployment) if one.expected
    }


def loosened(change: Callable[[dict[str, Any]], object]) -> Deployment:
    """Give the deployment after somebody changed the template."""
    template = copy.deepcopy(TEMPLATE)
    change(template["Resources"])
    return Deployment(template)


def statement(resources: dict[str, Any], role: str) -> dict[str, Any]:
    """Give the first statement of a role's own policy."""
    found: dict[str, Any] = resources[role]["Properties"]["Policies"][0]["PolicyDocument"]
    first: dict[str, Any] = found["Statement"][0]
    return first


@pytest.mark.parametrize(
    ("change", "function"),
    [
        (lambda r: statement(r, "ProcessorRole").pop("Condition"), "processor"),
        (lambda r: statement(r, "ProcessorRole").update(Action="ses:*"), "processor"),
        (
            lambda r: statement(r, "CreateAuthChallengeRole")["Condition"].update(
                StringEquals={"ses:FromAddress": {"Ref": "TicketsSender"}}
            ),
            "create_auth_challenge",
        ),
        (lambda r: statement(r, "ApiRole").update(Action="*", Resource="*"), "api"),
        (
            lambda r: r["RunPolicy"]["Properties"]["PolicyDocument"]["Statement"][1].update(
                Action="sts:AssumeRole"
            ),
            "sweep",
        ),
        (
            lambda r: (
                r["LastAuthTimePolicy"]["Properties"].update(Roles=[{"Ref": "FeedbackRole"}])
                or r["LastAuthTimePolicy"]["Properties"]["PolicyDocument"]["Statement"][0].update(
                    Action="ses:SendEmail", Resource="*"
                )
            ),
            "feedback",
        ),
        (
            lambda r: r["SweepFunction"]["Properties"].update(
                Role={"Fn::GetAtt": ["ProcessorRole", "Arn"]}
            ),
            "sweep",
        ),
    ],
    ids=["condition", "wildcard", "sender", "everything", "side-door", "attached", "shared"],
)
def test_a_role_that_may_more_or_less_is_told(
    change: Callable[[dict[str, Any]], object], function: str
) -> None:
    """A condition that goes, a wildcard, another sender, a shared role: each is found."""
    assert function in {one.function for one in wrong(loosened(change))}


def test_a_policy_from_elsewhere_is_refused() -> None:
    """A role with a policy that this template does not hold cannot be judged."""

    def attach(resources: dict[str, Any]) -> None:
        resources["ApiRole"]["Properties"]["ManagedPolicyArns"].append(
            "arn:aws:iam::aws:policy/AmazonSESFullAccess"
        )

    with pytest.raises(LookupError, match="AmazonSESFullAccess"):
        loosened(attach).policies("ApiRole")


def test_every_lane_has_one_dispatcher_and_the_senders_are_the_products() -> None:
    """The template's defaults are the product's, and each lane is sent by one function."""
    assert sorted(set(LANES.values())) == sorted(DISPATCHERS.values())
    parameters = TEMPLATE["Parameters"]
    senders = Senders()
    assert senders.codes_from == parameters["CodesSender"]["Default"]
    assert senders.tickets_from == parameters["TicketsSender"]["Default"]
    assert senders.support == parameters["SupportAddress"]["Default"]


def test_the_matrix_shows_each_function_in_a_line() -> None:
    """The table says yes where a function may send, and has a line for each function."""
    asked = list(questions(Deployment()))
    shown = table(asked, [one.expected for one in asked]).splitlines()
    line = next(line for line in shown if line.startswith("processor"))
    assert ["processor", "-", "-", "-", "-", "-", "yes", "-", "-"] == line.split()
    assert {"api", "sweep", "feedback"} <= {line.split(" ")[0] for line in shown}


def test_without_node_the_matrix_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where Node is missing the target names it and exits 2; nothing is skipped in silence."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert 2 == main()
    assert "nodejs" in capsys.readouterr().err


# --- the evaluator --------------------------------------------------------------------------------


def policy(**statement: Any) -> list[dict[str, Any]]:
    """Make the policies of a role that has one statement."""
    return [{"Statement": [{"Effect": "Allow", "Action": "s:Do", "Resource": "*", **statement}]}]


@pytest.mark.parametrize(
    ("expected", "policies"),
    [
        (True, policy()),
        (False, []),
        (False, policy(Effect="Deny")),
        (False, policy() + policy(Effect="Deny")),
        (True, policy() + policy(Effect="Deny", Action="s:Other")),
        (True, policy(Action=["t:*", "S:d*"])),
        (False, policy(Action="s:D")),
        (False, policy(Action="s:Doing")),
        (True, policy(Resource="arn:thing/?")),
        (False, policy(Resource="arn:thing/??")),
        (False, policy(Resource="ARN:thing/1")),
        (False, policy(Resource="arn:thing/[0-9]")),
        (True, policy(Condition={"StringEquals": {"K:From": ["no", "Me"]}})),
        (False, policy(Condition={"StringEquals": {"k:from": "me"}})),
        (False, policy(Condition={"StringEquals": {"k:from": "M*"}})),
        (True, policy(Condition={"StringLike": {"k:from": "M*"}})),
        (False, policy(Condition={"StringEquals": {"k:absent": "Me"}})),
        (False, policy(Condition={"StringEquals": {"k:from": "Me", "k:absent": "x"}})),
        (True, policy(Condition={"ArnEquals": {"k:source": "arn:x:*"}})),
    ],
)
def test_the_evaluator_decides_as_iam_does(expected: bool, policies: list[dict[str, Any]]) -> None:
    """Denied by default, a denial wins, wildcards are * and ?, conditions all have to hold."""
    context = {"k:From": "Me", "k:source": "arn:x:1"}
    assert expected is allowed(policies, action="s:Do", resource="arn:thing/1", context=context)


@pytest.mark.parametrize(
    "statement",
    [
        {"NotAction": "s:Do"},
        {"NotResource": "x"},
        {"Effect": "Maybe"},
        {"Condition": {"ForAllValues:StringEquals": {"k:from": "Me"}}},
    ],
)
def test_the_evaluator_refuses_what_it_does_not_know(statement: dict[str, Any]) -> None:
    """A statement that it cannot judge is no answer, also when another action is asked for."""
    with pytest.raises(Unknown):
        allowed(policy(**statement), action="s:Other", resource="arn:thing/1")

"""Who may send from where: every function of the template against every sender.

`python -m infrastructure.iam.matrix` has the matrix evaluated by `@cloud-copilot/iam-simulate` and
prints it; `make policies` calls it. The tests evaluate the same matrix without Node.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from infrastructure.template import ACCOUNT, REGION, Deployment
from siutindei.domain.mail import DISPATCHERS

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent
#: Every action by which SES sends something.
SENDING: Final = (
    "ses:SendEmail",
    "ses:SendRawEmail",
    "ses:SendTemplatedEmail",
    "ses:SendBulkEmail",
    "ses:SendBulkTemplatedEmail",
    "ses:SendBounce",
    "ses:SendCustomVerificationEmail",
)
#: Those that know no configuration set.
BARE: Final = {"ses:SendBounce", "ses:SendCustomVerificationEmail"}
#: Ways around: to become somebody else, to change the rules, to have another function do it.
SIDE_DOORS: Final = (
    ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/another"),
    ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/another"),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/another"),
    ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:another"),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:another"),
    ("ses:CreateEmailIdentityPolicy", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/example.com"),
    ("cognito-idp:AdminSetUserPassword", f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/x"),
)


@attrs.frozen(kw_only=True)
class Question:
    """May a function do something?

    Attributes:
        function: its handler, for short.
        role: its role's logical name.
        action: what is asked for.
        sender: the address that is sent from; empty when nothing is sent.
        configuration_set: the one that is named; empty when nothing is sent.
        resources: all that the request touches: each has to be allowed.
        expected: the answer that the product's own table gives.
    """

    function: str
    role: str
    action: str
    sender: str = ""
    configuration_set: str = ""
    resources: tuple[str, ...]
    expected: bool = False

    @property
    def context(self) -> dict[str, str]:
        """The condition keys of the request."""
        return {"ses:FromAddress": self.sender} if self.sender else {}


def questions(deployment: Deployment) -> Iterator[Question]:
    """Ask everything: each function, each sender, each configuration set, each way to send."""
    lanes = {
        "codes": deployment.parameter("CodesSender"),
        "tickets": deployment.parameter("TicketsSender"),
    }
    domain = deployment.parameter("MailDomain")
    ses = f"arn:aws:ses:{REGION}:{ACCOUNT}"
    senders = (*lanes.values(), deployment.parameter("SupportAddress"), f"anybody@{domain}")
    for function, role in sorted(deployment.handlers().items()):
        lane = DISPATCHERS.get(function)
        for action in SENDING:
            for sender in senders:
                for other, own in lanes.items():
                    name = f"siutindei-{other}"
                    yield Question(
                        function=function,
                        role=role,
                        action=action,
                        sender=sender,
                        configuration_set=name,
                        resources=(
                            f"{ses}:identity/{domain}",
                            *([] if action in BARE else [f"{ses}:configuration-set/{name}"]),
                        ),
                        expected=(action == "ses:SendEmail" and lane == other and sender == own),
                    )
        for action, resource in SIDE_DOORS:
            yield Question(function=function, role=role, action=action, resources=(resource,))


def simulated(deployment: Deployment, asked: list[Question]) -> list[bool]:
    """Have the simulator answer.

    Raises:
        CalledProcessError: it could not.
    """
    request = {
        "account": ACCOUNT,
        "policies": {one.role: deployment.policies(one.role) for one in asked},
        "questions": [{**attrs.asdict(one), "context": one.context} for one in asked],
    }
    done = subprocess.run(
        ["node", HERE / "simulate.mjs"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    answers: list[bool] = json.loads(done.stdout)
    return answers


def table(asked: list[Question], answers: list[bool]) -> str:
    """Show who may send from where: one line a function, one column a sender and lane."""
    sends = {
        (one.function, one.sender, one.configuration_set): answer
        for one, answer in zip(asked, answers, strict=True)
        if one.action == "ses:SendEmail"
    }
    columns = sorted({key[1:] for key in sends})
    width = max(len(one.function) for one in asked)
    lines = ["ses:SendEmail, from an address with a configuration set:", ""]
    lines += [f"  {letter} = {sender} with {name}" for letter, (sender, name) in _named(columns)]
    lines += ["", " " * width + "".join(f"   {letter}" for letter, _ in _named(columns))]
    for function in sorted({key[0] for key in sends}):
        marks = ("yes" if sends[function, *column] else "-" for column in columns)
        lines.append(f"{function:{width}}" + "".join(f"{mark:>4}" for mark in marks))
    return "\n".join(lines)


def _named(columns: list[Any]) -> Iterator[tuple[str, Any]]:
    return zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", columns, strict=False)


def main() -> int:
    """Evaluate, print, and say by the exit code whether it is as it should be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("make policies needs Node: apt-get install nodejs npm", file=sys.stderr)
        return 2
    if not (HERE / "node_modules").is_dir():
        print("the simulator is not installed: npm ci --prefix infrastructure/iam", file=sys.stderr)
        return 2
    deployment = Deployment()
    asked = list(questions(deployment))
    answers = simulated(deployment, asked)
    print(table(asked, answers))
    wrong = [
        (one, answer)
        for one, answer in zip(asked, answers, strict=True)
        if one.expected is not answer
    ]
    for one, answer in wrong:
        says = "allowed" if answer else "denied"
        print(f"WRONG: {one.function} {one.action} {one.sender} {one.configuration_set}: {says}")
    print(f"\n{len(asked)} questions, {len(wrong)} wrong answers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

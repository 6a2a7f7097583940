"""IAM as the emulator enforces it: a role sends from its own address, and no other role sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.exceptions import ClientError

from infrastructure.template import REGION
from tests.e2e import stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.stack import Emulator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CODES: Final = "hello@lx-software.com"
TICKETS: Final = "no-reply@lx-software.com"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The stack, where IAM is enforced."""
    with stack.deployed(tmp_path_factory.mktemp("e2e"), auth=True) as emulator:
        yield emulator


def sends(aws: Emulator, role: str, sender: str) -> bool:
    """Whether a role may send from an address."""
    name = aws.resources()[role][1]
    arn = aws.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    given: dict[str, Any] = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="it")
    keys = given["Credentials"]
    client = boto3.client(
        "sesv2",
        endpoint_url=aws.url,
        region_name=REGION,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    text = {"Data": "x", "Charset": "UTF-8"}
    try:
        client.send_email(
            FromEmailAddress=f"Siu Tin Dei <{sender}>",
            Destination={"ToAddresses": ["ann@example.com"]},
            Content={"Simple": {"Subject": text, "Body": {"Text": text}}},
        )
    except ClientError as error:
        if "AccessDenied" not in error.response["Error"]["Code"]:
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("CreateAuthChallengeRole", [CODES]),
        ("ProcessorRole", [TICKETS]),
        ("ApiRole", []),
        ("SweepRole", []),
    ],
)
def test_a_role_sends_from_its_own_address_alone(
    aws: Emulator, role: str, allowed: list[str]
) -> None:
    """The function of the codes is refused the sender of the tickets, and the other way round."""
    assert allowed == [sender for sender in (CODES, TICKETS) if sends(aws, role, sender)]

"""The deployed stack: every resource is there, and its parts reach each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infrastructure.template import Deployment
from tests.e2e import stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.stack import Emulator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The stack, deployed once for all tests of this file."""
    with stack.deployed(tmp_path_factory.mktemp("e2e")) as emulator:
        yield emulator


def test_every_resource_of_the_template_is_there(aws: Emulator) -> None:
    """What the template names is deployed, but for what a condition leaves out."""
    wanted = Deployment(parameters={"OpsAddress": "ops@example.com"}).resources
    assert wanted.keys() <= aws.resources().keys()


def test_the_firewall_is_associated_with_the_pool(aws: Emulator) -> None:
    """Whoever asks WAF about the pool hears of the web ACL."""
    pool = aws.client("cognito-idp").describe_user_pool(UserPoolId=aws.outputs["UserPoolId"])
    found = aws.client("wafv2").get_web_acl_for_resource(ResourceArn=pool["UserPool"]["Arn"])
    assert f"{stack.NAME}-firewall" == found["WebACL"]["Name"]


def test_the_alarm_rings_on_one_dead_letter(aws: Emulator) -> None:
    """One message in the dead-letter queue is an alarm at the ops topic."""
    watch = aws.client("cloudwatch")
    alarm = next(
        one
        for one in watch.describe_alarms()["MetricAlarms"]
        if "dead-letter list" in one["AlarmDescription"]
    )
    assert [aws.outputs["OpsTopicArn"]] == alarm["AlarmActions"]
    # The emulator has no metrics of queues.
    watch.put_metric_data(
        Namespace=alarm["Namespace"],
        MetricData=[
            {
                "MetricName": alarm["MetricName"],
                "Dimensions": alarm["Dimensions"],
                "Value": 1.0,
            }
        ],
    )

    def rings() -> bool:
        (found,) = watch.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"]
        return bool(found["StateValue"] == "ALARM")

    stack.wait("the alarm", rings)

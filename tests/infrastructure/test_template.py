"""The template: what the letter and the interfaces promise, read from what will be deployed."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from infrastructure.template import PATH, Deployment, load, short
from siutindei.adapters import ses
from siutindei.app.delivery import GRACE, GRANT_WITHIN
from siutindei.bootstrap import build
from siutindei.domain.notification import ATTEMPTS
from siutindei.entrypoints.metrics import METRICS, NAMESPACE
from siutindei.settings import SETTINGS, read_settings

DEPLOYMENT: Final = Deployment()
FUNCTIONS: Final = DEPLOYMENT.of_type("AWS::Serverless::Function")
GLOBALS: Final = load()["Globals"]["Function"]
#: What interfaces.md names.
HANDLERS: Final = {
    *(
        f"siutindei.entrypoints.cognito.{name}"
        for name in (
            "pre_sign_up",
            "define_auth_challenge",
            "create_auth_challenge",
            "verify_auth_challenge_response",
            "post_authentication",
        )
    ),
    *(
        f"siutindei.entrypoints.{name}.handler"
        for name in ("api", "processor", "feedback", "sweep")
    ),
}


def test_the_functions_are_the_handlers_that_there_are() -> None:
    """Nine functions, each with the handler that the interfaces name, and a role of its own."""
    assert HANDLERS == {function["Handler"] for function in FUNCTIONS.values()}
    assert len(HANDLERS) == len({function["Role"] for function in FUNCTIONS.values()})


def test_every_handler_is_there() -> None:
    """What a function names can be imported, and takes an event and a context."""
    for handler in HANDLERS:
        module, _, name = handler.rpartition(".")
        found = getattr(import_module(module), name)
        assert ["event", "context"] == list(inspect.signature(found).parameters), handler


def test_every_variable_is_a_setting() -> None:
    """A name that nothing reads would be a setting that has no effect."""
    known = {setting.name for setting in SETTINGS}
    given = [GLOBALS, *FUNCTIONS.values()]
    names = {name for one in given for name in one.get("Environment", {}).get("Variables", {})}
    assert "USER_POOL_ID" in names
    assert set() == names - known


Seen = tuple[str, frozenset[str]]
_SEARCH: Final = re.compile(r"\{(?P<schema>[^}]+)\} MetricName=\"(?P<name>\w+)\"")
MEASURED: Final[set[Seen]] = {(metric.name, frozenset(metric.dimensions)) for metric in METRICS}


def rings() -> set[Seen]:
    """Give the metrics of ours that alarms watch: name and dimensions."""
    return {
        (alarm["MetricName"], frozenset(one["Name"] for one in alarm.get("Dimensions", [])))
        for alarm in DEPLOYMENT.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["Namespace"] == NAMESPACE
    }


def shown() -> set[Seen]:
    """Give the metrics of ours that the dashboard shows: name and dimensions."""
    body = DEPLOYMENT.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]
    found: set[Seen] = set()
    for widget in json.loads(body)["widgets"]:
        for first, *rest in widget["properties"]["metrics"]:
            if isinstance(first, dict):
                searched = _SEARCH.search(first["expression"])
                assert searched is not None, first
                namespace, *dimensions = searched["schema"].split(",")
                name = searched["name"]
            else:
                # Namespace, name, then each dimension with its value, then how it is drawn.
                words = [word for word in rest if isinstance(word, str)]
                namespace, name, dimensions = first, words[0], words[1::2]
            if namespace == NAMESPACE:
                found.add((name, frozenset(dimensions)))
    return found


def test_what_is_watched_is_what_is_measured() -> None:
    """An alarm or a graph of a name that nothing writes, or of other dimensions, stays empty."""
    assert rings() | shown() <= MEASURED


def test_what_waits_rings_and_is_shown() -> None:
    """Unknown outcomes, what is overdue and what waits for a person ring; sends are shown too."""
    watched = ("Unknown", "Overdue", "DeadLetters", "HaltedLanes", "CheckpointsRefused")
    plain = {(name, frozenset[str]()) for name in watched}
    budget = {(name, frozenset[str]()) for name in ("BudgetLeft", "BudgetLeftForDecisions")}
    assert plain | budget == rings()
    assert plain < shown()
    assert {("Sends", frozenset({"Kind", "Outcome"})), ("CodeLatency", frozenset())} < shown()


def test_what_is_measured_is_written_by_functions_that_there_are() -> None:
    """Each metric names the functions that write it, and no name is given twice."""
    functions = {short(handler) for handler in HANDLERS}
    for metric in METRICS:
        assert set(metric.by) <= functions, metric.name
        assert tuple(sorted(metric.dimensions)) == metric.dimensions, metric.name
    assert len(METRICS) == len({metric.name for metric in METRICS})


def test_the_region_the_quota_and_the_addresses_are_the_letters() -> None:
    """What the letter says is the default, and another region is refused."""
    template = load()
    defaults = {name: of.get("Default") for name, of in template["Parameters"].items()}
    assert "ap-southeast-1" == defaults["Region"]
    assert 1000 == defaults["DailyQuota"]
    assert "hello@lx-software.com" == defaults["CodesSender"]
    assert "no-reply@lx-software.com" == defaults["TicketsSender"]
    assert "support@lx-software.com" == defaults["SupportAddress"]
    assert {"Ref": "Region"} in template["Rules"]["OneRegion"]["Assertions"][0]["Assert"][
        "Fn::Equals"
    ]


def test_a_message_is_received_as_often_as_a_mail_is_tried() -> None:
    """Three attempts are three receives, and the next stop is the dead-letter queue."""
    queue = DEPLOYMENT.of_type("AWS::SQS::Queue")["NudgeQueue"]
    assert ATTEMPTS == queue["RedrivePolicy"]["maxReceiveCount"]
    assert DEPLOYMENT.arn("NudgeDeadLetters") == queue["RedrivePolicy"]["deadLetterTargetArn"]


def test_a_message_is_hidden_for_six_times_as_long_as_its_function_may_take() -> None:
    """A function is not given a message that another one still works on."""
    queues = DEPLOYMENT.of_type("AWS::SQS::Queue")
    fed = 0
    for function in FUNCTIONS.values():
        for event in function.get("Events", {}).values():
            if event["Type"] == "SQS":
                name = event["Properties"]["Queue"].rpartition(":")[2]
                assert queues[name]["VisibilityTimeout"] >= 6 * function["Timeout"]
                assert ["ReportBatchItemFailures"] == event["Properties"]["FunctionResponseTypes"]
                assert event["Properties"]["ScalingConfig"]["MaximumConcurrency"] >= 2
                assert "ReservedConcurrentExecutions" not in function
                fed += 1
    assert 2 == fed


def test_a_batch_of_the_slowest_sends_is_done_in_time(tmp_path: Path) -> None:
    """While the database answers, a call at the end of its patience makes no message come again."""
    settings = read_settings({"SIUTINDEI_DATABASE": "postgresql://db.example.com/x"}, home=tmp_path)
    wait = build(settings).longest_wait
    call = ses.TIME_OUT + GRACE
    for name, longest in (("Processor", max(call, GRANT_WITHIN)), ("Feedback", timedelta())):
        function = FUNCTIONS[f"{name}Function"]
        size = function["Events"]["Queue"]["Properties"]["BatchSize"]
        before = (size - 1) * call if name == "Processor" else timedelta()
        assert timedelta(seconds=function["Timeout"]) - before > wait + longest, name


def test_dead_letters_are_kept_for_two_weeks_and_ring() -> None:
    """Each queue that others give up into keeps for 14 days, and one message in it rings."""
    queues = DEPLOYMENT.of_type("AWS::SQS::Queue")
    targets = {
        resource["RedrivePolicy"]["deadLetterTargetArn"].rpartition(":")[2]
        for kind in ("AWS::SQS::Queue", "AWS::SNS::Subscription")
        for resource in DEPLOYMENT.of_type(kind).values()
        if "RedrivePolicy" in resource
    }
    ringing = {
        alarm["Dimensions"][0]["Value"].partition(".")[0]
        for alarm in DEPLOYMENT.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
        and (alarm["Threshold"], alarm["Statistic"]) == (1, "Maximum")
    }
    assert {"NudgeDeadLetters", "NudgesUndelivered", "FeedbackDeadLetters"} < targets
    assert targets == ringing
    assert {1_209_600} == {queues[name]["MessageRetentionPeriod"] for name in targets}


def test_every_subscription_has_a_dead_letter_queue() -> None:
    """What a topic cannot deliver is kept."""
    subscribed = Deployment(parameters={"OpsAddress": "ops@example.com"})
    subscriptions = subscribed.of_type("AWS::SNS::Subscription")
    assert {"NudgeSubscription", "FeedbackSubscription", "OpsSubscription"} == set(subscriptions)
    assert all("RedrivePolicy" in one for one in subscriptions.values())


def test_every_alarm_goes_to_the_ops_topic() -> None:
    """Every alarm tells the team, and no data is no alarm."""
    for name, alarm in DEPLOYMENT.of_type("AWS::CloudWatch::Alarm").items():
        assert [DEPLOYMENT.arn("OpsTopic")] == alarm["AlarmActions"], name
        assert "notBreaching" == alarm["TreatMissingData"], name


def test_every_function_rings_when_it_fails_or_is_throttled() -> None:
    """Errors and throttles of each function have an alarm."""
    alarms = {
        (alarm["MetricName"], alarm["Dimensions"][0]["Value"])
        for alarm in DEPLOYMENT.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["Namespace"] == "AWS/Lambda"
    }
    assert alarms == {(metric, name) for metric in ("Errors", "Throttles") for name in FUNCTIONS}


def test_a_low_budget_rings_before_codes_or_decisions_wait() -> None:
    """Both alarms ring below a tenth of the default quota, and not when nobody measures."""
    alarms = [
        alarm
        for alarm in DEPLOYMENT.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"].startswith("BudgetLeft")
    ]
    assert [("Minimum", "LessThanThreshold", 100, "notBreaching")] * 2 == [
        (
            alarm["Statistic"],
            alarm["ComparisonOperator"],
            alarm["Threshold"],
            alarm["TreatMissingData"],
        )
        for alarm in alarms
    ]
    assert "BudgetLeftForDecisions" in str(DEPLOYMENT.of_type("AWS::CloudWatch::Dashboard"))


def test_everything_at_rest_is_encrypted_with_a_key_that_publishers_may_use() -> None:
    """Topics and queues are encrypted; SES, SNS and CloudWatch may use the key."""
    for kind in ("AWS::SNS::Topic", "AWS::SQS::Queue"):
        for name, resource in DEPLOYMENT.of_type(kind).items():
            assert "Key" == resource["KmsMasterKeyId"], name
    statements = DEPLOYMENT.of_type("AWS::KMS::Key")["Key"]["KeyPolicy"]["Statement"]
    assert {"ses.amazonaws.com", "sns.amazonaws.com", "cloudwatch.amazonaws.com"} == set(
        statements[1]["Principal"]["Service"]
    )


def test_cognito_takes_no_password_and_mails_nobody() -> None:
    """Signing in is custom or a refresh, and Cognito has no mail of its own to send."""
    client = DEPLOYMENT.of_type("AWS::Cognito::UserPoolClient")["UserPoolClient"]
    pool = DEPLOYMENT.of_type("AWS::Cognito::UserPool")["UserPool"]
    assert ["ALLOW_CUSTOM_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"] == client["ExplicitAuthFlows"]
    assert "AutoVerifiedAttributes" not in pool
    assert [{"Name": "admin_only", "Priority": 1}] == pool["AccountRecoverySetting"][
        "RecoveryMechanisms"
    ]
    triggers = {
        event["Properties"]["Trigger"]: short(function["Handler"])
        for function in FUNCTIONS.values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "Cognito"
    }
    assert triggers == {
        "PreSignUp": "pre_sign_up",
        "DefineAuthChallenge": "define_auth_challenge",
        "CreateAuthChallenge": "create_auth_challenge",
        "VerifyAuthChallengeResponse": "verify_auth_challenge_response",
        "PostAuthentication": "post_authentication",
    }


@pytest.mark.parametrize("minutes", ["5", "10", "15"])
def test_a_codes_life_is_one_number(minutes: str) -> None:
    """The code, Cognito's session and SES's delivery limit end together, whatever is chosen."""
    deployment = Deployment(parameters={"CodeMinutes": minutes})
    client = deployment.of_type("AWS::Cognito::UserPoolClient")["UserPoolClient"]
    codes = deployment.of_type("AWS::SES::ConfigurationSet")["CodesConfigurationSet"]
    assert minutes == client["AuthSessionValidity"]
    assert 60 * int(minutes) == int(codes["DeliveryOptions"]["MaxDeliverySeconds"])
    assert {"Fn::FindInMap": ["CodeLife", {"Ref": "CodeMinutes"}, "Seconds"]} == GLOBALS[
        "Environment"
    ]["Variables"]["SIUTINDEI_CODE_TTL"]


def test_the_code_life_that_is_the_default_is_the_products() -> None:
    """Nobody who deploys without a choice gets another life than the product's default."""
    default = next(one for one in SETTINGS if one.name == "SIUTINDEI_CODE_TTL").default_text
    codes = DEPLOYMENT.of_type("AWS::SES::ConfigurationSet")["CodesConfigurationSet"]
    assert default == codes["DeliveryOptions"]["MaxDeliverySeconds"]


def test_both_lanes_publish_what_became_of_their_mails() -> None:
    """Each configuration set reports everything that settles a mail, to the feedback topic."""
    sets = {of["Name"] for of in DEPLOYMENT.of_type("AWS::SES::ConfigurationSet").values()}
    assert {"siutindei-codes", "siutindei-tickets"} == sets
    destinations = DEPLOYMENT.of_type("AWS::SES::ConfigurationSetEventDestination").values()
    assert {"CodesConfigurationSet", "TicketsConfigurationSet"} == {
        one["ConfigurationSetName"] for one in destinations
    }
    for one in destinations:
        events = set(one["EventDestination"]["MatchingEventTypes"])
        assert {"SEND", "REJECT", "BOUNCE", "COMPLAINT", "DELIVERY", "DELIVERY_DELAY"} <= events
        assert not {"OPEN", "CLICK"} & events
        assert (
            DEPLOYMENT.arn("FeedbackTopic") == one["EventDestination"]["SnsDestination"]["TopicARN"]
        )


def test_what_uses_the_store_is_where_the_database_is() -> None:
    """A function has the store's policy exactly when it runs in the VPC."""
    for name, function in FUNCTIONS.items():
        role = DEPLOYMENT.resources[function["Role"].rpartition("/")[2]]["Properties"]
        assert ("VpcConfig" in function) is ("StorePolicy" in role["ManagedPolicyArns"]), name


def test_the_vpc_reaches_what_its_functions_call() -> None:
    """Without a NAT gateway there is an endpoint for each service; with one there is none."""
    endpoints = DEPLOYMENT.of_type("AWS::EC2::VPCEndpoint").values()
    assert {"email", "sns", "sqs", "kms", "secretsmanager", "cognito-idp", "logs", "s3"} == {
        one["ServiceName"].rpartition(".")[2] for one in endpoints
    }
    without = Deployment(parameters={"MakeEndpoints": "false"})
    assert {} == without.of_type("AWS::EC2::VPCEndpoint")


def test_the_firewall_stands_before_the_pool_and_the_api() -> None:
    """One web ACL, associated with both."""
    associations = DEPLOYMENT.of_type("AWS::WAFv2::WebACLAssociation").values()
    assert {DEPLOYMENT.arn("Firewall")} == {one["WebACLArn"] for one in associations}
    assert {"cognito-idp", "apigateway"} == {
        one["ResourceArn"].split(":")[2] for one in associations
    }


def test_dns_records_are_made_where_there_is_a_zone() -> None:
    """DKIM and MAIL FROM get their records when the zone is named, and only then."""
    assert {} == DEPLOYMENT.of_type("AWS::Route53::RecordSetGroup")
    made = Deployment(parameters={"HostedZoneId": "Z1"}).of_type("AWS::Route53::RecordSetGroup")
    kinds = [record["Type"] for record in made["DkimRecords"]["RecordSets"]]
    assert ["CNAME", "CNAME", "CNAME", "MX", "TXT"] == kinds


def test_the_dashboard_is_json() -> None:
    """CloudWatch refuses a dashboard that is none, when it is too late."""
    body = DEPLOYMENT.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    assert all(widget["properties"]["metrics"] for widget in widgets)


def test_the_template_has_no_alias() -> None:
    """CloudFormation reads no YAML alias and no merge."""
    assert not re.search(r":\s[&*]\w|<<:", PATH.read_text(encoding="utf-8"))


def test_a_function_that_the_template_does_not_know_is_refused() -> None:
    """What the reader cannot resolve is an error, not a guess."""
    template: dict[str, Any] = {
        "Resources": {"It": {"Type": "AWS::SNS::Topic", "Properties": {"A": {"Fn::Base64": "x"}}}}
    }
    with pytest.raises(LookupError, match="Base64"):
        Deployment(template)


@pytest.mark.slow
def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    """cfn-lint, which `make test` runs over the template, refuses one that is wrong."""
    text = PATH.read_text(encoding="utf-8")
    broken = tmp_path / "template.yaml"
    broken.write_text(text.replace("maxReceiveCount: 3", "maxReceiveCount: three"), "utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), broken], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert b"three" in done.stdout

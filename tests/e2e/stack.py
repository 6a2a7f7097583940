"""The real template, deployed to an emulator of AWS on this machine.

What differs from AWS is in `packaged`, and in `tests.e2e.emulator`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import attrs
import boto3

from infrastructure.template import PATH, REGION
from tests import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = Path(__file__).parents[2]
NAME: Final = "mail"
SECONDS: Final = 60
#: Where a stack of the emulator ends up.
DONE: Final = "CREATE_COMPLETE"


@attrs.frozen(kw_only=True)
class Mail:
    """A mail that the emulator took."""

    id: str
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    configuration_set: str | None


def wait(what: str, until: Callable[[], Any], *, seconds: float = SECONDS) -> Any:
    """Wait until something is so, and give it."""
    end = time.monotonic() + seconds
    while not (found := until()):
        if time.monotonic() > end:
            msg = f"after {seconds} s: not yet {what}"
            raise TimeoutError(msg)
        time.sleep(0.1)
    return found


class Emulator:
    """A running emulator, and the stack in it."""

    def __init__(self, folder: Path, *, auth: bool = False) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "emulator.log"
        self._rejected = folder / "rejected"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AUTH": "true" if auth else "false",
            "REJECTED": str(self._rejected),
            # Nothing that listens elsewhere.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.emulator"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.outputs: dict[str, str] = {}

    def stop(self) -> None:
        """Stop it, and everything that it started."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> Any:
        """Ask the emulator itself."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def is_up(self) -> bool:
        """Whether it answers; it must not have ended."""
        if self._process.poll() is not None:
            msg = self.log.read_text(encoding="utf-8")
            raise RuntimeError(msg)
        try:
            self.get("/_ministack/health")
        except OSError:
            return False
        return True

    def client(self, service: str, *, key: str = "test") -> Any:
        """Make a client of a service in the emulator."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key="test",
        )

    # --- deploying --------------------------------------------------------------------------------

    def packaged(self) -> str:
        """Give the template as `sam package` would, and with what the emulator cannot do left out.

        The code is a module that does nothing: functions run in the interpreter of the emulator,
        which has this package, and on this machine: the home is a folder of the test.
        """
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("nothing.py", "")
        storage = self.client("s3")
        storage.create_bucket(
            Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        storage.put_object(Bucket="code", Key="code.zip", Body=archive.getvalue())
        text = PATH.read_text(encoding="utf-8")
        home = self.folder / "home"
        for old, new in (
            ("../dist/siutindei-lambda.zip", "s3://code/code.zip"),
            ("SIUTINDEI_HOME: /tmp/siutindei", f"SIUTINDEI_HOME: {home}"),
        ):
            assert old in text
            text = text.replace(old, new)
        storage.put_object(Bucket="code", Key="template.yaml", Body=text.encode())
        return f"{self.url}/code/template.yaml"

    def parameters(self, database: str) -> dict[str, str]:
        """Make what a deployment has before it: a network, a database, secrets."""
        network, vault = self.client("ec2"), self.client("secretsmanager")
        vpc = network.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            network.create_subnet(
                VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("ab")
        ]
        group = network.create_security_group(GroupName="f", Description="f", VpcId=vpc)["GroupId"]
        routes = network.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]

        def secret(name: str, value: object) -> str:
            arn: str = vault.create_secret(Name=name, SecretString=json.dumps(value))["ARN"]
            return arn

        def ring() -> object:
            return {
                "current": "one",
                "keys": {"one": base64.b64encode(secrets.token_bytes(32)).decode()},
            }

        parts = urlsplit(database)
        return {
            # libpq takes the folder of a socket for a host.
            "DatabaseHost": quote(parse_qs(parts.query)["host"][0], safe=""),
            "DatabaseName": parts.path.removeprefix("/"),
            "DatabaseUser": parts.username or "postgres",
            "DatabaseTls": "sslmode=disable",
            "DatabaseSecretArn": secret(
                "login", {"username": "postgres", "password": "not needed"}
            ),
            "CodeKeysSecretArn": secret("code-keys", ring()),
            "VaultKeysSecretArn": secret("vault-keys", ring()),
            "IndexKeySecretArn": secret("index-key", ring()),
            "SigningKeySecretArn": secret("signing-key", ring()),
            "VpcId": vpc,
            "SubnetIds": ",".join(subnets),
            "SecurityGroupIds": group,
            "RouteTableIds": routes,
            "OpsAddress": "ops@example.com",
        }

    def deploy(self, database: str) -> None:
        """Create the stack, and wait until it is there."""
        formation = self.client("cloudformation")
        formation.create_stack(
            StackName=NAME,
            TemplateURL=self.packaged(),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in self.parameters(database).items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )

        def ended() -> Any:
            stack = formation.describe_stacks(StackName=NAME)["Stacks"][0]
            return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack

        stack = wait("deployed", ended)
        assert DONE == stack["StackStatus"], self.log.read_text(encoding="utf-8")
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        # What is swept, and when, is for each test to say.
        self.client("events").disable_rule(Name=self._schedule())

    def resources(self) -> dict[str, tuple[str, str]]:
        """Give type and physical id of every resource, by logical name."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            one["LogicalResourceId"]: (one["ResourceType"], one["PhysicalResourceId"])
            for page in pages.paginate(StackName=NAME)
            for one in page["StackResourceSummaries"]
        }

    def _schedule(self) -> str:
        (name,) = (name for kind, name in self.resources().values() if kind == "AWS::Events::Rule")
        return name

    @contextmanager
    def rejecting(self, address: str) -> Iterator[None]:
        """Let SES reject every mail to an address for a while."""
        self._rejected.write_text(address, encoding="utf-8")
        try:
            yield
        finally:
            self._rejected.unlink()

    @contextmanager
    def sweeping(self) -> Iterator[None]:
        """Let the schedule start the sweep for a while."""
        events = self.client("events")
        events.enable_rule(Name=self._schedule())
        try:
            yield
        finally:
            events.disable_rule(Name=self._schedule())

    # --- what happened ----------------------------------------------------------------------------

    def mails(self) -> list[Mail]:
        """Give the mails that were sent, in order."""
        found = self.get("/_ministack/ses/messages")
        (messages,) = found["messages"].values() if found.get("messages") else ([],)
        return [
            Mail(
                id=one["MessageId"],
                sender=one["Source"],
                to=tuple(one["To"]),
                subject=one["Subject"],
                text=one["BodyText"],
                configuration_set=one.get("ConfigurationSetName"),
            )
            for one in messages
        ]

    def messages(self, queue: str) -> list[Any]:
        """Look at what lies in a queue, whether anybody is at work on it or not."""
        found = self.get(f"/_ministack/sqs/messages?QueueUrl={quote(queue, safe='')}")["messages"]
        return [
            one
            for regions in found.values()
            for (lying,) in (queues.values() for queues in regions.values())
            for one in lying
        ]

    def invoke(self, function: str, event: object) -> Any:
        """Invoke a function by the last part of its name; give its answer."""
        answer = self.client("lambda").invoke(
            FunctionName=f"{NAME}-{function}", Payload=json.dumps(event)
        )
        payload = json.loads(answer["Payload"].read() or b"null")
        assert "FunctionError" not in answer, payload
        return payload

    def command(self, *words: str) -> list[Any]:
        """Run a command of ours as an operator does, over what the processor uses; give its JSON.

        There is a document a line.
        """
        function = self.client("lambda").get_function_configuration(
            FunctionName=f"{NAME}-processor"
        )
        done = subprocess.run(
            [sys.executable, "-m", "siutindei.entrypoints.cli", "--json", *words],
            env=function["Environment"]["Variables"]
            | {
                "PATH": os.environ["PATH"],
                "AWS_ENDPOINT_URL": self.url,
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def logs(self) -> str:
        """Give everything that the functions logged."""
        logs = self.client("logs")
        events = logs.filter_log_events(logGroupName=f"/siutindei/{NAME}")["events"]
        return "\n".join(event["message"] for event in events)


@contextmanager
def deployed(folder: Path, *, auth: bool = False) -> Iterator[Emulator]:
    """Start an emulator, deploy the template over a fresh database, and stop it at the end."""
    emulator = Emulator(folder, auth=auth)
    try:
        wait("up", emulator.is_up)
        with postgres.fresh_database() as database:
            emulator.deploy(database)
            try:
                yield emulator
            finally:
                # Functions hold connections; the database goes last.
                emulator.stop()
    finally:
        emulator.stop()

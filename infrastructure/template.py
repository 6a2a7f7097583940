"""Reads `template.yaml` and resolves what can be known before it is deployed.

Parameters have their defaults or what is given, pseudo parameters those of an example account, and
what AWS will name has a name made from the resource's logical one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = Path(__file__).with_name("template.yaml")
ACCOUNT: Final = "123456789012"
REGION: Final = "ap-southeast-1"
PSEUDO: Final[Mapping[str, str]] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "mail",
    "AWS::URLSuffix": "amazonaws.com",
}
#: How the ARN of a resource ends, by its type.
_ARNS: Final[Mapping[str, str]] = {
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::Cognito::UserPool": "cognito-idp:{region}:{account}:userpool/{name}",
    "AWS::KMS::Key": "kms:{region}:{account}:key/{name}",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::WAFv2::WebACL": "wafv2:{region}:{account}:regional/webacl/{name}/0",
    "AWS::Serverless::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
}
#: What `Ref` gives is an ARN.
_REF_IS_ARN: Final = {"AWS::SNS::Topic"}
_VARIABLE: Final = re.compile(r"\$\{([^}]+)\}")
NOTHING: Final = object()


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


def load(path: Path = PATH) -> dict[str, Any]:
    """Read a template as it is written."""
    # The loader is a safe one.
    read: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    return read


class Deployment:
    """The template with parameters.

    Attributes:
        resources: every resource, resolved, by its logical name.
    """

    def __init__(
        self, template: Mapping[str, Any] | None = None, parameters: Mapping[str, str] | None = None
    ) -> None:
        self._template = load() if template is None else template
        self._values = {
            name: str((parameters or {}).get(name, of.get("Default", self._invented(name, of))))
            for name, of in self._template.get("Parameters", {}).items()
        }
        self.resources: dict[str, Any] = {}
        for name, resource in self._template["Resources"].items():
            if "Condition" not in resource or self._condition(resource["Condition"]):
                self.resources[name] = self._resolve(resource)

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Give the properties of all resources of a type, by logical name."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def parameter(self, name: str) -> str:
        """Give the value of a parameter."""
        return self._values[name]

    def arn(self, name: str) -> str:
        """Give the ARN of a resource."""
        kind = self._template["Resources"][name]["Type"]
        return f"arn:aws:{_ARNS[kind].format(region=REGION, account=ACCOUNT, name=name)}"

    def policies(self, role: str) -> list[dict[str, Any]]:
        """Give every policy document of a role: its own, and those that are attached to it."""
        given = self.resources[role]["Properties"]
        managed = self.of_type("AWS::IAM::ManagedPolicy")
        unknown = set(given.get("ManagedPolicyArns", [])) - managed.keys()
        if unknown:
            msg = f"{role}: what is in {sorted(unknown)} is not in this template"
            raise LookupError(msg)
        return [
            *(policy["PolicyDocument"] for policy in given.get("Policies", [])),
            *(managed[name]["PolicyDocument"] for name in given.get("ManagedPolicyArns", [])),
            *(
                policy["PolicyDocument"]
                for policy in self.of_type("AWS::IAM::Policy").values()
                if role in policy["Roles"]
            ),
        ]

    def handlers(self) -> dict[str, str]:
        """Give the role of each function, by what its handler is called for short."""
        return {
            short(function["Handler"]): role_name(function["Role"])
            for function in self.of_type("AWS::Serverless::Function").values()
        }

    def _invented(self, name: str, of: Mapping[str, Any]) -> str:
        if name.endswith("Arn"):
            return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}"
        return "a,b" if of["Type"].startswith("List<") else name

    def _condition(self, name: str) -> bool:
        return bool(self._resolve(self._template["Conditions"][name]))

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for item in node if (value := self._resolve(item)) is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, value),) = node.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name, value)
        return {
            name: value
            for name, item in node.items()
            if (value := self._resolve(item)) is not NOTHING
        }

    def _call(self, name: str, value: Any) -> Any:
        match name:
            case "Ref":
                return self._ref(value)
            case "Fn::GetAtt":
                return self.arn(value[0]) if value[1] == "Arn" else ".".join(value)
            case "Fn::Sub":
                text, own = value if isinstance(value, list) else (value, {})
                return _VARIABLE.sub(lambda found: self._variable(found[1], own), text)
            case "Fn::If":
                return self._resolve(value[1] if self._condition(value[0]) else value[2])
            case "Fn::Not":
                return not self._resolve(value[0])
            case "Fn::Equals":
                return self._resolve(value[0]) == self._resolve(value[1])
            case "Fn::Select":
                return self._resolve(value[1])[int(value[0])]
            case "Fn::Split":
                return self._resolve(value[1]).split(value[0])
            case "Fn::FindInMap":
                first, *keys = (self._resolve(item) for item in value)
                return self._template["Mappings"][first][keys[0]][keys[1]]
            case _:
                msg = f"{name} is not used by this template"
                raise LookupError(msg)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._values:
            value = self._values[name]
            kind = self._template["Parameters"][name]["Type"]
            return value.split(",") if kind.startswith(("List<", "Comma")) else value
        kind = self._template["Resources"][name]["Type"]
        return self.arn(name) if kind in _REF_IS_ARN else name

    def _variable(self, name: str, own: Mapping[str, Any]) -> str:
        if name in own:
            return str(self._resolve(own[name]))
        logical, _, attribute = name.partition(".")
        return str(self._call("Fn::GetAtt", [logical, attribute]) if attribute else self._ref(name))


def short(handler: str) -> str:
    """Name a handler for short: the function's name, or the module's when that is `handler`."""
    module, function = handler.split(".")[-2:]
    return module if function == "handler" else function


def role_name(arn: str) -> str:
    """Give the logical name of a role from its resolved ARN."""
    return arn.rpartition("/")[2]

"""Fill in a template as CloudFormation does, with values for its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from legato.errors import WorkflowError

PSEUDO: Final = {
    "AWS::AccountId": "ACCOUNT",
    "AWS::Partition": "aws",
    "AWS::Region": "REGION",
    "AWS::StackName": "STACK",
    "AWS::URLSuffix": "amazonaws.com",
}
HERE: Final = "REGION:ACCOUNT"
_NOTHING: Final = object()
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "Fn::Equals": lambda one, other: one == other,
    "Fn::Not": lambda condition: not condition,
    "Fn::Select": lambda at, items: items[int(at)],
    "Fn::Join": lambda between, items: between.join(items),
}
_REFERENCES: Final = {
    "AWS::Lambda::Function": "{FunctionName}",
    "AWS::Lambda::Alias": f"arn:aws:lambda:{HERE}:function:{{FunctionName}}:{{Name}}",
    "AWS::StepFunctions::StateMachine": f"arn:aws:states:{HERE}:stateMachine:{{StateMachineName}}",
    "AWS::Logs::LogGroup": "{LogGroupName}",
    "AWS::Batch::JobDefinition": f"arn:aws:batch:{HERE}:job-definition/{{JobDefinitionName}}:1",
    "AWS::ECS::TaskDefinition": f"arn:aws:ecs:{HERE}:task-definition/{{Family}}:1",
}
"""What Ref gives of a resource, of its properties."""


def evaluate(template: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources of a template with all functions and conditions worked out.

    Args:
        template: The template.
        parameters: Values of parameters; others have their default, or their own name.

    Raises:
        WorkflowError: The template uses a function that is not known here.
    """
    return _Evaluation(template, parameters).resources()


class _Evaluation:
    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self._resources = template["Resources"]
        self._conditions = template.get("Conditions", {})
        self._values = {
            name: _typed(about, parameters.get(name, about.get("Default", name)))
            for name, about in template.get("Parameters", {}).items()
        }

    def resources(self) -> dict[str, Any]:
        return {
            name: self._value(resource)
            for name, resource in self._resources.items()
            if "Condition" not in resource or self._holds(resource["Condition"])
        }

    def _holds(self, name: str) -> bool:
        return bool(self._value(self._conditions[name]))

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [v for v in map(self._value, value) if v is not _NOTHING]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        filled = {key: self._value(item) for key, item in value.items()}
        return {key: item for key, item in filled.items() if item is not _NOTHING}

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Fn::If":
            condition, then, otherwise = argument
            return self._value(then if self._holds(condition) else otherwise)
        if name == "Fn::Sub":
            return re.sub(r"\$\{([^}!]+)\}", lambda found: self._named(found[1]), argument)
        if name == "Fn::GetAtt":
            return self._attribute(*argument)
        known = _FUNCTIONS.get(name)
        if known is None:
            raise WorkflowError(f"{name} in the template is not known to the linter; do without it")
        return known(*self._value(argument))

    def _named(self, name: str) -> str:
        logical, dot, attribute = name.partition(".")
        return str(self._attribute(logical, attribute) if dot else self._ref(name))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._values:
            return self._values[name]
        if name not in self._resources:
            raise WorkflowError(f"the template names {name}, which it does not have")
        return self._reference(name)

    def _reference(self, name: str) -> str:
        kind = self._resources[name]["Type"]
        about = self._value(self._resources[name].get("Properties", {}))
        if kind == "AWS::S3::Bucket":
            return str(about.get("BucketName", "BUCKET"))
        if kind == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:{HERE}:secret:{name}"
        return _REFERENCES.get(kind, name).format_map(about)

    def _attribute(self, name: str, attribute: str) -> str:
        kind = self._resources[name]["Type"]
        if kind == "AWS::IAM::Role":
            return role_arn(name)
        if kind == "AWS::Logs::LogGroup":
            return f"arn:aws:logs:{HERE}:log-group:{self._reference(name)}:*"
        return f"{name}.{attribute}"


def role_arn(name: str) -> str:
    """Return the ARN that a role of the template has here."""
    return f"arn:aws:iam::ACCOUNT:role/{name}"


def _typed(about: Mapping[str, Any], value: Any) -> Any:
    return str(value).split(",") if about["Type"] == "CommaDelimitedList" else str(value)

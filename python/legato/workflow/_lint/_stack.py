"""What the resources of a stack need: functions, containers and their callers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from legato._scope import plain
from legato.errors import WorkflowError
from legato.step import Step
from legato.workflow._lint._machine import definition, machine_needs, tasks
from legato.workflow._lint._needs import Need
from legato.workflow._lint._rotation import HANDLER as ROTATION
from legato.workflow._lint._rotation import rotation_needs
from legato.workflow._lint._source import Sources
from legato.workflow._lint._stages import Place, stage_needs

_STORE: Final = re.compile(r"s3://([^/]+)/(.+)")
_VPC: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)
_PULL: Final = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
)
_TRACE: Final = ("xray:PutTelemetryRecords", "xray:PutTraceSegments")
_KEY_ACTIONS: Final = {
    "s3:GetObject": ("kms:Decrypt",),
    "s3:GetObjectVersion": ("kms:Decrypt",),
    # The parts of a large object are decrypted to be put together.
    "s3:PutObject": ("kms:GenerateDataKey", "kms:Decrypt"),
}


class Stack:
    """The resources of a stack, as CloudFormation would make them."""

    def __init__(
        self,
        resources: Mapping[str, Any],
        steps: Mapping[str, Step],
        sources: Sources,
        repository: str,
    ) -> None:
        """Look at resources.

        Args:
            resources: The template's, evaluated.
            steps: The step of each handler, by module and name.
            sources: To read the steps' source from.
            repository: ARN of the containers' repository; empty where the image is public.
        """
        self._resources = resources
        self._steps, self._sources, self._repository = steps, sources, repository

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self._resources.items()
            if resource["Type"] == kind
        }

    def needs(self) -> list[Need]:
        """Return what all roles need, and must be refused."""
        found = [*self._functions(), *self._containers()]
        for name, machine in self.of("AWS::StepFunctions::StateMachine").items():
            found += machine_needs(name, machine, self.of)
        for name, rule in self.of("AWS::Events::Rule").items():
            found += [_starts(name, target) for target in rule["Targets"]]
        for name, schedule in self.of("AWS::Scheduler::Schedule").items():
            found.append(_starts(name, schedule["Target"]))
        return [*found, *self._keys(found)]

    def _functions(self) -> Iterator[Need]:
        for name, about in self.of("AWS::Lambda::Function").items():
            role = role_of(about["Role"])
            if about["Handler"] == ROTATION:
                yield from rotation_needs(self._sources, self, name, about)
            else:
                step = self._step(name, about["Handler"])
                place = self._place(role, step, about["Environment"]["Variables"])
                yield from stage_needs(self._sources, step, place)
            group = about["LoggingConfig"]["LogGroup"]
            yield from _logs(role, name, group)
            if about["TracingConfig"]["Mode"] == "Active":
                yield from (Need(role, action, "*", name) for action in _TRACE)
            if "VpcConfig" in about:
                arn = f"arn:aws:lambda:REGION:ACCOUNT:function:{about['FunctionName']}"
                for action in _VPC:
                    yield Need(role, action, "*", f"Lambda for {name}")
                    own = {"lambda:SourceFunctionArn": arn}
                    yield Need(role, action, "*", f"the code of {name}", own, refused=True)

    def _containers(self) -> Iterator[Need]:
        for name, job in self.of("AWS::Batch::JobDefinition").items():
            about = job["ContainerProperties"]
            roles = role_of(about["JobRoleArn"]), role_of(about["ExecutionRoleArn"])
            yield from self._container(name, roles, about, token=False)
        for name, task in self.of("AWS::ECS::TaskDefinition").items():
            roles = role_of(task["TaskRoleArn"]), role_of(task["ExecutionRoleArn"])
            for about in task["ContainerDefinitions"]:
                yield from self._container(name, roles, about, token=True)

    def _container(
        self, name: str, roles: tuple[str, str], about: Mapping[str, Any], *, token: bool
    ) -> Iterator[Need]:
        role, execution = roles
        variables = {pair["Name"]: pair["Value"] for pair in about["Environment"]}
        step = self._step(name, variables["LEGATO_STEP"])
        place = self._place(role, step, variables, leaves=not token)
        yield from stage_needs(self._sources, step, place)
        if token:
            for machine in self.of("AWS::StepFunctions::StateMachine").values():
                if name in _run_by(machine, self.of("AWS::ECS::TaskDefinition")):
                    arn = (
                        f"arn:aws:states:REGION:ACCOUNT:stateMachine:{machine['StateMachineName']}"
                    )
                    for answer in ("Failure", "Heartbeat", "Success"):
                        yield Need(role, f"states:SendTask{answer}", arn, f"{name} (task token)")
        yield from _logs(execution, name, about["LogConfiguration"]["Options"]["awslogs-group"])
        if self._repository:
            yield from (Need(execution, action, self._repository, name) for action in _PULL)
            yield Need(execution, "ecr:GetAuthorizationToken", "*", name)

    def _place(
        self, role: str, step: Step, variables: Mapping[str, str], *, leaves: bool = False
    ) -> Place:
        store = _STORE.fullmatch(variables["LEGATO_STORE"])
        if store is None:
            msg = (
                f"LEGATO_STORE of {step.name} is {variables['LEGATO_STORE']}, no s3://bucket/prefix"
            )
            raise WorkflowError(msg)
        urls = variables.get("LEGATO_ALLOWED_STORES", "").split(",")
        allowed = [plain(url) for url in urls if url]
        dataset = variables["LEGATO_DATASET_ID"]
        outside = [dataset] if any(dataset.startswith(f"{url}/") for url in allowed) else []
        return Place(
            role,
            f"arn:aws:s3:::{store[1]}",
            store[2],
            mirrored="://" in variables["LEGATO_MODEL_ID"],
            fetches=tuple(self._fetched_by(step)),
            leaves=leaves,
            datasets=tuple(f"arn:aws:s3:::{url.removeprefix('s3://')}" for url in outside),
        )

    def _fetched_by(self, step: Step) -> Iterator[str]:
        """Find the stages whose outputs a step fetches: its state follows one that discards it."""
        aliases = self.of("AWS::Lambda::Alias")
        functions = self.of("AWS::Lambda::Function")
        own = {
            f"arn:aws:lambda:REGION:ACCOUNT:function:{alias['FunctionName']}:{alias['Name']}"
            for alias in aliases.values()
            for about in functions.values()
            if about["FunctionName"] == alias["FunctionName"]
            and self._steps[about["Handler"]].name == step.name
        }
        found: set[str] = set()
        for machine in self.of("AWS::StepFunctions::StateMachine").values():
            known = dict(tasks(definition(machine)))
            for state in known.values():
                following = known.get(state.get("Next", ""), {})
                if state.get("ResultPath") == "$.left" and called(following) in own:
                    found.add(state["ResultSelector"]["stage"])
        yield from sorted(found)

    def _keys(self, needs: list[Need]) -> Iterator[Need]:
        """What else those need who use an encrypted bucket."""
        for bucket in self.of("AWS::S3::Bucket").values():
            arn = f"arn:aws:s3:::{bucket.get('BucketName', 'BUCKET')}/"
            rules = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            key = rules[0]["ServerSideEncryptionByDefault"].get("KMSMasterKeyID")
            if key is None:
                continue
            via = {"kms:ViaService": "s3.REGION.amazonaws.com"}
            for need in needs:
                for action in _KEY_ACTIONS.get(need.action, ()):
                    if need.resource.startswith(arn) and not need.refused:
                        yield Need(need.role, action, key, need.who, via, ("kms:ViaService",))

    def _step(self, name: str, handler: str) -> Step:
        if handler not in self._steps:
            raise WorkflowError(f"{name} of the template runs {handler}, which is no known step")
        return self._steps[handler]


def role_of(arn: str) -> str:
    """Return the logical id of a role, by its ARN."""
    return arn.rpartition("/")[2]


def called(state: Mapping[str, Any]) -> str:
    """Return the ARN of the function that a state calls; empty where it calls none."""
    return str(state.get("Parameters", {}).get("FunctionName", ""))


def _run_by(machine: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """Return the task definitions that a state machine runs."""
    run = {
        state.get("Parameters", {}).get("TaskDefinition") for _, state in tasks(definition(machine))
    }
    return [
        name
        for name, about in definitions.items()
        if f"arn:aws:ecs:REGION:ACCOUNT:task-definition/{about['Family']}:1" in run
    ]


def _logs(role: str, who: str, group: str) -> Iterator[Need]:
    streams = f"arn:aws:logs:REGION:ACCOUNT:log-group:{group}:*"
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        yield Need(role, action, streams, who)


def _starts(name: str, target: Mapping[str, Any]) -> Need:
    return Need(role_of(target["RoleArn"]), "states:StartExecution", target["Arn"], name)

"""Where runs are started: the machine and the store that a stack has made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legato._aws import Aws
from legato._aws_errors import code_of, explained
from legato._home import open_store
from legato._native import Store
from legato.deploy import Stack
from legato.deploy._granted import Place
from legato.deploy._watch import STUCK
from legato.errors import InputError
from legato.settings import Settings

MACHINE = "StateMachineArn"
STORE = "StoreUrl"


@dataclass(frozen=True)
class Target:
    """A deployed workflow.

    Attributes:
        aws: The account and region.
        stack: The stack's name.
        machine: ARN of the state machine.
        store: The stack's store.
    """

    aws: Aws
    stack: str
    machine: str
    store: Store

    @classmethod
    def of_stack(cls, aws: Aws, name: str) -> Target:
        """Find machine and store in the outputs of a stack.

        Raises:
            InputError: There is no such stack, or it is none of legato's.
        """
        stack = Stack(aws, name)
        outputs = stack.outputs()
        missing = [key for key in (MACHINE, STORE) if not outputs.get(key)]
        if missing:
            found = str((stack.describe() or {}).get("StackStatus", "gone"))
            advice = STUCK.get(found, "it is not of legato, or its creation has not ended")
            msg = f"stack {name} is {found} and has no output {missing[0]}: {advice}"
            raise InputError(msg)
        store = open_store(outputs[STORE], Settings.from_env())
        return cls(aws, name, outputs[MACHINE], store)

    @property
    def place(self) -> Place:
        """What stands for the names in the grants of the stack."""
        account = self.machine.split(":")[4]
        return Place(self.store.url, self.aws.region, account, self.stack)

    def describe(self, run: str) -> dict[str, Any]:
        """Return what AWS says of a run's execution.

        Raises:
            InputError: There is no such run.
        """
        from botocore.exceptions import ClientError

        arn = self.execution(run)
        with explained("states:DescribeExecution", arn):
            try:
                found = self.aws.client("stepfunctions").describe_execution(executionArn=arn)
            except ClientError as error:
                if code_of(error) != "ExecutionDoesNotExist":
                    raise
                msg = (
                    f"there is no run {arn.rpartition(':')[2]} of stack {self.stack} in "
                    f"{self.aws.region}; the last ones: legato status --stack-name {self.stack}"
                )
                raise InputError(msg) from None
        return dict(found)

    def execution(self, run: str) -> str:
        """Return the ARN of a run's execution: a run's id is its execution's name."""
        if run.startswith("arn:"):
            return run
        return f"{self.machine.replace(':stateMachine:', ':execution:')}:{run}"

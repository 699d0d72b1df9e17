"""ARNs and names of the stack, in which ``${Name}`` is what CloudFormation puts there."""

from __future__ import annotations

from typing import Final

BUCKET: Final = "arn:${AWS::Partition}:s3:::${Bucket}"
"""The store's bucket."""

STORE: Final = f"{BUCKET}/${{StorePrefix}}"
"""What lies below the store's prefix."""

STACK: Final = "${AWS::StackName}"


MAX_STACK_CHARS: Final = 50
"""Longest name of a stack: the functions' names begin with it, and Lambda takes 64 characters."""


def arn(service: str, resource: str) -> str:
    """Return an ARN of the stack's account and region."""
    return f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}"


def function_name(stage: str) -> str:
    """Return the name of a stage's function, and of what stands for it in a container."""
    return f"{STACK}-{stage.lower()}"


def function_arn(stage: str) -> str:
    """Return the ARN of a stage's function."""
    return arn("lambda", f"function:{function_name(stage)}")


def machine_arn(suffix: str = "") -> str:
    """Return the ARN of the stack's state machine, or of another one with its name and a suffix."""
    return arn("states", f"stateMachine:{STACK}{suffix}")


def execution_arn(suffix: str) -> str:
    """Return the ARN of executions of the stack's state machine."""
    return arn("states", f"execution:{STACK}{suffix}")


def log_group(stage: str) -> str:
    """Return the name of a stage's log group."""
    return f"/aws/lambda/{function_name(stage)}"


def log_streams(stage: str) -> str:
    """Return the ARN of the streams of a stage's log group."""
    return arn("logs", f"log-group:{log_group(stage)}:*")

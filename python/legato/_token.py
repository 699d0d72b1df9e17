"""The three calls by which a worker tells Step Functions about its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from legato.errors import AccessDeniedError, SettingsError, StoreUnavailableError
from legato.settings import region

MAX_ERROR: Final = 256
MAX_CAUSE: Final = 32_768
"""Most characters of a failure, as Step Functions takes them."""

STALE: Final = frozenset({"TaskTimedOut", "TaskDoesNotExist"})
"""What it answers where the task has ended otherwise, or has been given to another worker."""

DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnrecognizedClientException"})

CONNECT_S: Final = 3
READ_S: Final = 5
ATTEMPTS: Final = 8
"""Attempts of what ends a task: with botocore's backoff about a minute."""

HEARTBEAT_ATTEMPTS: Final = 2
"""Those of a heartbeat, which is soon followed by the next one."""


class StaleTokenError(Exception):
    """The task is no longer this worker's; it never leaves the worker."""


@dataclass(frozen=True)
class TaskToken:
    """A task that this process has been given.

    Attributes:
        value: The token. Whoever has it can end the task, so it is in no message.
    """

    value: str
    _ending: Any
    _beating: Any

    @classmethod
    def open(cls, value: str) -> TaskToken:
        """Take a token; nothing is asked of AWS yet.

        Raises:
            SettingsError: boto3 is not installed, or knows no region.
        """
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ModuleNotFoundError:
            msg = "a worker with a task token needs boto3; install legato[aws] in its image"
            raise SettingsError(msg) from None

        def client(attempts: int) -> Any:
            retries = {"mode": "standard", "total_max_attempts": attempts}
            config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
            return boto3.client("stepfunctions", region_name=region(), config=config)

        try:
            return cls(value, client(ATTEMPTS), client(HEARTBEAT_ATTEMPTS))
        except (BotoCoreError, ValueError) as error:
            # ValueError: AWS_ENDPOINT_URL is no URL.
            msg = f"Step Functions cannot be asked: {error}; set AWS_REGION"
            raise SettingsError(msg) from None

    def __repr__(self) -> str:
        """Show nothing of the token."""
        return "TaskToken(...)"

    def heartbeat(self) -> None:
        """Say that the task is alive.

        Raises:
            StaleTokenError: It is another worker's now, or has ended.
            StoreUnavailableError: Step Functions did not answer.
            AccessDeniedError: The role may not.
        """
        self._ask(self._beating, "send_task_heartbeat")

    def succeed(self, output: str) -> None:
        """End the task with its output as JSON; errors as those of :meth:`heartbeat`."""
        self._ask(self._ending, "send_task_success", output=output)

    def fail(self, error: str, cause: str) -> None:
        """End the task with an error's name, which a Retry compares; errors as above."""
        shown = {"error": error[:MAX_ERROR], "cause": cause[:MAX_CAUSE]}
        self._ask(self._ending, "send_task_failure", **shown)

    def _ask(self, client: Any, operation: str, **parameters: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        action = "states:" + "".join(word.title() for word in operation.split("_"))
        try:
            getattr(client, operation)(taskToken=self.value, **parameters)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in STALE:
                raise StaleTokenError(code) from None
            if code in DENIED:
                msg = f"{action} was refused ({code}); grant it to the role of the worker's task"
                raise AccessDeniedError(msg) from None
            if code == "InvalidToken":
                msg = "LEGATO_TASK_TOKEN is no task token; pass $$.Task.Token"
                raise SettingsError(msg) from None
            msg = f"{action} failed ({code}); try again"
            raise StoreUnavailableError(msg) from None
        except BotoCoreError as error:
            msg = f"{action} failed ({type(error).__name__}); check the network and the region"
            raise StoreUnavailableError(msg) from None

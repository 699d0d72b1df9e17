"""The history of an execution on AWS, as events that listeners of a local run know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from legato._aws import Aws
from legato._aws_errors import explained
from legato.conductor import HistoryEvent

PAGE = 1000
"""Events of a request."""


class History:
    """Reads events once each. A fleet's parent has few: its shards have histories of their own.

    Args:
        aws: The account and region.
        arn: The execution's ARN.
    """

    def __init__(self, aws: Aws, arn: str) -> None:
        self._aws = aws
        self._arn = arn
        self._state: str | None = None
        self._last = 0

    def fresh(self) -> Iterator[HistoryEvent]:
        """Iterate over the events since the last call, oldest first."""
        for event in self._pages():
            if int(event["id"]) <= self._last:
                continue
            self._last = int(event["id"])
            entered = event.get("stateEnteredEventDetails")
            if entered:
                # States of the parent follow one another, so an event is of the last one entered.
                self._state = str(entered["name"])
            yield self._read(event)

    def _pages(self) -> Iterator[Mapping[str, Any]]:
        client = self._aws.client("stepfunctions")
        options: dict[str, Any] = {"executionArn": self._arn, "maxResults": PAGE}
        while True:
            with explained("states:GetExecutionHistory", self._arn):
                page = client.get_execution_history(**options)
            yield from page["events"]
            if not page.get("nextToken"):
                return
            options["nextToken"] = page["nextToken"]

    def _read(self, event: Mapping[str, Any]) -> HistoryEvent:
        kind = str(event["type"])
        about: Mapping[str, Any] = next(
            (v for k, v in event.items() if k.endswith("EventDetails")), {}
        )
        details: dict[str, str | int | float] = {
            name: about[name] for name in ("error", "resource", "mapRunArn") if about.get(name)
        }
        output: Any = None
        if kind.endswith(("Failed", "TimedOut", "Aborted")):
            output = {"Error": about.get("error") or "", "Cause": about.get("cause") or ""}
        elif "output" in about:
            output = _json(about["output"])
        in_state = not kind.startswith("Execution")
        return HistoryEvent(
            id=int(event["id"]),
            timestamp=stamp(event.get("timestamp")),
            type=kind,
            state=self._state if in_state else None,
            execution=self._arn.rpartition(":")[2],
            details=details,
            output=output,
        )


def stamp(when: object) -> str:
    """Return a time as the histories of local runs have it: RFC 3339, UTC, milliseconds."""
    if not isinstance(when, datetime):
        return ""
    text = when.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _json(text: object) -> Any:
    try:
        return json.loads(str(text))
    except ValueError:
        return None

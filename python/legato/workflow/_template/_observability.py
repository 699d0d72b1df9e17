"""Alarms and the dashboard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from legato.workflow._arns import machine_arn
from legato.workflow._grant import ROTATION, is_function
from legato.workflow._states import STAGES
from legato.workflow._template._parameters import HAS_ALARM_TOPIC, if_given

if TYPE_CHECKING:
    from legato.workflow._workflow import Workflow

DASHBOARD: Final = "${AWS::StackName}-${AWS::Region}"

EXECUTIONS: Final = {
    "ExecutionsFailed": "a run failed",
    "ExecutionsTimedOut": "a run took longer than it may",
    "ExecutionsAborted": "a run was stopped",
    "ExecutionThrottled": "Step Functions slows down what it starts: lower the fleet",
}
CALLS: Final = {
    "Errors": "the function failed",
    "Throttles": "Lambda slows down the function: lower the fleet, or raise its concurrency",
}
_PERIOD_S: Final = 300
_WIDTH, _HEIGHT = 12, 6


def observability(workflow: Workflow, tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an alarm for each way to fail, and the dashboard."""
    found = {
        f"{metric}Alarm": _alarm(
            ("AWS/States", metric), ("StateMachineArn", {"Ref": "StateMachine"}), about, tags
        )
        for metric, about in EXECUTIONS.items()
    }
    for stage in _functions(workflow):
        name = {"Ref": f"{stage}Function"}
        for metric, about in CALLS.items():
            found[f"{stage}{metric}Alarm"] = _alarm(
                ("AWS/Lambda", metric), ("FunctionName", name), f"{stage}: {about}", tags
            )
    return {**found, **_starting(workflow, tags), "Dashboard": _dashboard(workflow)}


def _starting(workflow: Workflow, tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an alarm for each way in which a run that should start does not."""
    found: dict[str, Any] = {}
    if workflow.trigger is not None or workflow.schedule is not None:
        found["TriggerFailedAlarm"] = _alarm(
            ("AWS/States", "ExecutionsFailed"),
            ("StateMachineArn", {"Ref": "Trigger"}),
            "an input, or a time of the schedule, started no run",
            tags,
        )
    if workflow.trigger is not None:
        found["RuleFailedAlarm"] = _alarm(
            ("AWS/Events", "FailedInvocations"),
            ("RuleName", {"Ref": "AWS::StackName"}),
            "EventBridge could not tell of a new input",
            tags,
        )
    return found


def _functions(workflow: Workflow) -> list[str]:
    stages = [stage for stage in STAGES if is_function(workflow, stage)]
    return [*stages, *([ROTATION.title()] if workflow.rotation is not None else [])]


def _alarm(
    metric: tuple[str, str],
    dimension: tuple[str, dict[str, Any]],
    about: str,
    tags: list[dict[str, Any]],
) -> dict[str, Any]:
    namespace, name = metric
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": {"Fn::Sub": f"${{AWS::StackName}}: {about}"},
            "Namespace": namespace,
            "MetricName": name,
            "Dimensions": [{"Name": dimension[0], "Value": dimension[1]}],
            "Statistic": "Sum",
            "Period": _PERIOD_S,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": if_given(HAS_ALARM_TOPIC, [{"Ref": "AlarmTopicArn"}]),
            "Tags": tags,
        },
    }


def _dashboard(workflow: Workflow) -> dict[str, Any]:
    runs = [
        ["AWS/States", metric, "StateMachineArn", machine_arn()]
        for metric in ("ExecutionsStarted", "ExecutionsSucceeded", *EXECUTIONS)
    ]
    widgets = [
        _widget("Runs", runs, "Sum"),
        _widget("Time of a run", [["AWS/States", "ExecutionTime", *runs[0][2:]]], "p90"),
        *(
            _widget(title, [_of(metric, stage) for stage in _functions(workflow)], statistic)
            for title, metric, statistic in (
                ("Time of a task", "Duration", "p90"),
                ("Tasks at once", "ConcurrentExecutions", "Maximum"),
                ("Tasks that failed", "Errors", "Sum"),
                ("Tasks that had to wait", "Throttles", "Sum"),
            )
        ),
    ]
    for number, widget in enumerate(widgets):
        row, column = divmod(number, 2)
        widget |= {"x": column * _WIDTH, "y": row * _HEIGHT, "width": _WIDTH, "height": _HEIGHT}
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {
            # Dashboards are of the account, not of the region.
            "DashboardName": {"Fn::Sub": DASHBOARD},
            "DashboardBody": {"Fn::Sub": json.dumps({"widgets": widgets})},
        },
    }


def _of(metric: str, stage: str) -> list[str]:
    return ["AWS/Lambda", metric, "FunctionName", f"${{AWS::StackName}}-{stage.lower()}"]


def _widget(title: str, metrics: list[list[str]], statistic: str) -> dict[str, Any]:
    properties = {
        "title": title,
        "region": "${AWS::Region}",
        "view": "timeSeries",
        "stat": statistic,
        "period": _PERIOD_S,
        "metrics": metrics,
    }
    return {"type": "metric", "properties": properties}

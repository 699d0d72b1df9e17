"""Rotation in any order: steps repeated, reordered and ended at any call, an operator, and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from legato.errors import LegatoError
from tests.rotation_secret import GRACE_S, STEPS, Killed, Rotated, ended
from tests.servers import hub_tokens
from tests.servers.hub_tokens import HubServer
from tests.servers.ministack import AwsServer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_tokens.start() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


class Rotation(RuleBasedStateMachine):
    """What Secrets Manager, the operator and bad luck do to a secret."""

    def __init__(self, server: AwsServer, hub: HubServer, strategy: str) -> None:
        super().__init__()
        for known in (hub.valid, hub.minted, hub.revoked, hub.tried, hub.faults, hub.requests):
            known.clear()
        self.hub = hub
        self.secret = Rotated(server, hub, strategy)
        self.versions: list[str] = []
        self.values: dict[str, str] = {}
        self.was_current: dict[str, datetime] = {}
        self.killed = self.unheard = 0
        self.judged = 0

    @rule()
    def stage(self) -> None:
        self.secret.stage(self.hub.make())

    @rule()
    def stage_an_old_one(self) -> None:
        if self.secret.first in self.hub.valid:
            self.secret.stage(self.secret.first)

    @rule(part=st.sampled_from([0.1, 0.5, 1.0]))
    def wait(self, part: float) -> None:
        self.secret.wait(part * GRACE_S)

    @rule()
    def begin(self) -> None:
        self.versions.append(self.secret.begin())

    @precondition(lambda self: self.versions)
    @rule()
    def all_steps(self) -> None:
        for step in STEPS:
            self.step(step, self.versions[-1])

    @precondition(lambda self: self.versions)
    @rule(
        step=st.sampled_from(STEPS),
        back=st.integers(1, 3),
        at=st.none() | st.integers(0, 7),
        when=st.sampled_from(["before", "after"]),
        kill=st.booleans(),
        answer=st.sampled_from([None, None, None, 401, 429, "before", "after"]),
    )
    def one_step(
        self,
        step: str,
        back: int,
        at: int | None,
        when: str,
        answer: int | str | None,
        *,
        kill: bool,
    ) -> None:
        self.hub.faults[:] = [answer]
        self.unheard += answer == "after"
        try:
            with ended(self.secret.faults, at, when, kill=kill):
                self.step(step, self.versions[-min(back, len(self.versions))])
        except Killed:
            self.killed += 1
        finally:
            self.hub.faults.clear()

    def step(self, step: str, version: str) -> None:
        # Whether an error is right is asked by the invariants.
        with suppress(LegatoError):
            self.secret.call(step, version)

    @rule()
    def go_back(self) -> None:
        """The operator makes the previous version current again."""
        previous, current = (self.secret.holder(f"AWS{name}") for name in ("PREVIOUS", "CURRENT"))
        replaced = self.secret.current()
        if previous is not None and self.secret.previous() in self.hub.valid:
            self.secret.aws.update_secret_version_stage(
                SecretId=self.secret.arn,
                VersionStage="AWSCURRENT",
                MoveToVersionId=previous,
                RemoveFromVersionId=current,
            )
            # Its grace period is that of the last rotation that replaced it, as the page says.
            self.was_current.pop(replaced, None)

    @invariant()
    def labels_are_legal_and_tokens_that_are_used_live(self) -> None:
        self.secret.check()
        self.was_current[self.secret.current()] = self.secret.now

    @invariant()
    def no_token_is_revoked_before_its_time(self) -> None:
        for token in self.hub.revoked[self.judged :]:
            since = self.was_current.get(token)
            assert since is None or self.secret.now - since >= timedelta(seconds=GRACE_S)
        self.judged = len(self.hub.revoked)

    @invariant()
    def no_version_gets_a_second_value_and_no_token_is_left_over(self) -> None:
        for label in ("AWSCURRENT", "AWSPENDING"):
            version, value = self.secret.holder(label), self.secret.value(label)
            if version is not None and value is not None:
                assert self.values.setdefault(version, value) == value

        # Each token is a version's, or revoked; or its process was killed, or the answer never came.
        left = set(self.hub.minted) - set(self.values.values()) - set(self.hub.revoked)
        assert len(left) <= self.killed + self.unheard

    def teardown(self) -> None:
        """Whatever was before, a rotation without bad luck goes through."""
        self.secret.stage(self.hub.make())
        version = self.secret.rotate()
        assert self.secret.holder("AWSCURRENT") == version
        self.secret.check()


@pytest.mark.parametrize("strategy", ["staged", "exchange"])
def test_any_order(aws_server: AwsServer, hub: HubServer, strategy: str) -> None:
    run_state_machine_as_test(
        lambda: Rotation(aws_server, hub, strategy),
        settings=settings(
            max_examples=8,
            phases=[Phase.generate],
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

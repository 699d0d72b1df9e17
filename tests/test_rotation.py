"""Rotation of tokens: against the emulator's Secrets Manager, and a real server that is the Hub to it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from legato.errors import (
    AccessDeniedError,
    InputError,
    LegatoError,
    SettingsError,
    StoreUnavailableError,
)
from legato.identity._hub import Hub
from legato.identity._job import Request
from legato.identity._secret import Secret, field_of, token_of
from legato.identity.rotation import handler
from tests.conftest import use
from tests.rotation_secret import GRACE_S, STEPS, Killed, Rotated, ended
from tests.servers import hub_tokens
from tests.servers.hub_tokens import CLIENT_ID, FILE, PATH, SUBJECT, HubServer
from tests.servers.ministack import AwsServer, allow

STRATEGIES = ("staged", "exchange")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_tokens.start() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def staged(aws_server: AwsServer, hub: HubServer) -> Rotated:
    return Rotated(aws_server, hub, "staged")


@pytest.fixture
def exchange(aws_server: AwsServer, hub: HubServer) -> Rotated:
    return Rotated(aws_server, hub, "exchange")


# a secret shows nowhere


def test_a_secret_shows_nowhere() -> None:
    secret = Secret("hf_abcdefghij")
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr([secret]),
    ):
        assert "hf_" not in text
        assert "***" in text
    for refused in (
        lambda: pickle.dumps(secret),
        lambda: copy.deepcopy(secret),
        lambda: json.dumps(secret),
        lambda: hash(secret),
        lambda: vars(secret),
    ):
        with pytest.raises(TypeError) as caught:
            refused()
        assert "hf_a" not in str(caught.value)
    assert secret == Secret("hf_abcdefghij")
    assert secret != Secret("hf_abcdefghik")
    assert secret != "hf_abcdefghij"


@pytest.mark.parametrize(
    "value", ["hf_abcdefghij", " hf_abcdefghij\n", '{"token": "hf_abcdefghij"}']
)
def test_the_forms_of_a_token(value: str) -> None:
    assert token_of(Secret(value)).reveal() == "hf_abcdefghij"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "short",
        "hf_two words",
        "hf_line\nbreak: x",
        "{",
        "{}",
        '{"token": 3}',
        '{"token": "a b"}',
        "[1]",
        "ñandúñandú",
    ],
)
def test_what_is_no_token_is_refused_and_not_quoted(value: str) -> None:
    with pytest.raises(InputError, match="the secret") as caught:
        token_of(Secret(value))
    assert len(value) < 4 or value not in str(caught.value)
    with pytest.raises(InputError):
        field_of(Secret(value), "client_id")


# the Hub


def test_a_token_is_tried_on_the_file(hub: HubServer) -> None:
    token = hub.make()
    Hub.at(hub.endpoint + "/").check(Secret(token), FILE)
    ((method, path, headers),) = hub.requests
    assert (method, path, headers["authorization"]) == ("HEAD", PATH, f"Bearer {token}")


def test_no_redirect_carries_the_token_to_another_host(hub: HubServer) -> None:
    hub.answer = "other_host"
    Hub.at(hub.endpoint).check(Secret(hub.make()), FILE)
    assert hub.elsewhere == []
    assert len(hub.requests) == 1
    # Away before the Hub has said that the token may: nothing is known, and nobody is told.
    hub.answer = "renamed_away"
    with pytest.raises(SettingsError, match="X-Repo-Commit"):
        Hub.at(hub.endpoint).check(Secret(hub.make()), FILE)
    assert hub.elsewhere == []


def test_a_renamed_repository_is_followed(hub: HubServer) -> None:
    hub.answer = "renamed"
    token = hub.make()
    Hub.at(hub.endpoint).check(Secret(token), FILE)
    assert [path for _, path, _ in hub.requests] == [PATH, PATH.replace("/model/", "/new-name/")]
    assert hub.tried == [token]


@pytest.mark.parametrize("answer", ["login", "plain", "loop"])
def test_an_answer_that_is_not_the_hubs_proves_nothing(hub: HubServer, answer: str) -> None:
    hub.answer = answer
    token = hub.make()
    if answer == "loop":
        # The commit was said; the circle ends nevertheless.
        with pytest.raises(SettingsError):
            Hub.at(hub.endpoint).check(Secret(token), FILE)
        assert len(hub.requests) < 10
        return
    with pytest.raises(SettingsError, match="check HF_ENDPOINT and LEGATO_ROTATION_FILE"):
        Hub.at(hub.endpoint).check(Secret(token), FILE)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (401, AccessDeniedError, "does not know the new token"),
        (403, AccessDeniedError, "accept its terms"),
        (404, SettingsError, "check LEGATO_ROTATION_FILE"),
        (429, StoreUnavailableError, "busy"),
        (503, StoreUnavailableError, "busy"),
        (418, StoreUnavailableError, "answered 418"),
        ("before", StoreUnavailableError, "got no answer"),
    ],
)
def test_what_a_refusal_means(
    hub: HubServer, fault: Any, kind: type[LegatoError], said: str
) -> None:
    hub.faults.append(fault)
    with pytest.raises(kind, match=said):
        Hub.at(hub.endpoint).check(Secret(hub.make()), FILE)


def test_the_exchange(hub: HubServer) -> None:
    at = Hub.at(hub.endpoint)
    minted = at.exchange(CLIENT_ID, Secret(hub.password), SUBJECT)
    assert [minted.reveal()] == hub.minted
    for wrong, said in (
        ((CLIENT_ID, Secret("other-password"), SUBJECT), "client_id or client_secret"),
        ((CLIENT_ID, Secret(hub.password), "x@y.example"), r"\(400, invalid_grant\): allow the"),
    ):
        with pytest.raises(AccessDeniedError, match=said) as caught:
            at.exchange(*wrong)
        assert "no {" not in str(caught.value), "an answer is not quoted"
    hub.faults.append(429)
    with pytest.raises(StoreUnavailableError, match="busy"):
        at.exchange(CLIENT_ID, Secret(hub.password), SUBJECT)
    hub.faults.append(200)
    with pytest.raises(StoreUnavailableError, match="without a token"):
        at.exchange(CLIENT_ID, Secret(hub.password), SUBJECT)
    # A redirect would be another server; the password goes nowhere else.
    hub.faults.append(307)
    with pytest.raises(AccessDeniedError):
        at.exchange(CLIENT_ID, Secret(hub.password), SUBJECT)


@pytest.mark.parametrize(
    "address",
    [
        "http://huggingface.co",
        "huggingface.co",
        "https://",
        "https://user:pass@hub.example",
        "https://a/?q=1",
        "ftp://a",
        "",
    ],
)
def test_tokens_go_to_no_address_that_is_not_https(address: str) -> None:
    with pytest.raises(SettingsError, match="HF_ENDPOINT is no plain https://") as caught:
        Hub.at(address)
    assert "pass" not in str(caught.value)
    assert Hub.at("https://hub.example/hf/").endpoint == "https://hub.example/hf"


# the steps


def test_a_staged_token_is_tested_promoted_and_the_old_one_revoked_later(staged: Rotated) -> None:
    new = staged.hub.make()
    staged.stage(new)
    version = staged.rotate()
    assert staged.current() == new
    (previous,) = [own for own in staged.labels().values() if "AWSPREVIOUS" in own]
    assert [label for label in previous if label.startswith("LegatoRetired-20261123T1200")]
    assert set(staged.labels()[version]) == {"AWSCURRENT", "AWSPENDING"}
    assert staged.hub.revoked == []
    # The next rotation has nothing to rotate to, and says so; what is due it does all the same.
    staged.wait(GRACE_S - 1)
    second = staged.begin()
    with pytest.raises(SettingsError, match="the staged token is the current one; make one at"):
        staged.call("createSecret", second)
    assert staged.hub.revoked == []
    staged.wait(1)
    with pytest.raises(SettingsError, match="put-secret-value"):
        staged.call("createSecret", second)
    assert staged.hub.revoked == [staged.first]
    assert not [label for own in staged.labels().values() for label in own if "Retired" in label]
    third = staged.hub.make()
    staged.stage(json.dumps({"token": third}))
    assert staged.rotate() == second
    assert json.loads(staged.current()) == {"token": third}


def test_nothing_staged_says_how(staged: Rotated) -> None:
    with pytest.raises(
        SettingsError, match=f"--secret-id {staged.arn} --version-stages LegatoStaged"
    ):
        staged.call("createSecret", staged.begin())
    staged.check()


def test_a_token_is_minted_once(exchange: Rotated) -> None:
    version = exchange.begin()
    for _ in range(3):
        exchange.call("createSecret", version)
    assert len(exchange.hub.minted) == 1
    for step in STEPS:
        exchange.call(step, version)
    assert exchange.current() == exchange.hub.minted[0]
    for step in STEPS:
        assert exchange.call(step, version) == "current"
    assert len(exchange.hub.minted) == 1
    exchange.wait(GRACE_S)
    exchange.rotate()
    assert exchange.hub.revoked == [exchange.first]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_order_of_steps_promotes_what_is_not_there_or_does_not_work(
    aws_server: AwsServer, hub: HubServer, strategy: str
) -> None:
    secret = Rotated(aws_server, hub, strategy)
    version = secret.begin()
    for step in ("finishSecret", "testSecret"):
        with pytest.raises(InputError, match="createSecret comes first"):
            secret.call(step, version)
    new = hub.make()
    secret.stage(new)
    secret.call("createSecret", version)
    waiting = secret.value("AWSPENDING")
    assert waiting is not None
    hub.forbidden.add(waiting)
    for step in ("testSecret", "finishSecret"):
        with pytest.raises(AccessDeniedError, match="accept its terms"):
            secret.call(step, version)
    assert secret.current() == secret.first
    hub.forbidden.clear()
    secret.call("finishSecret", version)
    assert secret.current() == waiting


def test_a_token_that_is_used_again_is_not_revoked(staged: Rotated) -> None:
    second = staged.hub.make()
    staged.stage(second)
    staged.rotate()
    # Back to the first one: staged again, and current before its grace period was over.
    staged.wait(GRACE_S / 2)
    staged.stage(staged.first)
    staged.rotate()
    assert staged.current() == staged.first
    staged.wait(GRACE_S)
    staged.stage(staged.hub.make())
    staged.rotate()
    assert staged.hub.revoked == [second]
    # It was replaced just now: its first label is old, and does not count.
    staged.stage(staged.hub.make())
    staged.wait(GRACE_S / 2)
    staged.rotate()
    assert staged.hub.revoked == [second]
    staged.wait(GRACE_S)
    staged.stage(staged.hub.make())
    staged.rotate()
    assert staged.hub.revoked.count(staged.first) >= 1
    staged.check()


def test_a_revocation_that_fails_stops_nothing_and_is_tried_again(
    staged: Rotated, capsys: pytest.CaptureFixture[str]
) -> None:
    staged.stage(staged.hub.make())
    staged.rotate()
    staged.wait(GRACE_S)
    staged.stage(staged.hub.make())
    staged.hub.faults.append(500)
    staged.rotate()
    told = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (told["level"], told["outcome"]) == ("WARNING", "not_revoked")
    assert "revoking a token" in told["reason"]
    assert staged.hub.revoked == []
    staged.stage(staged.hub.make())
    staged.rotate()
    assert staged.hub.revoked == [staged.first]


def test_what_an_event_must_say() -> None:
    good = {
        "Step": "createSecret",
        "SecretId": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a-AbCdEf",
        "ClientRequestToken": str(uuid.uuid4()),
    }
    assert Request.of(good).step == "createSecret"
    for field, value in good.items():
        for wrong in (None, 3, "x", value + "\n"):
            with pytest.raises(InputError):
                Request.of({**good, field: wrong})
    for event in (None, [], "createSecret"):
        with pytest.raises(InputError, match="no Step of a rotation"):
            Request.of(event)


def test_what_secrets_manager_must_have_begun(staged: Rotated) -> None:
    with pytest.raises(InputError, match="has no version"):
        staged.call("createSecret", str(uuid.uuid4()))
    staged.stage(staged.hub.make())
    version = staged.holder("LegatoStaged")
    assert version is not None
    with pytest.raises(InputError, match="is not AWSPENDING"):
        staged.call("createSecret", version)
    off = staged.aws.create_secret(Name=f"off-{uuid.uuid4()}", SecretString=staged.first)
    staged.arn = off["ARN"]
    with pytest.raises(SettingsError, match=r"rotation of .* is not enabled"):
        staged.call("createSecret", str(off["VersionId"]))


# permissions


def test_what_the_role_must_be_allowed(
    aws_server: AwsServer, exchange: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each action that is taken away is named; with all of them a rotation goes through."""
    actions = {
        "DescribeSecret": exchange.arn,
        "GetSecretValue": [exchange.arn, exchange.application],
        "PutSecretValue": exchange.arn,
        "UpdateSecretVersionStage": exchange.arn,
    }
    version = exchange.begin()
    for left_out in (*actions, None):
        role = aws_server.role(
            *(allow(f"secretsmanager:{a}", r) for a, r in actions.items() if a != left_out)  # type: ignore[arg-type]
        )
        use(aws_server.environ(role.keys, token=role.token), monkeypatch)
        set_up(monkeypatch, exchange)

        def rotation() -> None:
            for step in STEPS:
                handler(event(exchange, step, version))

        if left_out is None:
            rotation()
        else:
            with pytest.raises(AccessDeniedError, match=f"secretsmanager:{left_out} on arn:"):
                rotation()
    assert exchange.current() in exchange.hub.minted
    exchange.check()


def set_up(monkeypatch: pytest.MonkeyPatch, secret: Rotated) -> None:
    # boto3 keeps the credentials that it found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    values = {
        "LEGATO_ROTATION": secret.strategy,
        "LEGATO_ROTATION_FILE": FILE,
        "LEGATO_ROTATION_GRACE_S": str(GRACE_S),
        "LEGATO_ROTATION_CLIENT": secret.application,
        "LEGATO_ROTATION_SUBJECT": SUBJECT,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def event(secret: Rotated, step: str, version: str) -> dict[str, str]:
    return {"Step": step, "SecretId": secret.arn, "ClientRequestToken": version}


@pytest.mark.parametrize(
    "missing",
    [
        "LEGATO_ROTATION",
        "LEGATO_ROTATION_FILE",
        "LEGATO_ROTATION_CLIENT",
        "LEGATO_ROTATION_SUBJECT",
    ],
)
def test_a_setting_that_is_missing_is_named(
    aws_server: AwsServer, exchange: Rotated, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    use(aws_server.environ(), monkeypatch)
    set_up(monkeypatch, exchange)
    monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=f"{missing} is not set; set it"):
        handler(event(exchange, "createSecret", exchange.begin()))


def test_an_application_that_is_no_pair_is_named(exchange: Rotated) -> None:
    exchange.aws.put_secret_value(SecretId=exchange.application, SecretString="only-a-password")
    with pytest.raises(
        SettingsError, match=r"LEGATO_ROTATION_CLIENT, arn:.* 'client_id'"
    ) as caught:
        exchange.call("createSecret", exchange.begin())
    assert "only-a-password" not in str(caught.value)
    exchange.application = exchange.application.replace("-client", "-no-client")
    with pytest.raises(SettingsError, match="which has no value"):
        exchange.call("createSecret", exchange.begin())


# nothing secret leaves


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_token_is_in_logs_errors_or_labels(
    aws_server: AwsServer,
    hub: HubServer,
    strategy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each step with each fault of the Hub: what is printed, logged, raised or labelled has no token and no password."""
    secret = Rotated(aws_server, hub, strategy)
    use(aws_server.environ(), monkeypatch)
    set_up(monkeypatch, secret)
    caplog.set_level(logging.INFO)
    told: list[str] = []
    failed = 0
    for fault in (None, 307, 400, 401, 403, 404, 429, 500, "before", "after"):
        secret.stage(hub.make())
        version = secret.begin()
        for step in STEPS:
            hub.faults[:] = [fault]
            try:
                assert handler(event(secret, step, version)) is None
            except LegatoError as error:
                failed += 1
                told += [*traceback.format_exception(error), repr(error), *chain(error)]
        hub.faults.clear()
        for step in STEPS:
            handler(event(secret, step, version))
        secret.check()
    assert failed > 15
    printed = capsys.readouterr()
    lines = [json.loads(text) for text in printed.out.splitlines()]
    assert {text["state"] for text in lines} == {"rotation"}
    assert {text["step"] for text in lines} == set(STEPS)
    told += [printed.out, printed.err, caplog.text, json.dumps(secret.labels())]
    hidden = [*hub.valid, *hub.revoked, *hub.minted, secret.first, hub.password]
    assert len(hidden) > 10
    for text in told:
        assert not [value for value in hidden if value in text or value[4:] in text]
        assert "Basic " not in text
        assert "Bearer " not in text


def chain(error: BaseException) -> Iterator[str]:
    seen: BaseException | None = error
    while seen is not None:
        yield repr(seen)
        yield repr(getattr(seen, "response", None))
        seen = seen.__cause__ or seen.__context__


# calls that end anywhere


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "lost"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_step_that_ends_at_any_call_can_be_repeated(
    aws_server: AwsServer, hub: HubServer, strategy: str, when: str, *, kill: bool
) -> None:
    """Every API call of every step, the revocation of an old token included."""
    tried = 0
    secret = Rotated(aws_server, hub, strategy)
    secret.stage(hub.make())
    secret.rotate()
    for step in STEPS:
        at, fired = 0, True
        while fired:
            due = secret.previous()
            secret.wait(GRACE_S)
            secret.stage(hub.make())
            version = secret.begin()
            for earlier in STEPS[: STEPS.index(step)]:
                secret.call(earlier, version)
            minted = len(hub.minted)
            try:
                with ended(secret.faults, at, when, kill=kill):
                    secret.call(step, version)
                    fired = secret.faults.fired
            except (Killed, LegatoError):
                fired = True
            secret.check()
            for again in STEPS:
                secret.call(again, version)
            secret.check()
            assert secret.holder("AWSCURRENT") == version
            assert due in hub.revoked
            lost = set(hub.minted[minted:]) - {secret.current()}
            # Only who is killed between the Hub's answer and the write loses a token that lives.
            assert len(lost) <= (step == "createSecret" and when == "before")
            assert kill or lost <= set(hub.revoked)
            tried += fired
            at += 1
    assert tried > 12

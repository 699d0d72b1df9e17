"""Inference by a server: the same results as the engine's, and every way in which a server can fail."""

from __future__ import annotations

import copy
import json
import logging
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import legato
import legato._native as native
from legato._endpoint import _http
from legato._endpoint._answers import labelled, read_ranking, read_vectors, zero_shot
from legato._endpoint._batches import Limits, cut
from legato._endpoint._calls import Client
from legato._endpoint._credentials import EnvironmentCredentials, NoCredentials
from legato._endpoint._hosts import Allowed, Place
from legato._mirror import mirror_model
from legato.cli import main as cli
from legato.conductor._clock import SystemClock
from legato.errors import (
    AccessDeniedError,
    EndpointUnavailableError,
    InputError,
    LegatoError,
    ModelError,
    SettingsError,
    WorkflowError,
)
from legato.settings import Settings
from legato.stages import _models
from legato.stages import endpoint as stage
from tests import task_models
from tests.servers.endpoints import SHA, Server, serve
from tests.test_stages import SHARD_STAGES, TEXTS, Chain
from tests.test_stages_tasks import CASES, NAMES, close
from tests.test_stages_tasks import TEXTS as WORDS

TOKEN = "hf_secretsecretsecret"


class EndpointChain(Chain):
    """The stages, with Inference by a server."""

    def call(self, name: str, event: Any) -> dict[str, Any]:
        if name != "Inference":
            return super().call(name, event)
        answer = stage.handler.bind(self.settings, self.store)(copy.deepcopy(event))
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found


def called(chain: Chain, server: Server, /, **changes: Any) -> EndpointChain:
    """Return the chain with a server."""
    given = Settings.from_env(server.endpoint(**changes).variables())
    names = [name for name in vars(given) if name.startswith("endpoint")]
    found = {name: getattr(given, name) for name in (*names, "allowed_hosts", "hf_credentials")}
    made = EndpointChain.__new__(EndpointChain)
    made.store, made.settings = chain.store, chain.other(**found).settings
    return made


@pytest.fixture
def store(tmp_path: Path) -> legato.Store:
    return legato.Store.open((tmp_path / "store").as_uri())


@pytest.fixture
def chain(store: legato.Store, tiny_bert: Path) -> Chain:
    return Chain(store, tiny_bert)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    folder = tmp_path / "classifier"
    return task_models.make(folder, "bert", "sequence-classification", id2label=NAMES).path


@pytest.fixture
def ranker(tmp_path: Path) -> Path:
    folder = tmp_path / "ranker"
    return task_models.make(folder, "bert", "sequence-classification", one_label=True).path


@pytest.fixture
def tei(tiny_bert: Path) -> Iterator[Server]:
    with serve(tiny_bert) as server:
        yield server


def results(chain: Chain, output: dict[str, Any]) -> legato.Results:
    return legato.Results.load(chain.store, legato.Ref.from_dict(output["result"]))


class TestResults:
    def test_vectors_of_tei_are_the_engines(self, chain: Chain, tei: Server) -> None:
        output = called(chain, tei, revision=SHA).run()
        found, wanted = results(chain, output), results(chain, chain.run(run_id="local"))
        assert found.ids == wanted.ids
        assert np.abs(found.vectors - wanted.vectors).max() < 1e-6
        assert output["status"] == "complete"
        assert output["run"]["model"]["revision_enforced"] is True
        assert found.manifest["revision_enforced"] is True
        assert found.manifest["endpoints"] == [
            {
                "url": tei.origin,
                "server": "tei",
                "model": "org/tiny",
                "revision": SHA,
                "revision_enforced": True,
            }
        ]
        # Nothing is said of an engine's run, whose manifests stay as they were.
        assert not {"endpoints", "revision_enforced"} & set(wanted.manifest)
        assert {request.path for request in tei.requests} == {"/info", "/embed"}

    def test_vectors_of_a_pipeline_are_the_engines(self, chain: Chain, tiny_bert: Path) -> None:
        with serve(tiny_bert, kind="pipeline") as server:
            output = called(chain, server, revision=SHA).run()
        found, wanted = results(chain, output), results(chain, chain.run(run_id="local"))
        assert np.abs(found.vectors - wanted.vectors).max() < 1e-6
        # It tells no commit.
        assert output["run"]["model"]["revision_enforced"] is False
        assert found.manifest["revision_enforced"] is False
        assert found.manifest["endpoints"][0]["revision"] == SHA

    def test_a_pipeline_that_normalises_nothing(self, chain: Chain, tiny_bert: Path) -> None:
        def longer(answer: Any) -> Any:
            return [[7 * value for value in row] for row in answer]

        with serve(tiny_bert, kind="pipeline", spoil=longer) as server:
            found = results(chain, called(chain, server).run())
        wanted = results(chain, chain.run(run_id="local"))
        assert np.abs(found.vectors - wanted.vectors).max() < 1e-6

    @pytest.mark.parametrize("kind", ["tei", "pipeline"])
    @pytest.mark.parametrize(("task", "parameters"), CASES)
    def test_answers_are_the_engines(
        self,
        store: legato.Store,
        classifier: Path,
        task: str,
        parameters: dict[str, Any],
        kind: str,
    ) -> None:
        chain = Chain(store, classifier, task=task, parameters=parameters)
        if (task, kind) == ("text-ranking", "pipeline"):
            with serve(classifier, task, kind=kind) as server:
                event = chain.until("Inference")
                with pytest.raises(WorkflowError, match="needs a TEI server"):
                    called(chain, server).call("Inference", event)
            return
        with serve(classifier, task, kind=kind) as server:
            output = called(chain, server).run(texts=WORDS)
        wanted = results(chain, chain.run(texts=WORDS, run_id="local"))
        assert wanted.answers
        assert close(results(chain, output).answers, wanted.answers)
        assert output["counts"]["inference"]["out"] == len(WORDS)

    @pytest.mark.parametrize(
        "parameters", [{"query": "w5"}, {"query": "w5", "activation_fn": "tanh"}]
    )
    def test_reranking(self, store: legato.Store, ranker: Path, parameters: dict[str, Any]) -> None:
        chain = Chain(store, ranker, task="text-ranking", parameters=parameters)
        with serve(ranker, "text-ranking") as server:
            output = called(chain, server).run(texts=WORDS)
            assert {request.path for request in server.computed} == {"/rerank"}
        wanted = results(chain, chain.run(texts=WORDS, run_id="local"))
        assert close(results(chain, output).answers, wanted.answers)

    def test_a_run_here_is_the_same(self, tmp_path: Path, tiny_bert: Path, tei: Server) -> None:
        data = tmp_path / "data.jsonl"
        data.write_text("\n".join(json.dumps({"id": i, "text": t}) for i, t in enumerate(TEXTS)))
        common: dict[str, Any] = {"name": "w", "task": "feature-extraction", "model": tiny_bert}
        plain = legato.Workflow(**common, shard_records=2)
        remote = legato.Workflow(**common, shard_records=2, backend=tei.endpoint(revision=SHA))
        here = legato.run(plain, store=tmp_path / "a", input=data)
        there = legato.run(remote, store=tmp_path / "b", input=data)
        assert there.status == "complete"
        assert np.abs(here.results().vectors - there.results().vectors).max() < 1e-6
        one = legato.run(remote, store=tmp_path / "b", text=TEXTS[0])
        assert np.abs(one.results().vectors - here.results().vectors[:1]).max() < 1e-6
        assert there.results().manifest["revision_enforced"] is True

    def test_the_state_machine_waits_for_a_server_that_starts(
        self, tmp_path: Path, tiny_bert: Path, tei: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []

        def sleep(_clock: SystemClock, seconds: float, _stopped: threading.Event) -> None:
            waits.append(seconds)

        monkeypatch.setattr(SystemClock, "sleep", sleep)
        # Far more often than any other error is tried again.
        tei.behaviour.statuses = [503] * 20
        workflow = legato.Workflow(
            name="w", task="feature-extraction", model=tiny_bert, backend=tei.endpoint()
        )
        run = legato.run(workflow, store=tmp_path / "s", text="the rain")
        assert run.status == "complete"
        assert len([wait for wait in waits if wait > 0]) >= 20
        # Of whom nothing is pinned, nothing is enforced.
        assert run.results().manifest["revision_enforced"] is False

    def test_a_mirrored_model_needs_no_weights(
        self, tmp_path: Path, tiny_bert: Path, tei: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        monkeypatch.setattr(_models, "_files", {})
        store = legato.Store.open((tmp_path / "store").as_uri())
        url, digest = mirror_model(tiny_bert, store), legato.ModelFiles.from_dir(tiny_bert).digest
        chain = Chain(store, tiny_bert).other(model_id=url, model_revision=digest)
        found = results(chain, called(chain, tei).run())
        wanted = legato.pipeline("feature-extraction", model=tiny_bert)(TEXTS)
        assert np.abs(found.vectors - wanted).max() < 1e-6
        assert not list((tmp_path / "tmp").rglob("*.safetensors"))


class TestKeys:
    def outputs(self, chain: EndpointChain, event: Any) -> tuple[str, int]:
        answer = chain.call("Inference", event)
        return answer["vectors"]["uri"], answer["counts"]["inference"]["cached"]

    def test_a_pinned_revision_is_computed_once(self, chain: Chain, tei: Server) -> None:
        event = chain.until("Inference")
        pinned = called(chain, tei, revision=SHA)
        first, cached = self.outputs(pinned, event)
        assert cached == 0
        asked = len(tei.requests)
        event["run"] = {**event["run"], "id": "r2"}
        # No server is needed for what is there.
        assert self.outputs(pinned, event) == (first, 1)
        assert len(tei.requests) == asked

    def test_one_that_is_told_is_computed_once(self, chain: Chain, tei: Server) -> None:
        event = chain.until("Inference")
        plain = called(chain, tei)
        first, _ = self.outputs(plain, event)
        event["run"] = {**event["run"], "id": "r2"}
        assert self.outputs(plain, event) == (first, 1)
        assert len(tei.computed) == 1
        tei.behaviour.sha = "b" * 40
        second, cached = self.outputs(plain, event)
        assert (second == first, cached) == (False, 0)

    @pytest.mark.parametrize("revision", [None, SHA])
    def test_of_an_unknown_one_nothing_is_taken_over(
        self, chain: Chain, tei: Server, revision: str | None
    ) -> None:
        tei.behaviour.sha = None
        event = chain.until("Inference")
        plain = called(chain, tei, revision=revision)
        first, _ = self.outputs(plain, event)
        assert self.outputs(plain, event) == (first, 1)
        event["run"] = {**event["run"], "id": "r2"}
        second, cached = self.outputs(plain, event)
        assert (second == first, cached) == (False, 0)

    def test_servers_and_the_engine_have_outputs_of_their_own(
        self, chain: Chain, tei: Server, tiny_bert: Path
    ) -> None:
        event = chain.until("Inference")
        with serve(tiny_bert) as other:
            found = {
                called(chain, server, revision=SHA).call("Inference", event)["vectors"]["uri"]
                for server in (tei, other)
            }
        assert len(found | {chain.call("Inference", event)["vectors"]["uri"]}) == 3


class TestIdentity:
    @pytest.mark.parametrize(
        ("info", "said"),
        [
            ({"model_sha": "b" * 40}, "the workflow pins"),
            ({"model_type": {"classifier": {}}}, "no model for feature-extraction"),
            ({"model_type": {"embedding": {"pooling": "last_token"}}}, "pools by lasttoken"),
            ({"max_input_length": 3}, "cuts texts to 3 tokens"),
            ({"model_id": None}, "tells no model"),
        ],
    )
    def test_another_model_is_refused(
        self, chain: Chain, tei: Server, info: dict[str, Any], said: str
    ) -> None:
        tei.behaviour.info = info
        with pytest.raises(ModelError, match=said):
            called(chain, tei, revision=SHA).run()
        assert not tei.computed

    def test_texts_that_are_cut_are_cut_where_they_are_here(
        self, store: legato.Store, tiny_bert: Path
    ) -> None:
        texts = ["the rain " * 400, "wind"]
        chain = Chain(store, tiny_bert)
        with serve(tiny_bert) as server:
            found = results(chain, called(chain, server).run(texts=texts))
            wanted = results(chain, chain.run(texts=texts, run_id="local"))
            assert np.abs(found.vectors - wanted.vectors).max() < 1e-6
            assert all(request.body["truncate"] for request in server.computed)
            event = chain.other(max_length=16).until("Inference")
            server.requests.clear()
            # The server knows its own limit alone.
            wrong = called(chain.other(max_length=16), server)
            short = chain.other(max_length=16)
            ingested = short.ingest(texts=texts)
            event = short.call("Preprocessing", short.shards(ingested)[0])
            with pytest.raises(ModelError, match="settings say 16"):
                wrong.call("Inference", event)
            assert not server.computed

    def test_no_tei_server(self, chain: Chain, tiny_bert: Path) -> None:
        with serve(tiny_bert, kind="pipeline") as server:
            with pytest.raises(ModelError, match="has no /info"):
                called(chain, server, server="tei").run()
            assert called(chain, server, server="pipeline").run()["status"] == "complete"
            assert [r.path for r in server.requests].count("/info") == 1


class TestBatches:
    def test_within_the_limits_of_the_server(self, store: legato.Store, tiny_bert: Path) -> None:
        chain = Chain(store, tiny_bert, shard_records=100)
        texts = [f"the rain {'and wind ' * (i % 7)}" for i in range(30)]
        with serve(tiny_bert, max_rows=4, info={"max_batch_tokens": 40}) as server:
            output = called(chain, server).run(texts=texts)
            sizes = [len(request.body["inputs"]) for request in server.computed]
        assert sum(sizes) == 30
        assert max(sizes) == 4
        wanted = results(chain, chain.run(texts=texts, run_id="local"))
        assert np.abs(results(chain, output).vectors - wanted.vectors).max() < 1e-6

    def test_a_batch_that_is_too_large_is_split(self, store: legato.Store, tiny_bert: Path) -> None:
        chain = Chain(store, tiny_bert, shard_records=100)
        texts = [f"rain {i}" for i in range(11)]
        # It tells more than it takes.
        with serve(tiny_bert, max_rows=3, info={"max_client_batch_size": 32}) as server:
            output = called(chain, server).run(texts=texts)
            assert any(len(request.body["inputs"]) == 11 for request in server.computed)
        wanted = results(chain, chain.run(texts=texts, run_id="local"))
        assert np.abs(results(chain, output).vectors - wanted.vectors).max() < 1e-6

    def test_a_text_that_is_too_large_alone_is_named_by_its_row(
        self, chain: Chain, tiny_bert: Path
    ) -> None:
        with (
            serve(tiny_bert, payload=60) as server,
            pytest.raises(InputError, match=r"refuses row [01] of the shard") as caught,
        ):
            called(chain, server).run()
        assert "quick" not in str(caught.value)

    def test_requests_at_the_same_time_are_bounded(
        self, store: legato.Store, tiny_bert: Path
    ) -> None:
        chain = Chain(store, tiny_bert, shard_records=100)
        with serve(tiny_bert, max_rows=1, busy_s=0.02) as server:
            called(chain, server, concurrency=3).run(texts=[f"rain {i}" for i in range(20)])
            assert 2 <= server.most <= 3

    def test_cuts(self) -> None:
        rows = [("x" * size,) for size in (10, 500, 20, 30)]
        batches = list(cut(rows, [5, 90, 6, 7], Limits(rows=3, tokens=15, size=200)))
        # The longest first; what is above a limit goes alone.
        assert batches == [[1], [3, 2], [0]]
        assert list(cut([], [], Limits())) == []


STATUSES: list[tuple[int, type[LegatoError]]] = [
    *((status, EndpointUnavailableError) for status in (408, 429, 500, 502, 503, 504)),
    (400, InputError),
    (422, InputError),
    (402, AccessDeniedError),
    (403, AccessDeniedError),
    (404, ModelError),
    (424, ModelError),
    (418, ModelError),
    (204, ModelError),
    (301, ModelError),
    (307, ModelError),
]


class TestFailures:
    @pytest.mark.parametrize(("status", "kind"), STATUSES)
    def test_each_status_is_an_error_and_asked_once(
        self, chain: Chain, tei: Server, status: int, kind: type[LegatoError]
    ) -> None:
        event = chain.until("Inference")
        tei.behaviour.statuses = [status]
        with pytest.raises(kind, match=f"status {status}") as caught:
            called(chain, tei).call("Inference", event)
        assert kind.retryable == (kind is EndpointUnavailableError)
        assert len(tei.computed) == 1
        # Not what was sent, and not what was answered.
        assert "secret" not in str(caught.value)
        assert not any(text in str(caught.value) for text in TEXTS)
        # Of a redirect nothing is followed.
        assert called(chain, tei).call("Inference", event)["vectors"]

    def test_a_small_wait_is_asked_for(self, chain: Chain, tei: Server) -> None:
        called(chain, tei, scale_up_s=7).run()
        assert {request.headers["x-scale-up-timeout"] for request in tei.requests} == {"7"}
        with pytest.raises(WorkflowError, match="from 0 to 20"):
            tei.endpoint(scale_up_s=21)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda answer: answer[:-1], "one for each text"),
            (lambda answer: [*answer, answer[0]], "one for each text"),
            (lambda answer: [answer[0][:-1], *answer[1:]], "several lengths"),
            (lambda answer: [["1.5"] * len(answer[0])] * len(answer), "no number"),
            (lambda answer: [[True] * len(answer[0])] * len(answer), "no number"),
            (lambda answer: [[row] for row in answer], "for each token"),
            (lambda answer: [None] * len(answer), "no list"),
            (lambda _: {"error": "x"}, "one for each text"),
            (lambda _: b"<html>", "no JSON"),
            (lambda _: b"[" * 100_000, "no JSON"),
            (lambda _: b"", "no JSON"),
            (lambda answer: [[]] * len(answer), "of none"),
        ],
    )
    def test_an_answer_that_is_none(
        self, chain: Chain, tei: Server, spoil: Callable[[Any], Any], said: str
    ) -> None:
        event = chain.until("Inference")
        tei.behaviour.spoil = spoil
        with pytest.raises(ModelError, match=said):
            called(chain, tei).call("Inference", event)
        assert len(tei.computed) == 1

    @pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), 1e300, 10**400])
    def test_numbers_that_are_none_are_rejected_by_their_record(
        self, chain: Chain, tei: Server, bad: Any
    ) -> None:
        tei.behaviour.spoil = lambda answer: [[bad, *answer[0][1:]], *answer[1:]]
        output = called(chain.other(shard_records=5), tei).run()
        assert output["counts"]["validation"]["rejected"] == 1
        assert len(results(chain, output).ids) == 4

    def test_scores_of_another_function_are_refused(
        self, store: legato.Store, classifier: Path
    ) -> None:
        def logits(answer: Any) -> Any:
            return [[{**one, "score": one["score"] * 5} for one in row] for row in answer]

        chain = Chain(store, classifier, task="text-classification")
        event = chain.until("Inference")
        with serve(classifier, chain.settings.task, kind="pipeline", spoil=logits) as server:
            with pytest.raises(ModelError, match="function that was asked for"):
                called(chain, server).call("Inference", event)
            server.behaviour.spoil = lambda answer: [row[:1] for row in answer]
            with pytest.raises(ModelError, match="each label"):
                called(chain, server).call("Inference", event)
            server.behaviour.spoil = lambda answer: [
                [{**one, "label": "LABEL_7"} for one in row] for row in answer
            ]
            with pytest.raises(ModelError, match="does not have"):
                called(chain, server).call("Inference", event)


def write(handler: BaseHTTPRequestHandler, *parts: bytes, pause: float = 0) -> bool:
    for part in parts:
        time.sleep(pause)
        try:
            handler.wfile.write(part)
        except OSError:
            break
    handler.close_connection = True
    return True


def reset(handler: BaseHTTPRequestHandler, _: bytes) -> bool:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    return True


HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN: dict[str, Callable[[BaseHTTPRequestHandler, bytes], bool]] = {
    "nothing": lambda h, _: write(h),
    "reset": reset,
    "no HTTP": lambda h, _: write(h, b"SSH-2.0-x\r\n"),
    "cut head": lambda h, _: write(h, HEAD + b"Content-Le"),
    "cut body": lambda h, _: write(h, HEAD + b"Content-Length: 100\r\n\r\n[[1, 2"),
    "cut chunks": lambda h, _: write(h, HEAD + b"Transfer-Encoding: chunked\r\n\r\n20\r\n[[1.5, 2"),
    "cut without a length": lambda h, _: write(h, HEAD + b"\r\n[[1, 2"),
    "slow head": lambda h, _: write(h, *[HEAD, b"X-A: b\r\n", *[b"X-B: c\r\n"] * 40], pause=0.05),
    "slow body": lambda h, _: write(
        h, HEAD + b"Content-Length: 100\r\n\r\n", *[b"["] * 60, pause=0.05
    ),
    "endless head": lambda h, _: write(h, HEAD, *[b"X-A: b\r\n"] * 1000),
}


class TestTransport:
    @pytest.mark.parametrize("broken", BROKEN)
    def test_an_answer_that_breaks_off_is_transient_and_asked_once(
        self, chain: Chain, tei: Server, broken: str
    ) -> None:
        event = chain.until("Inference")
        tei.behaviour.break_off = BROKEN[broken]
        started = time.monotonic()
        with pytest.raises(EndpointUnavailableError, match="no whole answer"):
            called(chain, tei, timeout_s=0.6).call("Inference", event)
        assert time.monotonic() - started < 1.6
        assert len(tei.computed) == 1
        tei.behaviour.break_off = lambda _h, _b: False
        assert called(chain, tei).call("Inference", event)["vectors"]

    @pytest.mark.parametrize("told", [True, False])
    def test_a_huge_body_is_not_read(
        self, chain: Chain, tei: Server, monkeypatch: pytest.MonkeyPatch, told: bool
    ) -> None:
        monkeypatch.setattr(_http, "MAX_ANSWER_BYTES", 100_000)
        event = chain.until("Inference")
        sent = [0]

        def huge(handler: BaseHTTPRequestHandler, _: bytes) -> bool:
            length = b"Content-Length: 99999999\r\n" if told else b""
            handler.wfile.write(HEAD + length + b"\r\n")
            try:
                for _piece in range(1000):
                    sent[0] += handler.wfile.write(b" " * 10_000)
            except OSError:
                pass
            handler.close_connection = True
            return True

        tei.behaviour.break_off = huge
        with pytest.raises(ModelError, match="more than 100,000 bytes"):
            called(chain, tei).call("Inference", event)

    def test_nobody_listens(self, chain: Chain, tiny_bert: Path) -> None:
        event = chain.until("Inference")
        with serve(tiny_bert) as server:
            gone = called(chain, server)
        with pytest.raises(EndpointUnavailableError, match="ConnectionRefusedError"):
            gone.call("Inference", event)

    def test_the_address_that_was_checked_is_called(
        self, tei: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name that resolves to something else the second time is not asked a second time."""
        asked = []

        def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            if host != "tei.test" or asked.count(host) > 1:
                raise AssertionError(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        place = Place.of(f"http://tei.test:{tei.port}")
        allowed = Allowed([f"http://tei.test:{tei.port}", "127.0.0.0/8"])
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: (
                real(host, *a, **k) if host == "127.0.0.1" else getaddrinfo(host, a[0])
            ),
        )
        client = Client(place, allowed, NoCredentials(), timeout_s=5, scale_up_s=0)
        assert client.look("/info")["model_id"] == "org/tiny"
        client._connections.close()
        assert client.look("/info")["model_id"] == "org/tiny"
        client.close()
        # Not even by the library, which would connect anew by the name.
        client.look("/info")
        client._connections._free[0].close()
        with pytest.raises(EndpointUnavailableError, match="NotConnected"):
            client.look("/info")
        client.close()
        assert asked == ["tei.test"]
        assert {r.headers["host"] for r in tei.requests} == {f"tei.test:{tei.port}"}

    def test_no_proxy_of_the_environment_is_used(
        self, chain: Chain, tei: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert called(chain, tei).run()["status"] == "complete"

    def test_connections_are_kept_and_closed(self, chain: Chain, tei: Server) -> None:
        before = threading.active_count()
        called(chain, tei, concurrency=1).run()
        for _ in range(100):
            if threading.active_count() <= before:
                break
            time.sleep(0.02)
        assert threading.active_count() <= before

    def test_tls(
        self, chain: Chain, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = certificate(tmp_path)
        with serve(tiny_bert, tls=both) as server:
            event = chain.until("Inference")
            with pytest.raises(ModelError, match="certificate that is not trusted"):
                called(chain, server).call("Inference", event)
            monkeypatch.setenv("SSL_CERT_FILE", str(both))
            assert called(chain, server).call("Inference", event)["vectors"]
            server.behaviour.break_off = BROKEN["slow body"]
            event["run"] = {**event["run"], "id": "r9"}
            server.behaviour.sha = None
            with pytest.raises(EndpointUnavailableError, match=r"in 0.6 s"):
                called(chain, server, timeout_s=0.6).call("Inference", event)


def certificate(folder: Path) -> Path:
    """Return a file with key and certificate of 127.0.0.1."""
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("apt-get install openssl")
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both


class TestCredentials:
    def test_without_any_nothing_is_sent(
        self, chain: Chain, tei: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        called(chain, tei).run()
        assert not any("authorization" in request.headers for request in tei.requests)

    def test_a_token_of_the_environment(
        self, chain: Chain, tei: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tei.behaviour.token = TOKEN
        remote = called(chain, tei, credentials="env")
        event = chain.until("Inference")
        for unusable in ("", "two words", "line\nbreak", "ü"):
            monkeypatch.setenv("HF_TOKEN", unusable)
            with pytest.raises(SettingsError, match="HF_TOKEN is") as caught:
                remote.call("Inference", event)
            assert not unusable or unusable not in str(caught.value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert remote.call("Inference", event)["vectors"]

    def test_a_refused_token_is_fetched_anew_once(
        self, chain: Chain, tei: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tei.behaviour.token = TOKEN
        monkeypatch.setenv("HF_TOKEN", "hf_old")
        real = EnvironmentCredentials.refresh
        asked = []

        def refresh(credentials: EnvironmentCredentials) -> str | None:
            asked.append(1)
            monkeypatch.setenv("HF_TOKEN", TOKEN)
            return real(credentials)

        monkeypatch.setattr(EnvironmentCredentials, "refresh", refresh)
        remote = called(chain.other(shard_records=5), tei, credentials="env", concurrency=4)
        tei.behaviour.max_rows = 1
        assert remote.run()["status"] == "complete"
        assert asked == [1]
        refused = [r for r in tei.requests if r.headers["authorization"] == "Bearer hf_old"]
        assert len(refused) == 1

    def test_a_token_that_stays_refused_is_not_sent_again(
        self,
        chain: Chain,
        tei: Server,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        tei.behaviour.token = "hf_other"
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        remote = called(chain, tei, credentials="env")
        event = chain.until("Inference")
        lines: list[str] = []
        handler = stage.handler.bind(remote.settings, chain.store, log=lines.append)
        with pytest.raises(AccessDeniedError, match="the token is refused") as caught:
            handler(event)
        assert len(tei.requests) == 1
        stored = b"".join(chain.store.get(key) for key in chain.store.list("runs/r1/"))
        said = [repr(remote.settings), repr(tei.endpoint(credentials="env")), str(caught.value)]
        said += [repr(EnvironmentCredentials()), caplog.text, stored.decode(), *lines]
        assert lines
        assert not any("secretsecret" in text for text in said)

    def test_no_token_goes_in_the_clear(self, tei: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        place = Place.of("http://10.0.0.1:8080")
        client = Client(
            place,
            Allowed(["http://10.0.0.1:8080"]),
            EnvironmentCredentials(),
            timeout_s=1,
            scale_up_s=0,
        )
        with pytest.raises(AccessDeniedError, match=r"no token is sent to http://10.0.0.1:8080"):
            client.look("/info")
        assert not tei.requests


class TestAnswers:
    def test_nested_labels(self) -> None:
        read = labelled(["a", "b"])
        row = [{"label": "b", "score": 0.25}, {"label": "a", "score": 0.75}]
        for one in (row, [row], [[row]]):
            assert read(one, 1) == [[0.75, 0.25]]
        for two in ([row, row], [[row, row]]):
            assert read(two, 2) == [[0.75, 0.25]] * 2
        alone = labelled(["a"])
        assert alone([{"label": "a", "score": 1}, {"label": "a", "score": 2}], 2) == [[1.0], [2.0]]
        with pytest.raises(ModelError, match="two labels have one name"):
            labelled(["a", "a"])

    def test_both_forms_of_zero_shot(self) -> None:
        read = zero_shot(["a", "b"])
        pairs = [{"label": "b", "score": 0.9}, {"label": "a", "score": 0.1}]
        named = {"sequence": "x", "labels": ["b", "a"], "scores": [0.9, 0.1]}
        for answer in (pairs, [pairs], named, [named]):
            assert read(answer, 1) == [[0.1, 0.9]]
        for wrong in ({"labels": ["a"]}, {"labels": ["a"], "scores": []}, [5], 5, None, []):
            with pytest.raises(ModelError):
                read(wrong, 1)

    @pytest.mark.parametrize(
        "answer",
        [
            [{"index": 0, "score": 1.0}, {"index": 0, "score": 1.0}],
            [{"index": 0, "score": 1.0}, {"index": 2, "score": 1.0}],
            [{"index": 0, "score": 1.0}, {"index": True, "score": 1.0}],
            [{"index": 0, "score": 1.0}, {"index": 1, "score": "1"}],
            [{"index": 0, "score": 1.0}],
            [1, 2],
        ],
    )
    def test_rankings_that_are_none(self, answer: Any) -> None:
        with pytest.raises(ModelError):
            read_ranking(answer, 2)

    def test_vectors_in_an_object(self) -> None:
        assert read_vectors({"embeddings": [[1, 2]]}, 1) == [[1.0, 2.0]]


class TestWorkflow:
    def workflow(self, **changes: Any) -> legato.Workflow:
        common: dict[str, Any] = {"name": "w", "task": "feature-extraction", "model": "/m"}
        url = "https://abc.eu-west-1.aws.endpoints.huggingface.cloud"
        return legato.Workflow(**{**common, "backend": legato.Endpoint(url), **changes})

    def test_its_environment_is_read_back(self) -> None:
        endpoint = legato.Endpoint(
            "https://tei.example/a",
            server="tei",
            revision=SHA,
            allowed_hosts=["tei.example", "10.1.0.0/16"],
            credentials="env",
            concurrency=9,
            timeout_s=12.5,
            scale_up_s=0,
        )
        environment = self.workflow(backend=endpoint).environment(
            store="memory://s", model_revision="r", dataset_id="d", dataset_version="v"
        )
        assert legato.Endpoint.of(Settings.from_env(environment)) == endpoint
        with pytest.raises(SettingsError, match="LEGATO_ENDPOINT is not set"):
            legato.Endpoint.of(Settings())

    def test_the_document_has_the_same_states_and_waits_for_the_server(self) -> None:
        here, there = self.workflow(backend=None), self.workflow()
        assert there.children == "STANDARD"
        before, after = here.document()["States"], there.document()["States"]
        assert list(before) == list(after)
        tasks = [after["PromptInference"], after["Shards"]["ItemProcessor"]["States"]["Inference"]]
        for task in tasks:
            first, second, *_ = task["Retry"]
            assert first["ErrorEquals"] == ["EndpointUnavailableError"]
            assert "EndpointUnavailableError" not in second["ErrorEquals"]
            # An endpoint takes minutes to start.
            longest = first["MaxDelaySeconds"] * first["MaxAttempts"] / 2
            assert longest > 600
        express = self.workflow(children="EXPRESS").document()["States"]
        child = express["Shards"]["ItemProcessor"]["States"]["Inference"]
        waits = [
            min(child["Retry"][0]["MaxDelaySeconds"], child["Retry"][0]["IntervalSeconds"] * 2**n)
            for n in range(child["Retry"][0]["MaxAttempts"])
        ]
        assert sum(waits) < child["TimeoutSeconds"]
        others = {"Begin", "Ingestion", "PromptPreprocessing", "PromptValidation", "Storage"}
        for name in others:
            assert before[name] == after[name]

    def test_its_function_is_another_one(self) -> None:
        template = self.workflow().template()
        about = template["Resources"]["InferenceFunction"]["Properties"]
        assert about["Handler"] == "legato.stages.endpoint.handler"
        assert "abc" in about["Environment"]["Variables"]["LEGATO_ENDPOINT"]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"backend": "https://tei.example"}, "legato.Endpoint"),
            ({"compute": "batch"}, "the server decides"),
            ({"dtype": "int8"}, "the server decides"),
            ({"device": "cuda"}, "the server decides"),
            (
                {
                    "task": "text-ranking",
                    "parameters": {"query": "x"},
                    "backend": legato.Endpoint(
                        "https://router.huggingface.co/hf-inference/models/a/b"
                    ),
                },
                "needs a TEI server",
            ),
        ],
    )
    def test_what_no_server_can_do(self, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(WorkflowError, match=said):
            self.workflow(**changes)

    @pytest.mark.parametrize(
        "changes",
        [
            {"server": "vllm"},
            {"revision": "main"},
            {"revision": 5},
            {"credentials": "hf_token"},
            {"concurrency": 0},
            {"concurrency": True},
            {"timeout_s": float("nan")},
            {"timeout_s": 0},
            {"scale_up_s": -1},
            {"allowed_hosts": "tei.example"},
            {"allowed_hosts": [5]},
            {"url": 5},
        ],
    )
    def test_values_of_an_endpoint(self, changes: dict[str, Any]) -> None:
        given = {"url": "https://tei.example", **changes}
        with pytest.raises(WorkflowError, match=f"{next(iter(changes))} of the endpoint"):
            legato.Endpoint(**given)

    def test_the_router(self) -> None:
        router = legato.Endpoint("https://router.huggingface.co/hf-inference/models/a/b")
        assert router.server == "pipeline"
        with pytest.raises(WorkflowError, match="pipeline with the router"):
            legato.Endpoint(router.url, server="tei")


def test_the_routers_paths(chain: Chain, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from legato._endpoint import _servers

    with serve(tiny_bert, kind="pipeline") as server:
        monkeypatch.setattr(_servers, "ROUTER", "127.0.0.1")
        endpoint = f"{server.origin}/hf-inference/models/a/b"
        remote = called(chain, server, server="pipeline")
        values = {**vars(remote.settings), "endpoint": endpoint}
        remote.settings = Settings(**values)
        remote.run()
        assert {request.path for request in server.requests} == {
            "/hf-inference/models/a/b/pipeline/feature-extraction"
        }


class TestTheClientOfHuggingFace:
    """What huggingface_hub's own client sends to these servers has the fields that legato sends."""

    def sent(self, server: Server, call: Callable[[Any], Any]) -> dict[str, Any]:
        hub = pytest.importorskip("huggingface_hub")
        server.requests.clear()
        call(
            hub.InferenceClient(
                server.origin + ("/embed" if server.behaviour.kind == "tei" else "")
            )
        )
        (request,) = server.computed
        body: dict[str, Any] = request.body
        return body

    def ours(self, chain: Chain, server: Server) -> dict[str, Any]:
        server.requests.clear()
        called(chain, server).run(texts=["w5 w6 w7"])
        (request,) = server.computed
        body: dict[str, Any] = request.body
        return body

    @pytest.mark.parametrize("kind", ["tei", "pipeline"])
    def test_vectors(self, chain: Chain, tiny_bert: Path, kind: str) -> None:
        with serve(tiny_bert, kind=kind) as server:
            ours = self.ours(chain, server)
            theirs = self.sent(
                server,
                lambda client: client.feature_extraction(
                    "w5 w6 w7", normalize=True, truncate=False
                ),
            )
        assert {**theirs, "inputs": [theirs["inputs"]]} == ours

    def test_labels(self, store: legato.Store, classifier: Path) -> None:
        chain = Chain(store, classifier, task="text-classification")
        with serve(classifier, chain.settings.task, kind="pipeline") as server:
            server.behaviour.spoil = lambda answer: (
                [answer] if isinstance(answer[0], dict) else answer
            )
            ours = self.ours(chain, server)
            theirs = self.sent(
                server,
                lambda client: client.text_classification(
                    "w5 w6 w7", function_to_apply="softmax", top_k=3
                ),
            )
        assert {**theirs, "inputs": [theirs["inputs"]]} == ours

    def test_candidate_labels(self, store: legato.Store, classifier: Path) -> None:
        parameters = {
            "candidate_labels": ["w20", "w21"],
            "hypothesis_template": "w30 {}",
            "multi_label": True,
        }
        chain = Chain(store, classifier, task="zero-shot-classification", parameters=parameters)

        def listed(answer: dict[str, Any]) -> list[dict[str, Any]]:
            pairs = zip(answer["labels"], answer["scores"], strict=True)
            return [{"label": label, "score": score} for label, score in pairs]

        with serve(classifier, chain.settings.task, kind="pipeline", spoil=listed) as server:
            ours = self.ours(chain, server)
            theirs = self.sent(
                server,
                lambda client: client.zero_shot_classification("w5 w6 w7", **parameters),
            )
        assert theirs == ours


def test_the_stage_reads_what_it_declares(chain: Chain, tei: Server) -> None:
    event = chain.until("Inference")
    answer = called(chain, tei).call("Inference", event)
    assert set(answer) >= {"vectors", "endpoint", "run", "shard", "counts"}
    for name in SHARD_STAGES:
        assert name.lower() in answer["counts"] or name == "Validation"
    vectors = chain.store.get(legato.Ref.from_dict(answer["vectors"]))
    assert native.read_safetensors(vectors)[0]["vectors"].dtype == np.float32


def test_the_page_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "endpoints.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    session: dict[str, Any] = {}
    exec(block, session)
    assert session["workflow"].backend.revision in session["workflow"].template().__repr__()


def test_no_plan_is_made_for_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    definition = tmp_path / "w.py"
    definition.write_text(
        "import legato\n"
        "workflow = legato.Workflow(name='w', task='feature-extraction', model='m',\n"
        "    backend=legato.Endpoint('https://router.huggingface.co/hf-inference/models/a/b'))\n"
    )
    assert cli(["plan", str(definition)]) != 0
    assert "knows the local engine alone" in capsys.readouterr().err

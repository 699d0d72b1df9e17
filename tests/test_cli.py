"""The command line: what it prints, what it returns, and what it says of mistakes."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import legato
from legato.cli import _progress, main
from tests import task_models

SECRET = "hunter2"

WORKFLOW = """
from __future__ import annotations
from dataclasses import dataclass
import legato
{extra}
workflow = legato.Workflow(
    name="tiny", task="feature-extraction", model={model!r}, shard_records=3, {options}
)
"""


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Cli:
    """A folder with ``w.py``, a workflow, and ``in.jsonl``, eight records."""

    folder: Path
    model: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, options: str = "", extra: str = "", model: Path | None = None) -> Path:
        path = self.folder / "w.py"
        text = WORKFLOW.format(model=str(model or self.model), options=options, extra=extra)
        path.write_text(text)
        return path

    def __call__(self, *arguments: str) -> Done:
        self.capsys.readouterr()
        try:
            status = main(list(arguments))
        except SystemExit as left:
            status = int(left.code or 0)
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err + out
        return Done(status, out, err)


@pytest.fixture
def cli(
    tmp_path: Path,
    tiny_bert: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "legato_workflow", raising=False)
    records = [{"id": f"r{i}", "text": f"the river {i} {SECRET}"} for i in range(8)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    made = Cli(tmp_path, tiny_bert, capsys)
    made.write()
    return made


def process(folder: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    command = [sys.executable, "-m", "legato.cli", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(Path(legato.__file__).parents[1])}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False,
        **options,
    )  # fmt: skip


def row(out: str, stage: str) -> list[str]:
    """Return the numbers of a stage in the report."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"{stage} ")]
    return line.split()[1:6]


# Runs


def test_a_run_reports_counts_time_and_place(cli: Cli) -> None:
    with (cli.folder / "in.jsonl").open("a") as file:
        file.write('{"id": "bad"}\n')
    done = cli("run", "w.py", "--input", "in.jsonl", "--query", "river 3")
    assert done.status == 0
    assert re.search(
        r"^tiny: complete, 9 records in [\d.]+ s \([\d,]+ records/s\)$", done.out, re.MULTILINE
    )
    assert row(done.out, "Ingestion") == ["9", "8", "1", "1", "0"]
    for stage in ("Preprocessing", "Inference", "Validation"):
        assert row(done.out, stage) == ["8", "8", "0", "3", "0"]
    assert row(done.out, "Storage") == ["8", "8", "0", "1", "0"]
    assert "rejected  1 missing_text" in done.out
    where = re.search(r"where and why: file://(\S+)", done.out)
    assert where is not None
    assert json.loads(Path(where[1]).read_text())["position"] == 9
    result = re.search(r"^result    file://(\S+)$", done.out, re.MULTILINE)
    assert result is not None
    assert result[1].startswith(str(cli.folder / ".legato/storage"))
    assert json.loads(Path(result[1]).read_text())["records"] == 8
    assert re.search(r"nearest to 'river 3'\n( +[\d.-]+  r\d\n){3}$", done.out)
    assert SECRET not in done.out + done.err


def test_progress_has_a_line_for_each_stage(cli: Cli) -> None:
    done = cli("run", "w.py", "--input", "in.jsonl")
    lines = [line.split() for line in done.err.splitlines()]
    assert [line[:4] for line in lines] == [
        [stage, "8", "of", "8"] for stage in legato.workflow.STAGES
    ]
    assert {line[4].rstrip(",") for line in lines} == {"records"}


def test_a_rate_and_the_time_left_are_shown_once_they_mean_something(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    shown = _progress.Lines()
    shown.update("Inference", 0, 100)
    now += 0.1
    shown.update("Storage", 5, 5)
    now += 9.9
    shown.update("Inference", 50, 100)
    assert capsys.readouterr().err.splitlines() == [
        "Storage               5 of 5 records",
        "Inference            50 of 100 records, 5/s, 10 s left",
    ]


def test_a_second_run_says_that_there_was_nothing_to_do(cli: Cli) -> None:
    first = cli("run", "w.py", "--input", "in.jsonl")
    assert "already there" not in first.out
    second = cli("run", "w.py", "--input", "in.jsonl")
    assert second.status == 0
    assert (
        "nothing to do: all 11 outputs were already there, nothing was computed again" in second.out
    )
    assert row(second.out, "Inference") == ["8", "8", "0", "3", "3"]
    with (cli.folder / "in.jsonl").open("a") as file:
        file.write('{"id": "new", "text": "new"}\n')
    third = cli("run", "w.py", "--input", "in.jsonl")
    assert "6 of 11 outputs were already there and were not computed again" in third.out


def test_a_prompt_shows_its_vector_and_no_words(cli: Cli) -> None:
    done = cli("run", "w.py", "--store", "memory://prompt", "--text", f"{SECRET} sea")
    assert done.status == 0
    shown = re.search(r"^vector    \[(.*), \.\.\.\] \(32 numbers\)$", done.out, re.MULTILINE)
    assert shown is not None
    expected = legato.pipeline("feature-extraction", model=cli.model)(f"{SECRET} sea")
    numbers = [float(number) for number in shown[1].split(",")]
    assert numbers == pytest.approx(expected[:6].tolist(), abs=1e-4)
    assert SECRET not in done.out + done.err
    assert "1 record in " in done.out
    assert not (cli.folder / ".legato").exists()


def test_a_prompt_shows_its_answer_where_there_is_no_vector(cli: Cli, tmp_path: Path) -> None:
    model = task_models.make(tmp_path / "model", "bert", "sequence-classification").path
    text = cli.write(model=model).read_text().replace("feature-extraction", "text-classification")
    (cli.folder / "w.py").write_text(text)
    done = cli("run", "w.py", "--store", "memory://answer", "--text", "w5 w6")
    assert done.status == 0
    shown = re.search(r"^answer    (.*)$", done.out, re.MULTILINE)
    assert shown is not None
    expected = legato.pipeline("text-classification", model=model)(["w5 w6"])[0]
    assert json.loads(shown[1])["label"] == expected["label"]
    assert "vector" not in done.out
    refused = cli("run", "w.py", "--store", "memory://answer", "--text", "w5", "--query", "w6")
    assert refused.status != 0
    assert "no vectors to search" in refused.err


@pytest.mark.parametrize("kind", ["csv", "txt", "parquet"])
def test_other_files_are_read(kind: str, cli: Cli) -> None:
    path = cli.folder / f"in.{kind}"
    texts = ["river", "rain", "wind"]
    if kind == "csv":
        path.write_text("id,text\n" + "".join(f"k-{t},{t}\n" for t in texts))
    elif kind == "txt":
        path.write_text("\n".join(texts))
    else:
        pq.write_table(pa.table({"id": [f"k-{t}" for t in texts], "text": texts}), path)
    done = cli("run", "w.py", "--input", str(path), "--query", "rain", "--query", "wind")
    assert done.status == 0
    nearest = re.findall(r"nearest to '(\w+)'\n +1\.000  (\S+)", done.out)
    ids = ["line-2", "line-3"] if kind == "txt" else ["k-rain", "k-wind"]
    assert nearest == list(zip(["rain", "wind"], ids, strict=True))


def test_the_workflows_queries_are_answered_unless_there_are_others(cli: Cli) -> None:
    cli.write('queries=["rain at night"], dataset="in.jsonl"')
    assert "nearest to 'rain at night'" in cli("run", "w.py").out
    other = cli("run", "w.py", "--query", "sea").out
    assert "nearest to 'sea'" in other
    assert "rain at night" not in other
    assert "nearest" not in cli("run", "w.py", "--text", "x").out


def test_the_store_may_be_named(cli: Cli) -> None:
    store = (cli.folder / "own store").as_uri()
    done = cli("run", "w.py", "--input", "in.jsonl", "--store", store)
    assert done.status == 0
    assert f"result    {store}/storage/" in done.out
    assert legato.Store.open(store).list("storage/")


def test_verbose_shows_a_line_for_each_task(cli: Cli) -> None:
    done = process(cli.folder, "run", "w.py", "--input", "in.jsonl", "-v")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert len(lines) == 11
    assert {line["state"] for line in lines} == {s.lower() for s in legato.workflow.STAGES}
    assert SECRET not in done.stderr + done.stdout


def test_history_and_records_have_no_words(cli: Cli) -> None:
    cli("run", "w.py", "--input", "in.jsonl")
    cli("run", "w.py", "--text", SECRET)
    files = [p for p in (cli.folder / ".legato").rglob("*") if p.is_file()]
    histories = [p for p in files if p.name == "history.jsonl"]
    assert len(histories) == 2
    assert all(json.loads(line)["type"] for p in histories for line in p.read_text().splitlines())
    with_words = {
        p.relative_to(cli.folder).parts[1] for p in files if SECRET in p.read_text("latin-1")
    }
    assert with_words == {"inputs", "ingestion"}


def test_bars_are_drawn_on_a_terminal(cli: Cli) -> None:
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    os.set_inheritable(theirs, True)
    command = [sys.executable, "-m", "legato.cli", "run", "w.py", "--input", "in.jsonl"]
    environ = {**os.environ, "PYTHONPATH": str(Path(legato.__file__).parents[1]), "TERM": "xterm"}
    child = subprocess.Popen(
        command, cwd=cli.folder, env=environ, stderr=theirs, stdout=subprocess.PIPE
    )
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65536):
            drawn += chunk
    except OSError:  # the terminal has gone with the process
        pass
    finally:
        os.close(ours)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
    for stage in legato.workflow.STAGES:
        assert re.search(rf"{stage} .*8/8", text), stage


def test_the_file_is_a_module_like_any_other(cli: Cli) -> None:
    (cli.folder / "beside.py").write_text("NAME = 'in.jsonl'\n")
    extra = "import beside\n@dataclass\nclass Own:\n    name: str = beside.NAME\n"
    cli.write("dataset=Own().name", extra)
    assert cli("run", "w.py").status == 0


def test_a_reader_that_has_gone_is_no_traceback(cli: Cli) -> None:
    shell = f"{sys.executable} -m legato.cli run w.py --input in.jsonl 2>err | true; echo ${{PIPESTATUS[0]}}"
    environ = {**os.environ, "PYTHONPATH": str(Path(legato.__file__).parents[1])}
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=cli.folder,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1"
    err = (cli.folder / "err").read_text()
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


# Statuses and messages


def test_an_incomplete_result_is_status_3_and_says_what_is_missing(cli: Cli) -> None:
    cli("run", "w.py", "--input", "in.jsonl")
    store = cli.folder / ".legato"
    ref = next(store.glob("inference/*/vectors.safetensors.ref"))
    ref.unlink()
    ref.with_suffix("").unlink()
    ref.with_suffix("").mkdir()
    failed = cli("run", "w.py", "--input", "in.jsonl")
    assert failed.status == 1
    assert re.match(
        r"legato: \w+Error: run run-\S+ failed in Inference: ", failed.err.splitlines()[-1]
    )
    cli.write("tolerated_failure_percentage=50")
    done = cli("run", "w.py", "--input", "in.jsonl")
    assert done.status == 3
    assert "tiny: incomplete" in done.out
    assert re.search(
        r"^missing shards: [012]; run again to complete the result$", done.out, re.MULTILINE
    )
    assert "nothing to do" not in done.out
    why = re.search(r"why: file://(\S+)", done.out)
    assert why is not None
    (record,) = Path(why[1]).iterdir()
    assert json.loads(record.read_text())["state"] == "inference"
    # Again: everything else is there now, and yet there is something to do.
    assert "nothing to do" not in cli("run", "w.py", "--input", "in.jsonl").out


def break_weights(model: Path, how: str) -> None:
    weights = model / "model.safetensors"
    if how == "pickle":
        weights.rename(model / "pytorch_model.bin")
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        weights.unlink()


@pytest.mark.parametrize("how", ["none", "pickle", "truncated"])
def test_a_model_without_whole_weights_is_one_line(how: str, cli: Cli) -> None:
    model = Path(shutil.copytree(cli.model, cli.folder / "model"))
    break_weights(model, how)
    cli.write(model=model)
    done = cli("run", "w.py", "--text", "x")
    assert done.status == 1
    last = done.err.splitlines()[-1]
    assert last.startswith("legato: ModelError: ")
    assert ("pytorch_model.bin" if how == "pickle" else "model.safetensors") in last


def mistake(*arguments: str, error: str, reason: str, workflow: str | None = None) -> object:
    return pytest.param(arguments, error, reason, workflow, id=reason[:30])


@pytest.mark.parametrize(
    ("arguments", "error", "reason", "workflow"),
    [
        mistake("nothere.py", error="WorkflowError", reason="no workflow file nothere.py"),
        mistake(".", error="WorkflowError", reason="no workflow file ."),
        mistake("in.jsonl", error="WorkflowError", reason="in.jsonl is no Python file"),
        mistake("w.py", error="WorkflowError", reason="w.py defines 0 workflows", workflow="x = 1"),
        mistake(
            "w.py",
            error="WorkflowError",
            reason="w.py defines 2 workflows",
            workflow="import legato\n"
            + "".join(
                f"w{i} = legato.Workflow(name='w', task='feature-extraction', model='m')\n"
                for i in range(2)
            ),
        ),
        mistake(
            "w.py",
            error="WorkflowError",
            reason="shard_records",
            workflow="import legato\n"
            "w = legato.Workflow(name='w', task='feature-extraction', model='m', shard_records=0)",
        ),
        mistake(
            "w.py",
            error="ModelError",
            reason="nowhere",
            workflow="import legato\n"
            "w = legato.Workflow(name='w', task='feature-extraction', model='nowhere')",
        ),
        mistake("w.py", error="InputError", reason="has no dataset; give --input FILE"),
        mistake("w.py", "--input", "no.csv", error="InputError", reason="no.csv cannot be read"),
        mistake("w.py", "--input", "w.py", error="InputError", reason="ending '.py' is unknown"),
        mistake("w.py", "--input", "empty.jsonl", error="InputError", reason="is empty"),
        mistake("w.py", "--input", "bad.jsonl", error="InputError", reason="none of the 2 records"),
        mistake("w.py", "--text", " ", error="InputError", reason="empty_text"),
        mistake(
            "w.py", "--text", "x", "--store", "x://y", error="InputError", reason="store 'x://y'"
        ),
        mistake(
            "w.py", "--text", "x", "--query", "", error="InputError", reason="a query is empty"
        ),
        mistake("w.py", "--text", "\udcff", error="InputError", reason="surrogate"),
        mistake("w.py", "--query", "\udcff", error="InputError", reason="a query is not UTF-8"),
    ],
)
def test_a_mistake_is_one_line_with_its_class_and_status_1(
    arguments: tuple[str, ...], error: str, reason: str, workflow: str | None, cli: Cli
) -> None:
    (cli.folder / "empty.jsonl").write_text("")
    (cli.folder / "bad.jsonl").write_text(f'{{"x": "{SECRET}"}}\n' * 2)
    if workflow is not None:
        (cli.folder / "w.py").write_text(workflow)
    done = cli("run", *arguments)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert line.startswith(f"legato: {error}: ")
    assert reason in line
    assert SECRET not in line
    assert done.out == ""


def test_a_wrong_revision_is_one_line(cli: Cli) -> None:
    cli.write('model_revision="sha256:0"')
    done = cli("run", "w.py", "--text", "x")
    assert done.status == 1
    assert "legato: ModelError: " in done.err
    assert "workflow tiny says sha256:0" in done.err


def test_a_malformed_variable_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEGATO_STOER", "x")
    done = cli("run", "w.py", "--text", "x")
    assert done.status == 1
    assert "legato: SettingsError: LEGATO_STOER is not a setting of legato" in done.err


def test_a_defect_in_the_users_file_is_shown_as_it_is(cli: Cli) -> None:
    (cli.folder / "w.py").write_text("1 / 0\n")
    done = process(cli.folder, "run", "w.py", "--text", "x")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert 'w.py", line 1' in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "w.py", "--text", "a", "--input", "b"],
        ["run", "w.py", "--frobnicate"],
        ["synth"],
        ["quantize", "model"],
    ],
)
def test_wrong_arguments_are_status_2_with_the_usage(arguments: list[str], cli: Cli) -> None:
    done = cli(*arguments)
    assert done.status == 2
    assert done.err.startswith("usage: legato")
    assert done.out == ""


def test_help_and_version(cli: Cli) -> None:
    assert cli("--version").out == f"legato {legato.__version__}\n"
    shown = cli("--help").out
    assert "run " in shown
    assert "synth " in shown
    assert "--store URL" in cli("run", "--help").out


# quantize


def test_quantize_writes_a_model_that_int8_loads(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "small"
    done = cli("quantize", str(cli.model), str(out))
    assert done.status == 0, done.err
    shown, digest = done.out.splitlines()
    assert shown == str(out)
    assert digest == legato.ModelFiles.from_dir(out).digest
    found = legato.Engine.from_dir(out, dtype="int8").embed("hello")
    assert (found == legato.Engine.from_dir(cli.model, dtype="int8").embed("hello")).all()


def test_quantize_says_what_is_wrong(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    done = cli("quantize", str(cli.model), str(tmp_path / "full"))
    assert done.status == 1
    assert "is not empty; give a new one" in done.err
    done = cli("quantize", str(tmp_path / "full"), str(tmp_path / "out"))
    assert done.status == 1
    assert done.err.startswith("legato: ModelError: ")
    done = cli("quantize", str(cli.model), str(tmp_path / "full" / "file"))
    assert done.status == 1
    assert done.err.startswith("legato: AccessDeniedError: ")


# synth


def test_synth_writes_the_document_that_runs(cli: Cli) -> None:
    done = cli("synth", "w.py")
    assert done.status == 0
    assert done.out.startswith("build/statemachine.asl.json\nbuild/template.yaml\n")
    path = cli.folder / "build/statemachine.asl.json"
    from legato.cli._load import load_workflow

    assert json.loads(path.read_text()) == load_workflow(cli.folder / "w.py").document()
    first = path.read_bytes()
    assert cli("synth", "w.py", "-o", "build").status == 0
    assert path.read_bytes() == first
    names = sorted(p.name for p in path.parent.iterdir() if p.is_file())
    assert names == ["diagram.mmd", "diagram.svg", "grants.md", path.name, "template.yaml"]
    assert {p.suffix for p in (path.parent / "policies").iterdir()} == {".json"}
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_synth_leaves_no_policy_of_a_role_that_is_gone(cli: Cli) -> None:
    policies = cli.folder / "build/policies"
    cli.write('trigger="incoming/"')
    assert cli("synth", "w.py").status == 0
    assert (policies / "rule.json").exists()
    (policies / "own.json").write_text("{}")
    cli.write("")
    assert cli("synth", "w.py").status == 0
    names = {path.stem for path in policies.iterdir()}
    assert not {"rule", "trigger"} & names
    # What it has not written it does not remove.
    assert "own" in names


def test_synth_that_cannot_write_says_so_and_leaves_nothing(cli: Cli) -> None:
    (cli.folder / "file").write_text("")
    done = cli("synth", "w.py", "-o", "file")
    assert done.status == 1
    assert done.err.startswith("legato: AccessDeniedError: file/statemachine.asl.json cannot be ")
    (cli.folder / "out/statemachine.asl.json").mkdir(parents=True)
    done = cli("synth", "w.py", "-o", "out")
    assert done.status == 1
    assert "give another folder with -o" in done.err
    assert [p.name for p in (cli.folder / "out").iterdir()] == ["statemachine.asl.json"]


def test_synth_needs_no_model_and_no_data(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write('dataset=lambda: 1 / 0, store="s3://bucket/prefix"', model=Path("/nowhere"))
    assert cli("synth", "w.py").status == 0

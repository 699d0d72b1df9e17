"""What a failure record says of a denial: which action, on which resource, for which role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import legato
from legato.errors import AccessDeniedError
from legato.local import STEPS
from legato.settings import Settings
from tests.conftest import use
from tests.servers.ministack import AwsServer, allow
from tests.test_stages import Chain, Context


@pytest.mark.parametrize(
    ("stage", "missing", "action", "area"),
    [
        ("Ingestion", "s3:PutObject", "s3:PutObject", "ingestion/"),
        ("Preprocessing", "s3:PutObject", "s3:PutObject", "preprocessing/"),
        ("Inference", "s3:PutObject", "s3:PutObject", "inference/"),
        ("Validation", "s3:PutObject", "s3:PutObject", "validation/"),
        ("Storage", "s3:ListBucket", "s3:ListBucket", "runs/"),
        ("Storage", "s3:GetObject", "s3:GetObject", "ingestion/"),
    ],
)
def test_the_record_names_action_resource_and_role(
    stage: str,
    missing: str,
    action: str,
    area: str,
    aws_server: AwsServer,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(aws_server.environ(), monkeypatch)
    bucket = aws_server.bucket()
    url = f"s3://{bucket}/legato"
    chain = Chain(legato.Store.open(url), tiny_bert)
    if stage == "Ingestion":
        source = chain.input(b'{"id": "a", "text": "the rain"}')
        event: Any = {"run": {"id": "r1"}, "input": source.to_dict()}
    else:
        event = chain.until(stage)
    objects = f"arn:aws:s3:::{bucket}/legato/*"
    allowed = [a for a in ("s3:GetObject", "s3:PutObject", "s3:ListBucket") if a != missing]
    role = aws_server.role(
        allow(allowed, [objects, f"arn:aws:s3:::{bucket}"]),
        allow("s3:PutObject", f"arn:aws:s3:::{bucket}/legato/runs/*/failures/*"),
    )
    use(aws_server.environ(role.keys, token=role.token), monkeypatch)
    store = legato.Store.open(url)
    settings = Settings(store=url, model_id=str(tiny_bert))
    with pytest.raises(AccessDeniedError):
        STEPS[stage].bind(settings, store)(event, Context())
    use(aws_server.environ(), monkeypatch)
    shard = event.get("shard", {}).get("index", 0)
    record = json.loads(chain.store.get(f"runs/r1/failures/{stage.lower()}-{shard:05d}.json"))
    about = [record.get(name) for name in ("state", "run_id", "error", "function_request_id")]
    assert about == [stage.lower(), "r1", "AccessDeniedError", "request"]
    assert record.get("shard", 0) == shard
    assert record["reason"].startswith(f"{action} s3://{bucket}/legato")
    assert area in record["reason"]
    assert f"arn:aws:s3:::{bucket}" in record["reason"]
    assert role.arn.rpartition("/")[2] in record["reason"]

"""Steps that tests give to `python -m legato.worker`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import legato
from legato.errors import InputError, StoreUnavailableError

SECRET = "hunter2 is the text of a user"


@legato.step(name="inference")
def quick(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
    return {"answer": event["question"] * 2}


@legato.step(name="inference")
def wrong(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
    raise InputError("this shard can never be computed")


@legato.step(name="inference")
def busy(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
    raise StoreUnavailableError("the store is asleep")


@legato.step(name="inference")
def leaky(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
    raise ValueError(SECRET)


@legato.step(name="inference")
def endless(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
    print("endless", flush=True)  # noqa: T201 - the test waits for it
    time.sleep(600)
    return {}


@legato.step(name="inference")
def native(event: Mapping[str, Any], task: legato.Task) -> Mapping[str, Any]:
    """Stay in one native call for `seconds` or more."""
    engine = legato.Engine.from_dir(task.settings.require("model_id"), device="cpu")
    count = 2000
    while True:
        texts = ["the quick old man walked through the rain"] * count
        started = time.time()
        engine.embed(texts)
        if time.time() - started >= event["seconds"]:
            return {"started": started, "ended": time.time()}
        count *= 2

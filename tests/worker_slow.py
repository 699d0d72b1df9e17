"""A module of a step that takes its time to load, for tests of `python -m legato.worker`."""

import time

from tests.worker_steps import endless as x

__all__ = ["x"]

print("loading", flush=True)  # noqa: T201 - the test waits for it
time.sleep(1)

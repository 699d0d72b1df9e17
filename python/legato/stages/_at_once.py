"""Several calls of a store at the same time: each waits for S3, not for this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

CALLS: Final = 16
"""Calls under way at the same time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(
    function: Callable[[Item], Result], items: Iterable[Item], calls: int = CALLS
) -> Iterator[Result]:
    """Return the results of a function, in the order of the items.

    No more than `calls` items are taken before their results are given out, so memory stays
    bounded. The first error ends it, once the calls under way have ended.

    Args:
        function: Called in other threads.
        items: May be made as they are asked for.
        calls: Most calls at the same time.
    """
    # Loaded where it is used: a shard's stages do without.
    from concurrent.futures import ThreadPoolExecutor

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(calls, thread_name_prefix="legato-store") as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == calls:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

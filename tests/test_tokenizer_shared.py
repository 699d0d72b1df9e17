"""One tokenizer for many threads and, after fork, for children."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from legato import Tokenizer
from legato._native import set_num_threads
from legato.encoding import BatchEncoding
from tokenizers_made import CORPUS, unigram, word_piece

SMALL = CORPUS[:3]
LARGE = (CORPUS * 10)[:600]  # more than one thread's work
CALLS: list[dict[str, Any]] = [
    {},
    {"padding": True, "return_tensors": "np"},
    {"truncation": True, "max_length": 9},
    {"truncation": True, "max_length": 9, "truncation_side": "left", "padding": "max_length"},
    {"truncation": True, "max_length": 12, "stride": 3, "return_overflowing_tokens": True},
    {
        "padding": True,
        "padding_side": "left",
        "pad_to_multiple_of": 8,
        "return_offsets_mapping": True,
    },
    {"add_special_tokens": False, "return_special_tokens_mask": True},
]


@pytest.fixture(scope="module", params=[word_piece, unigram], ids=lambda maker: maker.__name__)
def data(request: pytest.FixtureRequest) -> bytes:
    return request.param().to_str().encode()


def same(a: BatchEncoding, b: BatchEncoding) -> bool:
    def equal(one: Any, other: Any) -> bool:
        return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other

    return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)


def test_threads_with_options_of_their_own(data: bytes) -> None:
    alone = Tokenizer.from_bytes(data)
    wanted = [[alone(texts, **call) for call in CALLS] for texts in (SMALL, LARGE)]
    decoded = alone.decode_batch(wanted[0][0].input_ids)
    shared = Tokenizer.from_bytes(
        data
    )  # what is made when it is first needed, is made by many at once
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        for step in range(10):
            call = (thread + step) % len(CALLS)
            size = step % 5 == thread % 5
            assert same(shared((SMALL, LARGE)[size], **CALLS[call]), wanted[size][call])
            assert shared.decode_batch(wanted[0][0].input_ids) == decoded

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, thread) for thread in range(8)]:
            done.result()


def test_a_child_goes_on(data: bytes) -> None:
    tokenizer = Tokenizer.from_bytes(data)
    wanted = [[tokenizer(texts, **call) for call in CALLS] for texts in (SMALL, LARGE)]
    fresh = Tokenizer.from_bytes(data)
    ready, stop = threading.Event(), threading.Event()

    def busy() -> None:
        while not stop.is_set():
            tokenizer(LARGE, **CALLS[1])
            ready.set()

    thread = threading.Thread(target=busy)
    thread.start()
    ready.wait()
    try:
        for _ in range(3):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                failed = 1
                try:
                    for one in (tokenizer, fresh):
                        for texts, batches in zip((SMALL, LARGE), wanted, strict=True):
                            few = slice(1, 3) if texts is LARGE else slice(None)
                            for call, batch in zip(CALLS[few], batches[few], strict=True):
                                assert same(one(texts, **call), batch)
                    failed = 0
                finally:
                    os._exit(failed)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    set_num_threads(request.param)
    yield request.param
    set_num_threads(None)


def test_the_callers_thread_gives_what_others_give(data: bytes, threads: int) -> None:
    tokenizer = Tokenizer.from_bytes(data)
    wanted = [tokenizer(text).input_ids for text in LARGE]
    for times in (1, 100):  # on the thread that calls, if there is one; on others in any case
        assert tokenizer(LARGE * times).input_ids == wanted * times, threads
    assert tokenizer.decode_batch(wanted) == [tokenizer.decode(ids) for ids in wanted]


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.usefixtures("threads")
def test_ctrl_c_ends_a_large_call(data: bytes, times: int) -> None:
    tokenizer = Tokenizer.from_bytes(data)
    texts = LARGE * times
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        any(tokenizer.encode(texts) is None for _ in range(100_000 // times))
    assert time.monotonic() - start < 30

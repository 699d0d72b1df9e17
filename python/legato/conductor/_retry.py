"""How often a state is tried again, and after how long."""

from __future__ import annotations

import random

from legato.conductor._failure import matches
from legato.conductor._model import Retrier

_LONGEST_S = 31_536_000.0  # a year, the longest that an execution on AWS can last


class Retries:
    """Counts the attempts of one visit to a state, for each retrier by itself.

    Args:
        retriers: The state's ``Retry``.
        rng: Where jitter comes from.
    """

    def __init__(self, retriers: tuple[Retrier, ...], rng: random.Random) -> None:
        self._retriers = retriers
        self._counts = [0] * len(retriers)
        self._rng = rng

    @property
    def total(self) -> int:
        """How often the state has been tried again."""
        return sum(self._counts)

    def delay_s(self, error: str) -> float | None:
        """Count an error and return the seconds to wait, None where the state is not tried again.

        The first retrier that matches decides, even where its attempts are used up.

        Args:
            error: The error's name.
        """
        for number, retrier in enumerate(self._retriers):
            if matches(retrier.error_equals, error):
                count = self._counts[number]
                if count >= retrier.max_attempts:
                    return None
                self._counts[number] += 1
                delay_s = backoff_s(retrier, count)
                return self._rng.uniform(0.0, delay_s) if retrier.full_jitter else delay_s
        return None


def backoff_s(retrier: Retrier, earlier: int) -> float:
    """Return the wait before jitter.

    Args:
        retrier: Interval, rate and longest delay.
        earlier: How many retries it has made before, from 0.
    """
    longest = _LONGEST_S if retrier.max_delay_s is None else float(retrier.max_delay_s)
    try:
        return min(longest, retrier.interval_s * retrier.backoff_rate**earlier)
    except OverflowError:
        return longest

"""What a run will take, on paper: counts, times, cost, and which limit would break first."""

from legato.workflow._plan._assumptions import (
    INFERENCE_RATE,
    MB_PER_PROCESSOR,
    TOKENIZING_RATE,
    Load,
    Speed,
)
from legato.workflow._plan._checks import OK, Check, about
from legato.workflow._plan._counts import Counts, count_document
from legato.workflow._plan._estimate import Plan, largest_load, make_plan
from legato.workflow._plan._prices import DATED, NOT_INCLUDED, REGION, SOURCES, Prices

__all__ = [
    "DATED",
    "INFERENCE_RATE",
    "MB_PER_PROCESSOR",
    "NOT_INCLUDED",
    "OK",
    "REGION",
    "SOURCES",
    "TOKENIZING_RATE",
    "Check",
    "Counts",
    "Load",
    "Plan",
    "Prices",
    "Speed",
    "about",
    "count_document",
    "largest_load",
    "make_plan",
]

"""Readers: chunks of bytes to records, streaming, every record accepted or rejected."""

from legato.stages._readers._kind import KINDS, Kind, kind_of
from legato.stages._readers._read import MAX_RECORD_BYTES, read_records
from legato.stages._readers._record import REASONS, Reason, Record, Rejected

__all__ = [
    "KINDS",
    "MAX_RECORD_BYTES",
    "REASONS",
    "Kind",
    "Reason",
    "Record",
    "Rejected",
    "kind_of",
    "read_records",
]

"""Readers: chunks of bytes to records, streaming, every record accepted or rejected."""

from legato.stages._readers._kind import COMPRESSED, KINDS, Kind, ending_of, kind_of
from legato.stages._readers._read import MAX_RECORD_BYTES, read_records
from legato.stages._readers._record import REASONS, Reason, Record, Rejected

__all__ = [
    "COMPRESSED",
    "KINDS",
    "MAX_RECORD_BYTES",
    "REASONS",
    "Kind",
    "Reason",
    "Record",
    "Rejected",
    "ending_of",
    "kind_of",
    "read_records",
]

"""What the blocks of the controller tell each other: rows to be computed, events of rows, records of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Array, Value
from amaranth.lib import data, stream

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS

__all__ = [
    "decision",
    "events_of",
    "look_up",
    "plane_fields_of",
    "query_facts",
    "query_issue",
    "read_row",
    "row_place",
]

S = data.StructLayout


def row_place(config: Config) -> S:
    """Which row of which job in flight."""
    return S(
        {
            "context": config.context_width,
            "query": config.position_width,  # row of the job
            "group": config.group_width,  # its query head's place in the group
        }
    )


def query_facts(config: Config) -> S:
    """What a :func:`query_row` says besides its elements."""
    members = dict(payloads.query_row(config).members)
    del members["elements"]
    return S(members)


def query_issue(config: Config) -> S:
    """A row to be computed: the request for its Q row, and what is to be joined with that."""
    return S({"request": payloads.query_request(config), "facts": query_facts(config)})


def decision(config: Config) -> S:
    """The exp sum of a row is known, and with it whether the row is flat."""
    return S(
        {
            "tag": payloads.row_tag(config),
            "flat": 1,  # of a first pass: the row is dropped, and computed again with its LSBs
        }
    )


def read_row(config: Config) -> S:
    """QKMultiply has read all keys of a row."""
    return S(
        {
            "context": config.context_width,
            "low": 1,  # with all their bits
        }
    )


def events_of(shape) -> stream.Signature:
    """Events that are always taken: ``valid`` for one cycle each."""
    return stream.Signature(shape, always_ready=True)


def look_up(record, records: Sequence, context):
    """Assignment of the record of a context, from the context table."""
    return Value.cast(record).eq(Array(Value.cast(entry) for entry in records)[context])


def plane_fields_of(command, record, tensor: str):
    """Assignments of what a fetch command takes from a job's record as it is (``tensor``: key, key_lsb or value)."""
    return [
        command.plane.base.eq(record[f"{tensor}_base"]),
        command.plane.width.eq(LSB_BITS if tensor == "key_lsb" else record[f"{tensor}_bits"]),
        command.plane.log_slices.eq(record.log_slices),
        command.plane.skew.eq(record.skew),
        command.listed.eq(record.listed),
        command.list.eq(record.list),
    ]

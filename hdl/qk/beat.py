"""Payloads inside Q×K: headers of queries, beats, controls of lanes, products."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from hdl.spec.config import Config
from hdl.spec.payloads import line_shape, query_row

__all__ = ["lane_select", "line_beat", "product_array", "query_header", "served_slices"]


def query_header(config: Config) -> data.StructLayout:
    """A query without its elements."""
    return data.StructLayout({
        name: field.shape for name, field in query_row(config) if name not in ("tag", "elements")
    } | {"context": config.context_width})  # fmt: skip


def line_beat(config: Config) -> data.StructLayout:
    """What travels beside the products of one beat."""
    return data.StructLayout(
        {
            **line_shape(config),
            "log_slices": 3,
            "first": 1,  # first beat of its line
            "last": 1,  # last beat of its line
        }
    )


def lane_select(config: Config) -> data.StructLayout:
    """How one lane picks its operands, one cycle after the beat is issued."""
    return data.StructLayout(
        {
            "row_b": 1,  # multiply with the next query
            "low": 1,  # use the lower bits of the K words
            "slice": max(1, (config.max_slices - 1).bit_length()),  # slice of the query
        }
    )


def product_array(config: Config) -> data.ArrayLayout:
    """Products by lane and element."""
    return data.ArrayLayout(data.ArrayLayout(signed(2 * config.operand_width), config.lane_width), config.lanes)


def served_slices(config: Config) -> list[int]:
    """The log_slices of the served dimensions, ascending."""
    return sorted({config.log_slices(dim) for dim in config.dims})

"""Commands that have begun and are not answered: payloads between those who begin them and those who answer."""

from __future__ import annotations

from amaranth.lib import data

from hdl.command.command_fetch import fetched_command
from hdl.spec.config import Config
from hdl.spec.config_sizes import ceil_log2
from hdl.spec.formats import append_command, head_row, plan

__all__ = ["ENTRY_WIDTH", "closed_command", "open_append", "open_commands", "open_head", "opened_command"]

ENTRY_WIDTH = 6
"""Bits of the number of an open command, of which memories by number use the lowest; it is also its job id in the
core."""


def open_commands(config: Config) -> int:
    """Commands that can be open at a time, a power of two: those of the core, and some on their ways to and from it."""
    return max(8, 1 << ceil_log2(config.contexts + 4))


def opened_command(queues: int) -> data.StructLayout:
    """A command begins; told before anything of it reaches the core."""
    return data.StructLayout({"entry": ENTRY_WIDTH, "fetched": fetched_command(queues)})


def open_head() -> data.StructLayout:
    """A head of an open command, in the order of its table."""
    return data.StructLayout(
        {
            "entry": ENTRY_WIDTH,
            "row": head_row(),
            "last": 1,
            "error": 1,  # it could not be read: the core got zeros in its place
        }
    )


def open_append() -> data.StructLayout:
    """An open APPEND with its plan."""
    return data.StructLayout({"entry": ENTRY_WIDTH, "command": append_command(), "plan": plan()})


def closed_command() -> data.StructLayout:
    """An open command of which the core has heard nothing, and will not."""
    return data.StructLayout({"entry": ENTRY_WIDTH, "code": 8})

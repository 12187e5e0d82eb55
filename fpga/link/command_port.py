"""What the command decoder and the blocks that execute commands have in common."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.spec.protocol import MAX_PAYLOAD, Error
from hdl.spec.widths import bits_for_count

__all__ = ["LENGTH_BITS", "CommandPort", "finish"]

LENGTH_BITS = bits_for_count(MAX_PAYLOAD)


def CommandPort() -> wiring.Signature:
    """One command at a time, as the decoder sees it.

    ``type`` and ``length`` are there two cycles before ``start`` and hold until ``done``. A block takes no more than
    ``length`` bytes of the body, and need not take them all. ``done`` comes with the last byte of the answer or later;
    bytes of an answer that ends with an error are lost.
    """
    return wiring.Signature(
        {
            "start": Out(1),  # pulse
            "type": Out(8),
            "length": Out(LENGTH_BITS),  # bytes of the request's payload
            "body": Out(stream.Signature(8)),  # the payload; goes on with bytes of no meaning after it
            "answer": In(stream.Signature(8, always_ready=True)),  # payload of the answer
            "done": In(1),  # pulse
            "error": In(8),  # fpga.spec.protocol.Error, or 0; with done
        }
    )


def finish(m: Module, command, error: Error | int = 0) -> None:
    """Set ``done`` for the next cycle; the block sets it back in every other one."""
    m.d.sync += [command.done.eq(1), command.error.eq(int(error))]

"""Tops with the names of pins that users of AXI know: ``aclk``, ``aresetn``, ``s_axis_*``, ``m_axis_*``."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Module, ResetSignal, Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.spatten import SpAtten
from hdl.spatten_axi import SpAttenAXI
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["AXIPins", "StreamPins", "axi_stream"]


def _clock(m, pins):
    """The pins' clock domain; ``aresetn`` is synchronous, active low."""
    m.domains.sync = ClockDomain()
    m.d.comb += [ClockSignal().eq(pins.aclk), ResetSignal().eq(~pins.aresetn)]


class AXIPins(wiring.Component):
    """:class:`hdl.spatten_axi.SpAttenAXI` with its clock and reset as pins.

    Members
    -------
    aclk, aresetn : In(1)                     rising edge; synchronous, active low
    s_axil, irq, m_axi, m_axi_ctl : as of SpAttenAXI
    """

    def __init__(self, config: Config, *, queues: int = 2, address_bits: int = 64):
        self.inner = SpAttenAXI(config, queues=queues, address_bits=address_bits)
        super().__init__({"aclk": In(1), "aresetn": In(1), **dict(self.inner.signature.members)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.spatten = inner = self.inner
        _clock(m, self)
        m.d.comb += self.irq.eq(inner.irq)
        connect(m, flipped(self.s_axil), inner.s_axil)
        connect(m, inner.m_axi_ctl, flipped(self.m_axi_ctl))
        for mine, other in zip(self.m_axi, inner.m_axi, strict=True):
            connect(m, other, flipped(mine))
        return m


def axi_stream(width: int) -> wiring.Signature:
    """AXI4-Stream of ``width`` bits, as its source has it; TDATA is filled to whole bytes with zeros."""
    return wiring.Signature({"tdata": Out(-(-width // 8) * 8), "tvalid": Out(1), "tready": In(1)})


class StreamPins(wiring.Component):
    """:class:`hdl.spatten.SpAtten` with its streams as AXI4-Stream: ``s_axis_<name>`` into it, ``m_axis_<name>`` out.

    TDATA is the stream's payload (docs/protocol.md), which also tells which item is the last one.

    Members
    -------
    aclk, aresetn : In(1)     rising edge; synchronous, active low
    s_axis_job, s_axis_layer, s_axis_heads, s_axis_ids : In(axi_stream)
    m_axis_status, m_axis_survivor, m_axis_out, m_axis_prob : Out(axi_stream)
    m_axis_memory : Out(axi_stream).array(num_channels)    requests
    s_axis_memory : In(axi_stream).array(num_channels)     responses
    window_base, window_limit, counters, counters_clear : as of SpAtten
    """

    PLAIN = ("window_base", "window_limit", "counters", "counters_clear")

    def __init__(self, config: Config):
        self.inner = inner = SpAtten(config)
        self.streams: dict[str, Any] = {}
        """Name -> stream of SpAtten, or those of its memory channels."""
        members = {"aclk": In(1), "aresetn": In(1)}
        for name, member in inner.signature.members.items():
            if member.is_signature and name != "memory":
                pins = f"{'m' if member.flow == Out else 's'}_axis_{name}"
                self.streams[pins] = getattr(inner, name)
                members[pins] = wiring.Member(member.flow, _pins_of(member.signature))
        channel = payloads.MemoryPort(config).members
        for pins, part in (("m_axis_memory", "request"), ("s_axis_memory", "response")):
            self.streams[pins] = [getattr(port, part) for port in inner.memory]
            flow = Out if part == "request" else In
            members[pins] = wiring.Member(flow, _pins_of(channel[part].signature)).array(config.num_channels)
        super().__init__(members | {name: inner.signature.members[name] for name in self.PLAIN})

    def elaborate(self, platform):
        m = Module()
        m.submodules.spatten = inner = self.inner
        _clock(m, self)
        for name in self.PLAIN:
            mine, other = Value.cast(getattr(self, name)), Value.cast(getattr(inner, name))
            m.d.comb += mine.eq(other) if inner.signature.members[name].flow == Out else other.eq(mine)
        for name, ports in self.streams.items():
            pins, out = getattr(self, name), self.signature.members[name].flow == Out
            for mine, port in zip(pins, ports, strict=True) if isinstance(ports, list) else [(pins, ports)]:
                m.d.comb += _joined(mine, port, out)
        return m


def _pins_of(signature: wiring.Signature) -> wiring.Signature:
    """AXI4-Stream for a stream's payload."""
    return axi_stream(Shape.cast(signature.members["payload"].shape).width)


def _joined(pins, port, out: bool):
    """Statements that connect a stream and its pins."""
    payload = Value.cast(port.payload)
    if out:
        rest = Const(0, len(pins.tdata) - len(payload))
        return [pins.tdata.eq(Cat(payload, rest)), pins.tvalid.eq(port.valid), port.ready.eq(pins.tready)]
    return [payload.eq(pins.tdata[: len(payload)]), port.valid.eq(pins.tvalid), pins.tready.eq(port.ready)]

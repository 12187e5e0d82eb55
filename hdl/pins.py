"""Tops with the names of pins that users of AXI know: ``aclk``, ``aresetn``, ``s_axis_*``, ``m_axis_*``."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Module, ResetSignal, Shape, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Flow, In, Out, connect, flipped

from hdl.spatten import SpAtten
from hdl.spatten_axi import SpAttenAXI
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
    aclk, aresetn : In(1)     rising edge; synchronous, active low
    s_axil, irq, m_axi, m_axi_ctl    as of SpAttenAXI
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

    A memory channel n is ``m_axis_memory_<n>_request`` and ``s_axis_memory_<n>_response``. TDATA is the stream's
    payload (docs/protocol.md); what an item's last beat is, its payload tells.

    Members
    -------
    aclk, aresetn : In(1)     rising edge; synchronous, active low
    and the streams and plain ports of SpAtten
    """

    def __init__(self, config: Config):
        self.inner = SpAtten(config)
        self.streams: dict[str, tuple] = {}
        """Name -> its path in SpAtten."""
        members = {"aclk": In(1), "aresetn": In(1)}
        for path, member in _streams(self.inner.signature):
            width = Shape.cast(member.signature.members["payload"].shape).width
            name = f"{'m' if member.flow == Out else 's'}_axis_{'_'.join(map(str, path))}"
            self.streams[name] = path
            members[name] = wiring.Member(member.flow, axi_stream(width))
        self.plain = [n for n, member in self.inner.signature.members.items() if member.is_port]
        super().__init__(members | {name: self.inner.signature.members[name] for name in self.plain})

    def elaborate(self, platform):
        m = Module()
        m.submodules.spatten = inner = self.inner
        _clock(m, self)
        for name in self.plain:
            mine, other = getattr(self, name), getattr(inner, name)
            pair = (mine, other) if inner.signature.members[name].flow == Out else (other, mine)
            m.d.comb += Value.cast(pair[0]).eq(Value.cast(pair[1]))
        for name, path in self.streams.items():
            pins, port = getattr(self, name), inner
            for step in path:
                port = port[step] if isinstance(step, int) else getattr(port, step)
            payload = Value.cast(port.payload)
            if self.signature.members[name].flow == Out:
                rest = len(pins.tdata) - len(payload)
                m.d.comb += [pins.tdata.eq(Cat(payload, Const(0, rest))), pins.tvalid.eq(port.valid)]
                m.d.comb += port.ready.eq(pins.tready)
            else:
                m.d.comb += [payload.eq(pins.tdata[: len(payload)]), port.valid.eq(pins.tvalid)]
                m.d.comb += pins.tready.eq(port.ready)
        return m


def _streams(signature: wiring.Signature, before: tuple = (), turned: bool = False):
    """Path and member of every stream; the flow is as seen from outside of all of them."""
    for name, member in signature.members.items():
        if not member.is_signature:
            continue
        places = [(name,)] if not member.dimensions else [(name, index) for index in range(member.dimensions[0])]
        for place in places:
            flow = member.flow.flip() if turned else member.flow
            if isinstance(member.signature, stream.Signature):
                yield (*before, *place), wiring.Member(flow, member.signature)
            else:
                yield from _streams(member.signature, (*before, *place), flow == Flow.In)

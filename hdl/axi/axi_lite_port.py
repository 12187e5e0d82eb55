"""The protocol of an AXI4-Lite subordinate: one access after another, each answered a cycle later."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi_lite import DATA_WIDTH, AXI4Lite, Response

__all__ = ["AxiLitePort", "access_answer", "access_request"]


def access_request(address_width: int) -> data.StructLayout:
    """One access to a word."""
    return data.StructLayout(
        {
            "write": 1,  # or it is a read, or nothing: a read changes nothing
            "word": address_width - 2,  # address / 4
            "data": DATA_WIDTH,  # of a write
            "strb": DATA_WIDTH // 8,  # of a write, a bit for each byte
        }
    )


def access_answer() -> data.StructLayout:
    """What came of an access."""
    return data.StructLayout(
        {
            "data": DATA_WIDTH,  # of a read
            "error": 1,
        }
    )


class AxiLitePort(wiring.Component):
    """Takes reads and writes, one of each at a time, and has them done one after another.

    Address and data of a write may come in any order, and neither response waits for the other. All outputs of ``bus``
    are flip-flops, ready too. From the acceptance of an address (or of data, if that is later) to the response
    :attr:`LATENCY` cycles; a read that meets a write takes one more. The two low bits of an address are ignored.

    Members
    -------
    bus : In(AXI4Lite(address_width=address_width))
    request : Out(access_request(address_width))    ``data`` and ``strb`` are held in the next cycle, too
    answer : In(access_answer())                    to the request of the cycle before
    """

    LATENCY = 3

    def __init__(self, address_width: int):
        super().__init__(
            {
                "bus": In(AXI4Lite(address_width=address_width)),
                "request": Out(access_request(address_width)),
                "answer": In(access_answer()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus, request = self.bus, self.request
        write_over = bus.bvalid & bus.bready
        read_over = bus.rvalid & bus.rready
        have_address, (write_address,) = self._hold(m, bus.awvalid, bus.awready, write_over, bus.awaddr)
        have_data, (word, strobes) = self._hold(m, bus.wvalid, bus.wready, write_over, bus.wdata, bus.wstrb)
        have_read, (read_address,) = self._hold(m, bus.arvalid, bus.arready, read_over, bus.araddr)
        write_now, write_done = self._begin(m, have_address & have_data, write_over)
        _, read_done = self._begin(m, have_read & ~write_now, read_over)
        m.d.comb += [
            request.write.eq(write_now),
            request.word.eq(Mux(write_now, write_address, read_address)[2:]),
            request.data.eq(word),
            request.strb.eq(strobes),
        ]
        response = Mux(self.answer.error, Response.SLVERR, Response.OKAY)
        self._respond(m, write_done, write_over, bus.bvalid, bus.bresp, response)
        self._respond(m, read_done, read_over, bus.rvalid, bus.rresp, response)
        with m.If(read_done):
            m.d.sync += bus.rdata.eq(self.answer.data)
        return m

    @staticmethod
    def _hold(m, valid, ready, over, *payload):
        """Takes a channel's item and keeps it until its response is ``over``: (whether there is one, its parts)."""
        full = Signal(name="full")
        free = Signal(name="free", init=1)  # ~full
        items = [Signal.like(part, name="held", reset_less=True) for part in payload]
        m.d.comb += ready.eq(free)
        with m.If(valid & free):
            m.d.sync += [full.eq(1), free.eq(0), *(item.eq(part) for item, part in zip(items, payload, strict=True))]
        with m.If(over):
            m.d.sync += [full.eq(0), free.eq(1)]
        return full, items

    @staticmethod
    def _begin(m, can, over):
        """(``can``, for the first cycle of an access; whether that was the cycle before)."""
        begun, done, now = Signal(name="begun"), Signal(name="done"), Signal(name="now")
        m.d.comb += now.eq(can & ~begun)
        m.d.sync += done.eq(now)
        with m.If(now):
            m.d.sync += begun.eq(1)
        with m.If(over):
            m.d.sync += begun.eq(0)
        return now, done

    @staticmethod
    def _respond(m, done, over, valid, code, response):
        with m.If(done):
            m.d.sync += [valid.eq(1), code.eq(response)]
        with m.If(over):
            m.d.sync += valid.eq(0)

"""Commands of the Fetcher, and the parameters of the loads in progress."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import Config
from hdl.fetch_layouts import NUM_BUFFER_LOADS, load_info, load_width, plane_fields

__all__ = ["LoadTable"]


class LoadTable(wiring.Component):
    """Take commands, one a cycle, keep their parameters, and start them in the channels or the gather unit.

    A command waits only while the load before it into the same half is not complete; one for the other half is taken
    at once. KEY_LSB before KEY before VALUE before gather. Two cycles from a command to its start.

    Members
    -------
    key_lsb, key, value, gather : In(stream.Signature(fetch_command))
    busy : In(loads)    loads in progress
    gather_busy : In(1)
    clear : Out(stream.Signature(load, always_ready=True))    in the cycle in which a command is taken
    start : Out(stream.Signature(load, always_ready=True))    the channels walk the load's rows
    gather_start : Out(stream.Signature(load, always_ready=True))    gather lines will give the load's rows
    info : Out(ArrayLayout(load_info, loads))
    """

    def __init__(self, config: Config):
        self.config = config
        load = stream.Signature(load_width(config), always_ready=True)
        command = stream.Signature(layouts.fetch_command(config))
        super().__init__(
            {
                **{name: In(command) for name in ("key_lsb", "key", "value", "gather")},
                "busy": In(NUM_BUFFER_LOADS),
                "gather_busy": In(1),
                "clear": Out(load),
                "start": Out(load),
                "gather_start": Out(load),
                "info": Out(data.ArrayLayout(load_info(config), NUM_BUFFER_LOADS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        command = Signal(layouts.fetch_command(config), reset_less=True)
        kinds = ((self.key_lsb, layouts.KEY_LSB), (self.key, layouts.KEY), (self.value, layouts.VALUE))
        ports = [*kinds, (self.gather, layouts.VALUE)]
        before = []
        load = [Signal(load_width(config), name=f"load_{i}", reset_less=True) for i in range(2)]
        valid = [Signal(name=f"valid_{i}") for i in range(2)]
        gather = [Signal(name=f"gather_{i}", reset_less=True) for i in range(2)]
        for port, kind in ports:
            half = port.payload.half
            blocked = (self.busy.bit_select(2 * kind, 2)).bit_select(half, 1)
            if port is self.gather:
                blocked |= self.gather_busy | (valid[0] & gather[0]) | (valid[1] & gather[1])
            taken = Signal(name=f"taken_{len(before)}")
            m.d.comb += [
                port.ready.eq(~blocked & ~Cat(before).any()),
                taken.eq(port.valid & port.ready),
            ]
            before.append(port.valid & ~blocked)
            with m.If(taken):
                m.d.comb += [self.clear.valid.eq(1), self.clear.payload.eq(2 * kind + half)]
                m.d.sync += [command.eq(port.payload), gather[0].eq(port is self.gather)]
        m.d.sync += [
            valid[0].eq(self.clear.valid),
            load[0].eq(self.clear.payload),
            valid[1].eq(valid[0]),
            load[1].eq(load[0]),
            gather[1].eq(gather[0]),
        ]
        fields = plane_fields(config, command.plane)
        fields |= {name: command[name] for name in ("shift", "count", "repeat", "listed", "list")}
        for i in range(NUM_BUFFER_LOADS):
            with m.If(valid[0] & (load[0] == i)):
                m.d.sync += [self.info[i][name].eq(value) for name, value in fields.items()]
                with m.If(gather[0]):
                    m.d.sync += self.info[i].repeat.eq(0)
        m.d.comb += [
            self.start.valid.eq(valid[1] & ~gather[1]),
            self.start.payload.eq(load[1]),
            self.gather_start.valid.eq(valid[1] & gather[1]),
            self.gather_start.payload.eq(load[1]),
        ]
        return m

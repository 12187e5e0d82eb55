"""Commands of the Fetcher, and the parameters of the loads in progress."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import Config
from hdl.fetch_layouts import LSB_LOADS, kind_of, load_info, load_start, load_width, plane_fields
from hdl.layouts import KEY, KEY_LSB, VALUE, bits_for_count

__all__ = ["LoadTable"]


class LoadTable(wiring.Component):
    """Take commands, one a cycle, keep their parameters, and start them in the walkers or the gather unit.

    The loads of a kind get its entries in turn; a command waits while all of them are in use. V loads and gathered rows
    do not mix: each waits until the others are complete. KEY_LSB before KEY before VALUE before gather. Two cycles from
    a command to its start, which waits while the id list that it reads is written.

    Members
    -------
    key_lsb, key, value, gather : In(stream.Signature(fetch_command))
    done : In(3)    pulse by kind: its oldest load is complete
    list_busy : In(2)    this id list is being written
    start, start_lsb : Out(stream.Signature(load_start, always_ready=True))    the load's rows are to be walked
    gather_start : Out(stream.Signature(load))    gather lines will give the load's rows
    info : Out(ArrayLayout(load_info, 3 * loads))    of KEY, KEY_LSB and VALUE
    busy : Out(1)    a load is in progress
    """

    def __init__(self, config: Config):
        self.config = config
        start = stream.Signature(load_start(config), always_ready=True)
        command = stream.Signature(layouts.fetch_command(config))
        super().__init__(
            {
                **{name: In(command) for name in ("key_lsb", "key", "value", "gather")},
                "done": In(3),
                "list_busy": In(2),
                "start": Out(start),
                "start_lsb": Out(start),
                "gather_start": Out(stream.Signature(load_width(config))),
                "info": Out(data.ArrayLayout(load_info(config), 3 * config.loads)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        held = data.StructLayout({"load": load_width(config), "gather": 1})
        taken, first = Signal(), Signal(held)
        second, second_valid = Signal(held, reset_less=True), Signal()
        command, command_valid = Signal(layouts.fetch_command(config), reset_less=True), Signal()
        command_held = Signal(held, reset_less=True)
        listed, which = Signal(reset_less=True), Signal(reset_less=True)
        skew = Signal(config.channel_bits, reset_less=True)
        written = self.list_busy.bit_select(which, 1)
        sent = Mux(second.gather, self.gather_start.ready, ~(listed & written))
        advance = Signal()
        m.d.comb += advance.eq(~second_valid | sent)
        self.choose(m, advance, taken, first, command)
        with m.If(advance):
            m.d.sync += [
                command_valid.eq(taken),
                command_held.eq(first),
                second_valid.eq(command_valid),
                second.eq(command_held),
                listed.eq(command.listed),
                which.eq(command.list),
                skew.eq(command.plane.skew),
            ]
        self.write(m, command, command_held, advance & command_valid)
        is_lsb = kind_of(second.load) == KEY_LSB
        walked = second_valid & ~second.gather & sent
        m.d.comb += [
            self.start.valid.eq(walked & ~is_lsb),
            self.start_lsb.valid.eq(walked & is_lsb),
            self.gather_start.valid.eq(second_valid & second.gather),
            self.gather_start.payload.eq(second.load),
        ]
        for start in (self.start, self.start_lsb):
            m.d.comb += [start.payload.load.eq(second.load), start.payload.skew.eq(skew)]
        return m

    def choose(self, m, advance, taken, first, command):
        """The command that is taken, and the entry that it gets."""
        config = self.config
        gathering = Signal()  # the VALUE loads in progress are gathered rows
        kinds = (KEY, KEY_LSB, VALUE)
        used = [Signal(bits_for_count(config.loads), name=f"used_{kind}") for kind in kinds]
        index = [Signal(config.load_width, name=f"index_{kind}") for kind in kinds]
        uses = [Signal(name=f"use_{kind}") for kind in kinds]
        earlier = Const(0)
        for port, kind in ((self.key_lsb, KEY_LSB), (self.key, KEY), (self.value, VALUE), (self.gather, VALUE)):
            is_gather = port is self.gather
            blocked = used[kind] == (LSB_LOADS if kind == KEY_LSB else config.loads)
            if kind == VALUE:
                blocked |= (used[kind] != 0) & (gathering != is_gather)
            m.d.comb += port.ready.eq(advance & ~blocked & ~earlier)
            earlier = earlier | (port.valid & ~blocked)
            with m.If(port.valid & port.ready):
                m.d.comb += [
                    taken.eq(1),
                    uses[kind].eq(1),
                    first.load.eq(Cat(index[kind], Const(kind, 2))),
                    first.gather.eq(is_gather),
                ]
                m.d.sync += command.eq(port.payload)
                if kind == VALUE:
                    m.d.sync += gathering.eq(is_gather)
        for kind in kinds:
            step = index[kind] + 1
            m.d.sync += used[kind].eq(used[kind] + uses[kind] - self.done[kind])
            with m.If(uses[kind]):
                m.d.sync += index[kind].eq(step[0] if kind == KEY_LSB else step)
        m.d.comb += self.busy.eq(Cat(count != 0 for count in used).any())

    def write(self, m, command, held, enable):
        config = self.config
        fields = plane_fields(config, command.plane, command.pair)
        names = ("slot", "seq", "count", "repeat", "pair", "pair_offset", "listed", "list", "shift")
        fields |= {name: command[name] for name in names}
        fields["repeat"] = Mux(held.gather, 0, command.repeat)
        for kind in (KEY, KEY_LSB, VALUE):
            for i in range(LSB_LOADS if kind == KEY_LSB else config.loads):
                entry = self.info[kind * config.loads + i]
                with m.If(enable & (held.load == (kind << config.load_width | i))):
                    m.d.sync += [entry[name].eq(value) for name, value in fields.items()]

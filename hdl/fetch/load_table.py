"""Commands of the Fetcher, and the parameters of the loads in progress."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.fetch_layouts import LSB_LOADS, kind_of, load_info, load_start, load_width, plane_fields
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, VALUE
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_skid import StreamSkid

__all__ = ["LoadTable"]


class LoadTable(wiring.Component):
    """Take commands, keep their parameters, and start them in the walkers or the gather unit.

    A command a cycle, but at most every other cycle one of the same kind.
    The loads of a kind get its entries in turn; a command waits while all of them are in use. V loads and gathered rows
    do not mix: each waits until the others are complete. KEY_LSB before KEY before VALUE before gather. Latency 2
    from a command to its start, which waits while the id list that it reads is written.

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

    LATENCY = 2
    """From a command to its start."""

    def __init__(self, config: Config):
        self.config = config
        start = stream.Signature(load_start(config), always_ready=True)
        command = stream.Signature(payloads.fetch_command(config))
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
        command, command_valid = Signal(payloads.fetch_command(config), reset_less=True), Signal()
        command_held = Signal(held, reset_less=True)
        start = data.StructLayout({"held": held, "listed": 1, "list": 1, "skew": config.channel_bits})
        # A start that waits must not hold up the commands in the same cycle.
        m.submodules.skid = skid = StreamSkid(start)
        advance = skid.i.ready
        self.choose(m, advance, taken, first, command)
        with m.If(advance):
            m.d.sync += [command_valid.eq(taken), command_held.eq(first)]
        self.write(m, command, command_held, advance & command_valid)
        m.d.comb += [
            skid.i.valid.eq(command_valid),
            skid.i.payload.held.eq(command_held),
            skid.i.payload.listed.eq(command.listed),
            skid.i.payload.list.eq(command.list),
            skid.i.payload.skew.eq(command.plane.skew),
        ]
        self.send(m, skid.o)
        return m

    def send(self, m, i):
        """A start goes out when its list is written, and the gather unit takes it."""
        second, valid = Signal(i.payload.shape(), reset_less=True), Signal()
        waits = Signal(reset_less=True)  # its list was written in the cycle before
        sent = Mux(second.held.gather, self.gather_start.ready, ~waits)
        m.d.comb += i.ready.eq(~valid | sent)
        m.d.sync += waits.eq(second.listed & self.list_busy.bit_select(second.list, 1))
        with m.If(i.ready):
            m.d.sync += [valid.eq(i.valid), second.eq(i.payload)]
            m.d.sync += waits.eq(i.payload.listed & self.list_busy.bit_select(i.payload.list, 1))
        load = second.held.load
        is_lsb = kind_of(load) == KEY_LSB
        walked = valid & ~second.held.gather & sent
        m.d.comb += [
            self.start.valid.eq(walked & ~is_lsb),
            self.start_lsb.valid.eq(walked & is_lsb),
            self.gather_start.valid.eq(valid & second.held.gather),
            self.gather_start.payload.eq(load),
        ]
        for start in (self.start, self.start_lsb):
            m.d.comb += [start.payload.load.eq(load), start.payload.skew.eq(second.skew)]

    def choose(self, m, advance, taken, first, command):
        """The command that is taken if they ``advance``, and the entry that it gets."""
        config = self.config
        gathering = Signal()  # the VALUE loads in progress are gathered rows
        kinds = (KEY, KEY_LSB, VALUE)
        used = [Signal(bits_for_count(config.loads), name=f"used_{kind}") for kind in kinds]
        index = [Signal(config.load_width, name=f"index_{kind}") for kind in kinds]
        uses = [Signal(name=f"use_{kind}") for kind in kinds]
        chosen = Signal(command.shape(), name="chosen")
        ports = ((self.key_lsb, KEY_LSB), (self.key, KEY), (self.value, VALUE), (self.gather, VALUE))
        # Known a cycle before; the cycle behind a command of the same kind is left out, so that nothing has changed.
        free = Signal(len(ports))
        for i, (_, kind) in enumerate(ports):
            unlike = (used[kind] != 0) & (gathering != (i == 3)) if kind == VALUE else Const(0)
            limit = LSB_LOADS if kind == KEY_LSB else config.loads
            m.d.sync += free[i].eq((used[kind] != limit) & ~unlike & ~uses[kind])
        wanted = Cat(port.valid & may for (port, _), may in zip(ports, free, strict=True))
        m.d.comb += taken.eq(wanted.any())
        for i, (port, kind) in enumerate(ports):
            m.d.comb += port.ready.eq(advance & free[i] & ~wanted[:i].any())
            with m.If(wanted[i] & ~wanted[:i].any()):
                m.d.comb += [
                    first.load.eq(Cat(index[kind], Const(kind, 2))),
                    first.gather.eq(i == 3),
                    chosen.eq(port.payload),
                ]
        m.d.comb += [
            uses[KEY_LSB].eq(advance & wanted[0]),
            uses[KEY].eq(advance & wanted[1] & ~wanted[0]),
            uses[VALUE].eq(advance & wanted[2:].any() & ~wanted[:2].any()),
        ]
        with m.If(uses[VALUE]):
            m.d.sync += gathering.eq(~wanted[2])
        with m.If(advance):
            m.d.sync += command.eq(chosen)
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

"""Commands of the Fetcher, and the parameters of the loads in progress."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.fetch_layouts import LSB_LOADS, kind_of, load_info, load_start, load_width, plane_fields
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, VALUE
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_skid import StreamSkid

__all__ = ["LoadChoice", "LoadEntries", "LoadTable", "chosen_load"]


def chosen_load(config: Config) -> data.StructLayout:
    """A command with its place in the table."""
    return data.StructLayout(
        {
            "load": load_width(config),
            "gather": 1,  # gather lines will give its rows
            "command": payloads.fetch_command(config),
        }
    )


class LoadEntries(wiring.Component):
    """The entries of the table for loads of one kind: given in turn, and free again in the same order.

    Members
    -------
    take : In(1)     the entry is given to a load
    freed : In(1)    the oldest load is complete
    index : Out(n)   of the entry that comes next
    used : Out(n)    entries in use
    """

    def __init__(self, config: Config, *, lsb: bool):
        self.lsb = lsb
        super().__init__(
            {
                "take": In(1),
                "freed": In(1),
                "index": Out(config.load_width),
                "used": Out(bits_for_count(config.loads)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step = self.index + 1
        m.d.sync += self.used.eq(self.used + self.take - self.freed)
        with m.If(self.take):
            m.d.sync += self.index.eq(step[0] if self.lsb else step)
        return m


class LoadChoice(wiring.Component):
    """Choose the next command: KEY_LSB before KEY before VALUE before gather, in the same cycle.

    A command waits while all entries of its kind are in use, and in the cycle after one of its kind. V loads and
    gathered rows do not mix: each waits until the others are complete.

    Members
    -------
    key_lsb, key, value, gather : In(stream.Signature(fetch_command))
    done : In(3)    pulse by kind: its oldest load is complete
    take : In(1)     the chosen command is taken
    valid : Out(1)    there is one
    chosen : Out(chosen_load)    until it is taken, a more urgent one may come in its place
    busy : Out(1)    a load is in progress
    """

    def __init__(self, config: Config):
        self.config = config
        command = stream.Signature(payloads.fetch_command(config))
        super().__init__(
            {
                **{name: In(command) for name in ("key_lsb", "key", "value", "gather")},
                "done": In(3),
                "take": In(1),
                "valid": Out(1),
                "chosen": Out(chosen_load(config)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        entries = [LoadEntries(config, lsb=kind == KEY_LSB) for kind in (KEY, KEY_LSB, VALUE)]
        for kind, entry in enumerate(entries):
            m.submodules[f"entries_{kind}"] = entry
            m.d.comb += entry.freed.eq(self.done[kind])
        ports = ((self.key_lsb, KEY_LSB), (self.key, KEY), (self.value, VALUE), (self.gather, VALUE))
        gathering = Signal()  # the VALUE loads in progress are gathered rows
        free = self.free(m, [kind for _, kind in ports], entries, gathering)
        wanted = Cat(port.valid & may for (port, _), may in zip(ports, free, strict=True))
        m.d.comb += [
            self.valid.eq(wanted.any()),
            self.busy.eq(Cat(entry.used != 0 for entry in entries).any()),
            entries[KEY_LSB].take.eq(self.take & wanted[0]),
            entries[KEY].take.eq(self.take & wanted[1] & ~wanted[0]),
            entries[VALUE].take.eq(self.take & wanted[2:].any() & ~wanted[:2].any()),
        ]
        with m.If(entries[VALUE].take):
            m.d.sync += gathering.eq(~wanted[2])
        for i, (port, kind) in enumerate(ports):
            m.d.comb += port.ready.eq(self.take & free[i] & ~wanted[:i].any())
            with m.If(wanted[i] & ~wanted[:i].any()):
                m.d.comb += [
                    self.chosen.load.eq(Cat(entries[kind].index, Const(kind, 2))),
                    self.chosen.gather.eq(port is self.gather),
                    self.chosen.command.eq(port.payload),
                ]
        return m

    def free(self, m, kinds, entries, gathering):
        """Whether each port's command may be taken; known a cycle before.

        The cycle after a command of the same kind is left out, so that nothing has changed since.
        """
        free = Signal(len(kinds))
        for i, kind in enumerate(kinds):
            entry, is_gather = entries[kind], i == len(kinds) - 1
            unlike = (entry.used != 0) & (gathering != is_gather) if kind == VALUE else Const(0)
            limit = LSB_LOADS if kind == KEY_LSB else self.config.loads
            m.d.sync += free[i].eq((entry.used != limit) & ~unlike & ~entry.take)
        return free


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
        m.submodules.choice = choice = LoadChoice(config)
        for name in ("key_lsb", "key", "value", "gather"):
            connect(m, flipped(getattr(self, name)), getattr(choice, name))
        valid, chosen = Signal(), Signal(chosen_load(config), reset_less=True)
        start = data.StructLayout(
            {"load": load_width(config), "gather": 1, "listed": 1, "list": 1, "skew": config.channel_bits}
        )
        # A start that waits must not hold up the commands in the same cycle.
        m.submodules.skid = skid = StreamSkid(start)
        advance = skid.i.ready
        with m.If(advance):
            m.d.sync += [valid.eq(choice.valid), chosen.eq(choice.chosen)]
        self.write(m, chosen, advance & valid)
        m.d.comb += [
            choice.done.eq(self.done),
            choice.take.eq(advance),
            self.busy.eq(choice.busy),
            skid.i.valid.eq(valid),
            skid.i.payload.load.eq(chosen.load),
            skid.i.payload.gather.eq(chosen.gather),
            skid.i.payload.listed.eq(chosen.command.listed),
            skid.i.payload.list.eq(chosen.command.list),
            skid.i.payload.skew.eq(chosen.command.plane.skew),
        ]
        self.send(m, skid.o)
        return m

    def send(self, m, i):
        """A start goes out when its list is written, and the gather unit takes it."""
        second, valid = Signal(i.payload.shape(), reset_less=True), Signal()
        waits = Signal(reset_less=True)  # its list was written in the cycle before
        sent = Mux(second.gather, self.gather_start.ready, ~waits)
        m.d.comb += i.ready.eq(~valid | sent)
        m.d.sync += waits.eq(second.listed & self.list_busy.bit_select(second.list, 1))
        with m.If(i.ready):
            m.d.sync += [valid.eq(i.valid), second.eq(i.payload)]
            m.d.sync += waits.eq(i.payload.listed & self.list_busy.bit_select(i.payload.list, 1))
        load = second.load
        is_lsb = kind_of(load) == KEY_LSB
        walked = valid & ~second.gather & sent
        m.d.comb += [
            self.start.valid.eq(walked & ~is_lsb),
            self.start_lsb.valid.eq(walked & is_lsb),
            self.gather_start.valid.eq(valid & second.gather),
            self.gather_start.payload.eq(load),
        ]
        for start in (self.start, self.start_lsb):
            m.d.comb += [start.payload.load.eq(load), start.payload.skew.eq(second.skew)]

    def write(self, m, chosen, enable):
        config, command = self.config, chosen.command
        fields = plane_fields(config, command.plane, command.pair)
        names = ("slot", "seq", "count", "repeat", "pair", "pair_offset", "listed", "list", "shift")
        fields |= {name: command[name] for name in names}
        fields["repeat"] = Mux(chosen.gather, 0, command.repeat)
        for kind in (KEY, KEY_LSB, VALUE):
            for i in range(LSB_LOADS if kind == KEY_LSB else config.loads):
                entry = self.info[kind * config.loads + i]
                with m.If(enable & (chosen.load == (kind << config.load_width | i))):
                    m.d.sync += [entry[name].eq(value) for name, value in fields.items()]

"""Cascade selection at the end of a layer: the heads and tokens of the next one (paper section III)."""

from __future__ import annotations

import dataclasses

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count, lane_count
from hdl.stream.stream_queue import StreamQueue
from hdl.topk.keep_mask import KeepMask
from hdl.topk.line_packer import LinePacker
from hdl.topk.quick_select import QuickSelect
from hdl.topk.zero_eliminator import ZeroEliminator

__all__ = ["CascadeSelect"]


def _rows_config(config: Config) -> Config:
    """A configuration whose rows hold all tokens and also all heads."""
    longest = max(config.max_tokens, config.max_heads)
    return dataclasses.replace(config, max_tokens=longest, buffer_dim=config.num_multipliers, line_queue=longest + 1)


def _report(config: Config) -> data.StructLayout:
    """Entries of a table on their way to the host: ``count`` of them from ``lane`` on."""
    entry = data.StructLayout({"id": max(8, config.position_width), "importance": N.IMPORTANCE_WIDTH})
    return data.StructLayout(
        {
            "job_id": 16,
            "token": 1,
            "entries": data.ArrayLayout(entry, config.lanes),
            "keep": config.lanes,
            "lane": range(config.lanes),
            "count": lane_count(config),
            "last": 1,  # the table ends
        }
    )


class SurvivorReport(wiring.Component):
    """Queue of entries for the host, ``lanes`` tokens a cycle in and one entry a cycle out.

    It holds a table of tokens, so that the selection, and the layers behind it, need not wait for the host.

    Members
    -------
    i : In(stream.Signature(_report(config)))
    o : Out(stream.Signature(survivor(config)))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(_report(config))),
                "o": Out(stream.Signature(payloads.survivor(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        words = -(-config.max_tokens // config.lanes)
        m.submodules.queue = queue = StreamQueue(_report(config), depth=words + 4)
        m.submodules.out = out = StreamQueue(payloads.survivor(config), depth=3)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        word, item = queue.o.p, out.i.p
        place = Signal(range(config.lanes))  # of the word's entries
        final, lane = Signal(), Signal(range(config.lanes))
        m.d.comb += [
            final.eq(place + 1 == word.count),
            lane.eq(word.lane | place),  # a word of more than one entry begins in lane 0
            out.i.valid.eq(queue.o.valid),
            queue.o.ready.eq(out.i.ready & final),
            item.job_id.eq(word.job_id),
            item.token.eq(word.token),
            item.id.eq(word.entries[lane].id),
            item.importance.eq(word.entries[lane].importance),
            item.keep.eq(word.keep.bit_select(lane, 1)),
            item.last.eq(word.token & word.last & final),
        ]
        with m.If(out.i.valid & out.i.ready):
            m.d.sync += place.eq(Mux(final, 0, place + 1))
        return m


class CascadeSelect(wiring.Component):
    """Exactly min(k, n) survivors of a layer's heads, then of its tokens: the most important, of equals the earliest.

    Each table is read twice, a head or ``lanes`` tokens a cycle: for quick-select, then to compare every entry with its
    threshold. The first reading falls away where all survive. Pinned tokens are above all others; importance is ranked,
    and handed out, after decay. Bit-exact with :func:`golden.datapath.cascade.select_tokens` and
    :func:`golden.datapath.cascade.select`.

    Members
    -------
    command : In(stream.Signature(select_command(config)))
    update : Out(1)               pulse: add what the layer's heads have gathered; not with ``num_heads`` = 0
    head_count : Out(n)           heads in the table
    head_busy : In(1)             from the cycle behind ``update`` on: the heads cannot be read yet
    head_read_en, head_rank : Out
    head_id, head_importance : In    of the rank, one enabled cycle later; hold until the next read
    fold : Out(1)                 pulse: as ``update``, for the tokens
    token_busy : In(1)            as ``head_busy``, for the tokens
    token_read_en, token_word : Out
    token_ids, token_importance : In    of the positions word * lanes, …, one enabled cycle later; hold until the next
                                        read
    id_write : Out(stream.Signature(id_write(config)))    surviving tokens, at positions 0, 1, 2, …, a word at a time;
                                                          a word is written behind the last reading of it
    o : Out(stream.Signature(survivor(config)))           every head, then every token; may go on behind ``done``
    done : Out(1)                 pulse: the new list has left
    num_survivors : Out(count_width)    tokens of the new list, with ``done``
    last_id : Out(16)             the last of them
    busy : Out(1)                 from the cycle behind the command to ``done``
    """

    KEY_WIDTH = N.IMPORTANCE_WIDTH + 1
    ID_WORDS = 4
    """Words of the new list that may wait before the reading does."""

    def __init__(self, config: Config):
        self.config = config
        self._rows = _rows_config(config)
        self._log_lanes = config.lanes.bit_length() - 1
        super().__init__(
            {
                "command": In(stream.Signature(payloads.select_command(config))),
                "update": Out(1),
                "head_count": Out(bits_for_count(config.max_heads)),
                "head_busy": In(1),
                "head_read_en": Out(1),
                "head_rank": Out(config.head_width),
                "head_id": In(8),
                "head_importance": In(N.IMPORTANCE_WIDTH),
                "fold": Out(1),
                "token_busy": In(1),
                "token_read_en": Out(1),
                "token_word": Out(bits_for_count(-(-config.max_tokens // config.lanes) - 1)),
                "token_ids": In(data.ArrayLayout(config.position_width, config.lanes)),
                "token_importance": In(data.ArrayLayout(N.IMPORTANCE_WIDTH, config.lanes)),
                "id_write": Out(stream.Signature(payloads.id_write(config))),
                "o": Out(stream.Signature(payloads.survivor(config))),
                "done": Out(1),
                "num_survivors": Out(config.count_width),
                "last_id": Out(16),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._declare()
        m.submodules.engine = engine = QuickSelect(self._rows, score_width=self.KEY_WIDTH)
        m.submodules.report = self._report = SurvivorReport(self.config)
        wiring.connect(m, self._report.o, wiring.flipped(self.o))
        self._write_ids(m)
        valid, word = self._read(m)
        line_waits = self._fill_lines(m, valid & ~self._emit, word, engine.i)
        word_waits = self._compare(m, valid & self._emit, word)
        m.d.comb += self._en.eq(~line_waits & ~word_waits)
        self._control(m, engine.o)
        return m

    def _declare(self):
        config, count_width = self.config, self._rows.count_width
        self._job = Signal(payloads.select_command(config), reset_less=True)
        self._tokens = Signal()  # the table in work is that of the tokens
        self._emit = Signal()  # second reading
        self._scan = Signal()  # entries are left to read
        self._en = Signal()
        self._count = Signal(count_width, reset_less=True)  # entries of the table
        self._keep = Signal(count_width, reset_less=True)  # of which so many survive
        self._chosen = Signal(reset_less=True)  # fewer than all survive
        self._index = Signal(count_width)  # next to read
        self._behind = Signal(count_width)  # entries behind it
        self._threshold = Signal(signed(self.KEY_WIDTH), reset_less=True)
        self._ties = Signal(count_width, reset_less=True)  # entries equal to the threshold that may still survive
        self._ended = Signal()  # the last entries go to the report
        self._room = Signal()  # for a word of ids; always, while the heads are read
        report = _report(config).members
        self._place = data.StructLayout({name: report[name] for name in ("lane", "count", "last")})
        self._word = data.StructLayout(
            {**self._place.members, "entries": report["entries"], "mask": config.lanes, "pinned": config.lanes}
        )

    def _read(self, m: Module) -> tuple[Value, Value]:
        """Words of entries in order: memory, shift by ``decay``, subtraction. A head is alone in its word.

        The shift by 16 is done on the way from the memory, the rest on the way to the subtraction.
        """
        config, job, index, tokens = self.config, self._job, self._index, self._tokens
        lanes = range(config.lanes)
        arrived, fetched, valid = (Signal(name=name) for name in ("arrived", "fetched", "valid"))
        place, here = (Signal(self._place, name=name, reset_less=True) for name in ("place", "here"))
        raw, word = (Signal(self._word, name=name, reset_less=True) for name in ("raw", "word"))
        start = Signal.like(index, reset_less=True)
        behind, step = self._behind, Mux(tokens, config.lanes, 1)
        in_word = behind[: self._log_lanes]
        m.d.comb += [
            place.last.eq(~behind[self._log_lanes :].any() & (tokens | ~in_word.any())),
            place.lane.eq(Mux(tokens, 0, index[: self._log_lanes])),
            place.count.eq(Mux(~tokens, 1, Mux(place.last, in_word + 1, config.lanes))),
            self.head_rank.eq(index),
            self.token_word.eq(index >> self._log_lanes),
            self.head_read_en.eq(self._en & self._scan & ~tokens),
            self.token_read_en.eq(self._en & self._scan & tokens),
        ]
        with m.If(self._en):
            m.d.sync += [
                arrived.eq(self._scan),
                fetched.eq(arrived),
                valid.eq(fetched),
                here.eq(place),
                start.eq(index),
            ]
            m.d.sync += [raw[name].eq(here[name]) for name in self._place.members]
            m.d.sync += word.eq(raw)
            with m.If(self._scan):
                m.d.sync += [index.eq(index + step), behind.eq(behind - step), self._scan.eq(~place.last)]
        with m.If(~self._scan):
            m.d.sync += [index.eq(0), behind.eq(self._count - 1)]
        decays = Signal(reset_less=True)
        m.d.sync += decays.eq(tokens & (job.decay != 0))
        for lane in lanes:
            old = self.token_importance[lane]
            position = start | lane  # of a token
            fall = Signal(N.IMPORTANCE_WIDTH, name=f"fall_{lane}", reset_less=True)
            with m.If(self._en):
                m.d.sync += [
                    raw.mask[lane].eq(Mux(tokens, lane < here.count, lane == here.lane)),
                    raw.pinned[lane].eq(
                        tokens & ((position < job.pin_first) | (position + job.pin_last >= self._count))
                    ),
                    raw.entries[lane].id.eq(Mux(tokens, self.token_ids[lane], self.head_id)),
                    raw.entries[lane].importance.eq(Mux(tokens, old, self.head_importance)),
                    fall.eq(Mux(decays, Mux(job.decay[4], old >> 16, old), 0)),
                    word.entries[lane].importance.eq(raw.entries[lane].importance - (fall >> job.decay[:4])),
                ]
        return valid, word

    def _key(self, word, lane: int) -> Value:
        """What an entry is ranked by: its importance, or 2**32 if it is pinned, less 2**32 to make it signed."""
        pinned = word.pinned[lane]
        return Cat(Mux(pinned, 0, word.entries[lane].importance), ~pinned).as_signed()

    def _fill_lines(self, m: Module, valid: Value, word, line) -> Value:
        """Entries to lines of quick-select; returns whether a full line waits for it."""
        lanes = self.config.lanes
        groups = self.config.topk_parallelism // lanes
        group = Signal(range(max(2, groups)))
        full = Signal()  # the word ends in the last lane of its group
        m.d.comb += full.eq(word.lane + word.count == lanes)
        with m.If(line.ready):
            m.d.sync += line.valid.eq(0)
        with m.If(self._en & valid):
            for place in range(groups * lanes):
                with m.If((group == place // lanes) & word.mask[place % lanes]):
                    m.d.sync += line.p.scores[place].eq(self._key(word, place % lanes))
            m.d.sync += [
                line.p.count.eq(group * lanes + word.lane + word.count),
                line.p.last.eq(word.last),
                line.valid.eq(word.last | (full & (group == groups - 1))),
            ]
            if groups > 1:  # else ``group`` stays 0
                with m.If(word.last):
                    m.d.sync += group.eq(0)
                with m.Elif(full):
                    m.d.sync += group.eq(group + 1)
        m.d.comb += line.p.k.eq(self._keep)
        return line.valid & ~line.ready

    def _compare(self, m: Module, valid: Value, word) -> Value:
        """Entries with the threshold, a register, then to report and list; returns whether they wait for these."""
        config = self.config
        m.submodules.mask = mask = KeepMask(lanes=config.lanes, count_width=self._rows.count_width)
        new, compared = Signal(), Signal(self._word, reset_less=True)
        above, equal = Signal(config.lanes, reset_less=True), Signal(config.lanes, reset_less=True)
        taken, keep = Signal(), Signal(config.lanes)
        report, ids = self._report.i, self._eliminator.i
        least, below_pinned = self._threshold[: N.IMPORTANCE_WIDTH], self._threshold[-1]
        with m.If(self._en):
            m.d.sync += [new.eq(valid), compared.eq(word)]
            for lane in range(config.lanes):
                # As the keys compare; without them, since the way through pinned to the comparison is too long.
                greater, same = (importance := word.entries[lane].importance) > least, importance == least
                m.d.sync += above[lane].eq(word.mask[lane] & below_pinned & (word.pinned[lane] | greater))
                m.d.sync += equal[lane].eq(word.mask[lane] & Mux(word.pinned[lane], ~below_pinned, below_pinned & same))
        m.d.comb += [
            mask.greater.eq(above),
            mask.equal.eq(equal),
            mask.ties.eq(self._ties),
            keep.eq(mask.keep),
            taken.eq(new & report.ready & self._room),
            self._ended.eq(taken & compared.last),
            report.valid.eq(new & self._room),
            report.p.job_id.eq(self._job.job_id),
            report.p.token.eq(self._tokens),
            *(report.p[name].eq(compared[name]) for name in ("entries", "lane", "count", "last")),
            report.p.keep.eq(keep),
            ids.valid.eq(taken & self._tokens),
            *(item.eq(entry) for item, entry in zip(ids.p.items, compared.entries, strict=True)),
            ids.p.keep.eq(keep),
            ids.p.last.eq(compared.last),
        ]
        with m.If(taken):
            m.d.sync += self._ties.eq(self._ties - mask.used)
        return new & ~taken

    def _write_ids(self, m: Module) -> None:
        """Survivors pushed together to words of the new list."""
        config = self.config
        lanes, entry = config.lanes, _report(config)["entries"].shape.elem_shape
        m.submodules.eliminator = self._eliminator = eliminator = ZeroEliminator(entry, lanes=lanes)
        m.submodules.packer = packer = LinePacker(entry, lanes_in=lanes, lanes_out=lanes)
        # Eliminator and packer never wait: the queue has room for all that is in them when words cease to come.
        depth = self.ID_WORDS + eliminator.latency + packer.latency + 4
        m.submodules.ids = self._ids = queue = StreamQueue(payloads.id_write(config), depth=depth)
        m.d.sync += self._room.eq(queue.level < self.ID_WORDS)
        wiring.connect(m, eliminator.o, packer.i)
        wiring.connect(m, queue.o, wiring.flipped(self.id_write))
        count = Signal.like(self.num_survivors)
        group, write = packer.o, queue.i
        m.d.comb += [
            packer.size.eq(lanes),
            write.valid.eq(group.valid),
            group.ready.eq(1),
            write.p.list.eq(self._job.list),
            write.p.first.eq(count == 0),
            write.p.word.eq(count >> self._log_lanes),
            *(write.p.mask[lane].eq(lane < group.p.count) for lane in range(lanes)),
            *(write.p.ids[lane].eq(group.p.items[lane].id) for lane in range(lanes)),
            *(write.p.importance[lane].eq(group.p.items[lane].importance) for lane in range(lanes)),
        ]
        self._written = Signal()  # the last word has gone to the queue
        with m.If(group.valid):
            m.d.sync += [count.eq(count + group.p.count), self._written.eq(group.p.last)]
            with m.If(group.p.last):
                m.d.sync += [count.eq(0), self.num_survivors.eq(count + group.p.count)]
            for lane in range(lanes):
                with m.If(lane < group.p.count):
                    m.d.sync += self.last_id.eq(group.p.items[lane].id)

    def _control(self, m: Module, selection) -> None:
        job, tokens = self._job, self._tokens
        m.d.comb += self.head_count.eq(job.num_heads)
        count, keep = Mux(tokens, job.num_tokens, job.num_heads), Mux(tokens, job.token_keep, job.head_keep)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [job.eq(self.command.p), tokens.eq(self.command.p.num_heads == 0), self._written.eq(0)]
                with m.If(self.command.valid):
                    m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += [self.update.eq(~tokens), self.fold.eq(tokens)]
                m.d.sync += [self._count.eq(count), self._keep.eq(keep), self._chosen.eq(keep < count)]
                m.next = "WAIT"
            with m.State("WAIT"):
                self._wait(m)
            with m.State("SELECT"):
                m.d.comb += selection.ready.eq(1)
                with m.If(selection.valid):
                    m.d.sync += [self._threshold.eq(selection.p.threshold), self._ties.eq(selection.p.ties)]
                    m.d.sync += [self._emit.eq(1), self._scan.eq(1)]
                    m.next = "EMIT"
            with m.State("EMIT"):
                with m.If(self._ended):
                    m.d.sync += tokens.eq(1)
                    m.next = "DRAIN"
                    with m.If(~tokens):
                        m.next = "ADD"
            with m.State("DRAIN"):
                with m.If(self._written & (self._ids.level == 0)):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

    def _wait(self, m: Module) -> None:
        """Wait until the table is summed. Where all survive, the threshold is the lowest key, with ties for all."""
        with m.If(~Mux(self._tokens, self.token_busy, self.head_busy)):
            m.d.sync += [
                self._threshold.eq(Const(-(1 << N.IMPORTANCE_WIDTH), signed(self.KEY_WIDTH))),
                self._ties.eq(self._count),
                self._emit.eq(~self._chosen),
                self._scan.eq(1),
            ]
            m.next = "EMIT"
            with m.If(self._chosen):
                m.next = "SELECT"

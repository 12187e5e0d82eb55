"""Completion: regions go when the last row needs them no longer, and jobs are answered in order when all is out."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.completion import Completion
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import pack
from tests.bench.harness import ProtocolError, check_reset, made, simulate
from tests.bench.records import full_record, set_record

TINY = PRESETS["tiny"]
CONTEXTS = TINY.contexts


class Rows:
    """The events of a job's rows, in an order that the datapath might have."""

    def __init__(self, record, rng):
        self.record, self.generation = record, record["generation"]
        self.todo = []  # of each row: its events, in order
        for row in range(record["rows"]):
            flat = record["progressive"] and rng.random() < 0.4
            events = []
            if flat:
                events += [("read", 0), ("decided", 1)] + ([] if self.generation else [("value_done",)])
            events += [("read", int(flat or not record["progressive"])), ("decided", 0), ("value_done",), ("output",)]
            self.todo.append([row, *event] for event in events)
            self.todo.append(iter([[row, "probs"]]))
        self.todo = [[event for event in events] for events in self.todo]
        self.final = self.outputs = self.probs = 0
        self.undone = record["rows"]
        self.low_read = False

    def draw(self, rng, kind):
        """An event of this kind that may happen now, or None."""
        ready = [events for events in self.todo if events and events[0][1] == kind]
        if not ready:
            return None
        row, _, *value = rng.choice(ready).pop(0)
        value = value[0] if value else 0
        if kind == "read":
            self.low_read |= bool(self.generation and value)
        elif kind == "decided":
            self.final += not value
            self.undone += bool(value and not self.generation)
        elif kind == "value_done":
            self.undone -= 1
        elif kind == "output":
            self.outputs += 1
        else:
            self.probs += 1
        return row, value

    @property
    def over(self):
        return not any(self.todo)

    @property
    def keys_final(self):
        return self.final == self.record["rows"] or self.low_read

    @property
    def values_done(self):
        return self.final == self.record["rows"] and not self.undone


def random_use(dut, seed, jobs=24):
    rng = random.Random(seed)
    records = [full_record(TINY, rng) for _ in range(jobs)]
    answers = []

    async def bench(ctx):
        begun, ended, free = 0, 0, [2] * CONTEXTS
        rows, released = {}, {}
        held = None
        cycle = settled = late = 0
        while ended < jobs:
            cycle += 1
            late += 1
            assert late < 400, "watchdog"
            context = begun % CONTEXTS
            enters = begun < jobs and context not in rows and free[context] >= 2 and rng.random() < 0.5
            ctx.set(dut.next_rows, records[begun]["rows"] if enters else rng.randrange(10))
            send(ctx, dut, rng, rows)
            drop(ctx, dut, rng, rows, released)
            ctx.set(dut.status.ready, rng.random() < 0.5)
            ctx.set(dut.oldest, ended % CONTEXTS)
            state = {c: (job.keys_final, job.values_done, job.over) for c, job in rows.items()}
            status, code = ctx.get(dut.status.payload.job_id), ctx.get(dut.status.payload.code)
            valid, ready, layer = ctx.get(dut.status.valid), ctx.get(dut.status.ready), ctx.get(dut.layer_done)
            end = ctx.get(dut.end)
            assert end == (layer or (valid and ready))
            if held is not None and (not valid or status != held):
                raise ProtocolError("status changed before it was taken")
            held = status if valid and not ready else None
            if valid or layer:
                record = records[ended]
                job = rows[ended % CONTEXTS]
                assert job.outputs == job.probs == record["rows"] and released[ended % CONTEXTS] == 3
                assert bool(layer) == bool(record["layer"]) and (layer or (status, code) == (record["job_id"], 0))
            await ctx.tick()
            settled += ctx.get(dut.settled)
            for c in range(CONTEXTS):
                keys, values = ctx.get(dut.keys_final) >> c & 1, ctx.get(dut.values_done) >> c & 1
                assert c in state or not (keys or values)
                if c in state:
                    assert keys <= state[c][0] and values <= state[c][1], "a region was let go that is still needed"
            free = [0 if c in rows else free[c] + 1 for c in range(CONTEXTS)]
            if end:
                answers.append((cycle, ended))
                del rows[ended % CONTEXTS], released[ended % CONTEXTS]
                ctx.set(dut.valid, ctx.get(dut.valid) & ~(1 << ended % CONTEXTS))
                free[ended % CONTEXTS] = 1
                ended += 1
                late = 0
            if enters:
                rows[context], released[context] = Rows(records[begun], rng), 0
                set_record(ctx, dut.record[context], TINY, records[begun])
                ctx.set(dut.valid, ctx.get(dut.valid) | 1 << context)
                begun += 1
        assert settled == sum(not record["generation"] for record in records)

    return bench, answers


def send(ctx, dut, rng, rows):
    """At most one event of each kind in a cycle, of any job."""
    for kind, port in (
        ("read", dut.row_read),
        ("decided", dut.decided),
        ("value_done", dut.value_done),
        ("output", dut.output),
        ("probs", dut.probs),
    ):
        ctx.set(port.valid, 0)
        if not rows or rng.random() < 0.4:
            continue
        context = rng.choice(list(rows))
        event = rows[context].draw(rng, kind)
        if event is None:
            continue
        row, value = event
        tag = {"context": context, "query": row % 64, "group": 0, "second": 0}
        word = {
            "read": {"context": context, "low": value},
            "decided": {"tag": tag, "flat": value},
            "value_done": tag,
        }.get(kind)
        ctx.set(Value.cast(port.payload), context if word is None else pack(port.payload.shape(), word))
        ctx.set(port.valid, 1)


def drop(ctx, dut, rng, rows, released):
    """Regions are given back some time after they are let go."""
    for c in rows:
        for bit, port in ((1, dut.keys_final), (2, dut.values_done)):
            if ctx.get(port) >> c & 1 and rng.random() < 0.3:
                released[c] |= bit
    for bit, port in ((1, dut.keys_released), (2, dut.values_released)):
        ctx.set(port, sum(1 << c for c, bits in released.items() if bits & bit))


@pytest.mark.parametrize("seed", range(4))
def test_random_jobs(seed):
    dut = made(Completion, TINY)
    bench, answers = random_use(dut, seed)
    simulate(dut, bench, cycles=8000)
    assert [job for _, job in answers] == list(range(24))


def test_latency():
    """The answer is on offer three cycles after the last output, when all else is over."""
    dut = made(Completion, TINY)

    async def bench(ctx):
        record = full_record(TINY, random.Random(1), generation=1, layer=0, progressive=0)
        set_record(ctx, dut.record[0], TINY, record)
        ctx.set(dut.next_rows, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.valid, 1)
        for port in (dut.keys_released, dut.values_released):
            ctx.set(port, 1)
        tag = {"context": 0, "query": 0, "group": 0, "second": 0}
        ctx.set(Value.cast(dut.decided.payload), pack(dut.decided.payload.shape(), {"tag": tag, "flat": 0}))
        for event in (dut.decided, dut.value_done, dut.probs):
            ctx.set(event.valid, 1)
            await ctx.tick()
            ctx.set(event.valid, 0)
        await ctx.tick().repeat(10)
        assert ctx.get(dut.keys_final) == ctx.get(dut.values_done) == 1 and not ctx.get(dut.status.valid)
        ctx.set(dut.output.valid, 1)
        await ctx.tick()
        ctx.set(dut.output.valid, 0)
        await ctx.tick()
        assert not ctx.get(dut.status.valid)
        await ctx.tick()
        assert ctx.get(dut.status.valid) and ctx.get(dut.status.payload.job_id) == record["job_id"]
        assert ctx.get(dut.status.payload.code) == payloads.OK

    simulate(dut, bench, cycles=100)


def test_reset():
    def prepare(dut):
        bench, answers = random_use(dut, 5, 8)
        return bench, [], answers

    check_reset(lambda: Completion(TINY), prepare, cycles=3000)

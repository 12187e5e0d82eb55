"""Completer: no answer before all that was written has its responses, and every record is in memory when it is told."""

import random

import pytest

from hdl.answer.answer_drain import WAYS
from hdl.answer.completer import Completer
from hdl.spec.formats import COMPLETION_BYTES, Code, completion
from sim.common.packing import unpack
from tests.bench.harness import check_reset, made, simulate
from tests.bench.region_bench import Monitor

BASES = (0x1000, 0x8000)
FAULT = int(Code.WRITE_ERROR)


class Use:
    """Answers of two queues with rows on their way; the write manager fails now and then if ``faults``.

    ``told``: (queue, number, code) in the order in which they are published. ``logs``: sizes of the rings, which hold
    all answers that are not published. ``latency``: most cycles to a response, all of them if ``fixed``; ``reads``:
    cycles from a snap until reads are over, 0: any. ``lost``: most records that a failure found unpublished.
    """

    def __init__(
        self, dut, *, count=40, stall=0.3, faults=0.0, seed=0, disabled=False, logs=(1, 3), latency=25, fixed=False,
        reads=0,
    ):  # fmt: skip
        self.dut, self.count, self.stall, self.faults = dut, count, stall, faults
        self.logs, self.latency, self.fixed, self.reads, self.over = logs, latency, fixed, reads, 0
        self.rng, self.disabled = random.Random(f"{seed} completer"), disabled
        self.size, self.told = dut.word_width // 8, []
        self.memory, self.pending, self.open, self.records, self.lost = {}, [], {}, [], 0
        self.numbers, self.tails = [0, 0], [0, 0]
        self.entered, self.left = [0] * WAYS, [0] * WAYS
        self.at_work = {}  # number of a command -> cycles for which it still writes
        self.taken = self.answered = self.cycle = self.hold = self.abandon = self.rest = 0
        self.held = None  # a word in the gate
        self.writes = []  # of records, not yet in memory
        self.inside = self.torn = False  # parts of a record are to come; one of it was lost
        self.shown = 0  # words that have responses
        self.offer = None

    async def bench(self, ctx):
        dut, monitor = self.dut, Monitor(self.dut.record)
        for queue in range(2):
            written = int(not (self.disabled and queue))
            sizes = {"base": BASES[queue], "log_size": self.logs[queue]}
            ctx.set(dut.ring[queue], {"enable": 1, "written": written, **sizes})
        sampled = [dut.answer.ready, dut.record.valid, dut.record.ready, dut.record.payload, dut.release.valid]
        sampled += [dut.release.payload, dut.published[0], dut.published[1], dut.urgent, dut.snap]
        edge = ctx.tick().sample(*sampled)
        while len(self.told) < self.count:
            self.drive(ctx)
            monitor.look(ctx)
            _, _, accepted, valid, ready, word, released, entry, first, second, urgent, snap = await edge
            self.cycle += 1
            if snap:
                self.over = self.cycle + self.reads
            self.step(bool(accepted), word if valid and ready else None)
            if released:
                self.release(entry)
            for queue, published in enumerate((first, second)):
                if published:
                    self.publish(queue, urgent)
        for name in ("answer", "outside"):
            ctx.set(getattr(dut, name).valid, 0)

    def drive(self, ctx):
        dut, rng = self.dut, self.rng
        if not self.hold and not self.abandon and not self.rest and rng.random() < self.faults:
            self.hold, self.abandon, self.rest = rng.choice((2, 3, rng.randint(2, 30))), 0, 60 + 2 * self.latency
            self.lost = max(self.lost, len(self.records))
            for command in self.open.values():
                command["must"] = True
        elif self.hold:
            self.hold -= 1
            self.abandon = 1
        elif self.abandon:  # until all that was in flight is answered
            self.abandon = int(any(command["must"] for command in (*self.open.values(), *self.records)))
        elif self.rest:
            self.rest -= 1
        ctx.set(dut.hold, self.hold > 0)
        for queue in range(2):
            ctx.set(dut.abandon[queue], FAULT if self.abandon else 0)
        ctx.set(dut.fault_address, 0x77 if self.abandon else 0)
        ctx.set(dut.taken, self.taken % 2**16)
        self.shown = self.taken if self.hold else self.answered
        ctx.set(dut.answered, self.shown % 2**16)
        self.go = self.held is not None and (self.hold > 0 or rng.random() >= self.stall)
        ctx.set(dut.recorded, self.go and self.held.last)
        ctx.set(dut.record.ready, self.held is None or self.go)
        self.moves(ctx)
        self.next_answer(ctx)
        ctx.set(dut.reads_over, self.cycle >= self.over if self.reads else rng.random() >= self.stall)
        ctx.set(dut.at_work, sum(1 << entry for entry in self.at_work))
        ctx.set(dut.cycle, self.cycle)
        entry = ctx.get(dut.entry)
        here = entry in self.open
        ctx.set(dut.counts, {"tokens": entry * 100 if here else 999, "heads": entry if here else 99})

    def moves(self, ctx):
        """Rows enter and leave their ways; one that leaves is words that are taken."""
        rng = self.rng
        self.enters = [int(self.entered[way] - self.left[way] < 9 and rng.random() < 0.2) for way in range(WAYS)]
        self.leaves = [int(self.entered[way] > self.left[way] and rng.random() < 0.2) for way in range(WAYS)]
        for way in range(WAYS):
            ctx.set(self.dut.enters[way], self.enters[way])
            ctx.set(self.dut.leaves[way], self.leaves[way])

    def next_answer(self, ctx):
        dut, rng = self.dut, self.rng
        ctx.set(dut.outside.valid, 0)
        if self.offer is None and sum(self.numbers) < self.count and rng.random() >= self.stall:
            free = [entry for entry in range(dut.entries) if entry not in self.open]
            queue = rng.randrange(2)
            if free and self.numbers[queue] - self.tails[queue] < 1 << self.logs[queue]:
                entry = rng.choice(free)
                self.offer = {
                    "entry": entry, "queue": queue, "number": self.numbers[queue], "opcode": rng.randrange(256),
                    "tag": rng.getrandbits(16), "irq": rng.randint(0, 1), "code": rng.choice((0, 0, 3, 14)),
                }  # fmt: skip
                self.numbers[queue] += 1
                self.outside = rng.random() < 0.3
                if rng.random() < 0.2:
                    self.at_work[entry] = rng.randint(1, 80)
                if self.outside:
                    ctx.set(dut.outside.payload, entry)
                    ctx.set(dut.outside.valid, 1)
                ctx.set(dut.answer.payload, self.offer)
        ctx.set(dut.answer.valid, self.offer is not None)

    def step(self, accepted, word):
        for way in range(WAYS):
            self.entered[way] += self.enters[way]
            self.left[way] += self.leaves[way]
        self.at_work = {entry: cycles - 1 for entry, cycles in self.at_work.items() if cycles > 1}
        before = self.taken
        self.taken += sum(self.leaves) * self.rng.randint(1, 3)
        if self.go:
            self.taken += 1
            if not self.hold:
                self.writes.append((self.taken, self.held.write))
            self.held = None
        self.torn |= self.inside and self.hold > 0
        if word is not None:
            assert not (self.torn and word.write.strobes and not self.hold), "the rest of a record that was lost"
            self.held, self.inside = word, not word.last
            self.torn &= self.inside
        if self.hold:
            self.answered, self.pending = self.taken, []
            for _, write in self.writes:  # some of them came to memory, some did not
                if self.rng.random() < 0.3:
                    self.write(write)
            self.writes = []
        elif self.taken != before:
            wait = self.latency if self.fixed else self.rng.randint(1, self.latency)
            self.pending.append((self.cycle + wait, self.taken))
        while self.pending and self.pending[0][0] <= self.cycle:
            self.answered = self.pending.pop(0)[1]
        while self.writes and self.writes[0][0] <= self.answered:
            self.write(self.writes.pop(0)[1])
        for command in self.open.values():  # the words of its rows
            gone = all(left >= ticket for left, ticket in zip(self.left, command["ways"], strict=True))
            if command["ticket"] is None and gone:
                command["ticket"] = self.taken
        if accepted and self.offer is not None:
            command = {**self.offer, "must": False, "ways": list(self.entered), "ticket": None}
            if self.outside and not command["code"]:
                command["code"] = int(Code.OUTSIDE)
            self.open[self.offer["entry"]] = command
            self.offer = None

    def write(self, write):
        if self.faults and not write.strobes:  # the rest of a record of which a part was lost
            return
        assert write.strobes == (1 << self.size) - 1
        for byte in range(self.size):
            self.memory[write.word * self.size + byte] = write.data >> 8 * byte & 0xFF

    def release(self, entry):
        command = self.open.pop(entry)
        assert entry not in self.at_work
        assert command["ticket"] is not None and command["ticket"] <= self.shown
        self.records.append(command)

    def publish(self, queue, urgent):
        command = self.records.pop(0)
        assert command["queue"] == queue and urgent == command["irq"]
        number = self.tails[queue]
        self.tails[queue] += 1
        if self.disabled and queue:
            self.told.append((queue, number, None))
            return
        at = BASES[queue] + COMPLETION_BYTES * (number % (1 << self.logs[queue]))
        raw = bytes(self.memory.get(at + byte, 0) for byte in range(COMPLETION_BYTES))
        found = unpack(completion(), int.from_bytes(raw, "little"))
        code = found["code"]
        assert code in ((FAULT,) if command["must"] else (command["code"], FAULT)) and (self.faults or code != FAULT)
        want = {name: command[name] for name in ("tag", "queue", "opcode")}
        want |= {"phase": 1 - (number >> self.logs[queue]) % 2, "number": command["number"]}
        want |= {"tokens": 100 * command["entry"], "heads": command["entry"], "address": 0x77 if code == FAULT else 0}
        assert {name: found[name] for name in want} == want
        assert self.cycle - 1000 < found["cycle"] <= self.cycle
        assert command["number"] == number, "in order, once"
        self.told.append((queue, command["number"], code))


@pytest.mark.parametrize("word_width", [64, 256])
@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_answers(word_width, stall):
    use = Use(made(Completer, queues=2, word_width=word_width, entries=8), stall=stall, seed=word_width)
    simulate(use.dut, use.bench, cycles=20_000)
    assert all(code != FAULT for _, _, code in use.told)


FAILURES = [(0, (1, 3), 25), (1, (1, 3), 25), (2, (3, 4), 90), (3, (4, 4), 90)]


@pytest.mark.parametrize(("seed", "logs", "latency"), FAILURES)
def test_a_write_manager_that_fails(seed, logs, latency):
    """Every record is in memory when it is told, and no command whose words had no responses has its own code."""
    dut = made(Completer, queues=2, word_width=64, entries=16)
    use = Use(dut, faults=0.02, seed=seed, count=60, stall=0.2 if latency < 90 else 0.05, logs=logs, latency=latency)
    simulate(use.dut, use.bench, cycles=20_000)
    assert any(code == FAULT for _, _, code in use.told)
    assert latency < 90 or use.lost > 2, "of several records"


@pytest.mark.parametrize(("word_width", "most"), [(64, 5), (256, 4)])
def test_rate_of_a_slow_memory(word_width, most):
    """64 answers may be on their way: latencies of 100 cycles of reads and writes make them late, not few."""
    dut = made(Completer, queues=2, word_width=word_width, entries=64)
    use = Use(dut, count=200, stall=0, logs=(6, 6), latency=100, fixed=True, reads=20)
    simulate(use.dut, use.bench, cycles=20_000)
    assert use.cycle <= most * use.count + 400


def test_the_rest_of_a_record_that_was_lost_is_given_without_a_byte():
    """Else its last word, with the phase, could come to memory without those in front of it."""
    dut = made(Completer, queues=1, word_width=64, entries=8)

    async def bench(ctx):
        taken, left, fails, given = 0, 0, 0, []
        ctx.set(dut.ring[0], {"enable": 1, "written": 1, "base": BASES[0], "log_size": 3})
        for port in (dut.reads_over, dut.record.ready):
            ctx.set(port, 1)
        for cycle in range(60):
            ctx.set(dut.answer.valid, cycle == 0)
            ctx.set(dut.recorded, left)
            fails = 2 if len(given) == 1 and not fails else max(fails - 1, 0)
            ctx.set(dut.hold, fails > 0)
            ctx.set(dut.taken, taken)
            ctx.set(dut.answered, taken)
            taken += left
            valid = ctx.get(dut.record.valid)
            left = valid and ctx.get(dut.record.payload.last)
            given += [ctx.get(dut.record.payload.write.strobes)] * valid
            await ctx.tick()
        assert given[3:] == [0, 255, 255, 255, 255], "parts 1 and 2 were thrown away"

    simulate(dut, bench, cycles=100)


def test_a_record_is_given_twice_at_most():
    """A ring in which no word can be written must not fail for ever."""
    dut = made(Completer, queues=1, word_width=256, entries=8)

    async def bench(ctx):
        taken, given, told = 0, 0, []
        ctx.set(dut.ring[0], {"enable": 1, "written": 1, "base": BASES[0], "log_size": 3})
        for port in (dut.reads_over, dut.record.ready, dut.answer.valid):
            ctx.set(port, 1)
        left = fails = 0
        for cycle in range(300):
            ctx.set(dut.answer.valid, cycle < 3)
            ctx.set(dut.answer.payload, {"entry": cycle % 8, "number": cycle})
            ctx.set(dut.recorded, left)
            fails = max(fails - 1, 3 * (given in (3, 6) and not fails and left), 0)
            ctx.set(dut.hold, fails > 0)
            ctx.set(dut.taken, taken)
            ctx.set(dut.answered, taken if fails or given in (0, 6) else 0)
            valid, published = ctx.get(dut.record.valid), ctx.get(dut.published[0])
            taken += left
            left = valid
            given += valid
            told += [cycle] * published
            await ctx.tick()
        assert (given, len(told)) == (6, 3)

    simulate(dut, bench, cycles=400)


def test_of_a_queue_that_is_disabled_nothing_is_written():
    use = Use(made(Completer, queues=2, word_width=64, entries=8), disabled=True, seed=1)
    simulate(use.dut, use.bench, cycles=20_000)
    assert all(address < BASES[1] for address in use.memory)
    assert {queue for queue, _, _ in use.told} == {0, 1}


def test_reset():
    def prepare(dut):
        use = Use(dut, count=6, seed=5)
        return use.bench, [], use.told

    check_reset(lambda: Completer(queues=2, word_width=64, entries=8), prepare, cycles=3000)

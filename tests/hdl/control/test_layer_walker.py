"""LayerWalker against a model of its contract; the bench plays checker, machine and selection, with any delays."""

import dataclasses
import itertools
import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from hypothesis import given
from hypothesis import strategies as st

from hdl.cascade.head_importance import head_slot
from hdl.control.layer_walker import LayerWalker
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import pack, unpack
from tests.bench.examples import examples
from tests.bench.harness import ProtocolError, made, run_streams

TINY = PRESETS["tiny"]  # 32 heads, groups of 8, 16 address bits, 64 tokens
SMALL = dataclasses.replace(TINY, max_heads=5, max_group=3, max_tokens=13, address_width=32, num_channels=8)
ONE = dataclasses.replace(TINY, max_heads=1, max_group=1)
CONFIGS = {"tiny": TINY, "small": SMALL, "one": ONE}
PLANES = ("query", "key", "key_lsb", "value")


@dataclasses.dataclass
class Case:
    """A layer, and how the bench answers it."""

    layer: dict
    entries: list[dict]
    list_code: int = payloads.OK
    job_codes: dict[int, int] = dataclasses.field(default_factory=dict)
    """of the jobs to refuse, by their number in the layer"""


@dataclasses.dataclass
class Expected:
    """What must be seen of a layer; of ``jobs`` and ``slots`` at least the first ``least_…``, the last fall away."""

    code: int
    void: int
    select: dict | None
    list_request: dict
    jobs: list[dict]
    slots: list[dict]
    least_jobs: int
    most_jobs: int
    least_slots: int


def expect(config, case, current):
    """``current``: the current list once this layer's has been taken."""
    layer, job, entries = case.layer, case.layer["job"], case.entries
    keeps_none = layer["token_keep"] == 0 or (layer["num_heads"] and layer["head_keep"] == 0)
    code = payloads.OK
    if layer["num_heads"] > config.max_heads:
        code = payloads.BAD_HEADS
    elif layer["select"] and keeps_none:
        code = payloads.BAD_SELECT
    elif job["pair"]:
        code = payloads.BAD_PAIR
    asked = {**job, "group": 1, "head": 0, "dim": 0 if code else job["dim"]}
    list_request = {"job": asked, "layer": 1, "list_only": 1, "match": layer["select"]}
    taken = not code and not case.list_code
    code = code or case.list_code
    jobs, slots, ends = [], [], []
    if taken and layer["num_heads"]:
        bad = first_bad(config, layer["num_heads"], [entry["kv_head"] for entry in entries])
        code = payloads.OK if bad is None else payloads.BAD_HEADS
        slots = [slot(rank, entry) for rank, entry in enumerate(entries[:bad])]
        groups = [list(group) for _, group in itertools.groupby(enumerate(entries[:bad]), lambda e: e[1]["kv_head"])]
        for group in groups if bad is None else groups[:-1]:
            bases = plane_bases(layer, group[0][1]["kv_head"])
            present = [bases[f"{name}_base"] for name in PLANES if name != "key_lsb" or job["key_lsb_bits"]]
            if max(present) >= 1 << config.address_width:
                code, slots = payloads.BAD_WINDOW, slots[: group[-1][0] + 1]
                break
            wrapped = {name: base % (1 << config.address_width) for name, base in bases.items()}
            skew = (job["skew"] + group[0][1]["kv_head"]) % config.num_channels
            jobs.append({**job_request(job, group), **wrapped, "skew": skew})
            ends.append(group[-1][0] + 1)
    refused = min((index for index in case.job_codes if index < len(jobs)), default=None)
    if refused is not None:
        code = case.job_codes[refused]
    least_jobs = len(jobs) if refused is None else refused + 1
    return Expected(
        code=code,
        void=int(taken and code != payloads.OK),
        select=select_command(config, layer, current) if layer["select"] and not code else None,
        list_request=list_request,
        jobs=[{"job": item, "layer": 1, "list_only": 0, "match": 0} for item in jobs],
        slots=slots,
        least_jobs=least_jobs,
        most_jobs=min(len(jobs), least_jobs + 1),  # one more may stand before the checker
        least_slots=len(slots) if refused is None else ends[refused],
    )


def first_bad(config, num_heads, kv_heads):
    """Index of the first head that is wrong: order, size of its group, or number of heads."""
    for i, kv_head in enumerate(kv_heads):
        run = kv_heads[max(0, i - config.max_group) : i + 1]
        too_many = len(run) > config.max_group and set(run) == {kv_head}
        if (i and kv_head < kv_heads[i - 1]) or too_many or (i + 1 == num_heads) != (i + 1 == len(kv_heads)):
            return i
    return None


def plane_bases(layer, kv_head):
    return {f"{name}_base": layer["job"][f"{name}_base"] + kv_head * layer[f"{name}_stride"] for name in PLANES}


def job_request(job, group):
    rank, first = group[0]
    job_list = payloads.LIST_PREVIOUS if job["list"] == payloads.LIST_NEW else job["list"]
    fields = {"scale": first["scale"], "shift": first["shift"], "list": job_list}
    return {**job, **fields, "group": len(group), "head": rank}


def slot(rank, entry):
    return {"rank": rank, **{name: entry[name] for name in ("head", "weight", "importance")}}


def select_command(config, layer, current):
    return {
        "job_id": layer["job"]["job_id"],
        "num_tokens": layer["job"]["num_keys"],
        "num_heads": layer["num_heads"],
        "token_keep": min(layer["token_keep"], layer["job"]["num_keys"]),
        "head_keep": min(layer["head_keep"], layer["num_heads"]),
        "pin_first": min(layer["pin_first"], config.max_tokens),
        "pin_last": min(layer["pin_last"], config.max_tokens),
        "decay": layer["decay"],
        "list": 1 - current,
    }


class Machine:
    """Checker, jobs in flight and selection; logs what the walker does, layer by layer."""

    def __init__(self, config, dut, cases, *, stall, seed):
        self.config, self.dut, self.cases = config, dut, cases
        self.rng = random.Random(seed)
        self.stall = stall
        self.requests = [[] for _ in cases]
        self.slots = [[] for _ in cases]
        self.voids = [0 for _ in cases]
        self.index = 0  # layer inside
        self.jobs = 0  # of it, so far
        self.current = 0
        self.checking = None  # request inside the checker
        self.delay = 0  # of the checker
        self.refused = None  # cycles since the first refusal of a job of the layer
        self.in_flight = []  # cycles left of each job
        self.selecting = None  # cycles left of the selection

    def wait(self):
        return self.rng.randint(0, 25) if self.rng.random() < self.stall else 0

    async def run(self, ctx):
        dut = self.dut
        held = None
        inside = False
        seen = (
            Value.cast(dut.request.payload),
            Value.cast(dut.head_entry.payload),
            dut.request.valid,
            dut.head_entry.valid,
            dut.void,
            dut.select.valid,
            dut.select.valid & dut.select.ready,
            dut.status.valid,
            dut.status.valid & dut.status.ready,
            dut.layer.valid & dut.layer.ready,
            dut.busy,
        )
        while True:
            ready = self._drive(ctx)
            _, _, word, slot_word, *flags = await ctx.tick().sample(*seen)
            asks, enters, void, selects, selected, ends, ended, taken, busy = flags
            if held is not None and (not asks or word != held):
                raise ProtocolError("request: valid fell or payload changed before ready")
            if self.refused is not None:
                assert self.refused <= 1 or held is not None or not asks  # no further job is offered
                self.refused += 1
            held = word if asks and not ready else None
            if asks and ready:
                self._take(unpack(payloads.job_request(self.config), word))
            if enters:
                self.slots[self.index].append(unpack(head_slot(self.config), slot_word))
            if void:
                self.voids[self.index] += 1
            assert busy == inside and not (taken and inside) and not (void and ends)
            if void or selects or ends:  # nothing of the layer is left
                assert not self.in_flight and self.checking is None and self.selecting is None
            if selected:
                self.selecting = self.wait()
            if ended:
                self.index, self.jobs, self.refused = self.index + 1, 0, None
            inside = (inside or taken) and not ended

    def _take(self, request):
        self.requests[self.index].append(request)
        case, job = self.cases[self.index], request["job"]
        if request["list_only"]:
            code = case.list_code if job["dim"] else payloads.BAD_DIM
        else:
            code = case.job_codes.get(self.jobs, payloads.OK)
            self.jobs += 1
        self.checking = (request, code)
        self.delay = self.wait()

    def _drive(self, ctx):
        """What the machine says in this cycle; returns whether the checker takes a request."""
        ctx.set(self.dut.list_index, 1 - self.current)
        done = next((i for i, left in enumerate(self.in_flight) if left == 0), None)
        ctx.set(self.dut.done, done is not None)
        if done is not None:
            del self.in_flight[done]
        self.in_flight = [max(0, left - 1) for left in self.in_flight]
        ctx.set(self.dut.selected, self.selecting == 0)
        if self.selecting == 0:
            self.selecting, self.current = None, 1 - self.current
        elif self.selecting is not None:
            self.selecting -= 1
        ctx.set(self.dut.answer.valid, 0)
        if self.checking is not None:
            self._check(ctx)
        ready = self.checking is None and self.rng.random() >= self.stall
        ctx.set(self.dut.request.ready, ready)
        return ready

    def _check(self, ctx):
        request, code = self.checking
        if self.delay:
            self.delay -= 1
        elif request["list_only"] or code:
            answer = self.dut.answer
            ctx.set(answer.valid, 1)
            word = pack(payloads.job_status(self.config), {"job_id": request["job"]["job_id"], "code": code})
            ctx.set(Value.cast(answer.payload), word)
            self.checking = None
            if not request["list_only"] and self.refused is None:
                self.refused = 0
            if not code and request["job"]["list"] == payloads.LIST_NEW:
                self.current = 1 - self.current
        elif len(self.in_flight) < self.config.contexts:
            self.in_flight.append(1 + 4 * self.wait())
            self.checking = None


def run(config, cases, *, stall=0.3, seed=0, dut=None):
    """Runs the layers and compares everything; returns the machine and the cycle of the last status."""
    dut = dut or made(LayerWalker, config)
    machine = Machine(config, dut, cases, stall=stall, seed=seed)
    expected, current = [], 0
    for case in cases:
        accepted = expect(config, case, current).list_request["job"]["dim"] and not case.list_code
        current ^= bool(accepted and case.layer["job"]["list"] == payloads.LIST_NEW)
        expected.append(expect(config, case, current))
        current ^= expected[-1].select is not None
    heads = [{**entry, "last": i == len(case.entries) - 1} for case in cases for i, entry in enumerate(case.entries)]
    commands = [item.select for item in expected if item.select is not None]
    results, cycles = run_streams(
        dut,
        {"layer": [case.layer for case in cases], "heads": heads},
        {"select": len(commands), "status": len(cases)},
        stall=stall,
        seed=seed,
        processes=[machine.run],
    )
    ids = [case.layer["job"]["job_id"] for case in cases]
    assert results["status"] == [{"job_id": i, "code": e.code} for i, e in zip(ids, expected, strict=True)]
    assert results["select"] == commands
    assert machine.voids == [item.void for item in expected]
    for item, requests, slots in zip(expected, machine.requests, machine.slots, strict=True):
        assert requests[0] == item.list_request
        assert item.least_jobs <= len(requests) - 1 <= item.most_jobs
        assert requests[1:] == item.jobs[: len(requests) - 1]
        assert item.least_slots <= len(slots) and slots == item.slots[: len(slots)]
    return machine, cycles


# Layers --------------------------------------------------------------------------------------------------------


def fill(shape, rng):
    """Random values for every field of a layout."""
    return unpack(shape, rng.getrandbits(shape.size))


def make_case(config, kv_heads, rng, **layer):
    """A good layer of these K/V heads, with random fields; ``layer`` changes some."""
    descriptor = fill(payloads.layer_descriptor(config), rng)
    num_keys = rng.randint(1, config.max_tokens)
    descriptor["job"].update(dim=rng.randint(1, 255), num_keys=num_keys, key_lsb_bits=rng.choice([0, 4]))
    descriptor["job"].update(skew=rng.randrange(config.num_channels), pair=0)
    num_heads = len(kv_heads)
    descriptor.update(num_heads=num_heads, head_keep=rng.choice([1, max(1, num_heads), 255]))
    descriptor.update(token_keep=rng.choice([1, num_keys, 65535]))
    for name in PLANES:
        stride = rng.choice([0, 1, rng.randint(0, (1 << config.address_width - 8) - 1)])
        room = (1 << config.address_width) - 1 - stride * max(kv_heads, default=0)
        descriptor["job"][f"{name}_base"] = rng.choice([0, room, rng.randint(0, room)])
        descriptor[f"{name}_stride"] = stride
    descriptor.update(layer)
    entries = [{**fill(payloads.head_entry(config), rng), "kv_head": kv_head} for kv_head in kv_heads]
    return Case(layer=descriptor, entries=entries)


def add_flaw(config, case, flaw, place, rng):
    """Makes the layer wrong at a place from 0 to 1 of its heads."""
    layer, entries = case.layer, case.entries
    at = int(place * len(entries))
    code = rng.randint(payloads.BAD_DIM, payloads.BAD_SELECT)
    if flaw == "token_keep":
        layer.update(select=1, token_keep=0)
    elif flaw == "head_keep":
        layer.update(select=1, head_keep=0)  # not wrong if there are no heads
    elif flaw == "pair":
        layer["job"]["pair"] = rng.randint(1, 3)
    elif flaw == "list":
        case.list_code = code
    elif flaw == "job":
        case.job_codes[at] = code
        case.job_codes.setdefault(at + rng.randint(1, 2), rng.randint(payloads.BAD_DIM, payloads.BAD_SELECT))
    elif flaw == "too many" and entries:
        layer["num_heads"] = rng.randint(config.max_heads + 1, 255)
    elif flaw == "missing" and len(entries) > 1:
        del entries[at:]
        entries.append(fill_entry(config, entries[-1]["kv_head"] if entries else 0, rng))
    elif flaw == "surplus" and entries:
        entries.extend(fill_entry(config, entries[-1]["kv_head"] + i // 2, rng) for i in range(rng.randint(1, 4)))
    elif flaw == "announced" and entries:
        layer["num_heads"] = rng.randint(1, config.max_heads)
    elif flaw == "order" and entries:
        entries[at]["kv_head"] = rng.randint(0, max(0, entries[at]["kv_head"] - 1))
    elif flaw == "group" and entries:
        for entry in entries[at : at + config.max_group + 1]:
            entry["kv_head"] = entries[at]["kv_head"]
    elif flaw == "wrap" and entries and entries[at]["kv_head"]:
        name = rng.choice(PLANES)
        steps = rng.randint(1, entries[at]["kv_head"])
        layer[f"{name}_stride"] = stride = rng.randint(1, (1 << config.address_width) // steps)
        layer["job"][f"{name}_base"] = (1 << config.address_width) - steps * stride


def fill_entry(config, kv_head, rng):
    return {**fill(payloads.head_entry(config), rng), "kv_head": kv_head}


FLAWS = (
    "token_keep", "head_keep", "pair", "list", "job", "too many", "missing", "surplus", "announced", "order", "group",
    "wrap",
)  # fmt: skip


@st.composite
def cases(draw, config):
    """A layer with at most one kind of flaw."""
    group = st.tuples(st.sampled_from([1, 1, 1, 2, 5]), st.integers(1, config.max_group))
    groups = draw(st.lists(group, max_size=min(8, config.max_heads)))
    last = itertools.accumulate((gap for gap, _ in groups), initial=draw(st.integers(-1, 0)))
    kv_heads = [kv for kv, (_, size) in zip(list(last)[1:], groups, strict=True) for _ in range(size)]
    rng = random.Random(draw(st.integers(0, 2**32)))
    job_list = draw(st.integers(0, 3))
    case = make_case(config, kv_heads[: config.max_heads], rng, select=draw(st.integers(0, 1)))
    case.layer["job"]["list"] = job_list
    flaw = draw(st.sampled_from([None, None, *FLAWS]))
    if flaw is not None:
        add_flaw(config, case, flaw, draw(st.floats(0, 1, exclude_max=True)), rng)
    return case


def good_case(config, seed=0, **layer):
    kv_heads = [0, 0, 2] if config.max_group > 1 else [2]
    return make_case(config, kv_heads, random.Random(seed), **{"select": 1, **layer})


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@examples(12)
@given(data=st.data(), stall=st.sampled_from([0, 0.3, 0.7]), seed=st.integers(0, 2**32))
def test_layers(config, data, stall, seed):
    """Any layers one behind the other, and a good one at the end: nothing is left of a bad one."""
    sequence = data.draw(st.lists(cases(config), min_size=1, max_size=6))
    run(config, [*sequence, good_case(config, seed)], stall=stall, seed=seed)


@pytest.mark.parametrize("flaw", FLAWS)
def test_good_layer_after_bad_layer(flaw):
    rng = random.Random(flaw)
    sequence = []
    for place in (0, 0.5, 0.99):
        bad = make_case(SMALL, [1, 1, 3, 4], rng, select=1)
        add_flaw(SMALL, bad, flaw, place, rng)
        sequence += [bad, good_case(SMALL, rng.random())]
    run(SMALL, sequence, seed=rng.random())


LSB_WRAP = {"key_lsb_stride": 1 << 15}
TWO_STEPS = {"key_stride": 0x5000}  # 0x0FFF + 3 * 0x5000 is the last word


@pytest.mark.parametrize(
    ("change", "code", "void", "jobs"),
    [
        ({}, payloads.OK, 0, 3),
        ({"num_heads": 33}, payloads.BAD_HEADS, 0, 0),
        ({"num_heads": 255, "token_keep": 0}, payloads.BAD_HEADS, 0, 0),
        ({"token_keep": 0}, payloads.BAD_SELECT, 0, 0),
        ({"head_keep": 0}, payloads.BAD_SELECT, 0, 0),
        ({"token_keep": 0, "head_keep": 0, "select": 0}, payloads.OK, 0, 3),
        ({"job": {"pair": 1}}, payloads.BAD_PAIR, 0, 0),
        ({"job": {"pair": 2}, "token_keep": 0}, payloads.BAD_SELECT, 0, 0),
        (
            {"num_heads": 3},
            payloads.BAD_HEADS,
            1,
            0,
        ),  # the third head should be the last, so the first group is not sent
        ({"num_heads": 5}, payloads.BAD_HEADS, 1, 1),
        ({"kv_heads": [0, 0, 2, 1]}, payloads.BAD_HEADS, 1, 1),
        ({"kv_heads": [9, 8, 9, 10]}, payloads.BAD_HEADS, 1, 0),
        ({"kv_heads": [0] + 8 * [1]}, payloads.OK, 0, 2),
        ({"kv_heads": [0] + 9 * [1]}, payloads.BAD_HEADS, 1, 1),
        ({"kv_heads": list(range(32))}, payloads.OK, 0, 32),
        ({"kv_heads": [255]}, payloads.OK, 0, 1),
        ({"kv_heads": [], "head_keep": 0}, payloads.OK, 0, 0),
        ({"kv_heads": [], "token_keep": 0}, payloads.BAD_SELECT, 0, 0),
        ({"list_code": payloads.BAD_IDS}, payloads.BAD_IDS, 0, 0),
        ({"list_code": payloads.BAD_IDS, "num_heads": 5}, payloads.BAD_IDS, 0, 0),
        ({"job": {"key_base": 0x0FFF}, **TWO_STEPS}, payloads.OK, 0, 3),
        ({"job": {"key_base": 0x1000}, **TWO_STEPS}, payloads.BAD_WINDOW, 1, 2),
        ({"job": {"key_base": 0x1000}, **TWO_STEPS, "num_heads": 5}, payloads.BAD_HEADS, 1, 1),
        ({"job": {"key_lsb_base": 0x8000, "key_lsb_bits": 4}, **LSB_WRAP}, payloads.BAD_WINDOW, 1, 1),
        ({"job": {"key_lsb_base": 0x8000, "key_lsb_bits": 0}, **LSB_WRAP}, payloads.OK, 0, 3),
        ({"job_codes": {2: payloads.BAD_SCALE}}, payloads.BAD_SCALE, 1, 3),
        ({"job_codes": {1: payloads.BAD_SCALE, 2: payloads.BAD_COUNT}}, payloads.BAD_SCALE, 1, None),
        ({"job_codes": {0: payloads.BAD_COUNT}, "kv_heads": [0, 0, 2, 1]}, payloads.BAD_COUNT, 1, 1),
    ],
)
def test_code(change, code, void, jobs):
    """The first thing wrong gives the code; jobs: sent before it (None: one more may stand before the checker)."""
    change = {"kv_heads": [0, 0, 2, 3], "list_code": payloads.OK, "job_codes": {}, "job": {}, **change}
    case = make_case(TINY, change.pop("kv_heads"), random.Random(1), select=1, token_keep=1, head_keep=1)
    case.list_code, case.job_codes = change.pop("list_code"), change.pop("job_codes")
    case.layer["job"].update({f"{name}_base": 0 for name in PLANES}, **change.pop("job"))
    case.layer.update({**{f"{name}_stride": 1 for name in PLANES}, **change})
    expected = expect(TINY, case, 0)
    assert (expected.code, expected.void) == (code, void)
    machine, _ = run(TINY, [case, good_case(TINY)])
    assert jobs is None or len(machine.requests[0]) == 1 + jobs


@pytest.mark.parametrize("stall", [0, 0.5, 0.9])
def test_refusal_comes_early_or_late(stall):
    """No job is offered behind a refusal; its code stands over later ones and over what is wrong with later heads."""
    sequence = []
    for seed in range(6):
        for kv_heads in ([0, 1, 2, 3, 4], [0, 2, 1], [0, 100, 101]):
            case = make_case(TINY, kv_heads, random.Random(seed), select=1)
            case.job_codes = {0: payloads.BAD_WINDOW, 1: payloads.BAD_SCALE}
            sequence.append(case)
    run(TINY, sequence, stall=stall)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_lists(stall):
    """Each list taken, and each selection, changes the list that the next selection writes."""
    lists = [payloads.LIST_DENSE, payloads.LIST_NEW, payloads.LIST_PREVIOUS, payloads.LIST_NEW, payloads.LIST_NEW]
    sequence = [good_case(TINY, i, select=i != 3) for i in range(len(lists))]
    for case, job_list in zip(sequence, lists, strict=True):
        case.layer["job"]["list"] = job_list
    run(TINY, sequence, stall=stall)


def cycles_of(kv_heads):
    return run(TINY, [make_case(TINY, kv_heads, random.Random(0), select=0)], stall=0)[1]


def test_cycles():
    """6 cycles a job, two a further head of its group, one a K/V head passed over, if nothing stalls."""
    assert cycles_of(range(32)) - cycles_of(range(16)) == 6 * 16
    assert cycles_of([0, *8 * [1], 2]) - cycles_of([0, 1, 2]) == 14
    assert cycles_of([0, 201, 202]) - cycles_of([0, 101, 102]) == 100
    assert cycles_of([]) <= 6


class Restarted(wiring.Component):
    """The walker, reset after ``cycles`` cycles of a layer that it had begun."""

    def __init__(self, dut, cycles):
        self.dut, self.cycles = dut, cycles
        super().__init__(dut.signature)

    def elaborate(self, platform):
        m = Module()
        dut = self.dut
        reset, age = Signal(), Signal(range(self.cycles + 2))
        m.submodules.dut = ResetInserter(reset)(dut)
        m.d.comb += reset.eq(age == self.cycles)
        with m.If(age <= self.cycles):
            m.d.sync += age.eq(age + 1)
            m.d.comb += [
                dut.layer.valid.eq(1),
                *(dut.layer.payload[name].eq(-1) for name in ("job", "query_stride", "token_keep", "head_keep")),
                dut.layer.payload.num_heads.eq(2),
                dut.heads.valid.eq(1),
                dut.heads.payload.kv_head.eq(dut.head_entry.payload.rank),
                dut.heads.payload.last.eq(dut.head_entry.payload.rank == 1),
                dut.request.ready.eq(1),
                dut.answer.valid.eq(age == 4),
            ]
        with m.Else():
            for name, member in dut.signature.members.items():
                outer, inner = getattr(self, name), getattr(dut, name)
                if not member.is_signature:
                    target, value = (outer, inner) if member.flow is wiring.Out else (inner, outer)
                    m.d.comb += target.eq(value)
                    continue
                source, sink = (inner, outer) if member.flow is wiring.Out else (outer, inner)
                m.d.comb += [sink.valid.eq(source.valid), Value.cast(sink.payload).eq(Value.cast(source.payload))]
                if not member.signature.always_ready:
                    m.d.comb += source.ready.eq(sink.ready)
        return m


@pytest.mark.parametrize("cycles", [3, 6, 9, 12])
def test_reset_in_mid_layer(cycles):
    run(TINY, [good_case(TINY), good_case(TINY, 1)], dut=Restarted(LayerWalker(TINY), cycles))

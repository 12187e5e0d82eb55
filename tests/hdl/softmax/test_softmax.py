import random

import pytest
import torch
from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import wiring
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import integer
from hdl.softmax.softmax import Softmax
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack
from tests.bench.examples import examples
from tests.bench.harness import made, run_streams
from tests.bench.lines import make_lines, split_lines

SIZES = {"num_multipliers": 16, "max_dim": 16, "dims": (16,), "buffer_dim": 16, "norm_lanes": 1}
CONFIGS = {
    "tiny": PRESETS["tiny"],
    "one_lane": Config(max_tokens=9, lanes=1, line_queue=13, **SIZES),
    "four_lanes": Config(max_tokens=27, lanes=4, operand_width=16, line_queue=31, **SIZES),
    "eight_lanes": Config(max_tokens=40, lanes=8, line_queue=44, **SIZES),
}


def make_rows(config, lengths, rng, *, spread=None):
    """Scores and parameters of rows; spread: bits of the scores (any by default)."""
    scores, rows = [], []
    for number, n in enumerate(lengths):
        bits = spread or rng.randint(1, config.score_width)
        scores.append([rng.getrandbits(bits) - (1 << bits - 1) for _ in range(n)])
        # About 8 octaves over the range of the scores, and far from that.
        shift = min(63, max(1, bits + rng.choice([0, 0, 0, 1, -9, 9, 40])))
        limit = rng.choice([65536, 2 * 65536, 65536 * n, (1 << config.sum_width) - 1])
        tag = {"context": number % 4, "query": number % config.max_tokens, "second": rng.getrandbits(1)}
        tag["group"] = rng.randrange(8)
        rows.append(
            {
                "tag": tag,
                "scale": rng.randint(1 << 14, 65535),
                "shift": shift,
                "flat_limit": limit,
                "check": rng.getrandbits(1),
            }
        )
    return scores, rows


def expected(scores, rows):
    exps, sums = [], []
    for score, row in zip(scores, rows, strict=True):
        score = torch.tensor(score)
        exp = integer.exps(score, torch.ones_like(score, dtype=torch.bool), row["scale"], row["shift"])
        recip, pe = integer.reciprocal(exp.sum())
        flat = int(row["check"] and integer.is_flat(exp.sum(), row["flat_limit"]))
        sums.append({"tag": row["tag"], "exp_sum": int(exp.sum()), "recip": int(recip), "pe": int(pe), "flat": flat})
        exps.append(exp.tolist())
    return exps, sums


def score_lines(config, scores, rng, *, per_line=None, packing=False):
    """Payloads, with rubbish in the lanes that are not valid."""
    lines = make_lines(scores, per_line or config.lanes, packing, width=config.lanes, fill=None)
    for line in lines:
        rubbish = [rng.getrandbits(config.score_width) - (1 << config.score_width - 1) for _ in range(config.lanes)]
        pairs = zip(line.pop("lanes"), rubbish, strict=True)
        line["scores"] = [other if score is None else score for score, other in pairs]
    return lines


def check(config, scores, rows, lines, dut=None, **options):
    inputs = {"line": lines, "row": rows}
    result, last = run_streams(
        dut or Softmax(config), inputs, {"line_out": len(lines), "row_out": len(rows)}, **options
    )
    exps, sums = expected(scores, rows)
    for line, out in zip(lines, result["line_out"], strict=True):
        assert {name: out[name] for name in line} == line
        assert not any(out["exps"][line["a_count"] + line["b_count"] :])
    assert split_lines(result["line_out"], "scores") == scores
    assert split_lines(result["line_out"], "exps") == exps
    assert result["row_out"] == sums
    return last


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_of_any_length(name, stall):
    config, rng = CONFIGS[name], random.Random(1)
    lengths = [1, 1, config.max_tokens, 2, 1, config.lanes, config.lanes + 1, 2 * config.lanes, config.max_tokens]
    lengths += [rng.randint(1, config.max_tokens) for _ in range(8)] + [1] * 12
    scores, rows = make_rows(config, lengths, rng)
    check(config, scores, rows, score_lines(config, scores, rng), stall=stall)


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
@pytest.mark.parametrize("name,n", [("tiny", 5), ("four_lanes", 5), ("eight_lanes", 9), ("eight_lanes", 39)])
def test_packed_rows(name, n, stall):
    # Neighbours in a line have parameters and scores of quite different size.
    config, rng = CONFIGS[name], random.Random(2)
    scores, rows = make_rows(config, [n] * 12, rng)
    lines = score_lines(config, scores, rng, packing=True)
    assert any(line["b_count"] for line in lines)
    check(config, scores, rows, lines, stall=stall)


def test_paper():
    config, rng = PRESETS["paper"], random.Random(11)
    scores, rows = make_rows(config, [25] * 6, rng)
    check(config, scores, rows, score_lines(config, scores, rng, packing=True))


def test_lines_that_use_a_part_of_the_lanes():
    config, rng = CONFIGS["eight_lanes"], random.Random(3)
    scores, rows = make_rows(config, [5] * 9, rng)
    check(config, scores, rows, score_lines(config, scores, rng, per_line=2, packing=True))


@examples(4)
@given(st.data())
def test_any_mixture_of_packing(data):
    config = CONFIGS["four_lanes"]
    rng = random.Random(data.draw(st.integers(0, 1000)))
    lengths = data.draw(st.lists(st.integers(1, config.max_tokens), min_size=1, max_size=12))
    packing = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    scores, rows = make_rows(config, lengths, rng)
    check(config, scores, rows, score_lines(config, scores, rng, packing=packing))


def test_corners():
    config, rng = CONFIGS["four_lanes"], random.Random(4)
    low, high = -(1 << config.score_width - 1), (1 << config.score_width - 1) - 1
    scores = [[low] * 5, [high] * 5, [low, high] * 4, [high] + [low] * 6, [low], [0] * 27, [-1, 0, 1], [low] * 4 + [0]]
    _, rows = make_rows(config, [len(score) for score in scores], rng)
    for row, (scale, shift) in zip(rows, [(65535, 1), (0, 1), (1, 63), (65535, 63), (1, 1)] * 2, strict=False):
        row.update(scale=scale, shift=shift, check=1)
    check(config, scores, rows, score_lines(config, scores, rng))


def test_flat_limit_is_exclusive():
    config, rng = CONFIGS["eight_lanes"], random.Random(5)
    scores, rows = make_rows(config, [10] * 4, rng)
    scores = [[7] * 10 for _ in scores]
    for row, limit, first in zip(rows, (655359, 655360, 655359, 0), (1, 1, 0, 0), strict=True):
        row.update(flat_limit=limit, check=first)
    assert [item["flat"] for item in expected(scores, rows)[1]] == [1, 0, 0, 0]
    check(config, scores, rows, score_lines(config, scores, rng))


@pytest.mark.parametrize("n,packing", [(1, False), (8, False), (9, True), (39, True), (40, False)])
def test_line_per_cycle(n, packing):
    config, rng = CONFIGS["eight_lanes"], random.Random(6)
    scores, rows = make_rows(config, [n] * (480 // n if n > 8 else 120), rng)
    lines = score_lines(config, scores, rng, packing=packing)
    last = check(config, scores, rows, lines, stall=0)
    # The longest wait of a line: for the maximum of the row behind it.
    wait = -(-n // 8) + 1 if packing else 0
    latency = Softmax(config).latency + Softmax(config).sum_latency
    assert last <= len(lines) + wait + latency + -(-n // 8)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    config, rng = CONFIGS[name], random.Random(10)
    scores, rows = make_rows(config, [1], rng)
    inputs = {"line": score_lines(config, scores, rng), "row": rows}
    dut = made(Softmax, config)
    assert run_streams(dut, inputs, {"line_out": 1}, stall=0)[1] == dut.latency
    assert run_streams(dut, inputs, {"line_out": 1, "row_out": 1}, stall=0)[1] == dut.latency + dut.sum_latency


class Blocked(wiring.Component):
    """A block of which output ``name`` is not ready in the first ``cycles`` cycles."""

    def __init__(self, inner, *, name, cycles):
        self.inner, self.name, self.cycles = inner, name, cycles
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        left = Signal(range(self.cycles + 1), init=self.cycles)
        m.d.sync += left.eq(left - (left != 0))
        for name in self.signature.members:
            if name != self.name:
                wiring.connect(m, getattr(self.inner, name), wiring.flipped(getattr(self, name)))
        inner, outer = getattr(self.inner, self.name), getattr(self, self.name)
        m.d.comb += [
            Value.cast(outer.payload).eq(Value.cast(inner.payload)),
            outer.valid.eq(inner.valid & (left == 0)),
            inner.ready.eq(outer.ready & (left == 0)),
        ]
        return m


@pytest.mark.parametrize("name", ["line_out", "row_out"])
def test_no_deadlock_behind_a_blocked_output(name):
    # More rows of one line than there is place for, then long ones.
    config, rng = CONFIGS["eight_lanes"], random.Random(7)
    scores, rows = make_rows(config, [1] * 80 + [40] * 3 + [1] * 5, rng)
    dut = Blocked(Softmax(config), name=name, cycles=250)
    check(config, scores, rows, score_lines(config, scores, rng), dut, stall=0)


def test_lines_do_not_wait_for_row_out():
    config, rng = CONFIGS["eight_lanes"], random.Random(8)
    scores, rows = make_rows(config, [40] * 20, rng)
    lines = score_lines(config, scores, rng)
    dut = Blocked(Softmax(config), name="row_out", cycles=10_000)
    inputs = {"line": lines, "row": rows}
    result, last = run_streams(dut, inputs, {"line_out": len(lines), "row_out": 0}, stall=0)
    assert split_lines(result["line_out"], "exps") == expected(scores, rows)[0]
    assert last <= len(lines) + Softmax(config).latency + 5


class Restarted(wiring.Component):
    """A block that is fed ``items`` over and over, then reset, and only then connected: all must be forgotten."""

    def __init__(self, inner, *, items, cycles):
        self.inner, self.items, self.cycles = inner, items, cycles
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        reset, left = Signal(), Signal(range(self.cycles + 1), init=self.cycles)
        m.submodules.inner = ResetInserter(reset)(self.inner)
        m.d.sync += left.eq(left - (left != 0))
        m.d.comb += reset.eq(left == 1)
        for name, item in self.items.items():
            inner, outer = getattr(self.inner, name), getattr(self, name)
            stale = pack(inner.payload.shape(), item)
            m.d.comb += [
                Value.cast(inner.payload).eq(Mux(left == 0, Value.cast(outer.payload), stale)),
                inner.valid.eq((left != 0) | outer.valid),
                outer.ready.eq((left == 0) & inner.ready),
            ]
        for name in self.signature.members.keys() - self.items.keys():
            inner, outer = getattr(self.inner, name), getattr(self, name)
            m.d.comb += [
                Value.cast(outer.payload).eq(Value.cast(inner.payload)),
                outer.valid.eq((left == 0) & inner.valid),
                inner.ready.eq(Mux(left == 0, outer.ready, left[0])),
            ]
        return m


@pytest.mark.parametrize("cycles", [5, 40])
def test_reset_in_mid_stream(cycles):
    config, rng = CONFIGS["eight_lanes"], random.Random(9)
    scores, rows = make_rows(config, [11] * 4, rng, spread=12)
    lines = score_lines(config, scores, rng, packing=True)
    stale = {"start": 3, "a_count": 2, "b_count": 6, "a_last": 1, "scores": [(1 << config.score_width - 1) - 1] * 8}
    dut = Restarted(Softmax(config), items={"line": stale, "row": rows[0]}, cycles=cycles)
    check(config, scores, rows, lines, dut, stall=0)

import random

import pytest
import torch
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import integer
from hdl.pv.beat import finished_row
from hdl.pv.normalizer import Normalizer
from hdl.spec.config import PRESETS, Config
from hdl.spec.payloads import output_beat
from hdl.spec.widths import signed
from tests.bench.examples import examples
from tests.bench.harness import check_stream_reset, made, run_streams

CONFIGS = {
    "tiny": PRESETS["tiny"],
    "wide": Config(
        num_multipliers=128, operand_width=8, max_tokens=64, dims=(48, 80, 96), norm_lanes=32, line_queue=68
    ),
    "whole row": Config(
        num_multipliers=16, lanes=2, operand_width=16, max_dim=16, dims=(16,), norm_lanes=16, line_queue=4100
    ),
    "one lane": Config(
        num_multipliers=16, lanes=2, operand_width=10, max_tokens=4096, max_dim=16, dims=(16,), norm_lanes=1,
        buffer_dim=16, key_rows=4096, value_rows=4096, line_queue=5000,
    ),
}  # fmt: skip


DELAY = 3


def places(config):
    """Accumulators of a lane."""
    return config.max_beats * min(config.lane_width, config.max_dim)


class Bench(wiring.Component):
    """Normalizer with the accumulators in the payload; a row is announced, and comes DELAY cycles later."""

    def __init__(self, config):
        self.config = config
        acc = data.ArrayLayout(signed(config.acc_width), config.lanes * places(config))
        row = data.StructLayout({"row": finished_row(config), "acc": acc})
        super().__init__({"i": In(stream.Signature(row)), "o": Out(stream.Signature(output_beat(config)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Normalizer(self.config, delay=DELAY)
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        m.d.comb += [
            dut.announce.valid.eq(self.i.valid),
            dut.announce.payload.eq(self.i.payload.row.dim),
            self.i.ready.eq(dut.announce.ready),
        ]
        valid, row = self.i.valid & self.i.ready, self.i.payload
        for stage in range(DELAY):
            next_valid, next_row = Signal(name=f"valid_{stage}"), Signal(row.shape(), name=f"row_{stage}")
            m.d.sync += [next_valid.eq(valid), next_row.eq(row)]
            valid, row = next_valid, next_row
        m.d.comb += [
            dut.i.valid.eq(valid),
            dut.i.payload.eq(row.row),
            *(port.eq(row.acc[b * len(lane) + i]) for b, lane in enumerate(dut.acc) for i, port in enumerate(lane)),
        ]
        return m


def beats_of(config, row, sums, **_):
    """Golden output beats of one row."""
    out = integer.normalize(
        torch.tensor([sums]), torch.tensor([row["recip"]]), torch.tensor([row["pe"]]), config.operand_width
    )
    values, total = out[0].tolist(), int(integer.abs_sum(out))
    lanes = config.norm_lanes
    chunks = [values[i : i + lanes] for i in range(0, len(values), lanes)]
    chunks[-1] += [0] * (lanes - len(chunks[-1]))
    tag = row["tag"]
    return [(tag, chunk, total if i == len(chunks) - 1 else None) for i, chunk in enumerate(chunks)]


def observed(beats):
    return [(beat["tag"], beat["values"], beat["abs_sum"] if beat["last"] else None) for beat in beats]


def make_row(config, rng, exp_sum, dim, *, extreme=None):
    """A row whose sums are possible with this exp sum; accumulators that are not part of it hold anything."""
    recip, pe = (int(x) for x in integer.reciprocal(torch.tensor(exp_sum)))
    tag = {"context": rng.randrange(4), "query": rng.randrange(config.max_tokens), "second": rng.randrange(2)}
    tag["group"] = rng.randrange(config.max_group)
    low, high = -exp_sum << (config.operand_width - 1), exp_sum * ((1 << config.operand_width - 1) - 1)
    acc = [extreme if extreme is not None else rng.choice([low, high, rng.randint(low, high)]) for _ in range(dim)]
    acc = [min(max(x, low), high) for x in acc]
    row = {"tag": tag, "recip": recip, "pe": pe, "log_slices": config.log_slices(dim), "dim": dim}
    return {"row": row, "acc": spread(config, rng, acc), "sums": acc}


def spread(config, rng, sums):
    """Accumulators, lane after lane, of a row: an element's sum is cut in parts for the lanes that hold its slice."""
    size, slices, lanes = min(config.lane_width, config.max_dim), config.slices(len(sums)), config.lanes
    limit = 1 << config.acc_width - 1
    accs = [rng.randrange(-limit, limit) for _ in range(lanes * places(config))]
    for element, total in enumerate(sums):
        number, e = divmod(element, size)
        banks = range(number, lanes, slices) if slices <= lanes else [number % lanes]
        low, high = min(total, 0), max(total, 0)
        parts = [rng.randint(low, high) // len(banks) for _ in banks]
        parts[0] += total - sum(parts)
        for bank, part in zip(banks, parts, strict=True):
            accs[bank * places(config) + number // lanes * size + e] = part
    return accs


def check(config, rows, **kwargs):
    expected = [beat for row in rows for beat in beats_of(config, **row)]
    rows = [{name: row[name] for name in ("row", "acc")} for row in rows]
    results, last = run_streams(made(Bench, config), {"i": rows}, {"o": len(expected)}, **kwargs)
    assert observed(results["o"]) == expected
    return len(expected), last


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(name, stall):
    config, rng = CONFIGS[name], random.Random(name)
    sums = [rng.randint(1 << 16, config.max_tokens << 16) for _ in range(8)]
    sums += [1 << 16, (1 << 17) - 1, config.max_tokens << 16]
    rows = [make_row(config, rng, exp_sum, rng.choice(config.dims)) for exp_sum in sums]
    check(config, rows, stall=stall)


@pytest.mark.parametrize("name", CONFIGS)
def test_throughput(name):
    config = CONFIGS[name]
    rows = [make_row(config, random.Random(i), 3 << 16, config.dims[-1]) for i in range(10)]
    count, last = check(config, rows, stall=0)
    assert last <= count + DELAY + Normalizer(config, delay=DELAY).latency


def test_latency():
    config = CONFIGS["tiny"]
    row = make_row(config, random.Random(1), 1 << 17, 16)
    _, last = check(config, [row], stall=0)
    assert last == DELAY + Normalizer(config, delay=DELAY).latency + 16 // config.norm_lanes - 1


@examples(6)
@given(
    st.lists(st.tuples(st.integers(1 << 16, 64 << 16), st.integers(-(1 << 35), 1 << 35)), min_size=4, max_size=8),
    st.integers(0, 1 << 30),
)
def test_any_sum_and_accumulator(cases, seed):
    config, rng = PRESETS["tiny"], random.Random(seed)
    rows = [make_row(config, rng, exp_sum, 16, extreme=acc) for exp_sum, acc in cases]
    check(config, rows, stall=0)


@pytest.mark.parametrize("delay", [0, "1"])
def test_delay_is_checked(delay):
    with pytest.raises(ValueError, match=f"delay must be a positive integer, not {delay!r}"):
        Normalizer(PRESETS["tiny"], delay=delay)


def test_reset_in_mid_stream():
    """In the middle of a row of four beats, above all: none of its magnitudes is in the next row's sum."""
    config = CONFIGS["tiny"]
    rows = [make_row(config, random.Random(i), 3 << 16, config.dims[-1]) for i in range(3)]
    count = sum(len(beats_of(config, **row)) for row in rows)
    inputs = [{name: row[name] for name in ("row", "acc")} for row in rows]
    check_stream_reset(
        lambda: Bench(config),
        {"i": inputs},
        {"o": count},
        stall=0.1,
        resets=12,
        view=lambda beat: {**beat, "abs_sum": beat["abs_sum"] if beat["last"] else None},
    )

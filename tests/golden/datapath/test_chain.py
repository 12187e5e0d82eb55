"""Folded sums: their definition in plain Python, their bound, and how far outputs are from exact attention."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import chain
from golden.layers.job import Job, run_jobs, scale_of
from hdl.spec.config import Config

CONFIG = Config(chain_rows=8)


def in_parts(query, key, value, *, scale, part, value_bits=12, **fields):
    """A context as a chain of jobs of ``part`` keys."""
    scale, shift = scale_of(scale)
    return [
        Job(
            query=query,
            key=key[start : start + part],
            value=value[start : start + part],
            query_bits=12,
            key_bits=12,
            value_bits=value_bits,
            scale=scale,
            shift=shift,
            value_keep=min(part, len(key) - start),
            joins=start > 0,
            more=start + part < len(key),
            **fields,
        )
        for start in range(0, len(key), part)
    ]


def folded(parts):
    """The sums of (y, exp sum, acc) of the parts, one after the other, in whole numbers of Python."""
    origin = parts[0][0]
    octave, total, acc = None, 0, 0
    for y, exp_sum, part_acc in parts:
        mine = -((origin - y) // 4096)
        if octave is None:
            octave, total, acc = mine, exp_sum << 8, part_acc << 8
            continue
        highest = max(octave, mine)
        old, new = min(63, highest - octave), min(63, highest - mine)
        total = -(-total >> old) + -(-(exp_sum << 8) >> new)
        acc = (acc >> old) + ((part_acc << 8) >> new)
        octave = highest
    return octave, total, acc


@given(
    st.lists(
        st.tuples(st.integers(-(2**30), 2**30 - 1), st.integers(2**16, 2**26), st.integers(-(2**11), 2**11 - 1)),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 2**16 - 1),
    st.integers(1, 63),
)
def test_sums_are_those_of_plain_numbers(parts, scale, shift):
    state, plain = None, []
    for maximum, exp_sum, mean in parts:
        y = ((maximum * scale << 1 >> shift) + 1) >> 1
        plain.append((y, exp_sum, exp_sum * mean))
        origin, below, offset = chain.octave_of(
            torch.tensor([maximum]), torch.tensor(scale), torch.tensor(shift), state
        )
        assert 0 <= int(offset) < 4096
        assert int(origin) - int(below) * 4096 - int(offset) == y
        acc = torch.tensor([[exp_sum * mean]])
        state = chain.fold(origin, below, torch.tensor([exp_sum]), acc, state)
    octave, total, acc = folded(plain)
    assert (-int(state.below), int(state.exp_sum), int(state.acc)) == (octave, total, acc)
    assert abs(acc) <= total << 11, "or the shifted sum does not fit the multiplier"


def relative_error(jobs, query, key, value, scale):
    out = run_jobs(jobs, CONFIG)[-1].out.double() / 256
    weight = torch.softmax(query.double() @ key.double().T * scale * math.log(2), -1)
    exact = weight @ value.double()
    return float(((out - exact).norm(dim=-1) / exact.norm(dim=-1)).max())


def operands(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(-2047, 2048, (rows, 64), generator=generator) for rows in (1, count, count)]


@pytest.mark.parametrize("part", [128, 512])
def test_error_beside_an_attention_sink(part):
    """The first key has most of the weight, 8,191 others share the rest."""
    query, key, value = operands(8192)
    key = key // 8
    key[0] = query[0]
    scale = 12 / float(query[0].double() @ query[0].double())
    jobs = in_parts(query, key, value, scale=scale, part=part)
    assert relative_error(jobs, query, key, value, scale) <= 2**-12


@pytest.mark.parametrize("part", [64, 128])
def test_error_of_a_long_tail(part):
    """All keys but one lie where an exponential is just rounded to 0: only those of the first job are lost."""
    query, key, value = operands(32768)
    key = torch.zeros_like(key)
    key[0] = query[0]
    value = torch.full_like(value, 1000)
    value[1:] = 0
    scale = 17.02 / float(query[0].double() @ query[0].double())
    jobs = in_parts(query, key, value, scale=scale, part=part)
    assert relative_error(jobs, query, key, value, scale) <= part * 2**-17 + 2**-11


def test_the_scale_may_change_from_job_to_job():
    """K of later jobs in steps half as wide, with half the scale: the same attention but for rounding."""
    query, key, value = operands(256)
    key = key // 4
    scale = 2.0**-16
    jobs = in_parts(query, key, value, scale=scale, part=128)
    finer, shift = scale_of(scale / 2)
    halved = [jobs[0], *(Job(**{**vars(job), "key": job.key * 2, "scale": finer, "shift": shift}) for job in jobs[1:])]
    first, second = (run_jobs(each, CONFIG)[-1].out for each in (jobs, halved))
    assert torch.equal(first, second)


def test_jobs_out_of_order_are_refused():
    query, key, value = operands(256)
    jobs = in_parts(query, key, value, scale=2.0**-18, part=128)
    with pytest.raises(ValueError, match="joins must be True"):
        run_jobs([jobs[0], jobs[0]], CONFIG)
    with pytest.raises(ValueError, match="joins must be False"):
        run_jobs(jobs[1:], CONFIG)


def test_random_parts_are_close_to_exact():
    rng = random.Random(1)
    query, key, value = operands(3000, 3)
    scale = 2.0**-18
    for part in (rng.randint(60, 1024) for _ in range(3)):
        jobs = in_parts(query, key, value, scale=scale, part=part)
        assert relative_error(jobs, query, key, value, scale) <= 2**-9

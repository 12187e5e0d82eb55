"""Jobs of the model one after the other: answers in order, second passes, kinds that do not mix."""

import dataclasses

import pytest

from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.machine import Machine
from sim.model.shape import Shape

PAPER = PRESETS["paper"]
TOKEN = Shape(dim=64, keys=200, value_keep=40, generation=True, key_bits=6, key_lsb_bits=4, value_bits=6)
PROMPT = Shape(dim=64, keys=64, rows=64, value_keep=64, key_bits=6, key_lsb_bits=4, value_bits=6)


def run(*shapes, latency=20, parallelism=None):
    timing = MemoryTiming(latency=latency)
    return Machine(PAPER, timing, parallelism or PAPER.topk_parallelism, 0, shapes).run()


@pytest.mark.parametrize("shapes", [[TOKEN] * 9, [PROMPT] * 3, [TOKEN, PROMPT, TOKEN, PROMPT]])
def test_jobs_are_answered_in_order(shapes):
    found = run(*shapes)
    assert len(found.finished) == len(shapes) and found.cycles == found.finished[-1]
    assert all(after >= before + 1 for before, after in zip(found.finished, found.finished[1:], strict=False))


def test_jobs_overlap():
    one, many = run(TOKEN).cycles, run(*[TOKEN] * 9).cycles
    assert one < many < 9 * one


@pytest.mark.parametrize("shape", [TOKEN, PROMPT])
def test_a_job_is_not_changed_by_those_after_it(shape):
    assert run(shape, shape, shape).finished[0] == run(shape).cycles


def test_work_is_the_sum_of_the_jobs():
    alone, prompt, both = run(TOKEN).work, run(PROMPT).work, run(TOKEN, PROMPT).work
    assert both == pytest.approx({name: alone[name] + prompt[name] for name in both})
    assert alone["key_lsb_words"] == prompt["key_lsb_words"] == 0


@pytest.mark.parametrize(("shape", "flat"), [(TOKEN, 1), (PROMPT, 1), (PROMPT, 64)])
def test_flat_rows_go_through_once_more(shape, flat):
    plain, again = run(shape), run(dataclasses.replace(shape, flat_rows=flat))
    assert again.work["qk_beats"] == pytest.approx(plain.work["qk_beats"] * (1 + flat / shape.rows))
    assert again.work["key_lsb_words"] > 0 and again.cycles > plain.cycles


def test_an_answer_waits_for_the_second_pass_before_it():
    flat = dataclasses.replace(TOKEN, flat_rows=1)
    first, second = run(flat, TOKEN).finished
    assert first > run(TOKEN).cycles and second > first


def test_kinds_that_do_not_mix_wait():
    """A prompt's loads begin when the second passes of generation before it are over."""
    flat = dataclasses.replace(TOKEN, flat_rows=1)
    assert run(flat, PROMPT).cycles > run(TOKEN, PROMPT).cycles


def test_memory_and_selection_take_time():
    assert run(TOKEN, latency=120).cycles >= run(TOKEN, latency=20).cycles + 100
    pruned = dataclasses.replace(TOKEN, keys=1000, value_keep=100)
    assert run(pruned, parallelism=1).cycles > run(pruned).cycles

"""What users call a model by, on the RTL: every value, and what comes out, equal to the golden model."""

import pytest
import torch

from golden.host.session import Session
from hdl.spec.config import PRESETS
from sim.engine import verilator
from sim.engine.registry import make_engine
from sim.run.accelerator import Accelerator
from tests.bench.tiny_models import tiny_causal
from tests.golden.models.test_generation import ALGORITHMS_TRIED, IDS, LOCAL, generated, padded

TINY = PRESETS["tiny"]

pytestmark = pytest.mark.skipif(not verilator.available(), reason="the RTL runs in Verilator")


@pytest.fixture(scope="module")
def engine():
    with make_engine("verilator", TINY) as engine:
        yield engine


def beams(model, session):
    return generated(model, IDS, session=session, num_beams=3)


def one_token_prompt(model, session):
    return generated(model, torch.tensor([[7]]), session=session, max_new_tokens=16, min_new_tokens=16)


def padded_batch(model, session):
    ids, mask = padded("left")
    return generated(model, ids, session=session, attention_mask=mask)


@pytest.mark.parametrize("name", ["layer", "cascade"])
@pytest.mark.parametrize("call", [beams, one_token_prompt, padded_batch])
def test_pruned_calls(engine, call, name):
    check(engine, call, tiny_causal(), ALGORITHMS_TRIED[name])


@pytest.mark.parametrize("name", LOCAL)
def test_windows(engine, name):
    def call(model, session):
        return generated(model, IDS, session=session)

    check(engine, call, tiny_causal(*LOCAL[name]), ALGORITHMS_TRIED["dense"])


def check(engine, call, model, algorithm):
    accelerator = Accelerator(engine, TINY)
    got = call(model, Session(algorithm, TINY, execute=accelerator.execute))
    calls = accelerator.take_calls()
    assert sum(one.values_compared for one in calls) > 1000 and not any(one.mismatches for one in calls)
    assert torch.equal(got, call(model, Session(algorithm, TINY)))

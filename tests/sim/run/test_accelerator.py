"""A session on an engine against a session on the golden model."""

import dataclasses
import random

import pytest
import torch

from golden.host.algorithm import Algorithm
from golden.host.session import Session
from golden.layers.job import run_jobs
from golden.layers.layer_job import layer_jobs
from golden.layers.quantize import AttentionSettings
from golden.layers.run_layer import run_layer
from hdl.spec.config import PRESETS
from sim.engine.engine import EngineError, RunResult
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.run.accelerator import Accelerator, compare_selections
from sim.transport.memory import ImageError
from tests.bench.golden_chip import GoldenChip
from tests.bench.tiny_models import tiny_causal, tiny_model
from tests.golden.layers.test_long_layer import make_layer
from tests.hdl.test_chains import CONFIG as CHAINED
from tests.hdl.test_spatten import engine_or_skip

TINY = PRESETS["tiny"]
SENTENCE = "fourteen words of which some are pruned and some are not by the chip"
PROMPT = 20
NEW = 4
STALLS = MemoryTiming(latency=7, stall=0.3, skew=9, host_stall=0.3)
PROGRESSIVE = AttentionSettings(key_bits=6, value_bits=6, threshold=0.3, value_keep=0.6)

DECODERS = {
    "dense": Algorithm(),
    "cascade": Algorithm(
        attention=PROGRESSIVE, token_keep=(0.9, 0.6, 0.4), head_keep=(1.0, 0.75, 0.5), pin_first=1, decay=3
    ),
    "layer": Algorithm(
        attention=PROGRESSIVE, scope="layer", token_keep=(0.9, 0.6, 0.4), head_keep=(0.75, 1.0, 0.5), normalize=True
    ),
    "head": Algorithm(attention=PROGRESSIVE, scope="head", token_keep=(0.8, 0.5, 0.3), importance_rows=5),
    "heads that differ": Algorithm(scope="head", token_keep=(0.8, (0.5, 0.3), (0.2, 0.9)), pin_last=3),
}
ENCODERS = {
    "dense": Algorithm(),
    "cascade": Algorithm(attention=PROGRESSIVE, token_keep=(0.9, 0.5), head_keep=(1.0, 0.5), pin_first=1, decay=1),
}


class Outcomes:
    """An ``execute`` that keeps what another one gives."""

    def __init__(self, execute):
        self.execute, self.seen = execute, []

    def __call__(self, layer, config):
        outcome = self.execute(layer, config)
        self.seen.append((layer, outcome))
        return outcome


def ids(batch=1, tokens=PROMPT, seed=0):
    return torch.randint(100, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def generate(execute, algorithm, prompt):
    """Outcomes of all layers and steps of the random Llama, whose heads share K and V in pairs."""
    outcomes = Outcomes(execute)
    new = tiny_causal().generate(prompt, NEW, Session(algorithm, TINY, execute=outcomes))
    return new, outcomes.seen


def embed(execute, algorithm, texts=SENTENCE):
    outcomes = Outcomes(execute)
    return tiny_model().embed(texts, Session(algorithm, TINY, execute=outcomes)), outcomes.seen


def assert_equal(got, want):
    assert torch.equal(got[0], want[0])
    for (layer, mine), (_, reference) in zip(got[1], want[1], strict=True):
        for field in dataclasses.fields(reference):
            same = torch.equal(getattr(mine, field.name), getattr(reference, field.name))
            assert same, f"{layer.name}: {field.name}"


def assert_all_compared(calls, seen):
    """Nothing differs, and each value of each outcome was compared."""
    assert sum(call.mismatches for call in calls) == 0
    assert len(calls) == len(seen)
    for call, (layer, _) in zip(calls, seen, strict=True):
        rows = int(layer.heads.sum()) * layer.num_queries
        keys = [chunk.keys for chunk in layer.chunks(TINY) for _ in range(chunk.start, chunk.stop)]
        assert call.results.compared == rows * (layer.dim + 2) + sum(keys) * int(layer.heads.sum())
        heads = int(layer.heads.sum()) if layer.num_queries else 0
        assert call.survivors.compared == 3 * (layer.ids.numel() + heads)


# On the golden chip --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", DECODERS)
def test_language_model(name, batch):
    accelerator = Accelerator(GoldenChip(TINY), TINY)
    got = generate(accelerator.execute, DECODERS[name], ids(batch))
    assert_equal(got, generate(run_layer, DECODERS[name], ids(batch)))
    assert_all_compared(accelerator.take_calls(), got[1])
    assert accelerator.take_calls() == []


@pytest.mark.parametrize("texts", [SENTENCE, [SENTENCE, SENTENCE[::-1]]], ids=["one", "two"])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(name, texts):
    accelerator = Accelerator(GoldenChip(TINY), TINY)
    got = embed(accelerator.execute, ENCODERS[name], texts)
    assert_equal(got, embed(run_layer, ENCODERS[name], texts))
    calls = accelerator.take_calls()
    assert_all_compared(calls, got[1])
    assert all(call.cycles == 200 and call.words_read == [8, 8] and call.limit_cycles > 0 for call in calls)
    assert all(0 < call.prob_error < 2**-11 and call.out_error > 0 for call in calls)


def test_long_prompt_comes_in_parts():
    """Two query heads share K and V: 36 rows of each do not fit into a job. The last 10 count."""
    algorithm, prompt = Algorithm(importance_rows=10, token_keep=(0.5, 0.5, 0.5)), ids(tokens=36)
    chip = GoldenChip(TINY)
    accelerator = Accelerator(chip, TINY)
    got = generate(accelerator.execute, algorithm, prompt)
    assert_equal(got, generate(run_layer, algorithm, prompt))
    assert_all_compared(accelerator.take_calls(), got[1])
    chunks = [(layer.jobs[0].num_queries, layer.select) for layer in chip.layers[0] if layer.jobs]
    assert chunks == [(26, False), (10, True)]


def test_survivors_on_chip_are_used():
    """Cascade: a layer goes on with those of the layer before, and a step with those of the selection before it."""
    chip = GoldenChip(TINY)
    accelerator = Accelerator(chip, TINY)
    generate(accelerator.execute, DECODERS["cascade"], ids())
    calls = accelerator.take_calls()
    assert [call.name for call in calls[:5]] == ["layer 0", "layer 1", "layer 2", "selection", "layer 0"]
    # A step's first layer has a new token, and the selection at its end takes all tokens.
    step = [False, True, True, False]
    assert [call.resumed for call in calls] == chip.resumed == [False, True, True, True] + step * (NEW - 1)
    lists = [sum(layer.ids is not None for layer in layers) for layers in chip.layers]
    assert lists == [int(not resumed) for resumed in chip.resumed]


@pytest.mark.parametrize("name", ["layer", "head"])
def test_tables_that_are_not_on_chip_are_loaded(name):
    chip = GoldenChip(TINY)
    generate(Accelerator(chip, TINY).execute, DECODERS[name], ids())
    # Zero importance of all tokens: the first layer has left something else.
    assert not any(chip.resumed)


@pytest.mark.parametrize("texts", [[SENTENCE, SENTENCE[::-1]], [SENTENCE, SENTENCE]], ids=["different", "equal"])
def test_sequences_of_a_batch_take_turns(texts):
    """Only the first one of a layer may find its survivors on chip: if it is equal to the last one."""
    chip = GoldenChip(TINY)
    accelerator = Accelerator(chip, TINY)
    got = embed(accelerator.execute, ENCODERS["cascade"], texts)
    assert chip.resumed == [False, texts[0] == texts[1]] and [len(layers) for layers in chip.layers] == [2, 2]
    assert_equal(got, embed(run_layer, ENCODERS["cascade"], texts))
    assert_all_compared(accelerator.take_calls(), got[1])


def test_other_tokens_of_equal_importance_are_loaded():
    _, seen = embed(run_layer, ENCODERS["cascade"])
    first, second = (layer for layer, _ in seen)
    chip = GoldenChip(TINY)
    accelerator = Accelerator(chip, TINY)
    accelerator.execute(first, TINY)
    others = torch.arange(second.num_keys)[None]
    assert not torch.equal(others, second.ids)
    accelerator.execute(dataclasses.replace(second, ids=others), TINY)
    assert chip.resumed == [False, False]


# What goes wrong -----------------------------------------------------------------------------------------------


SPOILED = {
    "out": ("out of layer 1 head 1, query 3, element 4: got", lambda r, s: r.out[3, 4].add_(1)),
    "abs_sum": ("abs_sum of layer 1 head 1, query 3: got", lambda r, s: r.abs_sum[3].sub_(1)),
    "flat": ("flat of layer 1 head 1, query 2: got", lambda r, s: r.flat[2].logical_not_()),
    "probs": ("probs of layer 1 head 1, query 3, key 5: got", lambda r, s: r.probs[3, 5].add_(1)),
    "id": ("id of layer 1 tokens, position 7: got", lambda r, s: s.ids[7].add_(1)),
    "importance": ("importance of layer 1 tokens, position 2: got", lambda r, s: s.importance[2].add_(1)),
    "keep": ("keep of layer 1 tokens, position 1: got", lambda r, s: s.keep[1].logical_not_()),
    "head id": ("id of layer 1 heads, position 1: got 5, expected 1", lambda r, s: s.head_ids.__setitem__(1, 5)),
    "head importance": ("importance of layer 1 heads, position 0", lambda r, s: s.head_importance[0].add_(1)),
    "head keep": ("keep of layer 1 heads, position 1", lambda r, s: s.head_keep[1].logical_not_()),
}


@pytest.mark.parametrize("name", SPOILED)
def test_mismatch(name):
    message, change = SPOILED[name]

    def spoil(run, results, selections):
        if run == 2:
            selections[0] = dataclasses.replace(
                selections[0],
                **{field: getattr(selections[0], field).clone() for field in ("ids", "head_importance")},
                head_ids=list(selections[0].head_ids),
            )
            change(results[0][1], selections[0])

    accelerator = Accelerator(GoldenChip(TINY, spoil=spoil), TINY)
    embed(accelerator.execute, Algorithm(attention=PROGRESSIVE))
    first, second = accelerator.take_calls()
    assert (first.mismatches, second.mismatches) == (0, 1)
    report = second.results if second.results.mismatches else second.survivors
    assert str(report.first).startswith(message) and message in str(report)
    assert f"1 of {report.compared:,} values differ ({report.first.stage} 1)" in str(report)


def test_outcome_is_the_hardware_s():
    """Wrong values go on into the model, and are not compared if nobody asks."""

    def spoil(run, results, selections):
        for result in results[0]:
            result.out.zero_()
        selections[0].importance[:] = 7

    accelerator = Accelerator(GoldenChip(TINY, spoil=spoil), TINY, compare=False)
    _, seen = embed(accelerator.execute, Algorithm())
    assert all((outcome.out == 0).all() and (outcome.importance == 7).all() for _, outcome in seen)
    calls = accelerator.take_calls()
    assert [(call.values_compared, call.mismatches) for call in calls] == [(0, 0)] * 2
    assert [call.prob_error for call in calls] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("error", "message"), [(EngineError("stuck"), "stuck"), (ImageError("memory is full"), "layer 1: memory is full")]
)
def test_engine_errors(error, message):
    """After one the chip's state is unknown: the same layer brings its list."""

    def spoil(run, results, selections):
        if run == 2:
            raise error

    chip = GoldenChip(TINY, spoil=spoil)
    accelerator = Accelerator(chip, TINY)
    seen = []

    def execute(layer, config):
        if chip.runs < 2:
            seen.append(layer)
        return accelerator.execute(layer, config)

    with pytest.raises(EngineError, match=f"^{message}$"):
        embed(execute, ENCODERS["cascade"])
    accelerator.execute(seen[1], TINY)
    assert chip.resumed == [False, True, False]


def test_bad_layers():
    _, seen = embed(run_layer, Algorithm())
    layer, _ = seen[0]
    accelerator = Accelerator(GoldenChip(TINY), TINY)
    with pytest.raises(ValueError, match="config must be the engine's tiny, not paper"):
        accelerator.execute(layer, PRESETS["paper"])
    with pytest.raises(ValueError, match="layer 0 must have a selection"):
        accelerator.execute(dataclasses.replace(layer, select=False), TINY)
    (part,) = layer_jobs(layer, 0, TINY)
    with pytest.raises(ValueError, match="layer 0 has a selection on one side only"):
        compare_selections([part], [None], GoldenChip(TINY).run_layers([part]).selections)


# On an engine that shows outputs and survivors only ----------------------------------------------------------------


def assert_shown_compared(calls, seen):
    """Nothing differs, and each value that is shown was compared, and no other."""
    assert sum(call.mismatches for call in calls) == 0
    for call, (layer, outcome) in zip(calls, seen, strict=True):
        elements = int(layer.heads.sum()) * layer.num_queries * layer.dim
        jobs = bool(layer.num_queries)
        assert call.results.compared == elements + jobs
        heads = int(outcome.head_keep.sum()) if layer.num_queries else 0
        assert call.survivors.compared == 2 * (int(outcome.keep.sum()) + heads)
        hidden = {"abs_sum", "flat", "probs"} if jobs else set()
        assert call.not_shown == hidden | {"importance of the pruned"}


@pytest.mark.parametrize("name", ["cascade", "head", "heads that differ"])
def test_outputs_only(name):
    """The outcomes are golden's all the same: what is not shown is taken from golden."""
    accelerator = Accelerator(GoldenChip(TINY, outputs_only=True), TINY)
    got = generate(accelerator.execute, DECODERS[name], ids(2))
    assert_equal(got, generate(run_layer, DECODERS[name], ids(2)))
    assert_shown_compared(accelerator.take_calls(), got[1])


def test_outputs_only_without_a_comparison():
    accelerator = Accelerator(GoldenChip(TINY, outputs_only=True), TINY, compare=False)
    got = embed(accelerator.execute, ENCODERS["cascade"])
    assert_equal(got, embed(run_layer, ENCODERS["cascade"]))
    assert all(call.values_compared == 0 and not call.not_shown for call in accelerator.take_calls())


def _other_token(run):
    """A token that was pruned in the place of the last one that survives."""
    survivors = run.selections[0]
    others = sorted(set(range(int(survivors.ids[-1]) + 1)) - set(survivors.ids.tolist()))
    survivors.ids[-1] = others[-1]
    survivors.ids.copy_(survivors.ids.sort().values)


HIDDEN = {
    "output": (lambda run: run.results[0][1].out[2].add_(1), 16, "out of layer 0 head 1, query 2, element 0: got "),
    "flat row": (lambda run: run.counters.update(flat_rows=99), 1, "flat of layer 0 (rows of all heads), "),
    "importance": (lambda run: run.selections[0].importance[3].add_(1), 1, "importance of layer 0 tokens, position 3"),
    "head": (lambda run: run.selections[0].head_importance[0].add_(1), 1, "importance of layer 0 heads, position 0"),
    "token": (_other_token, None, "id of layer 0 tokens, position "),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_shown_is_compared(name, monkeypatch):
    change, mismatches, message = HIDDEN[name]
    chip = GoldenChip(TINY, outputs_only=True)
    run_layers = chip.run_layers

    def spoiled(layers, **options):
        run = run_layers(layers, **options)
        if chip.runs == 1:
            change(run)
        return run

    monkeypatch.setattr(chip, "run_layers", spoiled)
    accelerator = Accelerator(chip, TINY)
    session = Session(ENCODERS["cascade"], TINY, execute=accelerator.execute)
    tiny_model().embed(SENTENCE, session)
    first = accelerator.take_calls()[0]
    report = first.results if first.results.mismatches else first.survivors
    assert str(report.first).startswith(message)
    assert first.mismatches == mismatches or (mismatches is None and first.mismatches > 0)


def test_survivors_that_are_missing():
    """Each of the places that one side has counts."""
    _, seen = embed(run_layer, ENCODERS["cascade"])
    (part,) = layer_jobs(seen[0][0], 0, TINY)
    (want,) = GoldenChip(TINY).run_layers([part]).selections
    whole, got = want.survivors(), want.survivors()
    got.ids, got.importance = got.ids[:-2], got.importance[:-2]
    report, count = compare_selections([part], [got], [want]), len(whole.ids)
    assert report.compared == 2 * (count + len(whole.head_ids))
    assert report.by_stage == {"id": 2, "importance": 2} and report.mismatches == 4
    place = f"id of layer 0 tokens, position {count - 2}"
    assert str(report.first) == f"{place}: got -1, expected {int(whole.ids[-2])}"


# On the RTL ----------------------------------------------------------------------------------------------------


def compiled(timing, name="verilator"):
    from sim.engine.verilator import available

    if not available():
        pytest.skip("no C++ compiler, make or perl for Verilator")
    return make_engine(name, TINY, timing=timing)


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
@pytest.mark.parametrize("name", DECODERS)
def test_language_model_on_rtl(name, timing):
    with compiled(timing) as engine:
        accelerator = Accelerator(engine, TINY)
        got = generate(accelerator.execute, DECODERS[name], ids())
    assert_equal(got, generate(run_layer, DECODERS[name], ids()))
    calls = accelerator.take_calls()
    assert_all_compared(calls, got[1])
    assert any(call.resumed for call in calls) == (DECODERS[name].scope == "cascade")
    assert all(call.cycles > call.limit_cycles and call.counters["layers"] for call in calls)
    assert sum(call.counters["flat_rows"] for call in calls) == sum(int(outcome.flat.sum()) for _, outcome in got[1])


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_on_rtl(name, timing):
    with compiled(timing) as engine:
        accelerator = Accelerator(engine, TINY)
        got = embed(accelerator.execute, ENCODERS[name], [SENTENCE, SENTENCE[::-1]])
    assert_equal(got, embed(run_layer, ENCODERS[name], [SENTENCE, SENTENCE[::-1]]))
    assert_all_compared(accelerator.take_calls(), got[1])


@pytest.mark.parametrize("name", ["cascade", "head"])
def test_language_model_on_the_axi_top(name):
    with compiled(STALLS, "axi") as engine:
        accelerator = Accelerator(engine, TINY)
        got = generate(accelerator.execute, DECODERS[name], ids())
    assert_equal(got, generate(run_layer, DECODERS[name], ids()))
    calls = accelerator.take_calls()
    assert_shown_compared(calls, got[1])
    assert any(call.resumed for call in calls) == (DECODERS[name].scope == "cascade")


def test_encoder_on_the_axi_top():
    with compiled(STALLS, "axi") as engine:
        accelerator = Accelerator(engine, TINY)
        got = embed(accelerator.execute, ENCODERS["cascade"], [SENTENCE, SENTENCE[::-1]])
    assert_equal(got, embed(run_layer, ENCODERS["cascade"], [SENTENCE, SENTENCE[::-1]]))
    assert_shown_compared(accelerator.take_calls(), got[1])


@pytest.mark.parametrize("queries", [1, 5])
def test_a_long_layer_is_chains_of_jobs(queries):
    layer = make_layer(random.Random(queries), tokens=150, queries=queries, group=3, batch=2)
    with engine_or_skip("verilator", CHAINED) as engine:
        accelerator = Accelerator(engine, CHAINED)
        outcome = accelerator.execute(layer, CHAINED)
        (call,) = accelerator.take_calls()
    assert torch.equal(outcome.out, run_layer(layer, CHAINED).out)
    assert call.mismatches == 0 and call.values_compared >= outcome.out.numel()
    assert call.cycles > call.limit_cycles


def test_a_long_layer_that_differs_is_told():
    layer = make_layer(random.Random(3), tokens=150, queries=1)

    class Wrong:
        def run(self, jobs, *, progress=None):
            results = run_jobs(jobs, CHAINED)
            results[-1].out[0, 3] += 1
            return RunResult(
                results=results,
                statuses=[0] * len(jobs),
                finished=[0] * len(jobs),
                cycles=1,
                counters={},
                words_read=[],
            )

    accelerator = Accelerator(Wrong(), CHAINED)
    accelerator.execute(layer, CHAINED)
    (call,) = accelerator.take_calls()
    assert call.mismatches == 1
    assert "element 3" in str(call.results.first)

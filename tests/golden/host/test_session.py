"""A session against a slow reference: one sequence at a time, tables as dictionaries, one job a K/V head."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from golden.datapath import cascade
from golden.host.algorithm import ALGORITHMS, Algorithm, Schedule
from golden.host.calibration import Calibration
from golden.host.session import Session
from golden.host.traces import Totals
from golden.layers.cascade_state import CascadeState
from golden.layers.job import Job, flat_limit_of, run_job, scale_of
from golden.layers.layer import Outcome
from golden.layers.layer_job import layer_jobs
from golden.layers.quantize import AttentionSettings, keep_count
from golden.layers.run_layer import run_layer
from hdl.spec.config import PRESETS

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]
LAYERS, HEADS, KV_HEADS, DIM = 3, 4, 2, 16
GROUP = HEADS // KV_HEADS
RATIOS = (0.9, 0.6, 0.4)
PROGRESSIVE = AttentionSettings(key_bits=6, value_bits=6, threshold=0.3)

DECODERS = {
    "dense": ALGORITHMS["dense"],
    "cascade": Algorithm(attention=PROGRESSIVE, token_keep=RATIOS, head_keep=(1.0, 0.75, 0.5)),
    "cascade, pins and decay": Algorithm(
        attention=dataclasses.replace(
            PROGRESSIVE, value_keep=0.5, key_transform="mean", value_transform="channels", align=True
        ),
        token_keep=Schedule(start=0.8, end=0.3, front=0.3),
        pin_first=2,
        pin_last=3,
        decay=1,
        normalize=True,
    ),
    "layer": Algorithm(scope="layer", token_keep=RATIOS, head_keep=(0.5, 1.0, 0.75), pin_first=1),
    "layer, normalized": Algorithm(
        attention=dataclasses.replace(PROGRESSIVE, clip=0.9, key_transform="channels", feedback=True),
        scope="layer",
        token_keep=RATIOS,
        decay=2,
        normalize=True,
        importance_rows=5,
    ),
    "head": Algorithm(attention=PROGRESSIVE, scope="head", token_keep=RATIOS, normalize=True, pin_last=2),
    "heads that differ": Algorithm(scope="head", token_keep=(0.8, (0.5, 0.3), (0.2, 0.9)), importance_rows=4, decay=3),
}
ENCODERS = {
    "dense": ALGORITHMS["dense"],
    "cascade": Algorithm(attention=PROGRESSIVE, token_keep=RATIOS, head_keep=(1.0, 0.75, 0.5), pin_first=1),
    "decay": Algorithm(attention=PROGRESSIVE, token_keep=(1.0, 0.5, 0.5), decay=1, importance_rows=6),
}


def inputs(batch, tokens, seed=0, kv_heads=KV_HEADS):
    """Float query, key, value of new tokens in a layer; keys that are not all alike."""
    generator = torch.Generator().manual_seed(seed)

    def normal(heads, scale):
        return torch.randn(batch, heads, tokens, DIM, generator=generator) * scale

    return (
        normal(HEADS, 2.0),
        normal(kv_heads, 1.5),
        normal(kv_heads, 1.0) * torch.arange(1, kv_heads + 1)[:, None, None],
    )


def decode(session, batch, prompt=12, steps=3, seed=0):
    """Outputs of all layers of a prompt and of steps of generation."""
    outs = []
    for step in range(steps + 1):
        for layer in range(LAYERS):
            data = inputs(batch, 1 if step else prompt, seed=seed + 100 * step + layer)
            outs.append(session.attention(layer, *data, causal=True))
    return outs


def encode(session, batch, tokens=14, seed=0):
    """Outputs of all layers of an encoder: the rows of the survivors go from layer to layer."""
    outs, ids = [], torch.arange(tokens).expand(batch, -1)
    for layer in range(LAYERS):
        data = [
            tensor.gather(2, ids[:, None, :, None].expand(-1, tensor.shape[1], -1, DIM))
            for tensor in inputs(batch, tokens, seed=seed + layer)
        ]
        outs.append(session.attention(layer, *data, causal=False))
        ids = ids.gather(1, session.survivors(layer))
        assert torch.equal(ids, session.alive)
    return outs


class Slow:
    """One sequence; follows the definition of :class:`golden.host.algorithm.Algorithm` word by word."""

    def __init__(self, algorithm, config, causal):
        self.algorithm, self.config, self.causal = algorithm, config, causal
        self.step, self.tokens = -1, 0
        self.calibration, self.planes, self.measure, self.floats = {}, {}, {}, {}
        self.tables = {}  # {token: importance} of the model, of a layer, or of a K/V head
        self.alive = []  # cascade: what the next layer attends
        self.heads = {layer: list(range(HEADS)) for layer in range(LAYERS)}
        self.head_importance = {}
        self.attended, self.counted, self.requantized = [], [], 0

    def layer(self, layer, query, key, value):
        """query (H, q, D), key and value (K, n, D) of the new (encoder: surviving) tokens."""
        algorithm, scope = self.algorithm, self.algorithm.scope
        first = self.step <= 0 and layer not in self.planes
        if layer == 0:
            self.step += 1
            new = list(range(self.tokens, self.tokens + key.shape[1]))
            self.tokens += key.shape[1]
            self.alive += new
            self.tables.setdefault("model", {}).update(dict.fromkeys(new, 0))
        if first:
            grouped = query.view(1, KV_HEADS, GROUP, *query.shape[1:]).double()
            self.calibration[layer] = Calibration.of(
                grouped, key[None].double(), value[None].double(), algorithm.attention
            )
            self.measure[layer] = self.calibration[layer].value_range.max()
            self.planes[layer] = [torch.zeros(KV_HEADS, 99, DIM, dtype=torch.int64) for _ in range(2)]
            for kv in range(KV_HEADS):
                self.tables.setdefault((layer, kv) if scope == "head" else layer, {})
        rows = self.alive if not self.causal else range(self.tokens - key.shape[1], self.tokens)
        calibration = self.remember(layer, query, key, value, list(rows))
        words, unit = calibration.query(query.view(1, KV_HEADS, GROUP, *query.shape[1:]))
        out = torch.zeros(HEADS, *query.shape[1:], dtype=torch.int64)
        totals, adds = dict.fromkeys(range(HEADS), 0), []
        for kv in range(KV_HEADS):
            table = self.table(layer, kv)
            if scope != "cascade":
                table.update(dict.fromkeys([token for token in rows if token not in table], 0))
            ids = self.alive if scope == "cascade" else sorted(table)
            ids = list(range(self.tokens)) if self.prompt else ids
            self.attended.append((self.step, layer, kv, ids))
            places = [head - kv * GROUP for head in self.heads[layer] if head // GROUP == kv]
            if places:
                scale = float(unit[0, kv] * calibration.key_unit[0, kv] * (DIM**-0.5 * math.log2(math.e)))
                adds.append((table, ids, self.head(layer, kv, places, words[0, kv], ids, scale, out, totals)))
        for table, ids, sums in adds:
            for token, amount in zip(ids, sums, strict=False):  # of the first so many tokens, if causal
                table[token] = min(cascade.LIMIT, table[token] + amount)
        result = calibration.output(out.view(1, KV_HEADS, GROUP, *query.shape[1:]), self.config).view_as(out)
        dead = [head for head in range(HEADS) if head not in self.heads[layer]]
        result[dead] = 0
        self.select(layer, totals)
        return result

    def remember(self, layer, query, key, value, rows):
        """Write the planes: the new rows, or where they exceed the grid all rows anew."""
        new = [tensor[None].double() for tensor in (query, key, value)]
        before = self.floats.get(layer)
        every = [torch.cat(pair, 2) for pair in zip(before, new, strict=True)] if before else new
        self.floats[layer] = every
        calibration = self.calibration[layer]
        outgrown = calibration.outgrown(*new[1:], self.tokens)
        if before and outgrown.any():
            grouped = every[0].unflatten(1, (KV_HEADS, GROUP))
            calibration = self.calibration[layer] = calibration.grown(outgrown, grouped, *every[1:])
            self.requantized += int(outgrown.sum())
            rows = list(range(self.tokens))
        else:
            every = new
        self.planes[layer][0][:, rows] = calibration.key(every[1])[0]
        self.planes[layer][1][:, rows] = calibration.value(every[2])[0]
        return calibration

    @property
    def prompt(self):
        return self.causal and self.step == 0

    def table(self, layer, kv):
        return self.tables[{"cascade": "model", "layer": layer, "head": (layer, kv)}[self.algorithm.scope]]

    def head(self, layer, kv, places, words, ids, scale, out, totals):
        """Runs a K/V head; sums of probabilities by token."""
        settings, number = self.algorithm.attention, words.shape[1]
        rows = self.algorithm.importance_rows
        counted = max(0, number - rows) if rows else 0
        sums = torch.zeros(len(ids), dtype=torch.int64)
        mantissa, shift = scale_of(scale)
        for start, stop in ((0, counted), (counted, number)):
            if start == stop:
                continue
            keys = len(ids) - number + stop if self.causal else len(ids)
            job = Job(
                query=words[places, start:stop].flatten(0, 1),
                key=self.planes[layer][0][kv],
                value=self.planes[layer][1][kv],
                ids=torch.tensor(ids[:keys]),
                query_bits=settings.query_bits,
                key_bits=settings.key_bits,
                key_lsb_bits=settings.key_lsb_bits,
                value_bits=settings.value_bits,
                scale=mantissa,
                shift=shift,
                flat_limit=flat_limit_of(settings.threshold, self.config),
                value_keep=settings.keep_count(keys),
                causal=self.prompt,
                group=len(places),
            )
            result = run_job(job, self.config)
            heads = [kv * GROUP + place for place in places]
            out[heads, start:stop] = result.out.view(len(places), -1, DIM)
            if start >= counted:
                sums[:keys] += result.probs.sum(0)
                for head, total in zip(heads, result.abs_sum.view(len(places), -1).sum(-1).tolist(), strict=True):
                    totals[head] += total
        return sums.tolist()

    def select(self, layer, totals):
        algorithm, last = self.algorithm, layer == LAYERS - 1
        cascaded = algorithm.scope == "cascade"
        weights = (self.calibration[layer].value_range / self.measure[0 if cascaded else layer])[0]
        importance = self.head_importance.setdefault("model" if cascaded else layer, [0] * HEADS)
        for head in self.heads[layer]:
            weight = min(65535, max(1, round(float(weights[head // GROUP]) * 4096)))
            importance[head] = min(cascade.LIMIT, importance[head] + (totals[head] * weight >> 24))
        if cascaded and self.step == 0 and not last:
            self.heads[layer + 1] = self.best_heads(importance, self.heads[layer], layer + 1)
        if algorithm.scope == "layer" and self.prompt:
            self.heads[layer] = self.best_heads(importance, self.heads[layer], layer)
        if cascaded and (self.step or not self.causal):
            table = {token: self.tables["model"][token] for token in self.alive}
            if not self.causal:
                table = self.decayed(table)
                self.tables["model"].update(table)
            self.alive = table if last else self.best_tokens(table, layer + 1, 0)
            self.alive = sorted(self.alive)
        if cascaded and self.causal and last:
            table = self.tables["model"] = self.decayed(self.normalized(self.tables["model"]))
            self.alive = sorted(self.best_tokens(table, 0, 0))
        if not cascaded and self.causal:
            for kv in range(KV_HEADS if algorithm.scope == "head" else 1):
                name = (layer, kv) if algorithm.scope == "head" else layer
                table = self.decayed(self.normalized(self.tables[name]))
                self.tables[name] = {token: table[token] for token in self.best_tokens(table, layer, kv)}

    def best_heads(self, importance, alive, layer):
        keep = keep_count(self.algorithm.head_ratios(LAYERS)[layer], HEADS)
        return sorted(sorted(alive, key=lambda head: (-importance[head], head))[:keep])

    def best_tokens(self, table, layer, kv):
        algorithm, tokens = self.algorithm, sorted(table)
        pin_last = max(algorithm.pin_last, 1 if self.step else 0)
        pinned = tokens[: algorithm.pin_first] + (tokens[-pin_last:] if pin_last else [])
        ratio = algorithm.token_ratios(LAYERS, KV_HEADS)[layer][kv]
        keep = max(keep_count(ratio, self.tokens), algorithm.pin_first + pin_last)
        return sorted(tokens, key=lambda token: (token not in pinned, -table[token], token))[:keep]

    def decayed(self, table):
        decay = self.algorithm.decay
        return {token: value - (value >> decay if decay else 0) for token, value in table.items()}

    def normalized(self, table):
        if not (self.algorithm.normalize and self.prompt):
            return table
        rows = self.algorithm.importance_rows or len(table)
        counted = range(max(0, len(table) - rows), len(table))
        could = {token: sum(row >= token for row in counted) for token in table}
        return {token: min(cascade.LIMIT, value * len(counted) // could[token]) for token, value in table.items()}


def by_sequence(layer, config):
    """:func:`run_layer` by the descriptors that the accelerator gets, one sequence after the other."""
    want = run_layer(layer, config)  # for the shapes
    out, flat = torch.zeros_like(want.out), torch.zeros_like(want.flat)
    tables = []
    for index in range(len(layer.ids)):
        state, chunks, selection = CascadeState(), iter(layer.chunks(config)), None
        for part in layer_jobs(layer, index, config):
            results, selection = state.run(part, config)
            chunk = next(chunks) if part.jobs else None
            for kv, job, result in zip(part.kv_heads, part.jobs, results, strict=True):
                places = dict(layer.live_groups(index))[kv]
                out[index, kv, places, chunk.start : chunk.stop] = result.out.unflatten(0, (job.group, -1))
                flat[index, kv, places, chunk.start : chunk.stop] = result.flat.unflatten(0, (job.group, -1))
        assert selection is not None
        importance, keep = layer.head_importance[index].clone(), torch.zeros_like(layer.heads[index])
        importance[selection.head_ids], keep[selection.head_ids] = selection.head_importance, selection.head_keep
        tables.append((selection.importance, selection.keep, importance, keep))
    names = ("importance", "keep", "head_importance", "head_keep")
    return Outcome(
        out=out, flat=flat, **{n: torch.stack(t) for n, t in zip(names, zip(*tables, strict=True), strict=True)}
    )


def traced(algorithm, config=TINY, **options):
    traces = []
    return Session(algorithm, config, num_layers=LAYERS, on_layer=traces.append, **options), traces


def attended(traces, index):
    """(step, layer, K/V head, tokens) of a sequence, of a K/V head each."""
    rows = []
    for trace in traces:
        for kv in range(KV_HEADS):
            table = trace.tables[kv if len(trace.tables) > 1 else 0]
            rows.append((trace.step, trace.layer, kv, table.ids[index].tolist()))
    return rows


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_equals_the_reference(name):
    session, traces = traced(DECODERS[name])
    outs = decode(session, 3)
    for index in range(3):
        slow, turns = Slow(DECODERS[name], TINY, True), iter(outs)
        for step in range(4):
            for layer in range(LAYERS):
                data = [tensor[index].double() for tensor in inputs(3, 1 if step else 12, seed=100 * step + layer)]
                assert torch.equal(next(turns)[index], slow.layer(layer, *data)), f"step {step} layer {layer}"
        assert attended(traces, index) == slow.attended


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_equals_the_reference(name):
    session, traces = traced(ENCODERS[name])
    outs = encode(session, 3)
    for index in range(3):
        slow = Slow(ENCODERS[name], TINY, False)
        ids = list(range(14))
        for layer, out in enumerate(outs):
            data = [tensor[index][:, ids].double() for tensor in inputs(3, 14, seed=layer)]
            assert torch.equal(out[index], slow.layer(layer, *data)), f"layer {layer}"
            ids = slow.alive
        assert attended(traces, index) == slow.attended
        assert session.alive[index].tolist() == slow.alive


@pytest.mark.parametrize("name", DECODERS)
def test_descriptors_of_the_accelerator_give_the_same(name):
    """Chunks of the smallest machine: a prompt of 40 tokens is more rows of a group than it takes in a job."""
    fast, fast_traces = traced(DECODERS[name])
    slow, slow_traces = traced(DECODERS[name], execute=by_sequence)
    for got, want in zip(decode(fast, 2, prompt=40), decode(slow, 2, prompt=40), strict=True):
        assert torch.equal(got, want)
    assert_traces_equal(fast_traces, slow_traces)


@pytest.mark.parametrize("name", ENCODERS)
def test_descriptors_of_an_encoder(name):
    fast, fast_traces = traced(ENCODERS[name])
    slow, slow_traces = traced(ENCODERS[name], execute=by_sequence)
    for got, want in zip(encode(fast, 2, tokens=40), encode(slow, 2, tokens=40), strict=True):
        assert torch.equal(got, want)
    assert_traces_equal(fast_traces, slow_traces)


def assert_traces_equal(got, want):
    for a, b in zip(got, want, strict=True):
        for name, value in vars(a).items():
            other = getattr(b, name)
            if name == "tables":
                for mine, yours in zip(value, other, strict=True):
                    assert all(
                        torch.equal(x, y) for x, y in zip(vars(mine).values(), vars(yours).values(), strict=True)
                    )
            else:
                assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


@pytest.mark.parametrize("name", DECODERS)
def test_batch_is_as_one_by_one(name):
    together = decode(traced(DECODERS[name])[0], 3)
    for index in range(3):
        session, _ = traced(DECODERS[name])
        for turn, out in enumerate(together):
            step, layer = divmod(turn, LAYERS)
            data = inputs(3, 1 if step else 12, seed=100 * step + layer)
            alone = session.attention(layer, *(tensor[index : index + 1] for tensor in data), causal=True)
            assert torch.equal(alone[0], out[index])


@pytest.mark.parametrize("name", DECODERS)
def test_pruned_tokens_and_heads_never_come_back(name):
    session, traces = traced(DECODERS[name])
    decode(session, 2, steps=6)
    cascaded = DECODERS[name].scope == "cascade"
    for index in range(2):
        gone, dead = {}, {}
        for trace in traces:
            for kv, table in enumerate(trace.tables):
                place = trace.step if cascaded else (trace.layer, kv)
                ids, keep = table.ids[index], table.keep[index]
                assert not gone.setdefault(place, set()) & set(ids.tolist())
                gone[place] |= set(ids[~keep].tolist())
                assert ids.tolist() == sorted(set(ids.tolist()))
                if trace.step:
                    assert ids[-1] == 11 + trace.step and (keep[-1] or not cascaded)
            heads = set(trace.heads[index].nonzero().flatten().tolist())
            place = trace.step if cascaded else trace.layer
            assert not dead.setdefault(place, set()) & heads
            dead[place] |= set(range(HEADS)) - heads


def test_number_of_survivors():
    session, traces = traced(DECODERS["layer"])
    decode(session, 2, prompt=20, steps=2)
    counts = {(trace.step, trace.layer): trace.tables[0].keep.sum(1).tolist() for trace in traces}
    assert counts[0, 1] == [12, 12] and counts[2, 1] == [14, 14] and counts[2, 2] == [9, 9]
    assert [trace.tables[0].ids.shape[1] for trace in traces if trace.layer == 1] == [20, 13, 14]
    assert [int(trace.heads.sum()) for trace in traces if trace.layer == 0] == [8, 4, 4]
    session, traces = traced(DECODERS["cascade"])
    decode(session, 2, prompt=20, steps=2)
    assert [trace.tables[0].ids.shape[1] for trace in traces] == [20, 20, 20, 19, 13, 9, 20, 14, 9]
    assert [int(trace.heads[0].sum()) for trace in traces] == [4, 3, 2] * 3


def test_dense_is_close_to_float_attention():
    session, traces = traced(ALGORITHMS["dense"], float_error=True)
    queries, keys, values = inputs(2, 20)
    out = session.attention(0, queries, keys, values, causal=True)
    want = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    assert (out - want).norm() / want.norm() < 0.002
    assert traces[0].relative_error == pytest.approx(float((out - want).norm() / want.norm()), rel=1e-3)
    assert 0 < traces[0].max_error < 0.02
    for layer in (1, 2):
        session.attention(layer, queries, keys, values, scaling=0.1, causal=True)
        assert traces[layer].relative_error < 0.002
    new = [tensor * 0.5 for tensor in inputs(2, 1, seed=9)]  # inside the range of the prompt
    out = session.attention(0, *new, causal=True)
    keys, values = torch.cat([keys, new[1]], 2), torch.cat([values, new[2]], 2)
    want = functional.scaled_dot_product_attention(new[0], keys, values, enable_gqa=True)
    assert (out - want).norm() / want.norm() < 0.002 and traces[3].relative_error < 0.002


def test_costs():
    """By hand: 2 sequences, 4 query heads of 2 K/V heads, D = 16, 12-bit planes; a prompt of 12, then one token."""
    session, traces = traced(ALGORITHMS["dense"])
    assert session.prompt == Totals() == session.generation
    decode(session, 2, steps=1)
    prompt, step = session.prompt, session.generation
    bytes_of_row = 16 * 12 / 8
    assert prompt.traffic.query == LAYERS * 2 * 4 * 12 * bytes_of_row
    assert prompt.traffic.key == prompt.traffic.value == LAYERS * 2 * 2 * 12 * bytes_of_row
    assert prompt.traffic.dense == LAYERS * 2 * (4 + 2 + 2) * 12 * 16 * 4
    assert step.traffic.query == LAYERS * 2 * 4 * bytes_of_row
    assert step.traffic.key == step.traffic.value == LAYERS * 2 * 2 * 13 * bytes_of_row
    assert step.traffic.dense == LAYERS * 2 * (4 + (2 + 2) * 13) * 16 * 4
    assert prompt.macs == prompt.dense_macs == LAYERS * 2 * 4 * (12 * 13 // 2) * 16 * 2
    assert step.macs == step.dense_macs == LAYERS * 2 * 4 * 13 * 16 * 2
    assert (prompt.rows, step.rows, prompt.flat_rows) == (LAYERS * 2 * 4 * 12, LAYERS * 2 * 4, 0)
    assert sum(trace.macs for trace in traces) == prompt.macs + step.macs


def test_costs_of_what_is_pruned():
    settings = AttentionSettings(key_bits=6, value_bits=4, threshold=1.0, value_keep=0.5)
    session, traces = traced(Algorithm(attention=settings, scope="layer", token_keep=(0.5,) * 3, head_keep=(0.5,) * 3))
    decode(session, 1, steps=1)
    trace, row = traces[LAYERS], 16 / 8
    assert int(trace.heads.sum()) == trace.rows == trace.flat_rows == 2
    groups = int(trace.heads.view(KV_HEADS, GROUP).any(1).sum())
    assert trace.traffic.query == 2 * 2 * 12 * row, "flat rows are fetched twice"
    assert (trace.traffic.key, trace.traffic.key_lsb) == (groups * 7 * 6 * row, groups * 7 * 4 * row)
    assert trace.traffic.value == groups * 7 * 4 * row, "of a group, all V rows"
    assert trace.macs == 2 * 16 * (7 + 7 + 4) and trace.dense_macs == 4 * 16 * 13 * 2
    session, traces = traced(Algorithm(attention=settings), execute=run_layer)
    queries, keys, values = inputs(1, 12, kv_heads=HEADS)
    session.attention(0, queries, keys, values, causal=True)
    session.num_layers = 1
    session.restore(dataclasses.replace(session.save(), next_layer=0))
    session.attention(0, *inputs(1, 1, kv_heads=HEADS), causal=True)
    assert traces[1].traffic.value == HEADS * 7 * 4 * row, "of a row alone, the survivors' V rows"
    assert traces[1].macs == HEADS * 16 * (13 + 13 + 7)


def test_dense_queries_of_an_encoder_are_all_of_its_tokens():
    session, traces = traced(ENCODERS["cascade"])
    encode(session, 1, tokens=14)
    assert [trace.tables[0].ids.shape[1] for trace in traces] == [14, 9, 6]
    assert {trace.traffic.dense for trace in traces} == {(4 + 2 + 2) * 14 * 16 * 4}
    assert {trace.dense_macs for trace in traces} == {4 * 14 * 14 * 16 * 2}


@pytest.mark.parametrize("name", DECODERS)
def test_sequences_take_turns(name):
    """Two batches on one session, saved and restored after every step, are as on sessions of their own."""
    alone = [decode(traced(DECODERS[name])[0], 2, seed=seed) for seed in (0, 7000)]
    shared, states, outs = traced(DECODERS[name])[0], [None, None], [[], []]
    for step in range(4):
        for turn, seed in enumerate((0, 7000)):
            shared.restore(states[turn])
            for layer in range(LAYERS):
                data = inputs(2, 1 if step else 12, seed=seed + 100 * step + layer)
                outs[turn].append(shared.attention(layer, *data, causal=True))
            states[turn] = shared.save()
    for got, want in zip(outs, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_clear_leaves_nothing():
    session, traces = traced(DECODERS["cascade"])
    fresh = decode(session, 2, seed=1)
    cost = session.prompt, session.generation
    session.clear()
    assert session.num_tokens == session.next_layer == 0 and session.prompt == Totals()
    again = decode(session, 2, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(fresh, again, strict=True))
    assert (session.prompt, session.generation) == cost
    assert_traces_equal(traces[: len(traces) // 2], traces[len(traces) // 2 :])


def test_a_saved_state_is_a_copy():
    session, _ = traced(DECODERS["layer"])
    decode(session, 1, steps=0)
    state = session.save()
    first = session.attention(0, *inputs(1, 1, seed=5), causal=True)
    session.restore(state)
    session.attention(0, *inputs(1, 1, seed=6), causal=True)
    session.restore(state)
    assert torch.equal(session.attention(0, *inputs(1, 1, seed=5), causal=True), first)


def prompted(algorithm=DECODERS["cascade"]):
    session, _ = traced(algorithm)
    decode(session, 2, steps=0)
    return session


@pytest.mark.parametrize(
    ("make", "layer", "data", "causal", "message"),
    [
        (prompted, 1, inputs(2, 1), True, "layer must be 0, which is next, not 1"),
        (prompted, 0, inputs(2, 2), True, "tokens after the prompt must come one at a time, not 2"),
        (prompted, 0, inputs(3, 1), True, "batch must be the 2 sequences that began: clear the session"),
        (prompted, 0, inputs(2, 1), False, "batch must be the 2 sequences that began: clear the session"),
        (None, 0, inputs(1, 65), True, "sequence must have at most 64 tokens, not 65"),
        (None, 0, (*inputs(1, 3)[:2], inputs(1, 4)[2]), True, r"query, key, value must be .* fit, not \(1, 4, 3, 16\)"),
        (None, 0, (inputs(1, 3)[0][0], *inputs(1, 3)[1:]), True, "query, key, value must be .* that fit"),
        (None, 0, inputs(1, 0), True, "query, key, value must be .* that fit"),
        (
            None,
            0,
            (inputs(1, 2)[0], *inputs(1, 3)[1:]),
            True,
            "query and key must be of the same new tokens, not 2 and 3",
        ),
        (
            None,
            0,
            [t.repeat(1, 1, 1, 5) for t in inputs(1, 3)],
            True,
            "head dimension must be from 1 to 64 \\(tiny\\), not 80",
        ),
        (None, 0, [t.repeat(1, 9, 1, 1) for t in inputs(1, 3)], True, r"heads must be at most 32 \(tiny\), not 36"),
        (
            None,
            0,
            [inputs(1, 3)[0].repeat(1, 8, 1, 1), *inputs(1, 3)[1:]],
            True,
            r"heads that share a K/V head must be at most 8 \(tiny\), not 16",
        ),
    ],
)
def test_errors(make, layer, data, causal, message):
    session = make() if make else traced(DECODERS["cascade"])[0]
    with pytest.raises(ValueError, match=message) as error:
        session.attention(layer, *data, causal=causal)
    assert "\n" not in str(error.value)


def test_wide_rows_fill_the_buffer_earlier():
    session, _ = traced(ALGORITHMS["dense"])
    data = [torch.randn(1, heads, 33, 64) for heads in (2, 2, 2)]
    with pytest.raises(ValueError, match="tokens that a layer attends must be at most 32, not 33"):
        session.attention(0, *data, causal=True)


@pytest.mark.parametrize(("which", "name"), [(0, "head 1 query"), (1, "K/V head 1 key"), (2, "K/V head 1 value")])
def test_not_a_number_is_told(which, name):
    data = list(inputs(2, 3))
    data[which][1, 1, 2, 3] = math.nan
    data[which][0, 1, 0, 0] = math.inf
    with pytest.raises(ValueError, match=f"layer 0 {name} must be finite, not NaN or infinite in 2 of 96 elements"):
        traced(DECODERS["layer"])[0].attention(0, *data, causal=True)


def test_scores_too_far_apart_are_told():
    with pytest.raises(
        ValueError,
        match=r"layer 0: query \(up to \S+e\+06\) and key \(up to \S+e\+06\) are too large: a step of their scores",
    ):
        traced(DECODERS["layer"])[0].attention(0, *(tensor * 1e6 for tensor in inputs(1, 3)), causal=True)


@pytest.mark.parametrize("scaling", [-0.25, math.nan, math.inf])
def test_scaling_must_be_a_number_from_0_on(scaling):
    session = traced(DECODERS["layer"])[0]
    with pytest.raises(ValueError, match=f"scaling must be a finite number of at least 0, not {scaling}"):
        session.attention(0, *inputs(1, 3), scaling=scaling, causal=True)
    assert session.num_tokens == 0


def test_gradients_are_refused():
    """Of any operand; without a gradient that is wanted, the values are those of others."""
    want = traced(DECODERS["layer"])[0].attention(0, *inputs(1, 3), causal=True)
    for which, name in enumerate(("query", "key", "value")):
        data = list(inputs(1, 3))
        data[which].requires_grad_()
        session = traced(DECODERS["layer"])[0]
        with pytest.raises(ValueError, match=f"^{name} must need no gradient, as there is none: use torch.no_grad"):
            session.attention(0, *data, causal=True)
        with torch.no_grad():
            assert torch.equal(session.attention(0, *data, causal=True), want)


def test_encoder_errors():
    for scope in ("layer", "head"):
        session, _ = traced(Algorithm(scope=scope, token_keep=(0.5,) * 3))
        with pytest.raises(ValueError, match=f'scope must be "cascade" for an encoder to prune, not "{scope}"'):
            session.attention(0, *inputs(1, 5), causal=False)
    session, _ = traced(ENCODERS["cascade"])
    encode(session, 1)
    with pytest.raises(ValueError, match="an encoder must run its layers once a sequence: clear the session"):
        session.attention(0, *inputs(1, 5), causal=False)
    session.clear()
    session.attention(0, *inputs(1, 10), causal=False)
    with pytest.raises(ValueError, match="layer 1 must get 6 tokens, as many as survive, not 10"):
        session.attention(1, *inputs(1, 10), causal=False)


@pytest.mark.parametrize("scope", ["layer", "head"])
def test_encoder_without_pruning_in_any_scope(scope):
    want = encode(traced(Algorithm())[0], 2)
    got, traces = traced(Algorithm(scope=scope))
    for layer, out in enumerate(want):
        assert torch.equal(got.attention(layer, *inputs(2, 14, seed=layer), causal=False), out)
    assert len(traces[0].tables) == (1 if scope == "layer" else KV_HEADS)


def test_what_must_be_known():
    session = Session(Algorithm(), TINY)
    with pytest.raises(ValueError, match="num_layers must be known before the first layer runs"):
        session.attention(0, *inputs(1, 3), causal=True)
    with pytest.raises(ValueError, match="session must have sequences of one length: none has begun, or"):
        _ = session.alive
    with pytest.raises(ValueError, match="split must be one of"):
        Session(Algorithm(attention=AttentionSettings(key_bits=12, key_lsb_bits=4)), PAPER)
    with pytest.raises(ValueError, match="token_keep must have a ratio for each of 3 layers, not 1"):
        traced(Algorithm(token_keep=(0.5,)))[0].attention(0, *inputs(1, 3), causal=False)


CHAINED = dataclasses.replace(TINY, name="tiny-chained", chain_rows=16)


@pytest.mark.parametrize("prompt", [62, 90])
def test_a_sequence_outgrows_a_job(prompt):
    """A prompt of fewer tokens than a job takes, or of more, and tokens after it: as exact as in one job."""
    errors = []
    for config in (CHAINED, PAPER):
        traces = []
        session = Session(ALGORITHMS["dense"], config, num_layers=1, float_error=True, on_layer=traces.append)
        for step, tokens in enumerate([prompt, 1, 1, 1, 1]):
            session.attention(0, *inputs(2, tokens, seed=step), causal=True)
        assert session.num_tokens == prompt + 4 > CHAINED.region_keys(DIM)
        errors.append([trace.relative_error for trace in traces])
    assert errors[0] == pytest.approx(errors[1], rel=0.05)


@pytest.mark.parametrize(
    "algorithm", [Algorithm(), Algorithm(attention=ALGORITHMS["dense"].attention, token_keep=(0.5,))]
)
def test_what_chooses_among_tokens_has_the_length_of_a_job(algorithm):
    session = Session(algorithm, CHAINED, num_layers=1)
    with pytest.raises(ValueError, match="at most 64 tokens, not 65"):
        session.attention(0, *inputs(1, 65), causal=True)

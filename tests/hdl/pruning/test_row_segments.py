import random

import pytest

from hdl.pruning.row_segments import RowSegments
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.lines import make_lines
from tests.hdl.pruning.test_value_pruner import EIGHT, ODD, ONE, TINY, line_fields

CONFIGS = {"eight": EIGHT, "odd": ODD, "one": ONE, "tiny": TINY}


def make_items(config, rng, lengths, *, pack=True, prune=None):
    """Lines and rows, and the (scores, last, k) of each segment of a pruned row."""
    top = 1 << config.score_width - 1
    scores = [[rng.randrange(-top, top) for _ in range(length)] for length in lengths]
    rows = []
    for number, _ in enumerate(lengths):
        tag = {"context": number % 4, "query": number % config.max_tokens, "group": 0, "second": 0}
        pruned = int(rng.random() < 0.6 if prune is None else prune)
        k = rng.randint(1, config.max_tokens)
        rows.append({"tag": tag, "prune": pruned, "k": k, "gather": 0, "log_slices": 0, "dim": 16})
    lines, segments, row = [], [], 0
    for line in make_lines(scores, config.lanes, pack, width=config.lanes, fill=-1):
        lines.append(line_fields(line, scores=line["lanes"]))
        a, b = line["a_count"], line["b_count"]
        if rows[row]["prune"]:
            segments.append((line["lanes"][:a], line["a_last"], rows[row]["k"]))
        row += line["a_last"]
        if b and rows[row]["prune"]:
            segments.append((line["lanes"][a : a + b], 0, rows[row]["k"]))
    return {"line": lines, "row": rows}, segments


def segment(item):
    group = item["group"]
    return group["items"][: group["count"]], group["last"], item["k"]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_segments_of_pruned_rows(name, pack, stall):
    config, rng = CONFIGS[name], random.Random(f"{name} {pack}")
    lengths = [rng.choice([1, config.lanes, config.lanes + 1, rng.randint(1, config.max_tokens)]) for _ in range(16)]
    inputs, segments = make_items(config, rng, lengths, pack=pack)
    results, _ = run_streams(made(RowSegments, config), inputs, {"o": len(segments)}, stall=stall)
    assert list(map(segment, results["o"])) == segments


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    inputs, _ = make_items(CONFIGS[name], random.Random(1), [1], prune=True)
    assert run_streams(made(RowSegments, CONFIGS[name]), inputs, {"o": 1}, stall=0)[1] == RowSegments.LATENCY


@pytest.mark.parametrize("length", [1, 9, 25])
def test_a_segment_a_cycle(length):
    """A line with two pruned rows takes two cycles, every other one."""
    inputs, segments = make_items(EIGHT, random.Random(2), [length] * 24, prune=True)
    _, last = run_streams(made(RowSegments, EIGHT), inputs, {"o": len(segments)}, stall=0)
    assert last == len(segments) - 1 + RowSegments.LATENCY


def test_rows_that_are_not_pruned_pass_in_a_cycle_a_line():
    inputs, _ = make_items(EIGHT, random.Random(3), [25] * 24, prune=False)
    more, segments = make_items(EIGHT, random.Random(4), [1], prune=True)
    inputs = {name: inputs[name] + more[name] for name in inputs}
    results, last = run_streams(made(RowSegments, EIGHT), inputs, {"o": 1}, stall=0)
    assert list(map(segment, results["o"])) == segments
    assert last == len(inputs["line"]) - 1 + RowSegments.LATENCY


def test_reset_in_mid_stream():
    inputs, segments = make_items(EIGHT, random.Random(5), [11] * 10)
    check_stream_reset(lambda: RowSegments(EIGHT), inputs, {"o": len(segments)}, view=segment)

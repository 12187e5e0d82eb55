import random

import pytest

from hdl.topk.line_packer import LinePacker
from tests.bench.harness import check_stream_reset, made, run_streams


def groups_of(row, counts, lanes):
    """The row in groups of the given counts; lanes behind a count hold rubbish."""
    groups, at = [], 0
    for number, count in enumerate(counts):
        items = row[at : at + count] + [255] * (lanes - count)
        groups.append({"items": items, "count": count, "last": number == len(counts) - 1})
        at += count
    assert at == len(row)
    return groups


def random_rows(lanes, count, seed):
    rng = random.Random(seed)
    rows, groups = [], []
    for _ in range(count):
        counts = [rng.choice([0, lanes, rng.randint(0, lanes)]) for _ in range(rng.randint(1, 8))]
        row = [rng.randrange(255) for _ in range(sum(counts))]
        rows.append(row)
        groups += groups_of(row, counts, lanes)
    return rows, groups


def expected(rows, size):
    lines = []
    for row in rows:
        parts = [row[at : at + size] for at in range(0, len(row), size)] or [[]]
        lines += [(part, number == len(parts) - 1) for number, part in enumerate(parts)]
    return lines


def run(dut, groups, lines, size, **kwargs):
    result, last = run_streams(dut, {"i": groups}, {"o": len(lines)}, setup={"size": size}, **kwargs)
    assert [(group["items"][: group["count"]], group["last"]) for group in result["o"]] == lines
    return last


@pytest.mark.parametrize(
    ("lanes_in", "lanes_out", "size"),
    [
        (1, 1, 1), (1, 4, 2), (2, 1, 1), (2, 4, 4), (2, 4, 1), (3, 4, 2), (4, 2, 2), (4, 4, 4), (5, 8, 8), (8, 4, 2),
        (8, 8, 1), (8, 16, 16),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stall", [0, 0.4])
def test_packs_rows(lanes_in, lanes_out, size, stall):
    rows, groups = random_rows(lanes_in, 16, seed=lanes_in + size)
    dut = made(LinePacker, 8, lanes_in=lanes_in, lanes_out=lanes_out)
    run(dut, groups, expected(rows, size), size, stall=stall, seed=size)


def test_heavy_stalls():
    rows, groups = random_rows(8, 16, seed=3)
    run(LinePacker(8, lanes_in=8, lanes_out=8), groups, expected(rows, 4), 4, stall=0.6)


@pytest.mark.parametrize(
    "counts",
    [[0], [0, 0], [8], [8, 0], [8, 0, 0], [0, 8], [8, 1], [7, 1], [7, 2], [1], [8, 8, 0], [4, 4, 4, 4, 0]],
)
def test_rows_that_end_on_a_boundary(counts):
    row = list(range(sum(counts)))
    groups = groups_of(row, counts, 8) * 2
    run(LinePacker(8, lanes_in=8, lanes_out=8), groups, expected([row, row], 8), 8, stall=0)


@pytest.mark.parametrize(("lanes_in", "size"), [(2, 2), (4, 8), (8, 8)])
@pytest.mark.parametrize("groups_per_row", [1, 2, 7])
def test_a_group_a_cycle(lanes_in, size, groups_per_row):
    rows, groups = [], []
    rng = random.Random(5)
    for _ in range(60 // groups_per_row):
        counts = [rng.randint(1, lanes_in) for _ in range(groups_per_row)]
        rows.append(list(range(sum(counts))))
        groups += groups_of(rows[-1], counts, lanes_in)
    dut = made(LinePacker, 8, lanes_in=lanes_in, lanes_out=8)
    last = run(dut, groups, expected(rows, size), size, stall=0)
    assert last <= len(groups) + dut.latency


def test_constructor_errors():
    with pytest.raises(ValueError, match="lanes_in must be a positive integer, not 0"):
        LinePacker(8, lanes_in=0, lanes_out=4)
    with pytest.raises(ValueError, match="lanes_out must be a power of two, not 6"):
        LinePacker(8, lanes_in=2, lanes_out=6)


@pytest.mark.parametrize(("lanes_in", "size"), [(1, 1), (4, 4), (8, 2)])
def test_reset_in_mid_stream(lanes_in, size):
    rows, groups = random_rows(lanes_in, 8, seed=4)
    check_stream_reset(
        lambda: LinePacker(8, lanes_in=lanes_in, lanes_out=4),
        {"i": groups},
        {"o": len(expected(rows, size))},
        setup={"size": size},
        resets=6,
        view=lambda group: (group["items"][: group["count"]], group["last"]),
    )

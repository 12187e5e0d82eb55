"""AppendUnit: the planes, byte for byte, as the host packs the golden integers; nothing beside them is touched."""

import random

import pytest

from hdl.append.append_unit import AppendUnit
from hdl.spec.config import PRESETS, Config
from hdl.spec.presets import PRESET_VALUES
from tests.bench.append_planes import KEY, QUERY, VALUE, Channels, Layer, written_words
from tests.bench.harness import check_stream_reset, made, run_streams

SMALL = Config(**PRESET_VALUES["tiny"] | {"name": "wide", "operand_width": 16, "num_channels": 4, "channel_width": 32})
"""Every width, words of a channel smaller than those of the port."""
CONFIGS = {"tiny": PRESETS["tiny"], "ulx3s": PRESETS["ulx3s"], "paper": PRESETS["paper"], "wide": SMALL}


def bases_of(config, seed):
    """Where the channels lie."""
    rng = random.Random(seed)
    return [(1 << 36) * (channel + 1) + 64 * rng.randrange(1 << 20) for channel in range(config.num_channels)]


def run(layer, requests, before, *, word_width=None, stall=0.3, seed=0, bad=(), shy=None):
    """(answers, last cycle) of requests; the channels must be those of the layer then, unless a word was bad."""
    config = layer.config
    dut = made(AppendUnit, config, word_width=word_width)
    bases = bases_of(config, seed)
    memory = layer.memory(dut.port, dut.word_width, stall=stall, seed=seed, bad=bad, latency=1 if stall == 0 else 12)
    count = written_words(layer, requests, dut.word_width, bases)
    setup = {f"channel_base.{number}": base for number, base in enumerate(bases)}
    inputs, outputs = {"request": requests}, {"o": count, "done": len(requests)}
    got, last = run_streams(
        dut, inputs, outputs, stall=stall, seed=seed, processes=[memory.process], setup=setup, shy=shy, watchdog=3000
    )
    channels = Channels(before, bases)
    for item in got["o"]:
        channels.write(item, dut.word_width)
    assert bad or channels.equal(layer.image())
    return got["done"], last


def check(layer, commands, **options):
    before = layer.image()
    requests = [layer.command(*names, **fields) for names, fields in commands]
    answers, last = run(layer, requests, before, **options)
    assert answers == [{"saturated": count, "failed": 0} for count in layer.saturated]
    return last


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("half", [False, True])
def test_every_split_and_width(name, half):
    """Each split of K, with all widths of V and Q in turn."""
    config = CONFIGS[name]
    widths = config.plane_widths
    for number, (key_bits, lsb_bits) in enumerate(config.splits):
        value_bits, query_bits = (widths[(number + shift) % len(widths)] for shift in (0, 3))
        layer = Layer(
            config,
            dim=config.dims[number % len(config.dims)],
            widths=(query_bits, key_bits, lsb_bits, value_bits),
            group=1 + number % 3,
            skew=number % config.num_channels,
            seed=number,
        )
        commands = [(([KEY, VALUE],), {"first": 5, "rows": 2, "half": half}), (([QUERY],), {"half": half})]
        check(layer, commands, seed=number)


@pytest.mark.parametrize("word_width", [64, 128, 256])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_rows_that_follow_each_other(word_width, stall):
    """Token by token and several at once, rows that begin and end within words, K and V alone and together."""
    layer = Layer(PRESETS["tiny"], dim=48, widths=(12, 6, 4, 6), heads=3, group=2, rows=24, queries=3, skew=1, seed=5)
    commands = [
        (([KEY, VALUE],), {"first": 0, "rows": 7}),
        (([KEY],), {"first": 7, "half": True}),
        (([VALUE],), {"first": 7}),
        (([QUERY],), {"rows": 3}),
        (([KEY, VALUE],), {"first": 8}),
        (([KEY, VALUE],), {"first": 20, "rows": 4}),
        (([QUERY],), {"first": 2}),
    ]
    check(layer, commands, word_width=word_width, stall=stall, seed=word_width)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("split", [(6, 0), (4, 4), (6, 4)])
def test_pairs(name, split):
    """K rows of two heads side by side, both with the skew of the first."""
    config = CONFIGS[name]
    for skew in {0, 1 % config.num_channels, config.num_channels - 1}:
        layer = Layer(
            config, dim=config.dims[-1], widths=(8, *split, 4), heads=4, rows=11, paired=True, skew=skew, seed=skew
        )
        commands = [(([KEY, VALUE],), {"first": 3, "rows": 3}), (([KEY],), {"first": 9}), (([QUERY],), {})]
        check(layer, commands, seed=skew)


@pytest.mark.parametrize("seed", range(6))
def test_any_layer(seed):
    rng = random.Random(seed)
    config = CONFIGS[rng.choice(list(CONFIGS))]
    paired = rng.random() < 0.3
    layer = Layer(
        config,
        dim=rng.choice(config.dims),
        widths=(rng.choice(config.plane_widths), *rng.choice(config.splits), rng.choice(config.plane_widths)),
        heads=2 * rng.randint(1, 2) if paired else rng.randint(1, 5),
        group=rng.randint(1, 3),
        rows=14,
        queries=4,
        paired=paired,
        skew=rng.randrange(config.num_channels),
        seed=seed,
    )
    commands = []
    for _ in range(4):
        names = rng.choice([[KEY, VALUE], [KEY], [VALUE], [QUERY]])
        rows = rng.randint(1, 4)
        first = 0 if names == [QUERY] else rng.randint(0, 14 - rows)
        commands.append(((names,), {"first": first, "rows": rows, "half": rng.random() < 0.5}))
    check(layer, commands, word_width=rng.choice([64, 128, 256]), stall=rng.choice([0, 0.3, 0.7]), seed=seed)


@pytest.mark.parametrize(("names", "rows", "most"), [([KEY, VALUE], 1, 1.0), ([KEY], 8, 1.0), ([QUERY], 1, 1.0)])
def test_an_element_a_cycle(names, rows, most):
    """SmolLM2's layer on ``ulx3s``: a token's K and V in 384 cycles and some in the beginning and the end."""
    layer = Layer(PRESETS["ulx3s"], dim=64, widths=(10, 6, 4, 8), heads=3, group=3, rows=16, seed=1)
    last = check(layer, [((names,), {"rows": rows})], stall=0)
    elements = 64 * rows * 3 * (3 if names == [QUERY] else len(names))
    assert elements < last <= most * elements + 90


def test_a_word_that_could_not_be_read():
    """Its command fails, and the one after it does not."""
    layer = Layer(PRESETS["tiny"], dim=32, widths=(8, 4, 4, 8), seed=2)
    before = layer.image()
    requests = [layer.command([KEY, VALUE], first=1), layer.command([QUERY])]
    bad = [(requests[0]["command"]["constants"] + 40) // 8]
    answers, _ = run(layer, requests, before, bad=bad)
    assert [answer["failed"] for answer in answers] == [1, 0]
    assert answers[1]["saturated"] == layer.saturated[1]


def test_reset():
    layer = Layer(PRESETS["tiny"], dim=16, widths=(6, 4, 4, 8), seed=3)
    requests = [layer.command([KEY, VALUE], first=1, rows=2), layer.command([QUERY])]
    bases = bases_of(layer.config, 0)
    check_stream_reset(
        lambda: AppendUnit(layer.config),
        {"request": requests},
        {"o": written_words(layer, requests, 64, bases), "done": 2},
        processes=lambda dut: [layer.memory(dut.port, 64).process],
        setup={f"channel_base.{number}": base for number, base in enumerate(bases)},
    )


@pytest.mark.parametrize("word_width", [32, 512, 96])
def test_word_widths(word_width):
    with pytest.raises(ValueError, match=f"word_width must be 64, 128 or 256, not {word_width}"):
        AppendUnit(PRESETS["tiny"], word_width=word_width)

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.host.algorithm import ALGORITHMS, SCOPES, Algorithm, Schedule
from golden.layers.quantize import AttentionSettings
from hdl.spec.config import PRESETS

ratios = st.floats(0.01, 1)


@pytest.mark.parametrize(
    ("schedule", "layers", "want"),
    [
        (Schedule(start=0.8, end=0.2, front=0.15), 6, (1, 0.8, 0.65, 0.5, 0.35, 0.2)),
        (Schedule(start=0.8, end=0.2, front=0.3), 10, (1, 1, 1, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)),
        (Schedule(start=0.5, end=0.3, front=0.0), 3, (0.5, 0.4, 0.3)),
        (Schedule(start=0.5, end=0.3, front=0.5), 2, (1, 0.5)),
        (Schedule(start=0.5, end=0.3, front=1.0), 2, (1, 1)),
        (Schedule(start=0.5, end=0.3, front=0.1), 1, (1,)),
    ],
)
def test_schedule(schedule, layers, want):
    assert schedule.ratios(layers) == pytest.approx(want)
    assert schedule.prunes == (schedule.front < 1)


def test_front_of_a_decimal_share():
    """15 % of 20 layers are 3, although the float product is a little more."""
    assert Schedule(start=0.5, end=0.5, front=0.15).ratios(20).count(1.0) == 3


@given(ratios, ratios, st.floats(0, 1), st.integers(1, 40))
def test_schedule_stays_in_range(start, end, front, layers):
    values = Schedule(start=start, end=end, front=front).ratios(layers)
    assert len(values) == layers and all(0 < value <= 1 + 1e-12 for value in values)


def test_ratios_by_layer_and_head():
    assert Algorithm(token_keep=(1.0, 0.5)).token_ratios(2, 3) == [(1.0,) * 3, (0.5,) * 3]
    assert Algorithm(scope="head", token_keep=(1.0, (0.5, 0.2))).token_ratios(2, 2) == [(1.0, 1.0), (0.5, 0.2)]
    assert Algorithm(head_keep=Schedule(start=0.5, end=0.5, front=0.5)).head_ratios(2) == [1.0, 0.5]
    with pytest.raises(ValueError, match="token_keep must have a ratio for each of 3 layers, not 2"):
        Algorithm(token_keep=(1.0, 0.5)).token_ratios(3, 1)
    with pytest.raises(ValueError, match="head_keep must have a ratio for each of 3 layers, not 2"):
        Algorithm(head_keep=(1.0, 0.5)).head_ratios(3)
    with pytest.raises(ValueError, match="token_keep must have a ratio for each of 3 K/V heads, not 2 in layer 1"):
        Algorithm(scope="head", token_keep=(1.0, (0.5, 0.2))).token_ratios(2, 3)


@pytest.mark.parametrize(
    ("ratio", "tokens", "pins", "want"),
    [(0.1, 30, 0, 3), (0.1, 31, 0, 4), (0.01, 5, 0, 1), (1.0, 5, 0, 5), (0.1, 30, 6, 8), (0.1, 7, 6, 7)],
)
def test_token_count(ratio, tokens, pins, want):
    """Pinned tokens are not fewer than the ratio leaves: two first ones, and so many last ones."""
    assert Algorithm(pin_first=2 if pins else 0).token_count(ratio, tokens, pin_last=pins) == want
    assert Algorithm(pin_first=2 if pins else 0, pin_last=pins).token_count(ratio, tokens) == want


def test_what_is_pruned():
    dense = ALGORITHMS["dense"]
    assert not dense.prunes_tokens and not dense.prunes_heads
    assert Algorithm(token_keep=(1.0, 0.9)).prunes_tokens and not Algorithm(token_keep=(1.0, 1.0)).prunes_tokens
    assert Algorithm(scope="head", token_keep=(1.0, (1.0, 0.9))).prunes_tokens
    assert ALGORITHMS["paper-gpt2"].prunes_tokens and ALGORITHMS["paper-gpt2"].prunes_heads


@pytest.mark.parametrize("name", ALGORITHMS)
def test_presets(name):
    algorithm = ALGORITHMS[name]
    algorithm.attention.check(PRESETS["paper"])
    assert Algorithm.from_json(algorithm.to_json()) == algorithm
    assert Algorithm.load(name) is algorithm
    layers, kv_heads = (30, 3) if name.startswith("smollm2") else (12, 12)
    assert len(algorithm.token_ratios(layers, kv_heads)) == len(algorithm.head_ratios(layers)) == layers


@given(
    st.sampled_from(SCOPES[:2]),
    st.lists(ratios, min_size=1, max_size=5).map(tuple) | st.builds(Schedule, start=ratios, end=ratios, front=ratios),
    st.integers(0, 9),
    st.booleans(),
    ratios,
)
def test_json_round_trip(scope, keep, count, flag, clip):
    settings = AttentionSettings(clip=clip, key_transform="channels", feedback=flag)
    algorithm = Algorithm(
        attention=settings,
        prompt=settings if flag else None,
        scope=scope,
        token_keep=keep,
        head_keep=keep,
        pin_last=count,
        decay=count,
        normalize=flag,
    )
    assert Algorithm.from_json(algorithm.to_json()) == algorithm


def test_json_of_heads_and_files(tmp_path):
    algorithm = Algorithm(scope="head", token_keep=(1.0, (0.5, 0.25)))
    path = tmp_path / "mine.json"
    path.write_text(algorithm.to_json())
    assert Algorithm.load(str(path)) == algorithm
    assert Algorithm.from_json("{}") == Algorithm.from_json('{"prompt": null}') == Algorithm()
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert Algorithm.load(str(path)) == Algorithm()


def test_json_of_one_ratio_for_all_layers():
    """As ``--token-keep 0.5``."""
    read = Algorithm.from_json('{"token_keep": 0.5, "head_keep": 1}')
    assert read.token_ratios(3, 1) == [(0.5,)] * 3 and read.head_ratios(3) == [1.0] * 3
    assert read.prunes_tokens and not read.prunes_heads
    assert Algorithm.from_json(read.to_json()) == read


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scope": "model"}, "scope must be one of cascade, layer, head, not 'model'"),
        ({"attention": 3}, "attention must be AttentionSettings, not 3"),
        ({"token_keep": ()}, r"token_keep must be a Schedule or a tuple of ratios, one a layer, not \(\)"),
        ({"token_keep": 0.5}, "token_keep must be a Schedule or a tuple of ratios, one a layer, not 0.5"),
        ({"token_keep": (1.0, 0.0)}, r"token_keep must be in \(0, 1\], not 0.0"),
        ({"token_keep": (1.5,)}, r"token_keep must be in \(0, 1\], not 1.5"),
        ({"token_keep": ((0.5, 0.4),)}, r"token_keep must have one ratio a layer, not \(0.5, 0.4\): K/V heads"),
        ({"token_keep": (math.nan,)}, r"token_keep must be in \(0, 1\], not nan"),
        ({"head_keep": ("a",)}, r"head_keep must be in \(0, 1\], not 'a'"),
        ({"scope": "head", "head_keep": (0.5,)}, 'head_keep must be 1 in the scope "head"'),
        ({"scope": "head", "head_keep": ((1.0, 0.5),)}, "head_keep must have one ratio a layer"),
        ({"pin_first": -1}, "pin_first must be an integer from 0 to 65535, not -1"),
        ({"pin_last": 1.0}, "pin_last must be an integer from 0 to 65535, not 1.0"),
        ({"importance_rows": True}, "importance_rows must be an integer from 0 to 65535, not True"),
        ({"decay": 32}, "decay must be an integer from 0 to 31, not 32"),
        ({"normalize": 1}, "normalize must be true or false, not 1"),
    ],
)
def test_errors(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        Algorithm(**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": 0.0}, r"start must be in \(0, 1\], not 0.0"),
        ({"end": 2}, r"end must be in \(0, 1\], not 2"),
        ({"front": -0.1}, r"front must be in \[0, 1\], not -0.1"),
    ],
)
def test_schedule_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**({"start": 0.5, "end": 0.5} | fields))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "algorithm is not JSON"),
        ("[]", r"algorithm must be a JSON object, not \[\]"),
        ({"tokens": 1}, "algorithm has an unknown field 'tokens'; known are attention, prompt, scope"),
        ({"attention": {"bits": 8}}, "attention has an unknown field 'bits'"),
        ({"attention": 8}, "attention must be a JSON object, not 8"),
        ({"token_keep": {"start": 0.5}}, "token_keep must have the field 'end'"),
        ({"token_keep": 1.5}, r"token_keep must be in \(0, 1\], not 1.5"),
        ({"token_keep": "0.5"}, 'token_keep must be a ratio such as 0.5, an object .*, or a list .*, not "0.5"$'),
        ({"head_keep": True}, "head_keep must be a ratio such as 0.5, an object .*, or a list .*, not true$"),
        ({"head_keep": []}, r"head_keep must be a ratio such as 0.5, an object .*, or a list .*, not \[\]$"),
        ({"token_keep": None}, "token_keep must be a ratio such as 0.5, an object .*, or a list .*, not null$"),
        ({"attention": None}, "attention must be a JSON object, not null$"),
        ({"attention": {"key_bits": "8"}}, "key_bits must be an integer, not '8'"),
    ],
)
def test_json_errors(text, message):
    with pytest.raises(ValueError, match=message):
        Algorithm.from_json(text if isinstance(text, str) else json.dumps(text))


def test_load_errors(tmp_path):
    with pytest.raises(ValueError, match=r"algorithm must be one of dense, .* or a .json file, not 'sparse'"):
        Algorithm.load("sparse")
    with pytest.raises(ValueError, match=r"algorithm file '.*none.json' cannot be read: No such file"):
        Algorithm.load(str(tmp_path / "none.json"))


def test_short_sequences_keep_as_many_tokens_as_longer_ones():
    whole = Algorithm(token_keep=(0.1,), ratio_tokens=100, pin_first=2)
    assert [whole.token_count(0.1, tokens) for tokens in (1, 5, 10, 11, 100, 101, 200)] == [1, 5, 10, 10, 10, 11, 20]
    plain = Algorithm(token_keep=(0.1,), pin_first=2)
    assert [plain.token_count(0.1, tokens) for tokens in (1, 5, 10, 11, 100, 101, 200)] == [1, 2, 2, 2, 10, 11, 20]
    with pytest.raises(ValueError, match="ratio_tokens must be an integer from 0 to 65535, not -1"):
        Algorithm(ratio_tokens=-1)

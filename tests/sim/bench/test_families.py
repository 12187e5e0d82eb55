"""Families of transformers on the backend: right or refused, and a fault that is planted is seen."""

import re
from collections import Counter

import pytest

from golden.host.session import Session
from sim.bench.families import families, family_names
from tests.bench import tiny_models  # noqa: F401  one thread


class Faulty(Session):
    """Scales its scores by half of what the model says."""

    def attention(self, layer, query, key, value, *, scaling=None, **options):
        scaling = 0.5 * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        return super().attention(layer, query, key, value, scaling=scaling, **options)


class Windowless(Session):
    """Attends what a window hides."""

    def attention(self, *args, spans=None, **options):
        return super().attention(*args, **options)


RIGHT = ["bert", "esm", "gemma3_text", "gpt2", "llama", "mistral"]
REFUSED = {
    "bert-generation": "generation: .* its attention is bidirectional: tokens that follow would change those that came",
    "bloom": "bloom is not supported: transformers cannot replace its attention",
    "deepseek_v3": "its queries, keys and values have different dimensions, 24, 24 and 16",
    "doge": "its mask adds a bias to the scores",
    "gpt_oss": "its attention needs attention sinks",
    "mobilebert": "a batch padded left: attention_mask must hide nothing from mobilebert, whose embedding reads",
    "moshi": "generation: .* its cache keeps 4 tokens, and its mask shows 10: keep the text within 4",
}


def test_right_families():
    assert [(family.name, family.outcome, family.reason) for family in families(RIGHT)] == [
        (name, "right", "") for name in RIGHT
    ]


def test_refused_families():
    for family in families(list(REFUSED)):
        assert family.outcome == "refused" and "\n" not in family.reason
        assert re.search(REFUSED[family.name], family.reason), family.reason


def test_sparse_layers_are_refused(monkeypatch):
    """MiniMax M3 hands the blocks that its queries attend past the mask."""
    layers = ["full_attention", "minimax_m3_sparse"]
    sizes = {"index_block_size": 2, "index_topk_blocks": 1, "index_n_heads": 1, "index_head_dim": 16}
    monkeypatch.setattr("sim.bench.families._CHANGES", (sizes | {"layer_types": layers},))
    (family,) = families(["minimax_m3_vl_text"])
    assert family.outcome == "refused"
    assert "its attention needs a choice of blocks of keys for each query ('block_indices')" in family.reason


@pytest.mark.parametrize(("fault", "name"), [(Faulty, "llama"), (Faulty, "bert"), (Windowless, "mistral")])
def test_a_fault_is_wrong(fault, name):
    (family,) = families([name], fault)
    assert family.outcome == "wrong" and family.reason.startswith("a prompt is off by 0.")


def test_another_error_is_wrong():
    def session(*args):
        raise KeyError("no session")

    assert [family.outcome for family in families(["llama"], session)] == ["wrong"]


@pytest.mark.long
def test_all_families():
    found = list(families())
    counts = Counter(family.outcome for family in found)
    assert not [family for family in found if family.outcome == "wrong"]
    assert len(found) == len(family_names()) and counts["right"] >= 60

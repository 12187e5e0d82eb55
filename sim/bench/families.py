"""Bench of model families: each one of transformers, small and with random weights, against its own attention.

A family is right if every call gives the logits of its own attention within 1 %, or refused if the backend says in one
line why it cannot serve it. Anything else is wrong: other logits, another error.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from golden.host.algorithm import ALGORITHMS
from golden.host.session import Session
from golden.models.backend import check_model, replaced
from golden.models.errors import ModelError
from hdl.spec.config import PRESETS

__all__ = ["Family", "families", "family_names"]

LIMIT = 0.01
"""Largest relative L2 error of logits."""
DECODER = " (decoder)"
"""After the name of a family that is an encoder, too."""
_PARAMETERS = 2_000_000
"""Most weights of a model that counts as small."""
_TOKENS = 9
"""Of a text: more than a window."""
_STEPS = 4
"""Tokens that are generated."""

_FIELDS = {
    32: (
        "hidden_size n_embd d_model dim emb_dim embedding_size embedding_dim word_embed_proj_dim intermediate_size "
        "ffn_dim n_inner d_inner dim_ff hidden_dim decoder_ffn_dim encoder_ffn_dim ffn_hidden_size "
        "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size dense_intermediate_size "
        "expert_ffn_hidden_size intermediate_size_mlp prefix_dense_intermediate_size prediction_head_size "
        "backbone_hidden_size attention_hidden_size hidden_size_per_layer_input input_embedding_size "
        "output_embedding_size moe_shared_expert_intermediate_size shared_experts_intermediate_size "
        "router_hidden_size linear_head_dim"
    ),
    2: (
        "num_attention_heads n_head n_heads num_heads attention_heads decoder_attention_heads encoder_attention_heads "
        "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
        "num_experts num_local_experts n_routed_experts moe_num_experts num_experts_per_tok moe_topk "
        "moe_k top_k_experts swa_num_attention_heads eos_token_id sep_token_id"
    ),
    1: (
        "num_key_value_heads num_kv_heads swa_num_key_value_heads n_group topk_group n_shared_experts "
        "num_shared_experts bos_token_id cls_token_id decoder_start_token_id first_k_dense_replace "
        "num_hidden_groups inner_group_num n_groups mamba_n_groups num_kv_shared_layers"
    ),
    16: "head_dim kv_channels d_head swa_head_dim qk_nope_head_dim v_head_dim q_lora_rank kv_lora_rank embedding_rank "
    "dim_head attention_head_dim global_head_dim mamba_d_head mamba_head_dim",
    8: "rotary_dim qk_rope_head_dim",
    4: "mamba_n_heads mamba_num_heads sliding_window attention_chunk_size local_attention sliding_window_size",
    64: "max_position_embeddings n_positions max_seq_len n_ctx max_target_positions context_length",
    100: "vocab_size vocab_size_per_layer_input decoder_vocab_size unpadded_vocab_size",
    0: "pad_token_id num_mtp_layers num_nextn_predict_layers max_window_layers",
}
SIZES = {name: size for size, names in _FIELDS.items() for name in names.split()}
SIZES |= {"use_sliding_window": True, "use_cache": True, "full_attn_idxs": [1], "pronunciation_vocab_size": 100}
SIZES |= {"shape_vocab_size": 100, "entity_vocab_size": 100, "attention_types": [[["global", "local"], 1]]}
SIZES |= {
    "qk_head_dim": 24,
    "default_language": "en_XX",
    "window_size": 4,
    "axial_pos_embds_dim": (16, 16),
    "axial_pos_shape": (8, 8),
}
"""Field of a configuration -> what it becomes, where a family has it."""

_CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"num_key_value_heads": 2},
    {"num_kv_shared_layers": 0},
    {"num_experts_per_tok": 1},
    {"layer_types": ["conv", "full_attention"]},
)
"""To SIZES, one after the other, until a family can be built and runs."""


@dataclasses.dataclass(frozen=True)
class Family:
    """What became of one."""

    name: str
    """as transformers calls it (``model_type``)"""
    outcome: str
    """right, refused, wrong or skipped"""
    reason: str = ""


class _Skipped(Exception):
    """A family that says nothing of the backend, and why."""


class _Wrong(Exception):
    """Logits that are not those of the model's own attention."""


def family_names() -> list[str]:
    """All that generate text, and all encoders that fill in words; those that are both twice."""
    from transformers.models.auto import modeling_auto as auto

    decoders, encoders = {*auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}, {*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES}
    return sorted(decoders | encoders | {name + DECODER for name in decoders & encoders})


def families(names: Sequence[str] | None = None, session: Callable[..., Session] = Session) -> Iterator[Family]:
    """Each family of ``names``, or of all, with what its calls gave; ``session`` makes what takes their attention."""
    for name in family_names() if names is None else names:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield _family(name, lambda: session(ALGORITHMS["dense"], PRESETS["paper"]))


def _family(name: str, session: Callable[[], Session]) -> Family:
    try:
        _Trial(_model(name), session, generates=_generates(name)).run()
    except _Skipped as error:
        return Family(name, "skipped", str(error))
    except _Wrong as error:
        return Family(name, "wrong", str(error))
    except ModelError as error:
        return Family(name, "wrong" if "\n" in str(error) else "refused", str(error))
    except Exception as error:  # whatever is not told as it should be
        return Family(name, "wrong", f"{type(error).__name__}: {error}")
    return Family(name, "right")


# Small models --------------------------------------------------------------------------------------------------


def _generates(name: str) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return name not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _small(kind: Any, sizes: dict[str, Any]) -> dict[str, Any]:
    """Fields of a small configuration of a class, those of its parts too."""
    known = {field.name for field in dataclasses.fields(kind)}
    fields = {name: size for name, size in sizes.items() if name in known}
    for name in known:
        if name.endswith("_token_id") and name not in fields:
            fields[name] = 99
    for name, part in kind.sub_configs.items():
        if name == "text_config" and dataclasses.is_dataclass(part):
            fields[name] = _small(part, sizes)
    return fields


def _model(name: str) -> nn.Module:
    """A small model of a family, in evaluation mode, whose attention is far from uniform."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    model, reason = None, ""
    for changes in _CHANGES:
        try:
            model = _built(name, changes)
            model(input_ids=torch.tensor([[3, 4, 5]]))
        except _Skipped:
            raise
        except Exception as error:  # whatever sizes that do not fit make a model raise
            reason = f"{type(error).__name__}: {_line(error)}"
        else:
            return model
    if model is None:
        raise _Skipped(f"no small one can be built: {reason}")
    return model  # the backend may refuse it before it runs


def _built(name: str, changes: dict[str, Any]) -> nn.Module:
    import transformers
    from transformers.models.auto import modeling_auto as auto

    tables: tuple[Any, Any] = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    kinds = tables[0] if _generates(name) else tables[1]
    family = name.removesuffix(DECODER)
    fields = _small(transformers.CONFIG_MAPPING[family], SIZES | changes)
    if name != family:
        fields["is_decoder"] = True
    config = transformers.CONFIG_MAPPING[family](**fields)
    kind = getattr(transformers, kinds[family])
    if not isinstance(config, kind.config_class):  # of a model of several parts
        config = config.get_text_config()
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in kind(config).parameters())
    if weights > _PARAMETERS:
        raise _Skipped(f"the least one found has {weights:,} weights")
    torch.manual_seed(0)
    model = kind(config).eval()
    _spread(model)
    return model


def _spread(model: nn.Module) -> None:
    """Weights so large that softmax is far from uniform: else a fault of attention would not be seen."""
    embeddings = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    for weight in model.parameters():
        if any(weight is table for table in embeddings):
            weight.normal_(0, 1)
        elif weight.dim() > 1:
            weight.normal_(0, 1.3 / math.sqrt(weight.shape[-1]))
        elif not bool(torch.isfinite(weight).all()):
            weight.fill_(1)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[-1].strip()[:120]


# Calls ---------------------------------------------------------------------------------------------------------


class _Trial:
    """The calls of one model, each with its own attention and with a session's."""

    def __init__(self, model: Any, session: Callable[[], Session], *, generates: bool):
        self.model, self.session, self.generates = model, session, generates
        self.ids = torch.randint(3, 90, (2, _TOKENS), generator=torch.Generator().manual_seed(1))
        self.chosen: Tensor | None = None
        """what the model's own attention has generated, until the session's has, too"""

    def run(self) -> None:
        """All calls; a prompt is longer than a window."""
        check_model(self.model)  # before what is skipped for the float model's sake
        whole, padded = torch.ones_like(self.ids), torch.ones_like(self.ids)
        padded[1, :3] = 0
        calls = {
            "a prompt": lambda: self._logits(self.ids),
            "a token": lambda: self._logits(self.ids[:, :1]),
            "a batch padded left": lambda: self._padded(padded),
            "a batch padded right": lambda: self._padded(padded.flip(1)),
        }
        if self.generates:
            calls["generation"] = lambda: self._generated(whole)
            calls["generation with padding"] = lambda: self._generated(padded)
        for name, call in calls.items():
            want = self._own(name, call)
            try:
                with replaced(self.model, self.session()):
                    got = call()
            except ModelError as error:
                raise ModelError(f"{name}: {error}" if name != "a prompt" else str(error)) from error
            except Exception as error:
                raise _Wrong(f"{name}: {type(error).__name__}: {error}") from error
            error = _difference(got, want)
            if not error <= LIMIT:
                raise _Wrong(f"{name} is off by {error:.3g}")
            if name == "a prompt":
                self._must_matter(want)

    def _own(self, name: str, call: Callable[[], Tensor]) -> Tensor:
        try:
            want = call()
        except Exception as error:  # whatever small sizes make a model raise
            raise _Skipped(f"{name} fails with its own attention: {type(error).__name__}: {_line(error)}") from error
        if not bool(torch.isfinite(want).all()):
            raise _Skipped(f"{name} gives no finite numbers with its own attention")
        return want

    def _must_matter(self, want: Tensor) -> None:
        """A fault planted in the attention must be seen in the logits."""
        with replaced(self.model, _Unscaled(ALGORITHMS["dense"], PRESETS["paper"])):
            error = _difference(self._logits(self.ids), want)
        if error <= 2 * LIMIT:
            raise _Skipped(f"attention hardly matters: without scores its logits change by {error:.3g}")

    def _logits(self, ids: Tensor, **options: Any) -> Tensor:
        if self.generates:
            options["use_cache"] = False
        return self.model(input_ids=ids, **options).logits

    def _padded(self, mask: Tensor) -> Tensor:
        """(valid tokens, vocabulary) logits of a batch with padding."""
        return self._logits(self.ids * mask, attention_mask=mask)[mask.bool()]

    def _generated(self, mask: Tensor) -> Tensor:
        """Logits (steps, batch, vocabulary) of greedy steps; those of the session follow the first one's tokens."""
        forced: dict[str, Any] = {}
        if self.chosen is not None:
            chosen = self.chosen
            forced["prefix_allowed_tokens_fn"] = lambda row, seen: [int(chosen[row, len(seen)])]
        out = self.model.generate(
            self.ids * mask,
            attention_mask=mask,
            max_new_tokens=_STEPS,
            min_new_tokens=_STEPS,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=2,
            return_dict_in_generate=True,
            output_logits=True,
            **forced,
        )
        self.chosen = None if forced else out.sequences
        return torch.stack(out.logits)


class _Unscaled(Session):
    """A session with a fault: all scores are 0."""

    def attention(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().attention(*args, **kwargs | {"scaling": 0.0})


def _difference(got: Tensor, want: Tensor) -> float:
    """Relative L2 distance; infinite if the shapes differ."""
    return float((got - want).norm() / want.norm()) if got.shape == want.shape else math.inf

"""A language model as a GGUF file, with a tokenizer of letters."""

from pathlib import Path

import gguf
import torch

from tests.bench.tiny_models import LLAMA, tiny_causal

__all__ = ["save_tiny_gguf"]

_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_tiny_gguf(
    path: Path, *, without: tuple[str, ...] = (), extra: tuple[str, ...] = (), blocks: int = 3, letters: int = 26
) -> Path:
    """The model of ``tiny_causal``, ``without`` some tensors, with ``extra`` ones; the file says that it has ``blocks``
    layers."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_block_count(blocks)
    writer.add_context_length(LLAMA.max_position_embeddings)
    writer.add_embedding_length(LLAMA.hidden_size)
    writer.add_feed_forward_length(LLAMA.intermediate_size)
    writer.add_head_count(LLAMA.num_attention_heads)
    writer.add_head_count_kv(LLAMA.num_key_value_heads)
    writer.add_layer_norm_rms_eps(LLAMA.rms_norm_eps)
    writer.add_vocab_size(LLAMA.vocab_size)
    writer.add_tokenizer_model("llama")
    tokens = ["<unk>", *(chr(97 + number) for number in range(letters))]
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([gguf.TokenType.UNKNOWN] + [gguf.TokenType.NORMAL] * letters)
    writer.add_unk_token_id(0)
    for name, weight in _tensors(LLAMA.num_hidden_layers).items():
        if name not in without:
            writer.add_tensor(name, weight.numpy())
    for name in extra:
        writer.add_tensor(name, torch.zeros(4).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(layers: int) -> dict[str, torch.Tensor]:
    weights = {name: weight.detach() for name, weight in tiny_causal().model.named_parameters()}
    found = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
        "output.weight": weights["lm_head.weight"],
    }
    for layer in range(layers):
        for name, short in _NAMES.items():
            found[f"blk.{layer}.{short}.weight"] = weights[f"model.layers.{layer}.{name}.weight"]
    return found

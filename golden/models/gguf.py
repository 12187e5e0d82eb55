"""What a GGUF file says of its model that transformers does not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["correct_head_dim", "tensor_names"]


def correct_head_dim(config: Any, path: Path) -> None:
    """Give the configuration that transformers made of a GGUF file the file's own head dimension.

    transformers knows the field of some architectures only; of the others, such as Qwen3, it takes a default, which
    the weights then do not fit.
    """
    import gguf
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    fields = gguf.GGUFReader(path).fields
    architecture = str(fields["general.architecture"].contents())
    read = GGUF_CONFIG_MAPPING.get(architecture, {})
    length = fields.get(f"{architecture}.attention.key_length")
    if length is not None and "attention.key_length" not in read and hasattr(config, "head_dim"):
        config.head_dim = int(length.contents())


def tensor_names(path: Path) -> list[str]:
    """Of all tensors of a GGUF file, of which transformers leaves out those that it does not know."""
    import gguf

    return [tensor.name for tensor in gguf.GGUFReader(path).tensors]

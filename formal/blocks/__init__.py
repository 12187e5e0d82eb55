"""The proofs of all blocks."""

from formal.blocks import (
    arithmetic,
    crossbar,
    fetch,
    id_spread,
    page_allocator,
    row_window,
    softmax,
    stream_queue,
    streams,
    window,
    zero_eliminator,
)
from formal.proof import Proof

__all__ = ["PROOFS"]

_MODULES = (
    streams,
    stream_queue,
    row_window,
    crossbar,
    zero_eliminator,
    arithmetic,
    page_allocator,
    fetch,
    id_spread,
    softmax,
    window,
)

PROOFS: tuple[Proof, ...] = tuple(proof for module in _MODULES for proof in module.PROOFS)

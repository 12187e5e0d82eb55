"""The number of threads that PyTorch computes with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread inside, and with as many as before afterwards; a decorator, too.

    The last bits of float sums depend on the number of threads, so that it must be the same on all processes whose
    results count as equal. Rows of a few hundred elements are too small to be shared: threads would mostly wait.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

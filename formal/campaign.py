"""All proofs, several at a time."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

from formal.blocks import PROOFS
from formal.runner import Result, run

__all__ = ["BUILD", "results"]

BUILD = Path("build/formal")


def _prove(name: str, fresh: bool) -> Result:
    (proof,) = (proof for proof in PROOFS if proof.name == name)
    return run(proof, BUILD, fresh=fresh)


def results(names: Sequence[str], *, jobs: int, fresh: bool) -> Iterator[Result]:
    """What comes of the proofs of these names, in their order.

    Each has a process of its own: bugs are put into its modules, and its processor time is told apart.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for future in [pool.submit(_prove, name, fresh) for name in names]:
            yield future.result()

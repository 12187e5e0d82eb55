"""Mutants that keep everything that a block promises: no test can notice them."""

from __future__ import annotations

import dataclasses

from mutation.mutants import Mutant

__all__ = ["EQUIVALENT", "Equivalent", "is_equivalent"]


@dataclasses.dataclass(frozen=True)
class Equivalent:
    """``wrong`` in the place of what ``right`` does with ``text``, wherever it stands in the module, and why."""

    module: str
    text: str
    right: str
    wrong: str
    why: str


EQUIVALENT = (
    Equivalent(
        "hdl/topk/pivot_ranks.py", "above < 0", "<", "constant + 1", "the other choice is above itself, which is 0 then"
    ),
    Equivalent(
        "hdl/topk/pivot_ranks.py",
        "double >= self.size",
        ">=",
        ">",
        "a rest that is the divisor makes all further digits 1, and the last comparison adds 1 to them",
    ),
)

_PLACES = {(each.module, each.text, each.right, each.wrong) for each in EQUIVALENT}


def is_equivalent(module: str, mutant: Mutant) -> bool:
    return (module, mutant.text, mutant.right, mutant.wrong) in _PLACES

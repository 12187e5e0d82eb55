"""What is to be proved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from formal.harness import Harness
from formal.methods import Method
from formal.seeds import Bug

__all__ = ["Proof"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """The claims of a harness, for one configuration of one block.

    Both must be seen, too: each cover of the harness is reached within ``reach`` cycles, and with each of the ``bugs``
    a claim fails within as many.
    """

    name: str
    block: str
    configuration: str
    build: Callable[[], Harness]
    bugs: tuple[Bug, ...]
    method: Method
    reach: int = 20

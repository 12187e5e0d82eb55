"""Process time of parts of a run."""

from __future__ import annotations

import time
from typing import Self

__all__ = ["Stopwatch"]


class Stopwatch:
    """``seconds`` of process time spent in ``with`` blocks of it, which do not nest."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._began

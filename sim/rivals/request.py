"""What ``spatten rivals`` is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from sim.common.settings import Told

__all__ = ["RivalsRequest"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RivalsRequest:
    """A model and its text, or a workload; the fields are the options of the command, in their order."""

    model: Annotated[str | None, Told("minilm, smollm2, or a folder or name for transformers.")] = None
    text: Annotated[Path | None, Told("A text; of an encoder lines of score, sentence, sentence (tabs).")] = None
    workload: Annotated[Path | None, Told("Rows in the authors' CSV, in the place of a model.")] = None
    preset: Annotated[str, Told("SpAtten's configuration.")] = "eighth"
    algorithm: Annotated[str | None, Told("SpAtten's; default minilm-1pt, smollm2-5pct.")] = None
    part: Annotated[str, Told("Half of the text or pairs: all, first or second.")] = "second"
    context: Annotated[int, Told("Tokens of a window that are its prompt.")] = 480
    generate: Annotated[int, Told("Tokens after it.")] = 17
    windows: Annotated[int, Told("Of the text, spread evenly.")] = 2
    limit: Annotated[int | None, Told("The first so many pairs, or rows of a workload.")] = None
    batch: Annotated[int, Told("Most windows or sentences at a time.")] = 8
    json_path: Annotated[Path | None, Told("All figures.", option="json")] = None

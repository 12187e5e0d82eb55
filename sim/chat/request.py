"""What ``spatten chat`` is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from sim.common.settings import Told
from sim.run.request import MachineRequest

__all__ = ["PAGE", "ChatRequest"]

PAGE = Path("chat.html")
"""Where the page goes if the request does not say it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatRequest(MachineRequest):
    """A conversation; :func:`sim.chat.chat.chat_command` checks and holds it. The options of ``spatten chat``."""

    model: Annotated[str, Told("smollm2, or a folder or name for transformers.", argument=True)] = "smollm2"
    html_path: Annotated[Path | None, Told("What /page writes; default chat.html.", option="html")] = None
    max_new_tokens: Annotated[int, Told("Most tokens of an answer.")] = 64

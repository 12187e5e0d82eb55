"""``spatten chat``: a conversation with a language model, with every attention on an engine."""

from __future__ import annotations

import typer

from sim.chat.request import ChatRequest
from spatten.commands.preset import load_config
from spatten.commands.request import takes

__all__ = ["chat"]


@takes(ChatRequest)
def chat(request: ChatRequest) -> None:
    """Talk with a language model, every attention on the accelerator; commands /page, /new and /quit."""
    load_config(request.preset)
    from sim.chat.chat import chat_command
    from spatten.engines import register_boards

    register_boards()
    raise typer.Exit(chat_command(request))

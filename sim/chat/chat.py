"""``spatten chat``: a conversation with a language model whose attention runs on an engine."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from rich.console import Console

from golden.models.load import CausalModel, ModelError
from sim.chat.conversation import Conversation, Costs, Stopped
from sim.chat.request import PAGE, ChatRequest
from sim.common.console import console_of, less, tell
from sim.common.errors import UserError
from sim.engine.registry import make_engine
from sim.run.header import header
from sim.run.page import write_page
from sim.run.record import INVISIBLE
from sim.run.task import FAULTS, Setup, check_files, check_least, engine_of, fault_of, of_model, setup_of
from sim.run.text import print_header

__all__ = ["chat_command"]

PROMPT = "> "
_SHOWN = {code: picture for code, picture in INVISIBLE.items() if chr(code) not in "\n\t"}
"""A model's text must not move the cursor or turn around the text after it."""


def chat_command(
    request: ChatRequest,
    *,
    source: TextIO | None = None,
    console: Console | None = None,
    errors: Console | None = None,
    engine_factory: Callable[..., Any] = make_engine,
) -> int:
    """Hold a conversation: questions and commands line by line from ``source``, until ``/quit`` or its end.

    source, console, errors: by default stdin, stdout and stderr. Returns the exit status: 0, 1 (results differed from
    the golden model, or the hardware failed), 2 (the user asked for what cannot be done).
    """
    console, errors = console or console_of(), errors or console_of(stderr=True)
    lines: TextIO = sys.stdin if source is None else source
    try:
        setup, model = _setup_of(request)
    except ValueError as error:
        return _fail(errors, str(error), 2)
    try:
        with engine_of(setup, engine_factory) as engine:
            chat = _Chat(request, Conversation(setup, model, engine), lines, console, errors)
            print_header(console, list(header(setup)))
            chat.hold()
    except FAULTS as error:
        return _fail(errors, *fault_of(error, request.model))
    except UnicodeError:
        return _fail(errors, "the input must be UTF-8 text", 2)
    return 1 if chat.mismatches else 0


def _setup_of(request: ChatRequest) -> tuple[Setup, CausalModel]:
    check_files(request)
    check_least(request, max_new_tokens=1)
    setup = setup_of(request)
    if not isinstance(setup.model, CausalModel):
        raise UserError(f"MODEL must be a model that generates text, not {request.model!r}, an encoder")
    return setup, setup.model


def _fail(errors: Console, message: str, status: int) -> int:
    tell(errors, f"error: {message}")
    return status


class _Chat:
    """A conversation and those who hold it."""

    def __init__(
        self, request: ChatRequest, conversation: Conversation, source: TextIO, console: Console, errors: Console
    ):
        self.request, self.conversation = request, conversation
        self.source, self.console, self.errors = source, console, errors
        self.mismatches = 0
        self.commands = {"/page": self._page, "/new": self.conversation.clear}

    def hold(self) -> None:
        """Line by line; a line that cannot be met is told, and the conversation goes on."""
        while (line := self._line()) is not None:
            if line == "/quit":
                return
            try:
                self._meet(line)
            except UserError as error:
                tell(self.errors, f"error: {error}")

    def _line(self) -> str | None:
        """The next line without blanks around it; None: there is no more."""
        asked = self.source.isatty()
        if asked:
            self._write(PROMPT)
        line = self.source.readline()
        if not line and asked:
            self._write("\n")
        line.encode()  # what was no UTF-8 may have come as halves of surrogate pairs
        return line.strip() if line else None

    def _meet(self, line: str) -> None:
        if not line:
            return
        if not line.startswith("/"):
            self._turn(line)
        elif line in self.commands:
            self.commands[line]()
        else:
            raise UserError(f"a command must be /page, /new or /quit, not {line!r}")

    def _page(self) -> None:
        path = self.request.html_path or PAGE
        record = self.conversation.record()
        try:
            write_page(record, path)
        except OSError as error:
            raise UserError(f"page {str(path)!r} cannot be written: {error.strerror}") from None
        self._say(f"page: {path}")

    # A turn ----------------------------------------------------------------------------------------------------

    def _turn(self, text: str) -> None:
        try:
            self.conversation.ask(text)
        except ModelError as error:
            raise UserError(of_model(self.request.model, error)) from None
        answer: list[int] = []
        note = ""
        with _stopping(self.conversation):
            try:
                note = self._answer(answer)
            except Stopped:
                note = "stopped"
        self.conversation.said.append(self.conversation.decode(answer))
        self._write("\n")
        costs = self.conversation.costs()
        if costs is not None:
            self._say(_told(costs))
            self.mismatches += costs.mismatches
        if note:
            self._say(note)

    def _answer(self, answer: list[int]) -> str:
        """Write an answer as it comes, its tokens to ``answer`` too; what is to be told after it."""
        shown = 0
        while len(answer) < self.request.max_new_tokens:
            token = self.conversation.step()
            if token is not None:
                answer.append(token)
            text = self.conversation.decode(answer)
            ended = token is None or self.conversation.full or len(answer) == self.request.max_new_tokens
            if ended or not text.endswith("\ufffd"):  # a character of several tokens comes with its last one
                self._write(text[shown:])
                shown = len(text)
            if token is None:
                return ""
            if self.conversation.full:
                setup = self.conversation.setup
                limit = f"limit {setup.token_limit:,} tokens: {setup.limit_reason}"
                return f"the conversation is full ({limit}): begin a new one with /new"
        return ""

    def _write(self, text: str) -> None:
        self.console.file.write(text.translate(_SHOWN))
        self.console.file.flush()

    def _say(self, line: str) -> None:
        self.console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _told(costs: Costs) -> str:
    """What a turn cost, in a line."""
    requantized = f" and {costs.requantized / 1024:,.1f} KiB to requantize" if costs.requantized else ""
    parts = [
        f"{costs.kept:,.1f} of {costs.tokens:,} tokens kept",
        f"{costs.read / 1024:,.1f} KiB read{requantized}, {less(costs.reduction, 'less', digits=1)} than fp32 dense",
    ]
    if costs.cycles is not None:
        parts += [f"{costs.cycles:,} cycles", f"{costs.mismatches:,} mismatches"]
    return f"[{', '.join(parts)}]"


@contextlib.contextmanager
def _stopping(conversation: Conversation) -> Iterator[None]:
    """Ctrl-C stops the answer after the layer that runs; a second one is as ever."""
    runner = conversation.runner

    def stop(*_: Any) -> None:
        if runner.stopped:
            raise KeyboardInterrupt
        runner.stopped = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        runner.stopped = False

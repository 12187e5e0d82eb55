"""A conversation with a language model: one sequence, whose K and V go on from turn to turn."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import torch
from transformers import DynamicCache

from golden.host.accounting import dram_reduction, factors, summed
from golden.layers.layer import Layer, Outcome
from golden.models.backend import replaced
from golden.models.dialogue import Dialogue
from golden.models.load import CausalModel
from hdl.spec.config import Config
from sim.common.errors import UserError
from sim.common.revision import revision
from sim.engine.engine import Engine
from sim.run.record import RunRecord
from sim.run.run import Runner, recorded, token_names
from sim.run.task import Setup

__all__ = ["Conversation", "Costs", "Stopped"]


class Stopped(Exception):
    """The user stopped an answer."""


class _Runner(Runner):
    """Stops before the next layer if it is asked to: an engine has then finished the one before."""

    stopped = False

    def execute(self, layer: Layer, config: Config) -> Outcome:
        if self.stopped:
            raise Stopped
        return super().execute(layer, config)

    def forget(self, layers: int) -> None:
        """All after so many layers, of a step that did not end."""
        del self.traces[layers:], self.records[layers:]
        if self.accelerator is not None:
            self.accelerator.take_calls()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """What a turn took."""

    kept: float
    """tokens that its last step attended, mean of layers and K/V heads"""
    tokens: int
    """of the conversation then"""
    read: float
    """bytes of Q, K and V in all its steps"""
    requantized: float
    """bytes that the host moved where K and V outgrew the range of their integers"""
    reduction: float
    """bytes of fp32 dense attention over both"""
    cycles: int | None
    """None: the golden model ran alone"""
    mismatches: int


class Conversation:
    """Questions, and answers token by token; the model reads each token once.

    What was read so far stays if a step fails or is stopped; the rest of a turn waits for the next one.
    """

    def __init__(self, setup: Setup, model: CausalModel, engine: Engine | None):
        self.setup, self.model, self.engine = setup, model, engine
        self.dialogue = Dialogue(model)
        self.clear()

    def clear(self) -> None:
        """Begin a new one."""
        self.runner = _Runner(self.setup, self.engine)
        self.cache = DynamicCache()
        self.read: list[int] = []
        """tokens that the cache holds"""
        self.waiting: list[int] = []
        """tokens that the model reads next"""
        self.first = 0
        """tokens that it read first, as a prompt"""
        self.said: list[str] = []
        """questions and answers"""
        self._turn = 0

    @property
    def full(self) -> bool:
        """Whether not even the waiting tokens can be read."""
        return len(self.read) + len(self.waiting) > self.setup.token_limit

    def ask(self, text: str) -> None:
        """The next question; UserError, and nothing changes, if there is no room for it or no token in it."""
        begun = self.read or self.waiting
        new = self.dialogue.further(text) if begun else self.dialogue.first(text)
        limit, used = self.setup.token_limit, len(self.read) + len(self.waiting)
        why = f"limit {limit}: {self.setup.limit_reason}"
        if not new:
            raise UserError(f"the text must have a token that the model knows, not {text!r}")
        if used + len(new) > limit:
            room = f"{limit - used:,} of {limit:,} are left" if used < limit else "the conversation is full"
            begin = ", or begin a new conversation with /new" if used else ""
            raise UserError(f"the text has {len(new):,} tokens, but {room} ({why}): make it shorter{begin}")
        self.waiting = self.waiting + new
        self.said.append(text)
        self._turn = len(self.runner.records)

    def step(self) -> int | None:
        """Read what waits, and choose the most likely next token; None: the answer ends here.

        Stopped, or whatever else an engine raises: as if the step had not begun.
        """
        done = len(self.runner.records)
        keep = {"logits_to_keep": 1} if self.model.model._supports_logits_to_keep() else {}
        try:
            with torch.no_grad(), replaced(self.model.model, self.runner.session):
                output = self.model.model(torch.tensor([self.waiting]), past_key_values=self.cache, **keep)
        except BaseException:
            self.runner.forget(done)
            raise
        self.first = self.first or len(self.waiting)
        self.read += self.waiting
        token = int(output.logits[0, -1].argmax())
        self.waiting = [] if token in self.dialogue.ends else [token]
        return token if self.waiting else None

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer."""
        return self.model.tokenizer.decode(list(ids), skip_special_tokens=True)

    def costs(self) -> Costs | None:
        """Of the turn so far; None: nothing was read in it."""
        records, traces = self.runner.records[self._turn :], self.runner.traces[self._turn :]
        if not records:
            return None
        cycles = [record.cycles for record in records if record.cycles is not None]
        total = summed(*traces)
        return Costs(
            kept=statistics.fmean(record.tokens for record in records if record.step == records[-1].step),
            tokens=len(self.read),
            read=total.traffic.read,
            requantized=total.traffic.requantized,
            reduction=dram_reduction(total),
            cycles=sum(cycles) if cycles else None,
            mismatches=sum(record.mismatches for record in records),
        )

    def record(self) -> RunRecord:
        """All of it so far, for a page; UserError if nothing was read yet."""
        if not self.read:
            raise UserError("the page must have something to show: ask a question first")
        names, total = token_names(self.model, self.read), summed(*self.runner.traces)
        return recorded(
            self.runner,
            tokens=names[: self.first],
            generated=names[self.first :],
            text="\n".join(self.said),
            revision=revision() or "",
            dram_reduction=dram_reduction(total),
            factors=factors(total),
            mismatches=sum(record.mismatches for record in self.runner.records),
            values_compared=sum(record.values_compared for record in self.runner.records),
            conversation=True,
        )

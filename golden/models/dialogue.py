"""The texts of a conversation as the tokens that a language model reads, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence

from golden.models.errors import ModelError, first_line
from golden.models.load import CausalModel

__all__ = ["Dialogue"]

_ANSWER = "ANSWER"
"""Stands for an answer, whose own tokens are in the cache, where the template is asked what follows one."""


class Dialogue:
    """Questions in the chat template of a model's tokenizer; in plain text if it has none."""

    def __init__(self, model: CausalModel):
        self.model = model
        self.templated = bool(getattr(model.tokenizer, "chat_template", None))
        self.ends = frozenset(self._ends())
        """tokens that end an answer"""

    def first(self, text: str) -> list[int]:
        """Tokens of the question that begins a conversation."""
        if not self.templated:
            return self.model.encode(text)
        return self.model.encode(self._rendered([text]), whole=False)

    def further(self, text: str) -> list[int]:
        """Tokens of a question after an answer, with those that end the answer."""
        return self.model.encode(self._after_answer(text) if self.templated else f"\n{text}", whole=False)

    def _ends(self) -> list[int]:
        settings = getattr(self.model.model, "generation_config", None)
        known = [getattr(self.model.tokenizer, "eos_token_id", None), getattr(settings, "eos_token_id", None)]
        ends = [token for some in known for token in (some if isinstance(some, list) else [some]) if token is not None]
        if self.templated:
            mark = self.further("?")[0]
            added = self.model.tokenizer.added_tokens_decoder.get(mark)
            ends += [mark] if added is not None and added.special else []
        return ends

    def _after_answer(self, text: str) -> str:
        _, found, after = self._rendered(["?", _ANSWER, text]).partition(_ANSWER)
        if not found:
            raise ModelError(f"{self.model.name}: its chat template must show the answers of a conversation")
        return after

    def _rendered(self, messages: Sequence[str]) -> str:
        """The conversation of the messages, questions and answers in turn, up to where the next answer begins."""
        roles = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(messages)]
        try:
            return self.model.tokenizer.apply_chat_template(roles, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # whatever the template of a model raises
            raise ModelError(f"{self.model.name}: its chat template cannot be used: {first_line(error)}") from error

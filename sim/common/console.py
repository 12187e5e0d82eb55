"""Consoles of the commands: lines wrap on a terminal; a pipe or file gets each of them whole."""

from __future__ import annotations

from rich.console import Console

__all__ = ["PIPE_WIDTH", "console_of", "less", "tell"]

PIPE_WIDTH = 10_000
"""Columns of what is no terminal: no line is that long."""


def console_of(*, stderr: bool = False) -> Console:
    """A console on stdout, or on stderr."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PIPE_WIDTH)


def tell(errors: Console, line: str) -> None:
    """Print a line that says what went wrong."""
    errors.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)


def less(reduction: float, word: str, *, digits: int = 2) -> str:
    """A reduction of bytes in words: ``8.20× fewer``, where ``word`` is "fewer"; below 1 ``1.18× more``."""
    times, kind = (reduction, word) if reduction >= 1 else (1 / reduction, "more")
    return f"{times:.{digits}f}× {kind}"

"""Commands whose options are the fields of a frozen dataclass, so that each of them is told in one place."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

import typer

from sim.common.settings import Told, option_of

__all__ = ["takes"]

T = TypeVar("T")


def takes(kind: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Make ``command(request)`` a command of the fields of ``kind``.

    A field may be annotated with :class:`sim.common.settings.Told`. The fields of a field that is a dataclass itself
    become options, too.
    """

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            command(_made(kind, given))

        parameters = list(_parameters(kind))
        run.__name__, run.__doc__ = getattr(command, "__name__", "run"), command.__doc__
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _fields(kind: type) -> Iterator[tuple[dataclasses.Field[Any], Any, Told]]:
    """Fields with their types, and what is told of them."""
    types = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        annotation, told = types[field.name], Told("")
        if typing.get_origin(annotation) is Annotated:
            annotation, told = typing.get_args(annotation)
        yield field, annotation, told


def _nested(annotation: Any) -> bool:
    """Whether a field holds fields of its own."""
    return dataclasses.is_dataclass(annotation)


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    for field, annotation, told in _fields(kind):
        if _nested(annotation):
            yield from _parameters(annotation)
            continue
        text = told.help or None
        place = typer.Argument(help=text, metavar=told.metavar or None) if told.argument else None
        option = typer.Option(option_of(told.option or field.name), help=text)
        annotated = Annotated[annotation, place or option]
        keyword = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(field.name, keyword, default=field.default, annotation=annotated)


def _made(kind: type, given: dict[str, Any]) -> Any:
    """``kind`` of the values of its options."""
    values = {
        field.name: _made(annotation, given) if _nested(annotation) else given[field.name]
        for field, annotation, _ in _fields(kind)
    }
    return kind(**values)

import dataclasses
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from sim.common.settings import Told
from spatten.commands.request import takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    keep_rows: Annotated[float | None, Told("Part of them.")] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    what: Annotated[str, Told("The thing.", argument=True)] = "thing"
    inner: Inner = Inner()
    count: int = 3
    json_path: Annotated[Path | None, Told("File.", option="json")] = None


@pytest.fixture
def call():
    app, seen = typer.Typer(), []

    @app.command()
    @takes(Outer)
    def go(request: Outer) -> None:
        """Does it."""
        seen.append(request)

    def run(*arguments):
        result = CliRunner().invoke(app, arguments)
        return result.exit_code, result.output, seen.pop() if seen else None

    return run


def test_defaults_are_those_of_the_request(call):
    assert call() == (0, "", Outer())


def test_every_field_is_an_option(call):
    expected = Outer(what="other", inner=Inner(keep_rows=0.5), count=4, json_path=Path("a.json"))
    assert call("other", "--keep-rows", "0.5", "--count", "4", "--json", "a.json") == (0, "", expected)


def test_help(call):
    status, told, _ = call("--help")
    assert status == 0
    for text in ("Does it.", "--keep-rows", "Part of them.", "--json", "The thing.", "[default: 3]"):
        assert text in told
    assert "--inner" not in told and "--json-path" not in told


def test_wrong_types_are_refused(call):
    status, _, request = call("--count", "many")
    assert status == 2 and request is None

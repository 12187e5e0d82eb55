"""Every command line of the documents parses: options of ``spatten``, targets of ``make``."""

import re
import shlex

import pytest
import typer

from spatten.cli import app
from tests.docs.documents import ROOT, documents

GROUP = typer.main.get_command(app)
LANGUAGES = ("", "sh", "bash", "console")


def commands(program: str) -> list[tuple[str, str]]:
    """Place and text of every command line of a program."""
    found = []
    for name, document in documents().items():
        texts = document.spans[:]
        for block in document.blocks:
            if block.language in LANGUAGES:
                joined = block.text.replace("\\\n", " ")
                texts += [(block.line + number, line) for number, line in enumerate(joined.split("\n"))]
        for line, text in texts:
            plain = re.sub(r"^(\$ )?(nice )?([A-Z_]+=\S+ )*(\.venv/bin/|python -m )?", "", text.strip())
            if plain == program or plain.startswith(f"{program} "):
                found.append((f"{name}:{line}", plain))
    return found


def words(text: str) -> list[str]:
    """Arguments of a command line as it would be typed: of a synopsis all options, each with its first choice."""
    for pattern, by in (
        (r"\s+#\s.*$|\s[|>].*$", ""),  # comment, pipe
        (r"\s*&$", ""),
        (r"\[([^\[\]]*)\](\.\.\.)?", r"\1"),
        (r"(\w+)(\|\w+)+", r"\1"),
        (r"(?<=\s)(…|\.\.\.)(?=\s|$)", ""),
        (r"(?<=\s)[A-Z](?=\s|$)", "1"),
    ):
        text = re.sub(pattern, by, text)
    return shlex.split(text)[1:]


def parse(arguments: list[str]) -> None:
    """Parse as ``spatten`` does, without running; a bare name of a command only has to exist."""
    command, context = GROUP, None
    while hasattr(command, "get_command"):
        context = command.make_context("spatten", [], parent=context, resilient_parsing=True)
        if not arguments or arguments[0].startswith("-"):
            command.make_context("spatten", list(arguments), parent=context, resilient_parsing=True)
            return
        found = command.get_command(context, arguments[0])
        assert found is not None, f"there is no command {arguments[0]!r}"
        command, arguments = found, arguments[1:]
    if arguments:
        command.make_context("spatten", list(arguments), parent=context)


SPATTEN = commands("spatten")
MAKE = commands("make") + [
    (f"{name}:{number}", text)
    for name in (".ci/run", ".github/workflows/ci.yml")
    for number, line in enumerate((ROOT / name).read_text().split("\n"), 1)
    if (text := re.sub(r"^\s*(- run: )?", "", line)).startswith("make ")
]


@pytest.mark.parametrize(("place", "text"), SPATTEN, ids=[f"{place} {text}" for place, text in SPATTEN])
def test_spatten(place, text):
    parse(words(text))


@pytest.mark.parametrize(("place", "text"), MAKE, ids=[f"{place} {text}" for place, text in MAKE])
def test_make(place, text):
    makefile = (ROOT / "Makefile").read_text()
    targets = {*re.findall(r"^([\w.-]+):", makefile, re.MULTILINE), "TARGET"}
    variables = set(re.findall(r"^(\w+) \?=", makefile, re.MULTILINE))
    for word in words(text):
        variable, equals, _ = word.partition("=")
        if equals:
            assert variable in variables, f"{place}: the Makefile has no {variable}"
        else:
            assert word in targets, f"{place}: the Makefile has no target {word}"


def test_many_commands_are_found():
    assert len(SPATTEN) > 60
    assert len(MAKE) > 15


def test_a_wrong_command_is_found():
    parse(words("spatten bitstream --board X [--seeds N] --memory block|sdram  # a comment"))
    for wrong in ("spatten fly", "spatten run minilm --no-such-option", "spatten run --seed x", "spatten fpga no"):
        with pytest.raises(Exception, match=r"no command|No such option|valid integer"):
            parse(words(wrong))

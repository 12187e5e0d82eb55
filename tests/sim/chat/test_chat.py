import copy
import io
import os
import re
import signal

import pytest
import torch
from rich.console import Console
from transformers import DynamicCache, LlamaForCausalLM, PreTrainedTokenizerFast

from golden.host.algorithm import ALGORITHMS
from golden.host.session import Session
from golden.models.backend import replaced
from golden.models.dialogue import Dialogue
from golden.models.load import CausalModel
from hdl.spec.config import PRESETS
from sim.chat.chat import chat_command
from sim.chat.request import PAGE, ChatRequest
from sim.common.settings import Settings
from sim.engine.engine import EngineError
from spatten import cli
from tests.bench.golden_chip import GoldenChip
from tests.bench.tiny_models import LLAMA, save_tiny_bert, save_tiny_causal

PRUNED = Settings(token_keep="0.7:0.4", scope="layer", pin_first=1)
FIRST, SECOND = "t h e q u i c k", "b r o w n f o x"
ANSWERED = re.compile(
    r"\[([\d.]+) of (\d+) tokens kept, ([\d.,]+) KiB read(?: and [\d.,]+ KiB to requantize)?, "
    r"([\d.]+)× less than fp32 dense(.*)\]"
)
TEMPLATE = "{% for m in messages %}z {{ m['role'][0] }} {{ m['content'] }} y {% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}z a{% endif %}"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A model whose tokens are letters, none of which ends an answer."""
    config = copy.deepcopy(LLAMA)
    config.vocab_size, config.eos_token_id = 27, None
    return str(save_tiny_causal(tmp_path_factory.mktemp("llama"), config=config))


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


class Lines(io.StringIO):
    """Questions; a line that is a function is called."""

    def __init__(self, lines):
        super().__init__()
        self.lines = list(lines)

    def readline(self):
        line = self.lines.pop(0) if self.lines else ""
        return line() if callable(line) else line and line + "\n"


@pytest.fixture
def chat(llama):
    """(exit status, stdout, stderr, engines made) of a conversation of these lines."""

    def call(*lines, output=None, spoil=None, **fields):
        engines = []

        def factory(name, config, **options):
            engines.append(GoldenChip(config, spoil=spoil, **options))
            return engines[-1]

        stdout, stderr = output or io.StringIO(), io.StringIO()
        consoles = dict(console=Console(file=stdout, width=10_000), errors=Console(file=stderr, width=10_000))
        request = ChatRequest(**{"model": llama, "engine": "golden", "max_new_tokens": 5, **fields})
        status = chat_command(request, source=Lines(lines), engine_factory=factory, **consoles)
        return status, stdout.getvalue(), stderr.getvalue(), engines

    return call


def answers(printed):
    """The lines before those that tell the costs."""
    lines = printed.split("\n")
    return [lines[at - 1].split() for at, line in enumerate(lines) if ANSWERED.fullmatch(line)]


def by_calls(path, texts, algorithm, count=5):
    """The answers of a model that is called token by token with one cache; in float if the algorithm is None."""
    model = LlamaForCausalLM.from_pretrained(path).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    cache, waiting, found = DynamicCache(), [], []

    def run():
        for text in texts:
            waiting.extend(tokenizer(text)["input_ids"])
            new = []
            for _ in range(count):
                logits = model(torch.tensor([waiting]), past_key_values=cache).logits[0, -1]
                waiting[:] = [int(logits.argmax())]
                new += waiting
            found.append(tokenizer.convert_ids_to_tokens(new))

    with torch.no_grad():
        if algorithm is None:
            run()
        else:
            with replaced(model, Session(algorithm, PRESETS["tiny"])):
                run()
    return found


@pytest.mark.parametrize("name", ["dense", "paper-gpt2"])
def test_two_turns_are_calls_with_one_cache(chat, llama, name):
    status, printed, wrong, _ = chat(FIRST, SECOND, "/quit", "not read", algorithm=name)
    assert status == 0 and not wrong
    got = answers(printed)
    assert len(got) == 2 and got == by_calls(llama, [FIRST, SECOND], ALGORITHMS[name])
    if name == "dense":
        assert got == by_calls(llama, [FIRST, SECOND], None)
    else:
        assert got != by_calls(llama, [FIRST, SECOND], None), "pruning changes something here"


def test_what_a_turn_costs(chat):
    _, printed, _, _ = chat(FIRST, SECOND, settings=PRUNED)
    (kept, tokens, _, less, rest), (later, more, *_) = (match.groups() for match in ANSWERED.finditer(printed))
    assert rest == "", "no cycles on the golden model"
    # 8 tokens and 4 of the answer were read; the fifth waits for the next question.
    assert (int(tokens), int(more)) == (12, 25) and 0 < float(kept) < 12 and float(kept) < float(later) < 25
    assert float(less) > 1
    _, printed, _, _ = chat(FIRST, algorithm="dense")
    assert ANSWERED.search(printed).group(1, 2) == ("12.0", "12")


def test_an_engine_counts_cycles_and_is_compared(chat):
    status, printed, _, (engine,) = chat(FIRST, SECOND, engine="pysim", settings=PRUNED, seed=7)
    _, golden, _, _ = chat(FIRST, SECOND, settings=PRUNED)
    assert status == 0 and engine.closed and engine.options["timing"].seed == 7
    assert answers(printed) == answers(golden)
    rest = [match.group(5) for match in ANSWERED.finditer(printed)]
    # 3 layers in a prompt and 4 steps; then 9 tokens and 4 steps
    assert rest == [", 3,000 cycles, 0 mismatches", ", 7,800 cycles, 0 mismatches"] and engine.runs == 54


def test_a_mismatch_is_told(chat):
    def spoil(number, results, selections):
        if number == 2:
            results[0][0].out[0, 0] += 1

    status, printed, _, _ = chat(FIRST, engine="pysim", spoil=spoil)
    assert status == 1 and ", 1 mismatches]" in printed


def test_the_hardware_fails(chat):
    def spoil(*_):
        raise EngineError("hardware is stuck")

    status, _, wrong, (engine,) = chat(FIRST, engine="pysim", spoil=spoil)
    assert (status, wrong) == (1, "error: hardware is stuck\n") and engine.closed


def test_page(chat, tmp_path):
    status, printed, wrong, _ = chat("/page", FIRST, "/page", settings=PRUNED)
    assert status == 0 and wrong == "error: the page must have something to show: ask a question first\n"
    assert printed.endswith(f"page: {PAGE}\n")
    first = PAGE.read_text()
    assert "8 tokens and 4 after the first question" in first and "The conversation after its first question" in first
    chat(FIRST, SECOND, "/page", settings=PRUNED, html_path=tmp_path / "sub" / "a.html")
    second = (tmp_path / "sub" / "a.html").read_text()
    assert "8 tokens and 17 after the first question" in second and f"{FIRST} " in second and SECOND in second


def test_a_page_that_cannot_be_written_ends_nothing(chat):
    PAGE.mkdir()
    status, printed, wrong, _ = chat(FIRST, "/page", SECOND)
    assert status == 0 and len(answers(printed)) == 2
    assert wrong.startswith(f"error: page '{PAGE}' cannot be written: ") and wrong.count("\n") == 1


def test_new_forgets(chat):
    _, printed, _, _ = chat(FIRST, "/new", FIRST, "", "/quit")
    first, again = answers(printed)
    assert first == again and [match[2] for match in ANSWERED.finditer(printed)] == ["12", "12"]


@pytest.mark.parametrize("line", ["/fly", "/page x", "/"])
def test_unknown_commands_end_nothing(chat, line):
    status, printed, wrong, _ = chat(line, FIRST)
    assert status == 0 and wrong == f"error: a command must be /page, /new or /quit, not {line!r}\n"
    assert len(answers(printed)) == 1


def test_too_long_a_text_changes_nothing(chat):
    long = " ".join("abcdefgh" * 9)
    status, printed, wrong, _ = chat(long, FIRST, long, SECOND)
    first, second = wrong.splitlines()
    why = r"\(limit 64: preset tiny, heads of dimension 16\): make it shorter"
    assert status == 0 and re.fullmatch(rf"error: the text has 72 tokens, but 64 of 64 are left {why}", first)
    begin = "or begin a new conversation with /new"
    assert re.fullmatch(rf"error: the text has 72 tokens, but 51 of 64 are left {why}, {begin}", second)
    _, alone, _, _ = chat(FIRST, SECOND)
    assert answers(printed) == answers(alone)


def test_the_conversation_is_full(chat):
    status, printed, wrong, _ = chat(FIRST, SECOND, "/new", FIRST, max_new_tokens=100)
    told = "the conversation is full (limit 64 tokens: preset tiny, heads of dimension 16): begin a new one with /new\n"
    assert status == 0 and printed.count(told) == 2
    assert [len(answer) for answer in answers(printed)] == [57, 57], "the last token is written, and never read"
    assert wrong.startswith("error: the text has 8 tokens, but the conversation is full (limit 64")


def test_answers_end_with_their_token(chat, llama, tmp_path):
    (first,) = by_calls(llama, [FIRST], ALGORITHMS["dense"])
    end = next(at for at in range(1, 5) if first[at] not in first[:at])
    model = LlamaForCausalLM.from_pretrained(llama)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(llama)
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(first[end])]
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    _, printed, _, _ = chat(FIRST, model=str(tmp_path / "model"), algorithm="dense")
    assert answers(printed) == [first[:end]]


def test_a_chat_template(llama):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(llama)
    tokenizer.chat_template = TEMPLATE
    dialogue = Dialogue(CausalModel(LlamaForCausalLM.from_pretrained(llama), tokenizer, name="random"))
    assert tokenizer.convert_ids_to_tokens(dialogue.first("c d")) == list("zucdyza")
    assert tokenizer.convert_ids_to_tokens(dialogue.further("c d")) == list("yzucdyza")
    tokenizer.add_special_tokens({"additional_special_tokens": ["y"]})
    marked = Dialogue(dialogue.model)
    assert tokenizer.convert_tokens_to_ids("y") in marked.ends - dialogue.ends
    tokenizer.chat_template = "{{ raise_exception('only one question') }}"
    with pytest.raises(ValueError, match="random: its chat template cannot be used: only one question"):
        Dialogue(dialogue.model)


# Ctrl-C --------------------------------------------------------------------------------------------------------


class Interrupting(io.StringIO):
    """Ctrl-C as soon as this many tokens of an answer are written."""

    def __init__(self, tokens):
        super().__init__()
        self.left = tokens

    def write(self, text):
        if re.fullmatch(r" ?[a-z?]", text):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


@pytest.mark.parametrize("engine", ["golden", "pysim"])
def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(chat, engine):
    fields = dict(engine=engine, settings=PRUNED)
    status, printed, wrong, _ = chat(FIRST, SECOND, "/page", output=Interrupting(2), **fields)
    first, second = answers(printed)
    assert status == 0 and not wrong and len(first) == 2 and len(second) == 5 and "\nstopped\n" in printed
    assert SECOND in PAGE.read_text()
    _, shorter, _, _ = chat(FIRST, max_new_tokens=2, settings=PRUNED)
    assert answers(shorter) == [first], "what --max-new-tokens would have left"


def test_ctrl_c_at_the_question_keeps_it(chat):
    """Stopped within the prompt: the next turn reads it."""
    fired = []

    def spoil(number, *_):
        if number == 2 and not fired:
            fired.append(number)
            os.kill(os.getpid(), signal.SIGINT)

    status, printed, _, (engine,) = chat(FIRST, SECOND, engine="pysim", spoil=spoil)
    _, whole, _, _ = chat(f"{FIRST} {SECOND}")
    assert status == 0 and fired and answers(printed) == answers(whole) and "\nstopped\n" in printed
    assert engine.runs == 2 + 3 * 5


def test_ctrl_c_at_the_prompt_ends(chat, monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat(FIRST, stop)
    monkeypatch.setattr("sim.chat.chat.chat_command", lambda request: stop())
    assert cli.main(["chat"]) == 130
    assert capsys.readouterr().err == "interrupted: pages that were written are kept\n"


# What is refused -----------------------------------------------------------------------------------------------


def refused(status, wrong):
    assert status == 2 and wrong.startswith("error: ") and wrong.count("\n") == 1
    return wrong


def test_an_encoder_is_refused(chat, tmp_path):
    bert = str(save_tiny_bert(tmp_path / "bert"))
    status, printed, wrong, _ = chat(FIRST, model=bert)
    assert refused(status, wrong) == f"error: MODEL must be a model that generates text, not {bert!r}, an encoder\n"
    assert printed == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(max_new_tokens=0), "--max-new-tokens must be at least 1, not 0"),
        (dict(engine="abacus"), "--engine must be one of"),
        (dict(port="tty"), "--port needs --engine fpga, not golden"),
        (dict(layers=4), "--layers must be at most 3"),
        (dict(model="none/of/this"), "model folder 'none/of/this' does not exist"),
    ],
)
def test_refusals(chat, fields, message):
    status, printed, wrong, _ = chat(FIRST, **fields)
    assert message in refused(status, wrong) and printed == ""


def test_text_must_be_utf_8(chat):
    assert refused(*chat("\udcff")[::2]) == "error: the input must be UTF-8 text\n"
    source = io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")
    assert refused(*chat(source.readline)[::2]) == "error: the input must be UTF-8 text\n"


def test_marks_that_move_the_cursor_are_not_written(chat, monkeypatch):
    monkeypatch.setattr("sim.chat.conversation.Conversation.decode", lambda self, ids: "\x1b[2Ja\u202e" * len(ids))
    _, printed, _, _ = chat(FIRST)
    assert "␛[2Ja" in printed and "\x1b" not in printed and "\u202e" not in printed

import copy
import io
import json
import math
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.text import Text
from transformers import MPNetConfig, MPNetModel

from golden.host.algorithm import Algorithm
from golden.layers.reference import OUT_GOAL
from golden.models.load import MODELS
from hdl.spec.config import PRESETS
from sim.common.settings import Settings
from sim.engine import verilator
from sim.engine.engine import EngineError
from sim.run.request import METRICS, RunRequest
from sim.run.run import run_command, write_json
from spatten.engines import register_boards
from tests.bench.golden_chip import GoldenChip
from tests.bench.tiny_models import LLAMA, SIZES, save_tiny_bert, save_tiny_causal

register_boards()  # as the command line does

TEXT = "w o r d s"
TOKENS = 7
"""With [CLS] and [SEP]."""
PROMPT = "t h e q u i c k b r o w n"
PRUNED = Settings(token_keep="0.6:0.3", head_keep="0.5", value_keep=0.7)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(save_tiny_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """3 layers, 4 heads that share K and V in pairs."""
    config = copy.deepcopy(LLAMA)
    config.vocab_size = 27
    return str(save_tiny_causal(tmp_path_factory.mktemp("llama"), config=config))


@pytest.fixture
def run(tmp_path, bert):
    """(exit status, text printed, metrics or None, engines made) of a request with these fields.

    The text is that of stdout and, after it, that of stderr.
    """

    def call(text=TEXT, *, spoil=None, terminal=False, width=80, **fields):
        engines = []

        def factory(name, config, **engine_options):
            engines.append(GoldenChip(config, spoil=spoil, **engine_options))
            return engines[-1]

        stdout, stderr, path = io.StringIO(), io.StringIO(), tmp_path / "out" / "metrics.json"
        colours = {"force_terminal": terminal, "color_system": "truecolor" if terminal else None}
        consoles = [Console(file=stream, width=width, **colours) for stream in (stdout, stderr)]
        request = RunRequest(**{"model": bert, "text": text, "engine": "pysim", "json_path": path} | fields)
        status = run_command(request, console=consoles[0], errors=consoles[1], engine_factory=factory)
        printed, wrong = stdout.getvalue(), stderr.getvalue()
        assert "error: " not in printed and (status or not wrong)
        assert status != 2 or (wrong.startswith("error: ") and wrong.count("\n") == 1)
        metrics = json.loads(path.read_text()) if path.exists() else None
        names = {item.name for item in path.parent.iterdir()} if path.parent.exists() else set()
        assert names <= {path.name, "page.html"}, "nothing half-written"
        return status, printed + wrong, metrics, engines

    return call


# Encoders ------------------------------------------------------------------------------------------------------


def test_encoder(run):
    status, printed, metrics, engines = run(memory_latency=33, seed=5, trace=Path("wave.vcd"), max_cycles=1000)
    assert status == 0
    (engine,) = engines
    assert engine.resumed == [False, True] and engine.closed
    assert (engine.options["timing"].latency, engine.options["timing"].seed) == (33, 5)
    assert str(engine.options["trace"]) == "wave.vcd" and engine.options["max_cycles"] == 1000
    assert "28 rows" in printed and "0 mismatches" in printed and "400 cycles" in printed
    assert metrics["rows"] == 2 * 2 * TOKENS
    # out, probs, abs_sum and flat of every row; id, importance and fate of every token and head
    assert metrics["values_compared"] == metrics["rows"] * (16 + TOKENS + 2) + 2 * 3 * (TOKENS + 2)
    assert metrics["mismatches"] == 0 and metrics["cycles"] == 400
    # tiny: D = 16 is one slice, 2 keys a cycle.
    assert metrics["qk_utilization"] == pytest.approx(2 * 98 / (400 * 2))
    assert metrics["bytes_read"] == {"query": 112, "key": 80, "key_lsb": 0, "value": 64, "total": 256}
    assert metrics["bytes_read_fp32_dense"] == 2 * 2 * 3 * TOKENS * 16 * 4
    assert metrics["bytes"]["value"] == 2 * 2 * TOKENS * 16
    assert 0.999 < metrics["embedding_cosine"] <= 1.000001 and metrics["generated"] is None
    assert metrics["engine"] == "pysim" and metrics["preset"] == "tiny"
    assert metrics["settings"]["split"] == "8+4" and metrics["settings"]["threshold"] == 0.1
    assert metrics["algorithm"]["scope"] == "cascade" and metrics["algorithm"]["attention"]["key_bits"] == 8
    assert set(metrics["versions"]) == {"python", "amaranth", "torch", "verilator", "transformers"}
    assert "git_revision" in metrics and metrics["tokens"] == TOKENS
    assert metrics["tokens_kept"] == [TOKENS] * 2 and metrics["heads_kept"] == [2, 2]
    assert math.prod(metrics["factors"].values()) == pytest.approx(metrics["dram_reduction"])
    assert metrics["dram_reduction"] == metrics["dram_reduction_with_prompt"] > 2
    assert [layer["layer"] for layer in metrics["layers"]] == [0, 1] and metrics["generation_layers"] == []
    assert metrics["layers"][0]["counters"]["qk_useful"] == 98
    assert 0 < metrics["layers"][1]["relative_error"] < 0.1 and metrics["prob_error"] < 2**-11
    assert metrics["limit_cycles"] > 0
    assert "~~" not in printed and "Tokens that each layer" not in printed, "nothing is pruned"


def test_pruned_encoder(run):
    status, printed, metrics, _ = run(text="a b c d e f g h", settings=Settings(token_keep="1,0.6", head_keep="1,0.5"))
    assert status == 0 and metrics["mismatches"] == 0
    assert metrics["tokens_kept"] == [10, 6] and metrics["heads_kept"] == [2, 1]
    assert [layer["tokens_kept"] for layer in metrics["layers"]] == [6, 6]
    assert metrics["rows"] == 2 * 10 + 6 and metrics["macs"] < metrics["dense_macs"]
    assert metrics["factors"]["tokens"] > 1 and metrics["factors"]["heads"] > 1
    assert "scope cascade, tokens 100% … 60%, heads 100% … 50%" in printed
    assert printed.count("~~") >= 2 and "tokens 1." in printed


def test_pruned_tokens_are_struck_out(run):
    _, printed, _, _ = run(settings=Settings(token_keep="1,0.6"), terminal=True)
    assert "\x1b[2;9m" in printed and "~~" not in printed


def test_all_rows_flat(run):
    """Threshold 1: every row is flat but one-hot ones."""
    _, printed, metrics, _ = run(settings=Settings(threshold=1.0))
    assert metrics["flat_rows"] == metrics["rows"] and "100.0%" in printed and metrics["flat_row_share"] == 1


def test_static(run):
    status, printed, metrics, _ = run(settings=Settings(split="12", value_keep=0.5))
    assert status == 0 and metrics["flat_rows"] == 0 and metrics["settings"]["key_bits"] == 12
    assert "K 12 bit, static" in printed and "V rows kept 50%" in printed


def test_beats_count_in_utilization(run, tmp_path):
    """D = 64 on lanes of 16, 2 lanes: a key takes 2 beats."""
    config = PRESETS["tiny"]
    assert (config.scores_per_line(64), config.beats(64)) == (1, 2)
    save_tiny_bert(tmp_path, hidden_size=128)
    _, _, metrics, _ = run(model=str(tmp_path))
    assert metrics["qk_utilization"] == pytest.approx(2 * 98 * 2 / 400)


@pytest.mark.parametrize("width", [40, 60])
def test_narrow_terminal(run, width):
    """No line is wider than the terminal but those of paths, and every cell is there that 80 columns have."""
    _, narrow, _, _ = run(settings=PRUNED, terminal=True, width=width)
    _, wide, _, _ = run(settings=PRUNED, terminal=True, width=80)
    narrow, wide = (Text.from_ansi(printed).plain for printed in (narrow, wide))
    assert all(len(line) <= width for line in narrow.splitlines() if not line.startswith("metrics: "))
    narrow, wide = (printed[printed.index("\nLayers") :].split() for printed in (narrow, wide))
    assert set(wide) <= set(narrow) and "error" in wide


def test_a_pipe_gets_whole_lines(run, bert, tmp_path, capsys, monkeypatch):
    """Also where COLUMNS tells a narrow terminal."""
    monkeypatch.setenv("COLUMNS", "40")
    text = " ".join("abcdefghijklmnopqrstuvwxyz"[:24])
    request = RunRequest(model=bert, text=text, engine="golden", settings=PRUNED, json_path=tmp_path / "m.json")
    assert run_command(request) == 0
    printed = capsys.readouterr().out
    assert f"{text} (26 tokens)" in printed and "of its multiplications" in printed
    assert re.search(r"^.*× fewer bytes than fp32 dense .*% of its multiplications$", printed, re.MULTILINE)
    assert re.search(r"^ +1 +\d+ \S*\[CLS\].*\[SEP\]", printed, re.MULTILINE), "the text in one line a layer"


def test_missing_tools(bert, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verilator, "missing_tools", lambda: ("make", "g++"))
    request = RunRequest(model=bert, text=TEXT, engine="verilator", json_path=tmp_path / "m.json")
    assert run_command(request) == 2
    line = "error: make, g++ must be installed for the verilator engine; see spatten doctor\n"
    assert capsys.readouterr().err == line and not (tmp_path / "m.json").exists()


def test_errors_go_to_stderr(bert, tmp_path, capsys):
    assert run_command(RunRequest(model=bert, text="a " * 300, json_path=tmp_path / "m.json")) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: --text has 302 tokens")
    assert captured.err.count("\n") == 1


# Language models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["cascade", "layer", "head"])
def test_language_model(run, llama, scope):
    settings = Settings(token_keep="0.6:0.3", value_keep=0.7, scope=scope, pin_first=1)
    status, printed, metrics, (engine,) = run(text=PROMPT, model=llama, generate=5, settings=settings)
    assert status == 0 and metrics["mismatches"] == 0 and engine.closed
    assert any(engine.resumed) == (scope == "cascade")
    assert len(metrics["generated"].split()) == len(metrics["dense_generated"].split()) == 5
    assert repr(metrics["generated"]) in printed and repr(metrics["dense_generated"]) in printed
    assert metrics["embedding_cosine"] is None and metrics["tokens"] == 13
    # The last of four steps after the prompt knows 17 tokens; front layers (one of three) are not pruned.
    kept = [math.ceil(ratio * 17) for ratio in (1, 0.6, 0.3)]
    assert metrics["tokens_kept"] == (kept if scope == "cascade" else [17, 11, 6])
    prompt, generation = metrics["layers"], metrics["generation_layers"]
    assert [layer["rows"] for layer in prompt] == [4 * 13] * 3 and [layer["tokens"] for layer in prompt] == [13] * 3
    assert [layer["rows"] for layer in generation] == [4 * 4] * 3 and {layer["step"] for layer in generation} == {4}
    assert metrics["rows"] == 3 * 4 * 17 and metrics["cycles"] == 200 * engine.runs
    assert metrics["cycles"] == sum(layer["cycles"] for layer in prompt + generation)
    assert metrics["dram_reduction"] > metrics["dram_reduction_with_prompt"] > 1
    assert "Layers, sum of 4 steps of generation" in printed and "of 17" in printed


def test_prompt_only(run, llama):
    status, printed, metrics, _ = run(text=PROMPT, model=llama, generate=0, settings=PRUNED)
    assert status == 0 and metrics["generation_layers"] == [] and metrics["generated"] == ""
    assert metrics["heads_kept"] == [4, 2, 2] and metrics["rows"] == 8 * 13
    assert "generated" not in printed


def test_engines_give_the_same_text(run, llama):
    options = dict(text=PROMPT, model=llama, generate=4, settings=PRUNED)
    _, _, metrics, _ = run(**options)
    _, _, golden, engines = run(**options, engine="golden")
    assert not engines and golden["generated"] == metrics["generated"]
    for name in ("bytes", "factors", "tokens_kept", "heads_kept", "flat_rows", "max_error", "macs"):
        assert golden[name] == metrics[name]


def test_ids_that_the_tokenizer_does_not_know(run, tmp_path):
    """A vocabulary may be padded: the model has 100 tokens, its tokenizer 27."""
    model = str(save_tiny_causal(tmp_path))
    page = tmp_path / "out" / "page.html"
    status, _, metrics, _ = run(
        text=PROMPT, model=model, generate=9, settings=Settings(token_keep="0.5"), html_path=page
    )
    assert status == 0 and len(metrics["generated"].split()) < 9
    assert any(f"[{token}]" in page.read_text() for token in range(27, 100))


def test_page(run, llama, tmp_path):
    page = tmp_path / "out" / "page.html"
    status, printed, _, _ = run(text=PROMPT, model=llama, generate=3, settings=PRUNED, html_path=page)
    assert status == 0 and "page.html" in printed
    content = page.read_text()
    assert content.lower().startswith("<!doctype html>")
    status, _, _, _ = run(html_path=page)
    assert status == 0 and page.read_text() != content


# What goes wrong -----------------------------------------------------------------------------------------------


def test_mismatch(run):
    def spoil(run_number, results, selections):
        if run_number == 2:
            results[0][1].out[3, 4] += 1

    status, printed, metrics, _ = run(spoil=spoil)
    assert status == 1
    assert metrics["mismatches"] == 1 and [layer["mismatches"] for layer in metrics["layers"]] == [0, 1]
    assert "out of layer 1 head 1, query 3, element 4" in printed


def test_many_mismatches(run, llama):
    def spoil(run_number, results, selections):
        results[-1][0].out[0, 0] += 1

    status, printed, metrics, _ = run(text=PROMPT, model=llama, generate=6, spoil=spoil)
    assert status == 1 and metrics["mismatches"] == 18
    assert printed.count("out of layer") == 10 and "and 8 more" in printed


def test_engine_failure(run, tmp_path):
    def spoil(run_number, results, selections):
        raise EngineError("hardware is stuck")

    status, printed, metrics, engines = run(spoil=spoil, html_path=tmp_path / "out" / "page.html")
    assert status == 1 and metrics is None and engines[0].closed
    assert printed.strip().endswith("error: hardware is stuck")


def test_old_metrics_survive_a_failure(run):
    run()

    def spoil(run_number, results, selections):
        raise EngineError("hardware is stuck")

    status, _, metrics, _ = run(spoil=spoil)
    assert status == 1 and metrics["mismatches"] == 0


def test_layers_limit(run):
    status, _, metrics, engines = run(layers=1)
    assert status == 0 and engines[0].runs == 1
    assert len(metrics["layers"]) == 1 and metrics["rows"] == 2 * TOKENS and metrics["cycles"] == 200
    assert len(metrics["tokens_kept"]) == 2


def test_layers_limit_of_each_step(run, llama):
    status, _, metrics, (engine,) = run(text=PROMPT, model=llama, generate=3, layers=2, settings=PRUNED)
    assert status == 0 and engine.runs == 2 * 3
    assert len(metrics["layers"]) == len(metrics["generation_layers"]) == 2


def test_golden_counts_no_cycles(run):
    status, printed, metrics, engines = run(engine="golden")
    assert status == 0 and not engines
    for name in ("cycles", "limit_cycles", "qk_utilization", "bytes_read", "prob_error", "out_error"):
        assert metrics[name] is None
    assert metrics["values_compared"] == 0 and "compared with nothing" in printed
    assert metrics["bytes"]["total"] > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(text=""), "--text must not be empty"),
        (dict(text=" \n "), "--text must not be empty"),
        (dict(text="@no_such_file"), "--text file 'no_such_file' cannot be read: No such file or directory"),
        (dict(text="a " * 63), "--text has 65 tokens, but the limit is 64 (preset tiny, heads of dimension 16)"),
        (
            dict(preset="huge"),
            f"--preset must be one of {', '.join(PRESETS)} or a .json file, not 'huge'",
        ),
        (dict(engine="asic"), "--engine must be one of auto, verilator, pysim, axi, fpga, golden, not 'asic'"),
        (dict(engine="golden", trace=Path("a.vcd")), "--trace needs an engine with waveforms"),
        (dict(engine="golden", max_cycles=5), "--max-cycles needs a simulated engine, not golden: it counts no cycles"),
        (dict(engine="golden", memory="hbm2"), "--memory needs a simulated engine, not golden: it counts no cycles"),
        (dict(algorithm="magic"), "--algorithm must be one of dense, "),
        (dict(algorithm="magic.json"), "--algorithm file 'magic.json' cannot be read: No such file or directory"),
        (dict(split="8-4"), "--split must be MSB+LSB bits such as 8+4, or 8 for static quantization, not '8-4'"),
        (dict(split="12+4"), "--split must be one of"),
        (dict(threshold=0.0), "--threshold must be in (0, 1], not 0.0"),
        (dict(value_keep=2.0), "--value-keep must be in (0, 1], not 2.0"),
        (dict(query_bits=7), "--query-bits must be one of"),
        (dict(value_bits=16), "--value-bits must be one of"),
        (dict(token_keep="1.5"), "--token-keep must be in (0, 1], not 1.5"),
        (dict(token_keep="0.5:0"), "--token-keep must be in (0, 1], not 0.0"),
        (dict(token_keep="nan"), "--token-keep must be in (0, 1], not nan"),
        (dict(token_keep="some"), "--token-keep must be a ratio, START:END, or R,R,… with a ratio for each layer"),
        (dict(token_keep="1:0.5:0.2"), "--token-keep must be a ratio, START:END, or"),
        (dict(token_keep="1,1,0.5"), "--token-keep must have a ratio for each of 2 layers, not 3"),
        (dict(head_keep="0"), "--head-keep must be in (0, 1], not 0.0"),
        (dict(head_keep="1,"), "--head-keep must be a ratio, START:END, or"),
        (dict(head_keep="0.5", scope="head"), '--head-keep must be 1 in the scope "head"'),
        (dict(scope="model"), "--scope must be one of cascade, layer, head, not 'model'"),
        (dict(scope="layer", token_keep="0.5"), '--scope must be "cascade" for an encoder to prune, not "layer"'),
        (dict(pin_first=-1), "--pin-first must be an integer from 0 to 65535, not -1"),
        (dict(pin_last=99999), "--pin-last must be an integer from 0 to 65535, not 99999"),
        (dict(generate=-1), "--generate must be at least 0, not -1"),
        (dict(generate=3), "--generate needs a model that generates text"),
        (dict(memory_latency=0), "--memory-latency must be an integer of at least 1, not 0"),
        (dict(memory_stall=1.0), "--memory-stall must be from 0 to below 1, not 1.0"),
        (dict(memory_latency=1_000_001), "--memory-latency must be at most 1000000, not 1000001"),
        (dict(memory_stall=0.999999), "--memory-stall must be at most 0.999, not 0.999999"),
        (dict(seed=-1), "--seed must be an integer of at least 0, not -1"),
        (dict(layers=0), "--layers must be at least 1, not 0"),
        (dict(layers=3), "--layers must be at most 2, those of"),
        (dict(max_cycles=0), "--max-cycles must be at least 1, not 0"),
        (
            dict(json_path=Path("/dev/null/metrics.json")),
            "--json must be a writable file, not '/dev/null/metrics.json'",
        ),
        (dict(json_path=Path("/")), "--json must be a file, not the folder '/'"),
        (dict(html_path=Path("/")), "--html must be a file, not the folder '/'"),
    ],
)
def test_user_errors(run, arguments, message):
    fields = Settings.__dataclass_fields__
    settings = Settings(**{name: value for name, value in arguments.items() if name in fields})
    others = {name: value for name, value in arguments.items() if name not in fields}
    status, printed, metrics, engines = run(**others, settings=settings)
    assert status == 2 and metrics is None and not engines
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert message in printed


def test_generate_is_limited(run, llama):
    status, printed, _, engines = run(text=PROMPT, model=llama, generate=53)
    assert status == 2 and not engines
    message = "--generate must be at most 52 after 13 tokens (limit 64: preset tiny, heads of dimension 16), not 53"
    assert printed == f"error: {message}\n"


def test_algorithm_file_is_named(run, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"attention": {"query_bits": 7}}')
    _, printed, _, _ = run(algorithm=str(path))
    assert printed == "error: --algorithm: query_bits must be one of (4, 6, 8, 10, 12), not 7\n"
    path.write_text('{"decay": 99}')
    _, printed, _, _ = run(algorithm=str(path), settings=Settings(split="8"))
    assert printed == "error: --algorithm: decay must be an integer from 0 to 31, not 99\n"
    path.write_text(Algorithm(decay=2).to_json())
    status, _, metrics, _ = run(algorithm=str(path), settings=Settings(pin_last=1))
    assert status == 0 and (metrics["algorithm"]["decay"], metrics["algorithm"]["pin_last"]) == (2, 1)


def test_preset_file_is_named(run, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"lanes": 3}')
    _, printed, _, _ = run(preset=str(path))
    assert printed == f"error: --preset {path}: lanes must be a power of two, not 3\n"


def test_model_errors(run, tmp_path):
    (tmp_path / "nothing").mkdir()
    status, printed, _, _ = run(model=str(tmp_path / "nothing"))
    assert status == 2 and "has no config.json" in printed
    save_tiny_bert(tmp_path, hidden_size=160)
    status, printed, _, _ = run(model=str(tmp_path))
    assert status == 2 and "head dimension must be from 1 to 64 (tiny), not 80" in printed
    MPNetModel(MPNetConfig(**SIZES)).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    status, printed, _, _ = run(model=str(tmp_path))
    assert status == 2 and printed.count("\n") == 1
    assert "mpnet is not supported: transformers cannot replace its attention" in printed


def test_nan_weights(run, tmp_path):
    from transformers import BertConfig, BertModel

    save_tiny_bert(tmp_path)
    model = BertModel(BertConfig(**SIZES))
    with torch.no_grad():
        model.encoder.layer[1].attention.self.value.weight[0, 0] = math.nan
    model.save_pretrained(tmp_path)
    status, printed, metrics, engines = run(model=str(tmp_path))
    assert status == 2 and metrics is None and not engines and printed.count("\n") == 1
    assert "weights must be finite, not NaN or infinite in 1 of" in printed and str(tmp_path) in printed


# Parts ---------------------------------------------------------------------------------------------------------


def test_write_json_is_atomic(tmp_path):
    path = tmp_path / "m.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_json(path, {"a": "\ud800"})
    assert json.loads(path.read_text()) == {"a": 1} and [item.name for item in tmp_path.iterdir()] == ["m.json"]


def test_default_metrics_file_is_in_build():
    assert METRICS.parts == ("build", "sim", "metrics.json")


@pytest.mark.skipif(not (MODELS / "minilm").is_dir(), reason="needs `spatten models`")
def test_minilm(run):
    status, printed, metrics, _ = run(text=None, model="minilm", preset="eighth")
    assert status == 0, printed
    assert metrics["rows"] == 6 * 12 * metrics["tokens"] and metrics["embedding_cosine"] > 0.9995
    assert 20 < metrics["flat_rows"] < 400 and metrics["out_error"] < OUT_GOAL

import dataclasses
import json

import pytest

from hdl.spec.config import PRESETS, Config, ConfigError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be a positive integer, not 0"),
        ({"outstanding": "8"}, "outstanding must be a positive integer, not '8'"),
        ({"num_multipliers": 96}, "num_multipliers must be a power of two, not 96"),
        ({"lanes": 6}, "lanes must be a power of two, not 6"),
        ({"num_channels": 3}, "num_channels must be a power of two, not 3"),
        ({"channel_width": 24}, "channel_width must be a power of two, not 24"),
        ({"topk_parallelism": 12}, "topk_parallelism must be a power of two, not 12"),
        ({"norm_lanes": 3}, "norm_lanes must be a power of two, not 3"),
        ({"num_multipliers": 4}, r"lanes must divide num_multipliers \(4\), not 8"),
        ({"operand_width": 7}, "operand_width must be 8, 10, 12, 14 or 16, not 7"),
        ({"operand_width": 18}, "operand_width must be 8, 10, 12, 14 or 16, not 18"),
        ({"max_dim": 256}, "max_dim must be 16, 32, 64 or 128, not 256"),
        ({"dims": ()}, "dims must be ascending"),
        ({"dims": (64, 32)}, "dims must be ascending"),
        ({"dims": (40,)}, r"dims must be multiples of 16 from 16 to max_dim \(128\), not 40"),
        ({"max_dim": 64}, r"dims must be multiples of 16 from 16 to max_dim \(64\), not 80"),
        ({"max_tokens": 4}, "max_tokens must be from 8 to 4096, not 4"),
        ({"channel_width": 16}, "channel_width must be from 32 to 8192, not 16"),
        ({"buffer_dim": 1, "max_tokens": 100}, "buffer_dim must make max_tokens . buffer_dim a multiple"),
        ({"address_width": 40}, "address_width must be from 4 to 32, not 40"),
        ({"norm_lanes": 256}, r"norm_lanes must be at most max_dim \(128\), not 256"),
        ({"num_multipliers": 16}, r"norm_lanes must be at most num_multipliers \(16\), not 32"),
        ({"adder_levels": 0}, "adder_levels must be a positive integer, not 0"),
        ({"packing": 1}, "packing must be true or false, not 1"),
        ({"contexts": 6}, "contexts must be a power of two, not 6"),
        ({"contexts": 2}, "contexts must be from 4 to 32, not 2"),
        ({"topk_parallelism": 4}, r"topk_parallelism must be at least lanes \(8\), not 4"),
        ({"key_rows": 512}, r"key_rows must be at least max_tokens \(1024\), not 512"),
        (
            {"value_pages": 24},
            "value_pages must cut the buffer's 1024 slices in pages of a power of two of slices, at least 16; not 24",
        ),
        ({"loads": 1}, "loads must be from 2 to 16, not 1"),
        ({"banks_per_lane": 3}, "banks_per_lane must be a power of two, not 3"),
        ({"num_topk_engines": 10**6}, "num_topk_engines must be from 1 to 16, not 1000000"),
        ({"num_channels": 4096}, "num_channels must be from 1 to 128, not 4096"),
        ({"line_queue": 2**30}, "line_queue must be from 1 to 65536, not 1073741824"),
        ({"key_rows": 2**30}, "key_rows must be from 8 to 65536, not 1073741824"),
        ({"outstanding": 2**30}, "outstanding must be from 1 to 1024, not 1073741824"),
        ({"max_group": 17}, "max_group must be from 1 to 16, not 17"),
        ({"max_heads": 4}, r"max_group must be at most max_heads \(4\), not 8"),
        ({"dims": (16, None)}, r"dims must be multiples of 16 from 16 to max_dim \(128\), not None"),
        ({"dims": ([16],)}, r"dims must be multiples of 16 from 16 to max_dim \(128\), not \[16\]"),
        ({"dims": (16, True)}, r"dims must be multiples of 16 from 16 to max_dim \(128\), not True"),
        ({"dims": 16}, "dims must be a list, not 16"),
        ({"name": "../../evil"}, r"name must be 1 to 64 of the characters .* and not only dots, not '../../evil'"),
        ({"name": ".."}, "not only dots, not '..'"),
        ({"name": ""}, "name must be 1 to 64 of the characters"),
        ({"name": "a" * 65}, "name must be 1 to 64 of the characters"),
        ({"name": "tiny\n"}, "name must be 1 to 64 of the characters"),
        ({"name": None}, "name must be 1 to 64 of the characters .*, not None"),
        (
            {
                "num_multipliers": 16,
                "lanes": 1,
                "topk_parallelism": 1,
                "norm_lanes": 1,
                "max_tokens": 8,
                "buffer_dim": 2,
            }
            | {"key_rows": 64, "value_rows": 64, "key_pages": 1, "value_pages": 1},
            r"buffer_dim must give a job's region the 2 slices of a key of 32 elements, not 2 \(1 slices\)",
        ),
        ({"address_width": 4, "channel_width": 32}, "address_width must reach the 24 words"),
        ({"line_queue": 100}, r"line_queue must hold the longest row and a line \(129\), not 100"),
    ],
)
def test_each_bad_value_has_its_error(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(PRESETS["paper"], **change)


@pytest.mark.parametrize("preset", PRESETS)
def test_json_round_trip(preset):
    assert Config.from_json(PRESETS[preset].to_json()) == PRESETS[preset]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "configuration is not JSON"),
        ("[]", "configuration must be a JSON object, not list"),
        ('{"multipliers": 3}', "configuration has an unknown field 'multipliers'"),
        ('{"dims": 64}', "dims must be a list, not 64"),
        ('{"dims": [16, null]}', "dims must be multiples of 16 .*, not None"),
        ('{"dims": [[16]]}', r"dims must be multiples of 16 .*, not \[16\]"),
        ('{"dims": "16"}', "dims must be a list, not '16'"),
        ('{"name": 3}', "name must be 1 to 64 .*, not 3"),
        ("[" * 100000, "configuration is not JSON"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_json(text)


def test_load(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "num_channels": 4}))
    assert Config.load(str(path)) == Config(name="mine", num_channels=4)
    assert Config.load("tiny") is PRESETS["tiny"]
    with pytest.raises(
        ConfigError,
        match=r"preset must be one of tiny, ulx3s, eighth, paper, ulx3s-d32, ulx3s-4k, paper-32k or a .json file",
    ):
        Config.load("big")
    with pytest.raises(ConfigError, match="does not exist"):
        Config.load(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\x7fELF\x02\xff\xfe", "must be JSON text, not binary data"), (None, "cannot be read: Is a directory")],
    ids=["binary", "folder"],
)
def test_a_file_that_is_no_text(tmp_path, content, reason):
    path = tmp_path / "x.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        Config.load(str(path))
    assert str(error.value) == f"preset file {str(path)!r} {reason}"


def test_paper_is_table_1():
    paper = PRESETS["paper"]
    assert [paper.scores_per_line(dim) for dim in (32, 64, 128)] == [8, 8, 4]
    buffer_bytes = 2 * paper.buffer_depth * paper.num_multipliers * paper.operand_width // 8
    assert buffer_bytes == 196_608  # 196 KB each of K and V
    assert paper.num_channels * paper.channel_width // 8 == 512  # bytes a cycle
    assert set(paper.splits) >= {(4, 4), (6, 4), (8, 4), (12, 0)}
    assert (12, 4) in dataclasses.replace(paper, operand_width=16).splits


def test_packing_needs_room_for_the_repeated_keys():
    paper = PRESETS["paper"]
    assert paper.packs(64, 25) and not paper.packs(64, 24) and not paper.packs(64, 5)
    assert paper.packs(64, 1015) and not paper.packs(64, 1021)

"""Words of items, and fields out of them."""

import random

import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.lib import data

from hdl.spec.config import PRESETS, Config
from hdl.spec.payloads import job_output, job_probs
from sim.common.packing import unpack
from sim.transport.words import Unpacker, to_words, word_count


@pytest.mark.parametrize(("width", "words"), [(1, 1), (32, 1), (33, 2), (640, 20)])
def test_words_are_little_endian(width, words):
    value = (1 << width) - 2
    got = to_words(value, width)
    assert len(got) == word_count(width) == words and got.dtype == "<u4"
    assert sum(int(word) << 32 * index for index, word in enumerate(got)) == value


@pytest.mark.parametrize("config", PRESETS.values(), ids=list(PRESETS))
def test_unpacker_equals_unpack(config: Config):
    rng = random.Random(0)
    odd = data.StructLayout({"a": 1, "b": signed(63), "c": data.ArrayLayout(signed(20), 7), "d": 33, "e": signed(1)})
    for layout in (odd, job_output(config), job_probs(config)):
        bits = [rng.getrandbits(layout.size) for _ in range(5)]
        items = Unpacker(layout, np.stack([to_words(value, layout.size) for value in bits]))
        for index, value in enumerate(bits):
            for name, field in unpack(layout, value).items():
                assert items[name][index].tolist() == field, name

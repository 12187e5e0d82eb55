"""Frames in software: against themselves, and the CRC against Amaranth's."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpga.host.codec import Frame, FrameDecoder, encode_frame, frame_crc
from fpga.link.frame.layouts import CRC_PARAMETERS
from fpga.spec.protocol import MAX_PAYLOAD
from tests.bench.frames import payloads


@given(st.binary(max_size=100))
def test_crc_is_the_one_of_amaranth(content):
    assert zlib.crc32(content) == CRC_PARAMETERS.compute(content)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65535), payloads), max_size=5), st.randoms())
def test_codec_round_trip(frames, rng):
    line = b"".join(encode_frame(*frame) for frame in frames)
    decoder, decoded = FrameDecoder(), []
    while line:
        cut = rng.randint(1, len(line))
        decoded += decoder.feed(line[:cut])
        line = line[cut:]
    assert decoded == [Frame(*frame, frame_crc(*frame)) for frame in frames]
    assert decoder.dropped == 0


@given(st.binary(max_size=60), payloads)
def test_a_frame_behind_garbage_is_found(garbage, payload):
    decoder = FrameDecoder()
    decoder.feed(garbage)
    assert decoder.feed(encode_frame(3, 9, payload))[-1] == Frame(3, 9, payload, frame_crc(3, 9, payload))


def test_codec_limits():
    longest = bytes(MAX_PAYLOAD)
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame(1, 2, longest))[0].payload == longest
    assert decoder.feed(encode_frame(1, 2, longest + b"x")) == []
    assert decoder.dropped == 1
    with pytest.raises(ValueError, match="payload must be shorter than 65536 bytes, not 65536"):
        encode_frame(1, 2, bytes(65536))

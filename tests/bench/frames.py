"""Payloads of frames with many bytes that need an escape, for tests of both ends of the link."""

import random

from hypothesis import strategies as st

from fpga.spec.protocol import ESCAPE, FLAG

__all__ = ["payloads", "random_payload"]

payloads = st.one_of(
    st.binary(max_size=40), st.lists(st.sampled_from([FLAG, ESCAPE, 0x5E, 0x20]), max_size=20).map(bytes)
)


def random_payload(rng: random.Random, length: int) -> bytes:
    return bytes(rng.choice((rng.randrange(256), FLAG, ESCAPE)) for _ in range(length))

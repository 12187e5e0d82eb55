import pytest
import torch

from hdl.spec.config import PRESETS
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage


def test_parts_do_not_overlap_and_are_aligned():
    memory = HostMemory(1 << 13, base=0x4000)
    places = [memory.take(size) for size in (1, 64, 65, 3)]
    assert places == [0x4000, 0x4040, 0x4080, 0x4100]
    assert memory.take(10, align=4096) == 0x5000 and memory.limit == 0x6000


def test_a_full_memory():
    memory = HostMemory(4096)
    memory.take(4000)
    with pytest.raises(MemoryError, match="memory of 4096 bytes is full: 100 more are asked for"):
        memory.take(100)


def test_a_memory_that_grows():
    """What was written stays, the rest is filled, and the end is one of a page."""
    memory = HostMemory(4096, base=0x8000, fill=0xEE, grows=True)
    first = memory.store(b"abc")
    far = memory.take(3 * 4096 + 5)
    assert memory.limit % 4096 == 0 and far + 3 * 4096 + 5 <= memory.limit
    assert memory.read(first, 4).tobytes() == b"abc\xee" and set(memory.read(far, 5000).tolist()) == {0xEE}


def test_channels_begin_on_pages():
    config = PRESETS["tiny"]
    image = MemoryImage(config)
    image.add(torch.arange(64).view(4, 16), 8)
    memory = HostMemory(1 << 16)
    memory.take(10)
    bases = memory.place(image)
    assert len(bases) == config.num_channels and not any(base % 4096 for base in bases)
    for base, words in zip(bases, image.channels(), strict=True):
        assert memory.read(base, words.nbytes).tobytes() == words.tobytes()


@pytest.mark.parametrize(("address", "size"), [(0x7FFF, 1), (0x8FFF, 2), (0x9000, 1)])
def test_bytes_that_are_not_there(address, size):
    with pytest.raises(IndexError, match=f"^{size} bytes at {address:#x} are not in 0x8000…0x9000$"):
        HostMemory(4096, base=0x8000).read(address, size)


@pytest.mark.parametrize("fields", [dict(size=100), dict(size=4096, base=64)])
def test_whole_pages(fields):
    with pytest.raises(ValueError, match="base and size must be multiples of 4096"):
        HostMemory(**fields)

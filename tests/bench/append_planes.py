"""Planes of a layer in the memory of the channels, commands that append to them, and what must become of both."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from golden.datapath.append import AppendConstants, appended
from hdl.append.append_layouts import append_request
from hdl.spec.numerics import LSB_BITS
from sim.common.packing import pack, unpack
from sim.transport.memory import MemoryImage, pack_rows
from tests.bench.table_memory import TableMemory

KEY, VALUE, QUERY = "key", "value", "query"


class Layer:
    """Random planes of ``heads`` K/V heads with ``rows`` rows, each head with its constants; rows are appended to them.

    ``tensors``: name -> (heads, rows, D) integers. An appended row takes the place of another one.
    """

    def __init__(self, config, *, dim, widths, heads=2, group=1, rows=9, queries=1, paired=False, skew=0, seed=0):
        self.config, self.dim, self.widths, self.paired, self.skew = config, dim, widths, paired, skew
        self.heads, self.group, self.rng = heads, group, random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        sizes = {KEY: rows, VALUE: rows, QUERY: group * queries}
        self.bits = {KEY: sum(widths[1:3]), VALUE: widths[3], QUERY: widths[0]}
        self.tensors = {name: self._integers(size, self.bits[name]) for name, size in sizes.items()}
        self.places: dict[str, tuple[int, int]] = {}
        self.content: dict[int, int] = {}  # 32-byte block of memory beside the channels -> its bytes
        self.next = 1 << 20
        self.saturated: list[int] = []

    def _integers(self, rows, bits):
        shape = self.heads, rows, self.dim
        return torch.randint(-(1 << bits - 1), 1 << bits - 1, shape, generator=self.generator)

    # Planes --------------------------------------------------------------------------------------------------------

    def image(self):
        """Channels (C, words) as they are now, in a memory that has nothing else; the places do not change."""
        image = MemoryImage(self.config, origin=3)
        self.place(image)
        return image.channels()

    def place(self, image):
        """Put the planes into an image as they are now; they have their places there."""
        query_bits, key_bits, lsb_bits, value_bits = self.widths
        key = self.tensors[KEY]
        if self.paired:
            pairs = [torch.cat([key[at], key[at + 1]], 1) for at in range(0, self.heads, 2)]
            self._add(image, "key", [pair >> lsb_bits for pair in pairs], key_bits, number=lambda at: 2 * at)
        else:
            self._add(image, "key", list(key >> lsb_bits), key_bits)
        if lsb_bits:
            self._add(image, "key_lsb", list(key & (1 << lsb_bits) - 1), lsb_bits, signed=False)
        self._add(image, "value", list(self.tensors[VALUE]), value_bits)
        self._add(image, "query", list(self.tensors[QUERY]), query_bits)

    def _add(self, image, name, planes, width, *, signed=True, number=None):
        number = number or (lambda at: at & ~1 if self.paired else at)
        if not self.paired:
            base, stride = image.place_strided(dict(enumerate(planes)), width, signed=signed, skew=self.skew)
        else:
            skews = [(self.skew + number(at)) % self.config.num_channels for at in range(len(planes))]
            bases = [image.add(p, width, signed=signed, skew=s) for p, s in zip(planes, skews, strict=True)]
            base, stride = bases[0], self.config.plane_words(len(planes[0]), planes[0].shape[1], width)
            assert bases == [base + at * stride for at in range(len(planes))]
        self.places[name] = base, stride

    # Commands ------------------------------------------------------------------------------------------------------

    def command(self, names, *, first=0, rows=1, half=False):
        """An append request for new rows; the tensors have them from now on."""
        if not self.places:
            self.image()
        counts = {name: self.heads * (self.group if name == QUERY else 1) for name in names}
        least = 2 * self.dim * (max(counts.values()) if self.rng.random() < 0.5 else 1)
        if self.rng.random() < 0.5:  # heads beside each other, or positions
            head, position = 2 * self.dim, max(least, 2 * self.dim * max(counts.values()))
        else:
            position, head = 2 * self.dim + 32 * self.rng.randrange(3), 0
            head = rows * position + 32 * self.rng.randrange(3)
        sources, constants, saturated = {}, self._allocate(64), 0
        self.next = constants + self.heads * 4 * self.dim * len(names)
        for at, name in enumerate(names):
            values = AppendConstants.of(*self._grids(name))
            self._put(constants + at * self.heads * 4 * self.dim, self._constant_bytes(values))
            words = self._words((counts[name], rows, self.dim), half)
            sources[name] = self._allocate(32)
            for number in range(counts[name]):
                for row in range(rows):
                    self._put(sources[name] + number * head + row * position, words[number, row].numpy().astype("<u2"))
            self.next = sources[name] + counts[name] * head + rows * position
            saturated += self._store(name, words, values, first, half)
        self.saturated.append(saturated)
        return self._request(names, sources, constants, first, rows, half, head, position)

    def _allocate(self, alignment):
        self.next = -(-self.next // alignment) * alignment + alignment * self.rng.randrange(3)
        return self.next

    def _grids(self, name):
        """Steps and centers (heads, D) that make some values saturate."""
        shape = self.heads, self.dim
        step = 2.5 / 2 ** (self.bits[name] - 1) * (0.5 + torch.rand(shape, generator=self.generator))
        steps = min(1000, 2 ** (self.bits[name] - 2)) if self.rng.random() < 0.7 else 0
        return step, steps * step * torch.randn(shape, generator=self.generator).clamp(-2, 2)

    def _constant_bytes(self, values):
        packed = (values.mantissa | values.shift << 10 | (values.offset & 0xFFFF) << 16).numpy()
        return packed.astype("<u4")

    def _words(self, shape, half):
        """Bit patterns of normal numbers, and of a few that are none."""
        kind = torch.float16 if half else torch.bfloat16
        words = torch.randn(shape, generator=self.generator).to(kind).view(torch.int16).long() & 0xFFFF
        odd = torch.randint(0, 1 << 16, shape, generator=self.generator)
        return torch.where(torch.rand(shape, generator=self.generator) < 0.05, odd, words)

    def _store(self, name, words, values, first, half):
        """The rows in the tensor; how many elements saturated."""
        if name == QUERY:  # the rows of a group's heads follow each other
            words = words.view(self.heads, -1, self.dim)
        integers, saturated = appended(words, values, self.bits[name], half=half)
        self.tensors[name] = self.tensors[name].clone()
        self.tensors[name][:, first : first + integers.shape[1]] = integers
        return int(saturated.sum())

    def _put(self, address, array):
        for at, block in enumerate(np.frombuffer(array.tobytes(), dtype="V32")):
            self.content[address // 32 + at] = int.from_bytes(block.tobytes(), "little")

    def _request(self, names, sources, constants, first, rows, half, head, position):
        shape: Any = append_request()
        request = unpack(shape, 0)
        command, plan = request["command"], request["plan"]
        command["flags"] |= {name: int(name in names) for name in (KEY, VALUE, QUERY)}
        command["flags"] |= {"half": int(half), "paired": int(self.paired)}
        byte = self.config.channel_width // 8
        command |= {
            "opcode": 6,
            "first_row": first,
            "num_rows": rows,
            "num_heads": self.heads,
            "position_stride": position,
            "head_stride": head,
            "constants": constants,
            "query": self.places["query"][0] * byte,
            "rows": sources.get(KEY, sources.get(QUERY, 0)),
            "value_rows": sources.get(VALUE, 0),
        }
        plan |= self.plan()
        assert unpack(shape, pack(shape, request)) == request
        return request

    def plan(self):
        """Fields of a plan of the planes as they lie now."""
        query_bits, key_bits, lsb_bits, value_bits = self.widths
        byte = self.config.channel_width // 8
        plan = {"dim": self.dim, "group": self.group, "num_kv_heads": self.heads, "skew": self.skew}
        plan |= {"query_bits": query_bits, "key_bits": key_bits, "key_lsb_bits": lsb_bits, "value_bits": value_bits}
        for name, (base, stride) in self.places.items():
            plan[f"{name}_stride"] = stride * byte
            if name != QUERY:
                plan[name] = base * byte
        return plan

    # Runs ----------------------------------------------------------------------------------------------------------

    def memory(self, port, word_width, **options):
        """What commands read; a word of which nothing was put there is in error."""
        memory = TableMemory(port, word_width, **options)
        size = word_width // 8
        for block, value in self.content.items():
            for at in range(0, 32, size):
                memory.content[(32 * block + at) // size] = value >> 8 * at & (1 << word_width) - 1
        return memory


class Channels:
    """Bytes of the channels at their bases; words are written to them, and nowhere else."""

    def __init__(self, image, bases):
        self.bases, self.bytes = bases, [bytearray(row.tobytes()) for row in image]

    def write(self, item, word_width):
        size = word_width // 8
        for at in range(size):
            if item["strobes"] >> at & 1:
                address = item["word"] * size + at
                inside = [c for c, base in enumerate(self.bases) if base <= address < base + len(self.bytes[c])]
                assert len(inside) == 1, f"byte {address:#x} is in no channel"
                self.bytes[inside[0]][address - self.bases[inside[0]]] = item["data"] >> 8 * at & 0xFF

    def equal(self, image):
        return [bytes(mine) for mine in self.bytes] == [row.tobytes() for row in image]


def written_words(layer, requests, word_width, bases):
    """Words that are written for all rows of requests: of each row of a plane those that have a part of it."""
    size = word_width // 8
    places = [place for request in requests for place in row_places(layer, request, bases)]
    return sum((begin + length - 1) // size - begin // size + 1 for begin, length in places)


def row_places(layer, request, bases):
    """(address, bytes) of every row of every plane that a request writes; ``bases``: of the channels."""
    return [(address, len(row)) for address, row in written_rows(layer, request, bases)]


def written_rows(layer, request, bases):
    """(address, its bytes as the tensors are now) of each of these rows."""
    config = layer.config
    query_bits, key_bits, lsb_bits, value_bits = layer.widths
    command, flags = request["command"], request["command"]["flags"]
    planes = []
    tensors = layer.tensors
    if flags["key"]:
        planes.append(("key", tensors[KEY] >> lsb_bits, key_bits, 2 if layer.paired else 1))
        planes += [("key_lsb", tensors[KEY] & (1 << lsb_bits) - 1, LSB_BITS, 1)] if lsb_bits else []
    planes += [("value", tensors[VALUE], value_bits, 1)] if flags["value"] else []
    planes += [("query", tensors[QUERY], query_bits, 1)] if flags["query"] else []
    for name, integers, width, wide in planes:
        rows = command["num_rows"] * (layer.group if name == "query" else 1)
        base, stride = layer.places[name]
        length = layer.dim * width // 8
        for head in range(layer.heads):
            plane = (base + head // wide * stride) * (config.channel_width // 8)
            skew = layer.skew + (head & ~1 if layer.paired else head)
            for row in range(command["first_row"], command["first_row"] + rows):
                channel = bases[(row + skew) % config.num_channels]
                address = channel + plane + row // config.num_channels * length * wide + (head % wide) * length
                yield address, pack_rows(integers[head, row][None], width).tobytes()

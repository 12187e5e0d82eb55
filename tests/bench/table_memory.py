"""A memory behind a ReadPort, with random latencies and stalls, that knows which addresses may be read."""

import random
from collections import deque

__all__ = ["TableMemory"]


class TableMemory:
    """Words of ``word_width`` bits at byte addresses; what is not there, or in ``bad``, is answered in error.

    ``reads``: (address, words) of every request so far.
    """

    def __init__(self, port, word_width, content=None, *, stall=0.3, latency=12, seed=0, bad=()):
        self.port, self.bytes, self.stall, self.latency = port, word_width // 8, stall, latency
        self.content, self.bad = dict(content or {}), set(bad)  # word address -> int
        self.rng, self.reads = random.Random(seed), []
        self.shy = stall  # chance that a request waits in a cycle

    def write(self, address, value, size):
        """``size`` bytes of a number, from a word's beginning on."""
        assert address % self.bytes == 0, "tables begin with a word"
        for at in range(0, size, self.bytes):
            self.content[(address + at) // self.bytes] = value >> 8 * at & (1 << 8 * self.bytes) - 1

    def word(self, number):
        """What is read of word ``number``."""
        error = number not in self.content or number in self.bad
        return {"data": 0 if error else self.content[number], "error": int(error)}

    async def process(self, ctx):
        """Runs for ever."""
        port, rng, waiting, cycle, offered = self.port, self.rng, deque(), 0, False
        while True:
            ctx.set(port.request.ready, rng.random() >= self.shy)
            if not offered and waiting and waiting[0][0] <= cycle and rng.random() >= self.stall:
                ctx.set(port.word.payload, self.word(waiting[0][1]))
                offered = True
            ctx.set(port.word.valid, offered)
            sampled = (port.request.valid, port.request.ready, port.request.payload, port.word.ready)
            _, _, asked, ready, request, taken = await ctx.tick().sample(*sampled)
            cycle += 1
            if offered and taken:
                waiting.popleft()
                offered = False
            if asked and ready:
                self.accept(request.address, request.words, waiting, cycle)

    def accept(self, address, words, waiting, cycle):
        assert address % self.bytes == 0 and words > 0, (address, words)
        self.reads.append((address, words))
        due = cycle + self.rng.randint(1, self.latency)
        waiting.extend((due, address // self.bytes + i) for i in range(words))

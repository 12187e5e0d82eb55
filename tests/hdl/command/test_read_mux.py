"""ReadMux: every client gets the words that it asked for, in its order, and none waits for ever."""

import random

import pytest

from hdl.command.read_mux import ReadMux
from tests.bench.harness import check_reset, give, made, simulate
from tests.bench.table_memory import TableMemory

WIDTH = 64


class Clients:
    """Each client asks for random runs of words and checks them; ``order``: clients in the order of their answers."""

    def __init__(self, dut, *, stall, seed, requests=20):
        self.dut, self.stall, self.order = dut, stall, []
        rng = random.Random(seed)
        content = {number: rng.getrandbits(WIDTH) for number in range(200)}
        self.memory = TableMemory(dut.port, WIDTH, content, stall=stall, seed=seed)
        self.plans = [[(rng.randrange(180), rng.randint(1, 12)) for _ in range(requests)] for _ in range(dut.clients)]
        self.left = 2 * dut.clients

    def asks(self, index):
        client, rng = self.dut.client[index], random.Random(f"ask {index}")

        async def run(ctx):
            for first, words in self.plans[index]:
                while rng.random() < self.stall:
                    await ctx.tick()
                await give(ctx, client.request, {"address": 8 * first, "words": words})
            self.left -= 1

        return run

    def takes(self, index):
        client, rng = self.dut.client[index], random.Random(f"take {index}")

        async def run(ctx):
            for first, words in self.plans[index]:
                for number in range(first, first + words):
                    valid = 0
                    while not valid:
                        ready = rng.random() >= self.stall
                        ctx.set(client.word.ready, ready)
                        _, _, valid, word = await ctx.tick().sample(client.word.valid, client.word.payload)
                        valid = valid and ready
                    assert word.data == self.memory.content[number] and not word.error
                self.order.append(index)
            ctx.set(client.word.ready, 0)
            self.left -= 1

        return run

    async def bench(self, ctx):
        while self.left:
            await ctx.tick()

    def run(self):
        processes = [p(index) for index in range(self.dut.clients) for p in (self.asks, self.takes)]
        return simulate(self.dut, self.bench, self.memory.process, *processes, cycles=20_000)


@pytest.mark.parametrize("clients", [1, 2, 5])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_words_of_each_client(clients, stall):
    use = Clients(made(ReadMux, clients=clients, word_width=WIDTH), stall=stall, seed=clients)
    use.run()
    assert sorted(use.order) == sorted(index for index in range(clients) for _ in range(20))
    assert len(use.memory.reads) == 20 * clients


def test_in_turn():
    """Clients that always ask are served one after the other."""
    use = Clients(made(ReadMux, clients=3, word_width=WIDTH), stall=0, seed=1)
    use.run()
    served = use.order[3:-3]
    assert all(set(served[at : at + 3]) == {0, 1, 2} for at in range(len(served) - 2))


def test_reset():
    def prepare(dut):
        use = Clients(dut, stall=0.2, seed=4, requests=4)
        processes = [p(index) for index in range(dut.clients) for p in (use.asks, use.takes)]
        return use.bench, [use.memory.process, *processes], use.order

    check_reset(lambda: ReadMux(clients=2, word_width=WIDTH), prepare, cycles=3000)


@pytest.mark.parametrize("clients", [0, 17, 2.0])
def test_refused(clients):
    with pytest.raises(ValueError, match=f"clients must be from 1 to 16, not {clients!r}"):
        ReadMux(clients=clients, word_width=64)

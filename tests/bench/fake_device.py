"""A device of registers and rings that answers each command at once, or as a test wants."""

from hdl.spec.digest import config_digest
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES
from hdl.spec.register_map import MAP
from sim.transport.host_memory import HostMemory
from sim.transport.records import COMMAND, COMPLETION


class FakeDevice:
    """A transport with the device behind it, of one queue.

    each: commands that it answers in a ``wait``. halts: after so many commands. tells: its count of completions is
    so much too high. silent: no completion is in memory.
    """

    def __init__(self, config, *, each=3, halts=None, tells=0, silent=False):
        self.memory = HostMemory(1 << 16)
        self.each, self.halts, self.tells, self.silent = each, halts, tells, silent
        digest = config_digest(config)
        self.registers = {
            "id": MAP.by_name["id"].register.reset,
            "version": MAP.by_name["version"].register.pack(map=1),
            "config_digest_lo": digest & 0xFFFFFFFF,
            "config_digest_hi": digest >> 32,
        }
        self.names = {place.address: place.name for place in MAP.places()}
        self.log, self.waits, self.done, self.tags = [], 0, 0, []

    def read32(self, offset):
        name = self.names[offset]
        if name == "doorbell[0].head":
            return self.done % 2**16
        if name == "doorbell[0].completion_tail":
            return (self.done + self.tells) % 2**16
        if name == "doorbell[0].status":
            return MAP.by_name[name].register.pack(halted=int(self.done == self.halts), code=12)
        return self.registers.get(name, 0)

    def write32(self, offset, word):
        name = self.names[offset]
        self.log.append((name, word))
        self.registers[name] = word
        if name == "queue[0].ctrl" and not word & 1:
            self.done = 0
            self.registers["doorbell[0].tail"] = 0

    def wait(self):
        self.waits += 1
        assert self.waits < 10_000, "watchdog"
        for _ in range(self.each):
            if self.done % 2**16 == self.registers["doorbell[0].tail"] or self.done == self.halts:
                return
            self._answer()

    def _answer(self):
        sizes = MAP.by_name["queue[0].size"].register.unpack(self.registers["queue[0].size"])
        place = self.done % (1 << sizes["commands"])
        command = self.memory.read(self.registers["queue[0].base_lo"] + COMMAND_BYTES * place, COMMAND_BYTES)
        tag = COMMAND.unpack(command.tobytes())["tag"]
        self.tags.append(tag)
        lap, place = divmod(self.done, 1 << sizes["completions"])
        entry = {"tag": tag, "number": self.done % 2**16, "phase": 1 - lap % 2}
        if not self.silent:
            address = self.registers["queue[0].completion_base_lo"] + COMPLETION_BYTES * place
            self.memory.write(address, COMPLETION.pack(entry))
        self.done += 1

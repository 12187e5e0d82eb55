"""The host's side of a board's serial line: what it can ask a board. See docs/host.md and docs/protocol.md."""

from __future__ import annotations

import dataclasses
import secrets
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from fpga.host.port import HostError, Line, PortError
from fpga.host.requests import Requests
from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, record_sizes
from fpga.spec.protocol import (
    HOST_STREAM,
    MAX_PAYLOAD,
    RESULT_STREAM,
    STAMP_BYTES,
    VERSION,
    Command,
    Identity,
)
from fpga.spec.settings import config_digest
from hdl.control.counters import counters_layout
from hdl.spec.config import Config

__all__ = ["BoardCounters", "BoardFacts", "Host", "HostError", "Line", "PortError", "Record", "read_identity"]

_STAMP = struct.Struct("<Q")


class Record(NamedTuple):
    """A result of the core."""

    stream: str
    item: bytes
    """bits of the payload's layout, in whole bytes"""
    stamp: int | None
    """of a status: cycle since reset in which the core gave it"""


class BoardCounters(NamedTuple):
    values: dict[str, int]
    """fields of hdl.control.counters.counters_layout"""
    words_read: list[int]
    """memory words that the core read, by channel"""
    dropped: int
    """damaged frames that the board received since power-on"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """The board that a host is connected to."""

    config: Config
    identity: Identity
    items: dict[str, int]
    """bytes of an item, by the stream into the core"""
    records: dict[int, tuple[str, int]]
    """(stream, bytes of a record), by number"""
    counters: list[str]


class Host(Requests):
    """The commands of a board, each a request with its answer; the arguments are those of
    :class:`fpga.host.requests.Requests`."""

    def __init__(self, port: str | Line, **options: Any):
        super().__init__(port, **options)
        self._board: BoardFacts | None = None

    def connect(self, config: Config) -> Identity:
        """Reset the board and see that it is one of this protocol and configuration."""
        self.reset()
        identity = self.version()
        if identity.protocol != VERSION:
            raise PortError(f"port must be a board of protocol {VERSION}, not {identity.protocol} as {self.name!r}")
        if identity.digest != config_digest(config):
            raise PortError(
                f"preset must be the one that the board at {self.name!r} was built of (digest {identity.digest:016x}), "
                f"not {config.name} (digest {config_digest(config):016x})"
            )
        if identity.max_payload != MAX_PAYLOAD:
            raise PortError(
                f"port must be a board of payloads of {MAX_PAYLOAD} bytes, not {identity.max_payload} as {self.name!r}"
            )
        sizes = record_sizes(config)
        self._board = BoardFacts(
            config=config,
            identity=identity,
            items={name: byte_count(shape) for name, shape in item_layouts(config).items()},
            records={number: (name, sizes[number]) for name, number in RESULT_STREAM.items()},
            counters=list(counters_layout(config).members),
        )
        return identity

    @property
    def board(self) -> BoardFacts:
        """What is known since :meth:`connect`."""
        if self._board is None:
            raise ValueError("host must be connected first: connect(config)")
        return self._board

    def version(self) -> Identity:
        """What the board is."""
        return read_identity(self._sized(self.request(Command.VERSION), struct.calcsize(Identity.FORMAT), "VERSION"))

    def reset(self) -> None:
        """Core, queues and counters as after power-on; the memory is kept. No two resets are the same request."""
        nonce = secrets.token_bytes(8)
        if self.request(Command.RESET, nonce) != nonce:
            raise HostError(f"{self.name}: the answer to RESET does not repeat its payload")

    def write(self, channel: int, first: int, data: bytes) -> None:
        """Whole words of a channel, from word ``first`` on."""
        size = self.board.identity.word_bytes
        if not data or len(data) % size:
            raise ValueError(f"data must be whole words of {size} bytes, at least one, not {len(data)} bytes")
        most = (MAX_PAYLOAD - 6) // size * size
        for start in range(0, len(data), most):
            header = struct.pack("<HI", channel, first + start // size)
            self._sized(self.request(Command.WRITE, header + data[start : start + most]), 0, "WRITE")

    def read(self, channel: int, first: int, count: int) -> bytes:
        """``count`` words of a channel, from word ``first`` on."""
        size = self.board.identity.word_bytes
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        most = MAX_PAYLOAD // size
        parts = []
        for start in range(0, count, most):
            words = min(most, count - start)
            answer = self.request(Command.READ, struct.pack("<HIH", channel, first + start, words))
            parts.append(self._sized(answer, words * size, "READ"))
        return b"".join(parts)

    def push(self, stream: str, items: Sequence[bytes]) -> int:
        """Give the core the first of these items of a stream; returns how many it took, maybe none."""
        if stream not in HOST_STREAM:
            raise ValueError(f"stream must be one of {', '.join(HOST_STREAM)}, not {stream!r}")
        size = self.board.items[stream]
        if not items or any(len(item) != size for item in items):
            raise ValueError(f"items must be {size} bytes each, at least one, for the stream {stream}")
        chosen = items[: (MAX_PAYLOAD - 1) // size]
        payload = bytes((HOST_STREAM[stream],)) + b"".join(chosen)
        (taken,) = struct.unpack("<H", self._sized(self.request(Command.PUSH, payload), 2, "PUSH"))
        if taken > len(chosen):
            raise HostError(f"{self.name}: the board took {taken} items of {len(chosen)}")
        return taken

    def pull(self, most: int = MAX_PAYLOAD) -> list[Record]:
        """Results that wait, in the order in which the board has them; ``most`` bytes of them."""
        known, answer = self.board.records, self.request(Command.PULL, struct.pack("<H", most))
        records, place = [], 0
        while place < len(answer):
            name, size = known.get(answer[place], ("", 1))
            item, place = answer[place + 1 : place + size], place + size
            if not name or place > len(answer):
                raise HostError(f"{self.name}: the answer to PULL is not made of whole records")
            stamp = None
            if name == "status":
                item, (stamp,) = item[:-STAMP_BYTES], _STAMP.unpack(item[-STAMP_BYTES:])
            records.append(Record(name, item, stamp))
        return records

    def counters(self, *, clear: bool = False) -> BoardCounters:
        """The core's counters; ``clear`` sets them to 0 afterwards."""
        names, channels = self.board.counters, self.board.identity.channels
        answer = self.request(Command.COUNTERS, bytes((clear,)))
        count = len(names) + channels + 1
        values = struct.unpack(f"<{count}Q", self._sized(answer, 8 * count, "COUNTERS"))
        return BoardCounters(
            values=dict(zip(names, values, strict=False)),
            words_read=list(values[len(names) : -1]),
            dropped=values[-1],
        )

    def results(self, streams: Sequence[str]) -> None:
        """Keep results of these streams only, until the next reset; a status is always kept."""
        unknown = [name for name in streams if name not in RESULT_STREAM]
        if unknown:
            raise ValueError(f"streams must be of {', '.join(RESULT_STREAM)}, not {unknown[0]!r}")
        mask = sum(1 << RESULT_STREAM[name] for name in set(streams))
        self._sized(self.request(Command.RESULTS, bytes((mask,))), 0, "RESULTS")

    def _sized(self, answer: bytes, size: int, what: str) -> bytes:
        if len(answer) != size:
            raise HostError(f"{self.name}: the answer to {what} has {len(answer)} bytes, not {size}")
        return answer


def read_identity(answer: bytes) -> Identity:
    """The payload of the answer to VERSION."""
    names = Identity.__dataclass_fields__
    return Identity(**dict(zip(names, struct.unpack(Identity.FORMAT, answer), strict=True)))

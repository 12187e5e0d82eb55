"""The host's side of a board's serial line: requests, answers, repetition. See docs/host.md and docs/protocol.md."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import serial

from fpga.host.codec import Frame, FrameDecoder, encode_frame, frame_crc
from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, record_sizes
from fpga.spec.protocol import (
    ANSWER,
    HOST_STREAM,
    MAX_PAYLOAD,
    RESULT_STREAM,
    STAMP_BYTES,
    VERSION,
    Command,
    Error,
    Identity,
)
from fpga.spec.settings import config_digest
from hdl.control.counters import counters_layout
from hdl.spec.config import Config

__all__ = ["BoardCounters", "BoardFacts", "Host", "HostError", "Line", "PortError", "Record", "read_identity"]

_POLL = 0.02
"""Seconds of a read, so that a deadline is seen in time."""

_STAMP = struct.Struct("<Q")
_ERRORS = {
    Error.UNKNOWN_COMMAND: "unknown command",
    Error.BAD_LENGTH: "payload of a wrong length",
    Error.OUTSIDE_WINDOW: "outside the host's window",
    Error.BAD_STREAM: "unknown stream",
    Error.TOO_LONG: "payload too long",
}


class HostError(RuntimeError):
    """The board does not answer, answers with an error or is gone; one line."""


class PortError(HostError):
    """The port cannot be opened, or the board behind it is another than expected: the user has to name another one."""


class Line(Protocol):
    """What the host needs of a serial port; :class:`serial.Serial` has it.

    ``read`` waits a short time and may return nothing. Both raise ``OSError`` when the port is gone.
    """

    def read(self, size: int, /) -> bytes: ...

    def write(self, data: bytes, /) -> Any: ...

    def close(self) -> None: ...


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


def _open(port: str, baud: int) -> serial.Serial:
    try:
        return serial.Serial(port, baud, timeout=_POLL, write_timeout=2.0, exclusive=True)
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = "another program has it open" if number == errno.EAGAIN else os.strerror(number) if number else error
        raise PortError(f"port must be a serial port that can be opened, not {port!r}: {reason}") from None


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


class Host:
    """One request at a time to a board; a request without an answer is sent again, and the board executes it once.

    port: path of a serial port, or a :class:`Line`. baud: of the line. timeout: seconds until a request is sent again,
    beyond the time that its bytes take on the line; they double with each repetition. retries: repetitions.
    clock: seconds; simulations have their own.
    """

    def __init__(
        self,
        port: str | Line,
        *,
        baud: int = 1_000_000,
        timeout: float = 1.0,
        retries: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ):
        if not isinstance(baud, int) or baud < 1:
            raise ValueError(f"baud must be a positive integer, not {baud!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
        if not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries must be an integer of at least 0, not {retries!r}")
        self.baud, self.timeout, self.retries = baud, timeout, retries
        self.name = port if isinstance(port, str) else type(port).__name__
        self.repeated = 0
        """requests that were sent again"""
        self.ignored = 0
        """frames that were no answer to the request: late, or damaged"""
        self._clock = clock
        self._line: Line = _open(port, baud) if isinstance(port, str) else port
        self._decoder = FrameDecoder()
        self._seq = secrets.randbelow(1 << 16)
        self._crc: int | None = None
        self._board: BoardFacts | None = None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._line.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Requests --------------------------------------------------------------------------------------------------

    def request(self, command: int, payload: bytes = b"") -> bytes:
        """Payload of the answer to a request; :class:`HostError` if there is none, or an error."""
        what = Command(command).name if command in set(Command) else f"command {command:#04x}"
        self._seq = (self._seq + 1) % (1 << 16)
        if frame_crc(command, self._seq, payload) == self._crc:  # the board would take it for the request before
            self._seq = (self._seq + 1) % (1 << 16)
        self._crc = frame_crc(command, self._seq, payload)
        frame = encode_frame(command, self._seq, payload)
        # Of the request and of the longest answer, each byte of which may be escaped.
        line_seconds = 10 * (len(frame) + 2 * MAX_PAYLOAD) / self.baud
        for attempt in range(self.retries + 1):
            self.repeated += attempt > 0
            self._write(frame, what)
            answer = self._answer(command, self._clock() + line_seconds + self.timeout * 2**attempt, what)
            if answer is not None:
                return self._checked(answer, what)
        times = f"{self.retries + 1} times" if self.retries else "once"
        raise HostError(f"{self.name}: no answer to {what}, sent {times}: is it a board, and {self.baud} its baud?")

    def _write(self, data: bytes, what: str) -> None:
        with self._present(what):
            self._line.write(data)

    def _answer(self, command: int, deadline: float, what: str) -> Frame | None:
        """The answer to the request, or None when its time is over; all else that comes is late or garbage."""
        while True:
            with self._present(what):
                data = self._line.read(1)
                if data and (more := getattr(self._line, "in_waiting", 0)):
                    data += self._line.read(more)
            before = self._decoder.dropped
            found = None
            for frame in self._decoder.feed(data):
                if frame.seq == self._seq and self._answers(frame, command):
                    found = frame
                else:
                    self.ignored += 1
            self.ignored += self._decoder.dropped - before
            if found is not None:
                return found
            if self._clock() >= deadline:
                return None

    @staticmethod
    def _answers(frame: Frame, command: int) -> bool:
        if frame.type == Command.ERROR:
            return len(frame.payload) == 2 and frame.payload[1] == command
        return frame.type == command | ANSWER

    def _checked(self, answer: Frame, what: str) -> bytes:
        if answer.type == Command.ERROR:
            code = answer.payload[0]
            why = _ERRORS[Error(code)] if code in set(Error) else "unknown error"
            raise HostError(f"{self.name}: the board refused {what}: {why} (code {code})")
        return answer.payload

    @contextlib.contextmanager
    def _present(self, what: str) -> Iterator[None]:
        try:
            yield
        except serial.SerialTimeoutException:
            raise HostError(f"{self.name}: the port took no bytes while {what} was sent") from None
        except (OSError, TypeError) as error:  # pyserial's own errors are OSErrors; TypeError: closed by another thread
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise HostError(f"{self.name}: the port went away while {what} was under way: {reason}") from None

    # Commands --------------------------------------------------------------------------------------------------

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

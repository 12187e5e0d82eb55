"""The board's end of the serial line in software, as docs/protocol.md says; its core only counts and echoes."""

from __future__ import annotations

import struct
from collections import deque

from fpga.host.codec import Frame, FrameDecoder, encode_frame
from fpga.link.identity_command import identity_bytes
from fpga.link.push_command import item_layouts
from fpga.link.result_queue import byte_count, record_sizes
from fpga.spec.protocol import (
    ANSWER,
    CRC_BYTES,
    ESCAPE,
    ESCAPE_XOR,
    FLAG,
    HEADER_BYTES,
    HOST_STREAM,
    MAX_PAYLOAD,
    RESULT_STREAM,
    STAMP_BYTES,
    Command,
    Error,
)
from fpga.spec.settings import SystemSettings
from hdl.control.counters import counters_layout
from hdl.spec.payloads import job_status
from sim.common.packing import pack

REFUSED = 1
"""Code of the status of a job whose dimension is not served."""


class Refused(Exception):
    def __init__(self, error: Error):
        self.error = error


class LongFrameDecoder(FrameDecoder):
    """Also finds frames that are right but too long, which the board answers with an error."""

    def __init__(self):
        super().__init__()
        self._raw = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        frames = []
        for byte in data:
            self._raw.append(byte)
            dropped = self.dropped
            found = super().feed(bytes((byte,)))
            if byte == FLAG:
                if self.dropped > dropped and (frame := self._long()):
                    self.dropped, found = dropped, [frame]
                self._raw.clear()
            frames += found
        return frames

    def _long(self) -> Frame | None:
        content, escaped = bytearray(), False
        for byte in self._raw[:-1]:
            if escaped or byte != ESCAPE:
                content.append(byte ^ ESCAPE_XOR if escaped else byte)
                escaped = False
            else:
                escaped = True
        if escaped or len(content) <= HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES:
            return None
        length, type, seq = struct.unpack_from("<HBH", content)
        payload = bytes(content[HEADER_BYTES:-CRC_BYTES])
        good = length == len(payload) and encode_frame(type, seq, payload)[1:-1] == bytes(self._raw[:-1])
        return Frame(type, seq, payload, struct.unpack("<I", content[-CRC_BYTES:])[0]) if good else None


class LinkTwin:
    """``feed`` bytes of the host, get the board's.

    A job or layer is answered by a status with code REFUSED, ids and heads are swallowed. ``slow``: so often no item is
    taken. ``deaf``: jobs are swallowed, too. ``dead``: nothing is answered. ``executed`` counts commands by type.
    """

    def __init__(self, settings: SystemSettings):
        self.settings, self.core = settings, settings.core
        self.word_bytes = settings.core.channel_width // 8
        self.memory = [bytearray(self.word_bytes * settings.memory_words) for _ in range(self.core.num_channels)]
        self.executed: dict[int, int] = {}
        self.jobs = 0
        """since power-on"""
        self.slow, self.deaf, self.dead = 0, False, False
        self._decoder = LongFrameDecoder()
        self._last: tuple[int, bytes] | None = None
        self._items = {number: byte_count(item_layouts(self.core)[name]) for name, number in HOST_STREAM.items()}
        self._commands = {
            Command.VERSION: self._version,
            Command.RESET: self._reset,
            Command.WRITE: self._write,
            Command.READ: self._read,
            Command.PUSH: self._push,
            Command.PULL: self._pull,
            Command.COUNTERS: self._counters,
            Command.RESULTS: self._results,
        }
        self._reset(b"")

    def _reset(self, payload: bytes) -> bytes:
        self.results: deque[bytes] = deque()
        self.counted, self.cycle, self.keep = 0, 0, 0xFF
        return payload

    @property
    def dropped(self) -> int:
        return self._decoder.dropped

    def feed(self, data: bytes) -> bytes:
        answers = b"".join(self._frame(frame) for frame in self._decoder.feed(data))
        return b"" if self.dead else answers

    def _frame(self, frame: Frame) -> bytes:
        if self._last is None or self._last[0] != frame.crc:
            self._last = (frame.crc, self._execute(frame))
        return self._last[1]

    def _execute(self, frame: Frame) -> bytes:
        self.cycle += 1
        try:
            if len(frame.payload) > MAX_PAYLOAD:
                raise Refused(Error.TOO_LONG)
            if frame.type not in self._commands:
                raise Refused(Error.UNKNOWN_COMMAND)
            answer = self._commands[frame.type](frame.payload)
        except Refused as refused:
            return encode_frame(Command.ERROR, frame.seq, bytes((refused.error, frame.type)))
        self.executed[frame.type] = self.executed.get(frame.type, 0) + 1
        return encode_frame(frame.type | ANSWER, frame.seq, answer)

    @staticmethod
    def _check(right: bool, error: Error = Error.BAD_LENGTH) -> None:
        if not right:
            raise Refused(error)

    def _version(self, payload: bytes) -> bytes:
        self._check(not payload)
        return identity_bytes(self.settings)

    def _words(self, channel: int, first: int, count: int) -> slice:
        inside = self.settings.window_base <= first and first + count <= self.settings.window_limit
        self._check(inside and channel < self.core.num_channels, Error.OUTSIDE_WINDOW)
        return slice(first * self.word_bytes, (first + count) * self.word_bytes)

    def _write(self, payload: bytes) -> bytes:
        self._check(len(payload) > 6 and (len(payload) - 6) % self.word_bytes == 0)
        channel, first = struct.unpack_from("<HI", payload)
        place = self._words(channel, first, (len(payload) - 6) // self.word_bytes)
        self.memory[channel][place] = payload[6:]
        return b""

    def _read(self, payload: bytes) -> bytes:
        self._check(len(payload) == 8)
        channel, first, count = struct.unpack("<HIH", payload)
        self._check(1 <= count <= MAX_PAYLOAD // self.word_bytes)
        place = self._words(channel, first, count)
        return bytes(self.memory[channel][place])

    def _push(self, payload: bytes) -> bytes:
        self._check(len(payload) > 0)
        self._check(payload[0] in self._items, Error.BAD_STREAM)
        size = self._items[payload[0]]
        count, rest = divmod(len(payload) - 1, size)
        self._check(count > 0 and rest == 0)
        if self.slow:
            self.slow -= 1
            return struct.pack("<H", 0)
        if payload[0] in (HOST_STREAM["job"], HOST_STREAM["layer"]) and not self.deaf:
            for index in range(count):
                self._job(payload[1 + index * size : 1 + (index + 1) * size])
        return struct.pack("<H", count)

    def _job(self, item: bytes) -> None:
        shape = item_layouts(self.core)["job"]["job_id"]
        job_id = int.from_bytes(item, "little") >> shape.offset & (1 << shape.width) - 1
        self.jobs += 1
        self.counted += 1
        status = pack(job_status(self.core), {"job_id": job_id, "code": REFUSED}).to_bytes(
            byte_count(job_status(self.core)), "little"
        )
        self.results.append(bytes((RESULT_STREAM["status"],)) + status + self.cycle.to_bytes(STAMP_BYTES, "little"))

    def _pull(self, payload: bytes) -> bytes:
        self._check(len(payload) == 2)
        left, answer = min(struct.unpack("<H", payload)[0], MAX_PAYLOAD), b""
        while self.results and len(self.results[0]) <= left - len(answer):
            assert len(self.results[0]) == record_sizes(self.core)[self.results[0][0]]
            answer += self.results.popleft()
        return answer

    def _counters(self, payload: bytes) -> bytes:
        self._check(len(payload) == 1)
        names = list(counters_layout(self.core).members)
        values = [self.counted if name == "jobs_refused" else 0 for name in names]
        values += [*[0] * self.core.num_channels, self.dropped]
        if payload[0] & 1:
            self.counted = 0
        return struct.pack(f"<{len(values)}Q", *values)

    def _results(self, payload: bytes) -> bytes:
        self._check(len(payload) == 1)
        self.keep = payload[0]
        return b""

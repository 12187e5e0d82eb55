"""A serial port straight on a board, in simulated time, that damages what goes over it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from fpga.host.codec import encode_frame
from fpga.spec.protocol import ESCAPE, FLAG, MAX_PAYLOAD, Command

REQUEST_FAULTS = (
    "flipped bit",
    "dropped byte",
    "truncated frame",
    "lost request",
    "garbage before",
    "oversized frame before",
    "unknown command before",
    "duplicated frame",
)
ANSWER_FAULTS = (
    "flipped bit in answer",
    "dropped byte in answer",
    "truncated answer",
    "lost answer",
    "delayed answer",
    "garbage before answer",
    "duplicated answer",
)


class FaultyPort:
    """The host's port; ``exchange`` gives bytes to the board and returns what it says, until it is quiet.

    At most one fault for each request, and none for its repetition, so that a request must not need a second one.
    rate: share of requests with a fault. faults: how often each one came. frames: of the host, with repetitions.
    """

    def __init__(self, exchange: Callable[[bytes], bytes], *, rate: float, seed: int):
        self.exchange, self.rate, self.rng = exchange, rate, random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.frames = 0
        self.seconds = 0.0
        self._last = b""
        self._answer = b""
        self._late = b""

    def clock(self) -> float:
        return self.seconds

    def close(self) -> None:
        """Nothing to close."""

    def write(self, frame: bytes, /) -> None:
        self.frames += 1
        self.seconds += 0.01
        if frame == self._last:
            self._answer += self._late + self.exchange(frame)
            self._late = b""
            return
        self._last = frame
        fault = self.rng.choice(REQUEST_FAULTS + ANSWER_FAULTS) if self.rng.random() < self.rate else None
        if fault is not None:
            self.faults[fault] += 1
        sent = self._damaged_request(frame, fault) if fault in REQUEST_FAULTS else frame
        answer = self.exchange(sent) if sent else b""
        # What is late comes at the latest with the next answer.
        late, self._late = self._late, b""
        self._answer += late + (self._damaged_answer(answer, fault) if fault in ANSWER_FAULTS else answer)

    def read(self, size: int, /) -> bytes:
        """All that is there, whatever the size; with nothing there, time passes."""
        data, self._answer = self._answer, b""
        if not data:
            self.seconds += 0.05
        return data

    def _garbage(self, most: int = 40) -> bytes:
        return bytes(self.rng.choice((FLAG, ESCAPE, self.rng.randrange(256))) for _ in range(self.rng.randint(1, most)))

    def _flipped(self, data: bytes) -> bytes:
        place = self.rng.randrange(8 * len(data))
        return data[: place // 8] + bytes((data[place // 8] ^ 1 << place % 8,)) + data[place // 8 + 1 :]

    def _shortened(self, data: bytes) -> bytes:
        place = self.rng.randrange(len(data))
        return data[:place] + data[place + 1 :]

    def _damaged_request(self, frame: bytes, fault: str) -> bytes:
        rng = self.rng
        if fault == "flipped bit":
            return self._flipped(frame)
        if fault == "dropped byte":
            return self._shortened(frame)
        if fault == "truncated frame":
            return frame[: rng.randrange(1, len(frame))]
        if fault == "lost request":
            return b""
        if fault == "garbage before":
            return self._garbage() + frame
        if fault == "oversized frame before":
            payload = rng.randbytes(MAX_PAYLOAD + rng.randint(1, 100))
            return encode_frame(rng.choice((Command.WRITE, Command.PUSH)), rng.randrange(1 << 16), payload) + frame
        if fault == "unknown command before":
            return encode_frame(rng.choice((0x00, 0x09, 0x55, 0x7E, 0x81, 0xFF)), rng.randrange(1 << 16), b"?") + frame
        assert fault == "duplicated frame"
        return frame + frame

    def _damaged_answer(self, answer: bytes, fault: str) -> bytes:
        if not answer:
            return b""
        if fault == "flipped bit in answer":
            return self._flipped(answer)
        if fault == "dropped byte in answer":
            return self._shortened(answer)
        if fault == "truncated answer":
            return answer[: self.rng.randrange(1, len(answer))]
        if fault == "garbage before answer":
            return self._garbage() + answer
        if fault == "duplicated answer":
            return answer + answer
        if fault == "delayed answer":
            self._late = answer
        else:
            assert fault == "lost answer"
        return b""

"""Requests to a board, and their answers: repetition, and frames that are damaged or late. See docs/protocol.md."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Self

from fpga.host.codec import Frame, FrameDecoder, encode_frame, frame_crc
from fpga.host.port import HostError, Line, open_port
from fpga.spec.protocol import ANSWER, MAX_PAYLOAD, Command, Error

__all__ = ["Requests"]

_ERRORS = {
    Error.UNKNOWN_COMMAND: "unknown command",
    Error.BAD_LENGTH: "payload of a wrong length",
    Error.OUTSIDE_WINDOW: "outside the host's window",
    Error.BAD_STREAM: "unknown stream",
    Error.TOO_LONG: "payload too long",
}


class Requests:
    """One request at a time to a board; a request without an answer is sent again, and the board executes it once.

    port: path of a serial port, or a :class:`fpga.host.port.Line`. baud: of the line. timeout: seconds until a request
    is sent again, beyond the time that its bytes take on the line; they double with each repetition. retries:
    repetitions. clock: seconds; simulations have their own.
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
        self._line: Line = open_port(port, baud) if isinstance(port, str) else port
        self._decoder = FrameDecoder()
        self._seq = secrets.randbelow(1 << 16)
        self._crc: int | None = None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """The answer to the request, or None when its time is over; all else that comes is late or damaged."""
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
        except TimeoutError:
            raise HostError(f"{self.name}: the port took no bytes while {what} was sent") from None
        except (OSError, TypeError) as error:  # pyserial's own errors are OSErrors; TypeError: closed by another thread
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise HostError(f"{self.name}: the port went away while {what} was under way: {reason}") from None

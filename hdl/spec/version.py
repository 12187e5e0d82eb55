"""Version of the project: of the generator, the package and every Verilog file that is made."""

__all__ = ["VERSION"]

VERSION = "0.1.0"

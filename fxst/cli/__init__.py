"""The command line: each command parses, calls one library function, and prints what it returns."""

from fxst.cli.app import main

__all__ = ["main"]

"""Run the command line as `python -m fxst`."""

from fxst.cli import main

main()

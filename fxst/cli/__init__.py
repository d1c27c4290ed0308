"""The command line: each command parses its options, calls one library function, and prints the result."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the program; whatever happens, a user gets a sentence and an exit code."""
    from fxst.cli import last_resort

    last_resort.begin()
    try:
        _main()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        last_resort.end(error)


def _main() -> None:
    """Handle signals and guard against the current folder before loading anything else."""
    from fxst.cli import interrupts

    interrupts.begin()

    from fxst import isolation

    isolation.guard()

    from fxst import threads

    if "train" not in sys.argv:  # where torch may share NumPy's library
        threads.one_blas_thread()

    from fxst.cli.program import main as run

    run()

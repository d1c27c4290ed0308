"""The command line: each command parses, calls one library function, and prints what it returns."""

__all__ = ["main"]


def main() -> None:
    """Run the program: safe in the folder that it runs in, and answering signals, before anything else is loaded."""
    from fxst import isolation
    from fxst.cli import interrupts

    interrupts.begin()
    isolation.guard()

    from fxst.cli import app

    app.main()

"""What is left to do with an error that nothing else handles: a report file for developers, and one sentence.

It imports only what any Python has, since it may run where nothing else could be imported.
"""

import contextlib
import os
import sys
import tempfile
import threading
import traceback
from typing import Any

__all__ = ["begin", "end", "sentence"]


def begin() -> None:
    """Prepare the process: no error of a thread or a callback reaches the terminal as a traceback, and all can print.

    A stream that is closed, as by `>&-`, leads nowhere. A letter that a stream's encoding lacks is escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (open as long as the process)
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.unraisablehook = _drop
    threading.excepthook = _report


def sentence(error: BaseException) -> str:
    """Write the traceback of an error to a file; return a sentence that names it.

    Args:
        error: The error.
    """
    summary = ascii(" ".join(f"{type(error).__name__}: {error}".split()))[1:-1]
    try:
        fd, path = tempfile.mkstemp(prefix="fxst-", suffix=".txt")
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return f"Unexpected error ({summary}): please report it."
    return f"Unexpected error ({summary}): please report it with the file {path!r}, which has the details."


def end(error: BaseException) -> None:
    """Print the sentence of an error, and end the program with exit code 1."""
    _print(sentence(error))
    sys.exit(1)


def _report(thread: Any) -> None:
    if thread.exc_value is not None and thread.exc_type is not SystemExit:
        _print(sentence(thread.exc_value))


def _drop(unraisable: Any) -> None:
    """Ignore an error in a callback that Python ignores, too, but reports."""


def _print(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        sys.stderr.write(f"fxst: {text}\n")
        sys.stderr.flush()

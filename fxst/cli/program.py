"""Running the `fxst` program: registers its commands, and turns every error into one line and an exit code."""

import errno
import sys
from pathlib import Path
from typing import Final

from fxst import interrupts, shortage
from fxst.cli.app import app
from fxst.cli.terminal import complain, say
from fxst.errors import FxstError, OutputError

__all__ = ["main"]

_NOT_WRITABLE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def main() -> None:
    """Run the program, and exit with one of `EXIT_CODES`."""
    try:
        shortage.check_memory()
        shortage.open_more_files()
        _run()
    except KeyboardInterrupt as interrupt:  # before or after a command, which handles its own
        say("fxst: interrupted", err=True)
        sys.exit(interrupts.exit_code(interrupt))
    except FxstError as error:
        message, code = str(error), error.exit_code
    except SystemExit:
        raise
    except BaseException as error:  # a library in Rust has errors that are no Exception
        message, code = _in_words(error)
    complain(message)
    sys.exit(code)


def _in_words(error: BaseException) -> tuple[str, int]:
    """Return a one-line message and an exit code for an unexpected error."""
    if remedy := shortage.remedy(error):
        return remedy, 1
    if isinstance(error, FileNotFoundError) and _is_nowhere():
        return "The working folder no longer exists: change to another one.", 1
    if isinstance(error, OSError):  # a full disk under stdout, say
        code = OutputError.exit_code if error.errno in _NOT_WRITABLE else 1
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "") + ".", code
    from fxst.cli import last_resort

    return last_resort.sentence(error), 1


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except OSError:
        return True
    return False


def _run() -> None:
    import fxst.cli.apply
    import fxst.cli.batch
    import fxst.cli.chains
    import fxst.cli.config
    import fxst.cli.dataset
    import fxst.cli.doctor
    import fxst.cli.eval
    import fxst.cli.models
    import fxst.cli.proxy
    import fxst.cli.style
    import fxst.cli.ui  # noqa: F401  (each module registers its commands)

    app(prog_name="fxst")

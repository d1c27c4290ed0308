"""Audio-effects style transfer: make a recording sound as if it had been produced like another one."""

import os
import sys

if (
    sys.argv[:1] == ["-m"]
    and sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "fxst"
    and not sys.flags.safe_path
    and os.path.realpath(f"{sys.path[0]}/fxst") != os.path.realpath(__path__[0])
):
    # `python -m fxst` is being found, for which Python has put the current folder first: for all that follows, too.
    del sys.path[0]

from typing import TYPE_CHECKING, Any

__all__ = ["FxstError", "__version__", "load"]

from fxst.errors import FxstError
from fxst.version import __version__

if TYPE_CHECKING:
    from fxst.transfer.style_transfer import load


def __getattr__(name: str) -> Any:
    # Lazy, because `import fxst` and `fxst --help` must not wait for torch.
    if name == "load":
        from fxst.transfer.style_transfer import load

        return load
    raise AttributeError(f"module 'fxst' has no attribute {name!r}")

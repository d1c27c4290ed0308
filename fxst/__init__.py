"""Audio-effects style transfer: make a recording sound as if it had been produced like another one."""

import os
import sys

if (
    sys.argv[:1] == ["-m"]
    and sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "fxst"
    and not sys.flags.safe_path
    and os.path.realpath(f"{sys.path[0]}/fxst") != os.path.realpath(__path__[0])
):
    # `python -m fxst` puts the current folder first in sys.path, and would take the following imports from there, too.
    del sys.path[0]

from typing import TYPE_CHECKING, Any

__all__ = ["FxstError", "Result", "StyleProfile", "StyleTransfer", "Table", "__version__", "load", "render"]

from fxst.errors import FxstError
from fxst.version import __version__

if TYPE_CHECKING:
    from fxst.chains.table import Table
    from fxst.transfer.profiles import StyleProfile
    from fxst.transfer.style_transfer import Result, StyleTransfer, load, render


def __getattr__(name: str) -> Any:
    # Lazy, because `import fxst` and `fxst --help` must not wait for torch.
    if name not in __all__:
        raise AttributeError(f"module 'fxst' has no attribute {name!r}")
    from fxst.chains.table import Table
    from fxst.transfer.profiles import StyleProfile
    from fxst.transfer.style_transfer import Result, StyleTransfer, load, render

    public = (Result, StyleProfile, StyleTransfer, Table, load, render)
    return next(item for item in public if item.__name__ == name)


def __dir__() -> list[str]:
    return __all__

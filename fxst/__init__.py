"""Audio-effects style transfer: make a recording sound as if it had been produced like another one."""

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

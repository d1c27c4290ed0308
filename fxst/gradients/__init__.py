"""Ways to pass a gradient through a chain of effects, one file a method."""

from fxst.gradients.autodiff import AutodiffRenderer
from fxst.gradients.base import Renderer

__all__ = ["AutodiffRenderer", "Renderer"]

"""Ways to pass a gradient through a chain of effects, one file a method."""

from fxst.gradients.autodiff import AutodiffRenderer
from fxst.gradients.base import Renderer
from fxst.gradients.proxy import ProxyRenderer

__all__ = ["AutodiffRenderer", "ProxyRenderer", "Renderer"]

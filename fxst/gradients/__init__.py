"""Gradient methods for chains of effects, one file a method."""

from fxst.gradients.autodiff import AutodiffRenderer
from fxst.gradients.base import Renderer
from fxst.gradients.hybrids import FullHybridRenderer, HalfHybridRenderer
from fxst.gradients.methods import METHODS, MethodOptions, make_renderer
from fxst.gradients.proxy import ProxyRenderer
from fxst.gradients.spsa import SPSARenderer

__all__ = [
    "METHODS",
    "AutodiffRenderer",
    "FullHybridRenderer",
    "HalfHybridRenderer",
    "MethodOptions",
    "ProxyRenderer",
    "Renderer",
    "SPSARenderer",
    "make_renderer",
]

"""The controller of the recipe `clips`: from the features of two recordings to knobs."""

from fxst.models.arrays import AnyArray, array_namespace, sigmoid
from fxst.models.layers import Part

__all__ = ["Controller"]


class Controller(Part):
    """An MLP with ReLU from the features of input and reference, and their difference, to knobs by a sigmoid.

    Args:
        n_features: Features of one recording.
        n_knobs: Knobs to set.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, n_features: int, n_knobs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        nn = self.nn
        # Features come in many units. Batch statistics put them on one scale; in use they are fixed numbers.
        self.scale = nn.BatchNorm1d(3 * n_features, affine=False, momentum=0.02)
        layers = []
        width = 3 * n_features
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        self.hidden = nn.Sequential(*layers)
        self.knobs = nn.Linear(width, n_knobs)
        # Begin with every knob near its middle, where the sigmoid's slope is largest.
        nn.init.normal_(self.knobs.weight, std=0.01)
        nn.init.zeros_(self.knobs.bias)

    def forward(self, input: AnyArray, reference: AnyArray) -> AnyArray:  # noqa: A002
        """Set the knobs.

        Shape:
            input, reference: (B, n_features); result: (B, n_knobs), on [0, 1].
        """
        both = array_namespace(input).concat((input, reference, reference - input), axis=1)
        return sigmoid(self.knobs(self.hidden(self.scale(both))))

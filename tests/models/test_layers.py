"""The layers in NumPy compute what those of torch do, from the same weights."""

import numpy as np
import pytest
import torch

from fxst.models import layers, torch_layers


def both(make):
    """Make modules of both families, with the random weights of the torch one."""
    torch.manual_seed(0)
    in_torch = make(torch_layers).eval()
    for name, weights in in_torch.state_dict().items():
        if name.endswith("running_var"):
            weights.uniform_(0.01, 9)
        elif weights.is_floating_point():
            weights.normal_()
    in_numpy = make(layers)
    in_numpy.load_state_dict({name: weights.numpy() for name, weights in in_torch.state_dict().items()})
    return in_numpy, in_torch


def check_alike(make, *shape):
    in_numpy, in_torch = both(make)
    assert set(in_numpy.state_dict()) == set(in_torch.state_dict())
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    given = x.copy()
    found = in_numpy(x)
    with torch.no_grad():
        expected = in_torch(torch.from_numpy(x)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(x, given)


@pytest.mark.parametrize("shape", [(1, 7), (5, 7), (2, 3, 7)])
def test_an_affine_map_is_torchs(shape):
    check_alike(lambda nn: nn.Linear(7, 5), *shape)


@pytest.mark.parametrize("dilation", [1, 2, 4, 8])
@pytest.mark.parametrize(("width", "length"), [(5, 96), (5, 3), (5, 1), (3, 11), (1, 6)])
def test_a_convolution_along_frequency_is_torchs(width, length, dilation):
    check_alike(lambda nn: nn.Conv1d(3, 6, width, padding="same", dilation=dilation), 2, 3, length)


@pytest.mark.parametrize("stride", [1, 2, (2, 1), (1, 3)])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1), (9, 2), (64, 33)])
@pytest.mark.parametrize("padding", [1, 2])
def test_a_convolution_of_pictures_is_torchs(stride, size, padding):
    check_alike(lambda nn: nn.Conv2d(3, 4, 3, stride=stride, padding=padding), 2, 3, *size)


def test_standardising_is_torchs():
    check_alike(lambda nn: nn.BatchNorm1d(7, affine=False, momentum=0.02), 4, 7)


def test_modules_in_a_row_are_torchs():
    check_alike(lambda nn: nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 2)), 4, 7)
    modules, _ = both(lambda nn: nn.ModuleList(nn.Linear(4, 4) for _ in range(3)))
    assert [type(module) for module in modules] == [layers.Linear] * 3


def test_twelve_modules_in_a_row_are_called_in_their_order():
    check_alike(lambda nn: nn.Sequential(*(nn.Linear(3, 3) for _ in range(12))), 2, 3)


class Halves(layers.Part):
    """A part with a part, weights of its own, and fixed numbers."""

    def __init__(self):
        super().__init__()
        self.first = self.part(Half)
        self.gain = self.nn.Parameter(np.arange(3.0))
        self.register_buffer("offset", np.ones(3, np.float32))

    def forward(self, x):
        return self.first(x) * self.gain + self.offset


class Half(layers.Part):
    def __init__(self):
        super().__init__()
        self.layers = self.nn.Sequential(self.nn.Linear(3, 3), self.nn.ReLU())

    def forward(self, x):
        return self.layers(x)


def test_a_part_of_parts_is_the_same_in_both_families():
    check_alike(lambda nn: layers.made_of(Halves, nn)(), 4, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"first.layers.0.weight": np.zeros((3, 4), np.float32)},
        lambda state: state | {"first.layers.0.weight": np.zeros(9, np.float32)},
        lambda state: state | {"first.layers.0.weight": np.zeros((3, 3))},
        lambda state: state | {"gain": np.zeros((3, 1), np.float32)},
        lambda state: state | {"offset": np.zeros((), np.float32)},
        lambda state: state | {"more": np.zeros(3, np.float32)},
        lambda state: state | {"first.layers.1.weight": np.zeros(3, np.float32)},
        lambda state: dict(list(state.items())[1:]),
        lambda state: dict(list(state.items())[:-1]),
        lambda state: {},
    ],
)
def test_a_state_of_other_names_shapes_or_types_is_refused_and_changes_nothing(change):
    module, _ = both(lambda nn: layers.made_of(Halves, nn)())
    before = module.state_dict()
    with pytest.raises(ValueError, match="do not have the sizes"):
        module.load_state_dict(change(before))
    assert all(weights is before[name] for name, weights in module.state_dict().items())

"""Every effect still sounds as it did when its golden was made."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fxst.effects import EFFECTS

with suppress(ImportError):  # the extra train
    import torch

FOLDER = Path(__file__).parent / "goldens"


@pytest.mark.parametrize("name", EFFECTS)
def test_it_sounds_as_it_did(name, null_db):
    path = FOLDER / f"{name}.npz"
    assert path.exists(), f"{path} is missing: python tests/effects/make_goldens.py"
    golden = np.load(path)
    x, y, sample_rate = golden["x"], golden["y"], int(golden["sample_rate"])
    values = dict(zip(golden["names"].tolist(), golden["values"].tolist(), strict=True))
    effect = EFFECTS[name]()
    assert list(values) == [p.name for p in effect.parameters]
    assert null_db(effect.exact(values, sample_rate=sample_rate, channels=len(x))(x), y) <= -110

    tensors = {key: torch.tensor([value]) for key, value in values.items()}
    rendered = effect.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=sample_rate)[0]
    assert null_db(rendered, y) <= effect.autodiff_error_db


def test_no_golden_is_left_over():
    assert {path.stem for path in FOLDER.iterdir()} == EFFECTS.keys()

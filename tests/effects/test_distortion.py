from contextlib import suppress

import numpy as np
import pytest

from fxst.effects import Distortion

with suppress(ImportError):  # the extra train
    import torch


def distort(x, drive_db, mix=1.0):
    return Distortion().exact({"drive_db": drive_db, "mix": mix}, sample_rate=44_100, channels=len(x))(x)


def distort_in_torch(x, drive_db, mix=1.0):
    values = {"drive_db": torch.tensor([drive_db]), "mix": torch.tensor([mix])}
    return Distortion().autodiff(torch.from_numpy(x)[None], values, sample_rate=44_100)[0].numpy()


@pytest.mark.parametrize("drive_db", [-12.0, 0.0, 20.0, 48.0])
@pytest.mark.parametrize("render", [distort, distort_in_torch])
def test_it_is_a_hyperbolic_tangent(render, drive_db, speech, null_db):
    x = speech(44_100, 2)
    assert null_db(render(x, drive_db), np.tanh(10 ** (drive_db / 20) * x.astype(np.float64))) <= -120


def test_a_quiet_signal_is_turned_up_by_the_drive(noise, null_db):
    x = 1e-4 * noise(44_100)
    assert null_db(distort(x, 20.0), 10 * x) <= -110


def test_it_is_odd_and_stays_within_full_scale(speech):
    x = speech(44_100)
    y = distort(x, 48.0)
    assert abs(y).max() <= 1
    np.testing.assert_array_equal(distort(-x, 48.0), -y)


@pytest.mark.parametrize("render", [distort, distort_in_torch])
def test_the_mix_is_between_the_signal_and_its_distortion(render, speech, null_db):
    x = speech(44_100, 2)
    np.testing.assert_array_equal(render(x, 20.0, mix=0.0), x)
    assert null_db(render(x, 20.0, mix=0.3), 0.7 * x + 0.3 * render(x, 20.0)) <= -120

import numpy as np
import pytest

from fxst.batch.inspection import Inspection


def remarks(x, block_frames=1000):
    inspection = Inspection()
    x = np.atleast_2d(np.asarray(x, np.float32))
    blocks = (x[:, first : first + block_frames] for first in range(0, x.shape[1], block_frames))
    assert np.array_equal(np.concatenate(list(inspection.watch(blocks)), axis=1), x)
    return inspection.remarks()


def sine(gain, frames=10_000):
    return gain * np.sin(2 * np.pi * np.arange(frames) / 100)


def test_a_good_recording_has_no_remarks(noise):
    assert remarks(noise(44_100, 2, 0.5)) == ()
    assert remarks(sine(1.0)) == ()
    assert remarks(sine(20.0)) == ()  # nothing is cut off in a file of floats
    assert Inspection().remarks() == ()


@pytest.mark.parametrize("block_frames", [1, 2, 3, 999, 10_000])
def test_a_short_block_is_no_fault(block_frames):
    assert remarks(0.5 * sine(1.0), block_frames) == ()


def test_an_offset_is_told_of_the_worst_channel():
    x = np.stack([sine(0.1), sine(0.1) - 0.25])
    assert remarks(x) == ("the input has a DC offset of 25% of full scale: remove it first",)
    assert remarks(sine(0.1) + 0.01) == ()


def test_waves_cut_off_at_full_scale_are_told():
    clipped = sine(1.5).clip(-1, 1)
    share = np.mean(np.abs(clipped) >= 1)
    (remark,) = remarks(np.stack([sine(0.5), clipped]))
    told = float(remark.split("clipped: ")[1].split("%")[0]) / 100
    assert told == pytest.approx(share, abs=0.05)
    sixteen_bits = np.round(sine(1.5) * 32768).clip(-32768, 32767) / 32768
    assert "is clipped" in remarks(sixteen_bits)[0]
    assert remarks(sine(1.5).clip(-0.99, 0.99)) == ()

import numpy as np
import pytest
import soundfile
from scipy.signal import oaconvolve

from fxst import exports
from fxst.chains.chain import Chain
from fxst.chains.table import Table
from fxst.effects import Reverb
from fxst.errors import SettingsError
from fxst.exports import impulse_response
from fxst.exports.base import Export

LONGEST = {"reverb": {"room_size": 1.0, "damping": 0.0}}


def true_stereo(x, response):
    """Convolve with left to left, left to right, right to left and right to right."""
    ways = [oaconvolve(x[channel // 2].astype(np.float64), h) for channel, h in enumerate(response)]
    return np.array([ways[0] + ways[2], ways[1] + ways[3]])[:, : x.shape[1]]


@pytest.mark.parametrize("seed", range(3))
def test_convolving_with_it_is_the_reverb(exported, exact, draw, passages, null_db, seed):
    sample_rate = (48_000, 44_100, 24_000)[seed]
    table = draw(seed, "reverb", chain="fx" if seed else "studio").with_values({"reverb": {"width": 0.4 * seed}})
    file = exported("ir", table, sample_rate=sample_rate, channels=2)
    response, rate = soundfile.read(file, always_2d=True)
    assert rate == sample_rate
    assert soundfile.info(file).subtype == "FLOAT"
    for x in passages(sample_rate, 2):
        x = np.concatenate([x, np.zeros_like(x)], axis=1)  # to hear it fade
        assert null_db(true_stereo(x, response.T), exact(table, x, sample_rate)) <= -95


@pytest.mark.parametrize("channels", [1, 3])
def test_other_than_stereo_there_is_one_response_for_each_channel(exported, exact, draw, speech, null_db, channels):
    table = draw(5, "reverb").with_values({"reverb": {"width": 0.3}})
    file = exported("ir", table, sample_rate=24_000, channels=channels)
    response, _ = soundfile.read(file, always_2d=True)
    assert response.shape[1] == 1
    x = speech(24_000, channels)
    y = oaconvolve(x.astype(np.float64), response.T, axes=1)[:, : x.shape[1]]
    assert null_db(y, exact(table, x, 24_000)) <= -95


@pytest.mark.parametrize("room_size", [0.0, 0.5, 1.0])
def test_it_carries_the_whole_decay(room_size):
    values = {"room_size": room_size, "damping": 0.0, "wet_level": 0.5, "dry_level": 0.0, "width": 1.0}
    chain = Chain("room", (Reverb(),))
    table = Table(chain, chain.defaults()).with_values({"reverb": values})
    reverb = impulse_response.reverb(Export(table, 8000, 2, "ir.wav"))
    frames = impulse_response.frames(reverb, sample_rate=8000)
    assert sum(block.shape[1] for block in impulse_response.blocks(reverb, sample_rate=8000, channels=2)) == frames
    impulse = np.zeros((1, 2 * frames), np.float32)
    impulse[0, 0] = 1000  # JUCE rounds what goes round to some 1e-8, and what is quiet never ends
    energy = Reverb().exact(values, sample_rate=8000, channels=1)(impulse)[0].astype(np.float64) ** 2
    at_the_end, at_half = (10 * np.log10(energy[end:].sum() / energy.sum()) for end in (frames, frames // 2))
    assert at_the_end <= -impulse_response.DECAY_DB < at_half


def test_there_is_none_without_a_reverb(tmp_path, draw):
    files = exports.export_files(["ir"], tmp_path / "voice")
    with exports.staged(files, draw(0, "compressor"), sample_rate=48_000, channels=2) as remarks:
        assert remarks == ("no reverb is in use, so there is no impulse response",)
    assert list(tmp_path.iterdir()) == []


def test_one_holds_one_reverb(tmp_path):
    chain = Chain("rooms", (Reverb(), Reverb()))
    table = Table(chain, chain.defaults())
    files = exports.export_files(["ffmpeg"], tmp_path / "voice")
    staged = exports.staged(files, table, sample_rate=48_000, channels=2)
    with pytest.raises(SettingsError, match="cannot hold reverb, reverb2"), staged:
        pass
    assert list(tmp_path.iterdir()) == []

from contextlib import suppress

import numpy as np
import pytest
from scipy.signal import get_window

from fxst.dsp.stft import MR_STFT_WINDOWS, framed, hann, mirrored, mr_stft, power_spectra, spectral_power, stft

with suppress(ImportError):  # the extra train
    import torch


def centred(x, window, hop):
    return stft(mirrored(x, len(window)), window, hop=hop)


@pytest.mark.parametrize(("window", "hop"), [(32, 16), (33, 7), (2048, 512), (32_768, 16_384), (65_536, 65_536)])
def test_arrays_and_tensors_have_the_spectra_that_torch_itself_gives(noise, window, hop):
    x, w = torch.from_numpy(noise(24_000, 2, 5.0)), torch.tensor(hann(window))
    theirs = torch.stft(x, window, hop, window=w, return_complex=True).mT
    ours = centred(x, w, hop)
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(centred(x.numpy(), hann(window), hop), theirs, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize(("length", "n_fft"), [(2048, None), (2048, 4096), (600, 1024)])
def test_block_by_block_the_powers_are_those_of_the_whole(noise, length, n_fft):
    x = noise(24_000, 2, 10.0)
    blocks = list(power_spectra(x, hann(length), hop=100, n_fft=n_fft))
    assert len(blocks) > 2
    whole = stft(x, hann(length), hop=100, n_fft=n_fft)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), spectral_power(whole))
    np.testing.assert_allclose(spectral_power(whole), np.abs(whole) ** 2, rtol=1e-5, atol=1e-9)
    assert list(power_spectra(x[:, : length - 1], hann(length), hop=100)) == []


def test_frames_are_a_view():
    x = np.arange(10.0)
    assert framed(x, 4, hop=3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert np.shares_memory(framed(x, 4, hop=3), x)
    assert framed(torch.from_numpy(x), 4, hop=3).tolist() == framed(x, 4, hop=3).tolist()


def test_the_window_is_scipys_bit_for_bit():
    for length in (*range(1, 600), 1000, 4095, 8192, 12_345, 32_768, 65_537):
        np.testing.assert_array_equal(hann(length), get_window("hann", length).astype(np.float32))


@pytest.mark.parametrize("length", [2, 33, 1024])
def test_the_window_is_torchs(length):
    np.testing.assert_allclose(hann(length), torch.hann_window(length, dtype=torch.float64), atol=1e-7)


def test_the_distance_is_the_mean_difference_of_magnitudes_and_of_their_logarithms(noise):
    x, y = torch.from_numpy(noise(24_000, 2, 2.0)).double()[:, None, None]
    loss = mr_stft(MR_STFT_WINDOWS, hops=[window // 2 for window in MR_STFT_WINDOWS])
    terms = []
    for window in MR_STFT_WINDOWS:
        w = torch.hann_window(window).double()
        ours, theirs = (spectral_power(centred(z[0], w, window // 2)).clamp_min(1e-8).sqrt() for z in (x, y))
        terms.append((ours - theirs).abs().mean() + (ours / theirs).log().abs().mean())
    torch.testing.assert_close(loss(x, y), torch.stack(terms).mean(), rtol=1e-9, atol=0)

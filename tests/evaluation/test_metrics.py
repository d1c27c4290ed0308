import math
import sys
import warnings
from contextlib import suppress

import numpy as np
import pytest

from fxst import audio
from fxst.dsp.stft import mr_stft
from fxst.evaluation import metrics
from fxst.evaluation.metrics import COLUMNS, METRICS, RATES
from fxst.evaluation.sound import EvaluatedSound

with suppress(ImportError):  # the extra train
    import torch

RATE = 24_000
SIX_DB = 20 * math.log10(2)
SIGNED = ("noise_floor_db", "noise_db")
DISTANCES = [metric for metric in METRICS if not metric.higher_is_better and metric.name not in SIGNED]
UNPAIRED = [metric for metric in METRICS if metric.against == "either"]


def sine(hz, seconds=4.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)[None].astype(np.float32)


def distances(output, target, *, chosen=DISTANCES, sample_rate=RATE, target_rate=None):
    ours, theirs = (
        EvaluatedSound(output, sample_rate=sample_rate),
        EvaluatedSound(target, sample_rate=target_rate or sample_rate),
    )
    return {m.name: m.measure(ours, theirs) for m in chosen}


def distance(metric, output, target, **rates):
    return distances(output, target, chosen=[m for m in METRICS if m.name == metric], **rates)[metric]


@pytest.fixture
def pair(speech):
    """Two different signals of two channels."""
    x = np.tile(speech(RATE, 2, 2.5), 2)
    return x, (0.3 * np.diff(x, axis=1, prepend=0) + 0.2 * x[::-1] * np.linspace(0, 1, x.shape[1])).astype(np.float32)


@pytest.fixture
def auraloss():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import auraloss.freq

        return auraloss.freq


def test_what_there_is():
    names = [m.name for m in METRICS]
    assert names[:7] == ["pesq", "mrstft", "msd", "sce", "cfe", "rms", "lufs"]
    assert names[7:13] == ["cfe_db", "rms_db", "mae", "ltas_db", "lra_lu", "true_peak_db"]
    assert names[13:] == ["noise_floor_db", "noise_db", "af", "af_spectrum", "af_crest", "af_width"]
    assert [m.published for m in METRICS] == [True] * 7 + [False] * 12
    against = {kind: {m.name for m in METRICS if m.against == kind} for kind in ("target", "reference", "input")}
    assert against == {
        "target": {"pesq", "mrstft", "msd", "mae", "noise_db"},
        "reference": {"af", "af_spectrum", "af_crest", "af_width"},
        "input": {"noise_floor_db"},
    }
    assert {rate.name: rate.metric for rate in RATES} == {
        "nearer": "af", "further": "mrstft", "harm": "mrstft", "noisy": "noise_db"
    }  # fmt: skip
    assert {c.name for c in COLUMNS if c.higher_is_better} == {"pesq", "nearer"}
    assert {m.name for m in METRICS if not m.ratio} == {"pesq", *SIGNED}
    assert len({(c.heading, c.unit) for c in COLUMNS}) == len(COLUMNS)


def test_the_same_signal_is_at_distance_0(pair):
    x, _ = pair
    assert set(distances(x, x.copy()).values()) == {0.0}


def test_every_distance_is_symmetric(pair):
    x, y = pair
    assert distances(x, y) == pytest.approx(distances(y, x), rel=1e-5)
    assert min(distances(x, y).values()) > 0
    noise = [m for m in METRICS if m.name == "noise_db"]
    assert distances(x, y, chosen=noise)["noise_db"] == -distances(y, x, chosen=noise)["noise_db"]


def test_twice_the_amplitude_is_6_db_and_no_other_colour(pair):
    x, _ = pair
    found = distances(2 * x, x)
    for level in ("rms_db", "true_peak_db", "ltas_db"):
        assert found[level] == pytest.approx(SIX_DB, abs=1e-5)
    assert found["lufs"] == pytest.approx(SIX_DB, abs=0.01)  # the absolute gate may let one block more through
    assert found["cfe_db"] == pytest.approx(0, abs=1e-5)
    assert found["lra_lu"] == pytest.approx(0, abs=1e-5)
    assert found["sce"] == pytest.approx(0, abs=0.01)
    assert found["mae"] == pytest.approx(float(np.abs(x).mean()), rel=1e-5)


def test_the_published_units_are_natural_logarithms(pair):
    x, y = pair
    found = distances(x, y)
    assert found["cfe"] == pytest.approx(found["cfe_db"] * math.log(10))
    assert found["rms"] == pytest.approx(found["rms_db"] * math.log(10))
    assert distance("rms", math.e * x, x) == pytest.approx(20, abs=1e-5)


def test_mae_of_an_offset_is_the_offset():
    assert distance("mae", sine(440) + 0.25, sine(440)) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(("low", "high"), [(1000, 1500), (440, 5000)])
def test_the_centroid_of_a_sine_is_its_frequency(low, high):
    assert distance("sce", sine(low), sine(high)) == pytest.approx(high - low, abs=5)


def test_the_centroid_is_torchaudios(pair):
    from torchaudio.transforms import SpectralCentroid

    theirs = [SpectralCentroid(RATE, n_fft=2048, hop_length=512)(torch.from_numpy(x)).mean(1) for x in pair]
    expected = (theirs[0] - theirs[1]).abs().mean().item()
    assert distance("sce", *pair) == pytest.approx(expected, rel=1e-3)


def test_the_crest_factor_of_a_sine_is_3_db_above_a_square_waves():
    assert distance("cfe_db", sine(375), np.sign(sine(375.1))) == pytest.approx(10 * math.log10(2), abs=0.01)


@pytest.mark.parametrize("seconds", [1.4, 2.0, 5.4615])
def test_mrstft_is_auraloss_own_figure(pair, auraloss, seconds):
    windows = (32, 128, 512, 2048, 8192, 32768)
    loss = mr_stft(windows, hops=[w // 2 for w in windows])
    x, y = (np.resize(z, (2, round(seconds * RATE))) for z in pair)
    theirs = loss(torch.from_numpy(x)[None].double(), torch.from_numpy(y)[None].double()).item()
    assert distance("mrstft", x, y) == pytest.approx(theirs, rel=1e-6)


def test_mrstft_of_twice_the_amplitude_has_the_logarithm_of_two(noise):
    x = noise(RATE, 1, 2.0)  # no bin of which is at the floor
    single, double = (distance("mrstft", a * x, x) for a in (2, 3))
    # Linear parts are as 1 to 2, logarithmic parts log 2 and log 3.
    assert double - math.log(3) == pytest.approx(2 * (single - math.log(2)), rel=1e-4)


@pytest.mark.parametrize(("sample_rate", "seconds"), [(24_000, 2.8), (24_000, 5.4615), (44_100, 3.0)])
def test_msd_is_auraloss_own_figure(pair, auraloss, sample_rate, seconds):
    pytest.importorskip("librosa")
    loss = auraloss.MelSTFTLoss(sample_rate, 65_536, 65_536, 65_536, w_sc=0.0, w_log_mag=1.0, w_lin_mag=1.0)
    x, y = (np.resize(z, (2, round(seconds * sample_rate))) for z in pair)
    theirs = loss(torch.from_numpy(x)[None], torch.from_numpy(y)[None]).item()
    assert distance("msd", x, y, sample_rate=sample_rate) == pytest.approx(theirs, rel=1e-4)


def test_msd_is_torchaudios_mel_spectra_compared(pair):
    from torchaudio.functional import melscale_fbanks

    bank = melscale_fbanks(32_769, 0.0, RATE / 2, 128, RATE, norm="slaney", mel_scale="slaney").double()
    mels = []
    for x in pair:
        window = torch.hann_window(65_536, dtype=torch.float64)
        spectrum = torch.stft(torch.from_numpy(x).double(), 65_536, 65_536, window=window, return_complex=True)
        mels.append(bank.T @ spectrum.abs().square().clamp(min=1e-8).sqrt())
    expected = (mels[0] - mels[1]).abs().mean() + (mels[0].log() - mels[1].log()).abs().mean()
    assert distance("msd", *pair) == pytest.approx(expected.item(), rel=1e-3)


def test_the_spectrum_of_a_filtered_sound_is_off_by_the_filters_response(noise):
    from scipy import signal

    x = noise(RATE, 1, 20.0)
    sections = signal.butter(2, 2000, "high", fs=RATE, output="sos")
    y = signal.sosfilt(sections, x, axis=1)
    centres, (levels,) = EvaluatedSound(x, sample_rate=RATE).third_octaves
    _, response = signal.sosfreqz(sections, worN=centres[:, None] * 2 ** np.linspace(-1 / 6, 1 / 6, 101), fs=RATE)
    gain_db = 10 * np.log10(np.square(np.abs(response)).mean(axis=1))
    # 80 dB under the loudest band there is nothing to hear.
    faintest = (levels + gain_db).max() - 80
    expected = np.abs(np.maximum(levels + gain_db, faintest) - levels).mean()
    assert distance("ltas_db", y, x) == pytest.approx(expected, abs=0.1)


def test_what_is_inaudible_in_both_is_no_colour():
    loud, hiss = sine(1000), sine(6000, amplitude=1e-6)
    assert distance("ltas_db", loud + hiss, loud) < 0.01
    assert distance("ltas_db", loud + 1000 * hiss, loud) > 3


def test_the_loudness_range_of_two_levels_is_their_difference():
    steps = np.concatenate([sine(1000, 20.0, 0.1), sine(1000, 20.0, 0.03)], axis=1)
    flat = np.concatenate([sine(1000, 40.0, 0.1)], axis=1)
    assert distance("lra_lu", steps, flat) == pytest.approx(20 * math.log10(0.1 / 0.03), abs=0.1)


def test_true_peaks_are_between_samples_too():
    time = np.arange(48_000)
    high, hidden = (np.sin(np.pi / 2 * time + phase)[None] for phase in (0, np.pi / 4))
    fade = np.hanning(48_000) ** 0.1
    assert distance("cfe_db", high * fade, hidden * fade) == pytest.approx(3.01, abs=0.01)
    assert distance("true_peak_db", high * fade, hidden * fade) == pytest.approx(0, abs=0.01)


def test_channels_do_not_make_up_for_one_another():
    x = np.concatenate([sine(440, amplitude=0.5), sine(2000, amplitude=0.05)])
    found = distances(x, x[::-1])
    assert found["rms_db"] == pytest.approx(20, abs=1e-3)
    assert found["true_peak_db"] == pytest.approx(20, abs=0.02)
    assert found["sce"] == pytest.approx(1560, abs=10)
    assert found["ltas_db"] > 20


def test_a_channel_that_is_silent_in_both_says_nothing():
    x = np.concatenate([sine(440), np.zeros_like(sine(440))])
    assert set(distances(x, x).values()) == {0.0}
    assert distance("rms_db", 2 * x, x) == pytest.approx(SIX_DB, abs=1e-5)


def test_silence_has_no_level_and_no_colour():
    silence = np.zeros_like(sine(440))
    for found, same in ((distances(silence, silence), True), (distances(silence, sine(440)), False)):
        assert [name for name, value in found.items() if not math.isnan(value)] == ["mrstft", "msd", "mae"]
        assert (found["mrstft"] == found["msd"] == found["mae"] == 0) is same
    assert all(math.isnan(value) for value in distances(silence, sine(440)[[0, 0]], chosen=UNPAIRED).values())


@pytest.mark.parametrize(
    ("metric", "shortest"),
    [("mrstft", 32_768), ("msd", 65_536), ("sce", 2048), ("lufs", 9600), ("lra_lu", 72_000), ("ltas_db", 16)],
)
def test_what_is_too_short_is_missing(noise, metric, shortest):
    x = noise(RATE, 1, 4.0)
    assert distance(metric, x[:, :shortest], -x[:, :shortest]) == pytest.approx(0, abs=1e-4)
    assert math.isnan(distance(metric, x[:, : shortest - 1], -x[:, : shortest - 1]))


def test_mono_is_as_loud_as_two_equal_channels():
    faint = sine(997, amplitude=10 ** (-68 / 20))  # -71 LUFS as one channel, -68 as two: the gate is at -70
    assert distance("lufs", faint, 2 * faint) == pytest.approx(SIX_DB, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 100), (2, 99)])
def test_paired_metrics_do_not_compare_different_shapes(shape):
    for metric in METRICS:
        if metric.against == "target" and metric.name != "noise_db":  # which compares levels
            with pytest.raises(ValueError, match="one shape"):
                distance(metric.name, np.zeros((2, 100)), np.zeros(shape))
            with pytest.raises(ValueError, match="one shape"):
                distance(metric.name, np.zeros((2, 100)), np.zeros((2, 100)), target_rate=44_100)


def test_the_others_compare_any_two_recordings(speech):
    x = np.tile(speech(RATE, 1, 3.0), 2)
    y = audio.resample(np.concatenate([x, x], axis=1), source_rate=RATE, target_rate=44_100)[[0, 0]]
    found = distances(x, y, chosen=UNPAIRED, target_rate=44_100)
    assert found == pytest.approx(distances(y, x, chosen=UNPAIRED, sample_rate=44_100, target_rate=RATE))
    assert found["rms_db"] < 0.01
    assert found["lufs"] < 0.2
    assert found["cfe_db"] < 0.2
    assert found["true_peak_db"] < 0.1
    assert found["ltas_db"] < 0.3
    assert found["lra_lu"] < 1.5
    assert found["sce"] < 50
    # Of two channels, their mean; a silent third says nothing.
    louder = np.concatenate([y * np.float32([[1], [2]]), 0 * y[:1]])
    assert distance("rms_db", x, louder, target_rate=44_100) == pytest.approx(SIX_DB / 2, abs=0.01)
    assert distance("ltas_db", x, louder, target_rate=44_100) == pytest.approx(SIX_DB / 2, abs=0.3)


def test_a_single_sample_has_hardly_a_figure():
    for rate in (RATE, 192_000):
        found = distances(np.ones((1, 1)), np.ones((1, 1)), chosen=UNPAIRED, sample_rate=rate, target_rate=RATE)
        assert {name for name, value in found.items() if not math.isnan(value)} == {
            "cfe", "rms", "cfe_db", "rms_db", "true_peak_db"
        }  # fmt: skip
    assert math.isnan(distance("pesq", np.ones((1, 1)), np.ones((1, 1)), sample_rate=192_000))


def noisy_speech(noise_db, seconds=4.0, pauses=0.5):
    """A tone that comes and goes over a hiss."""
    hiss = 10 ** (noise_db / 20) * np.random.default_rng(0).standard_normal((1, round(seconds * RATE)))
    talking = np.arange(hiss.shape[1]) % RATE >= pauses * RATE
    return (hiss + 0.3 * talking * sine(440, seconds)).astype(np.float32)


def floor_rise(output, source):
    return distances(output, source, chosen=[m for m in METRICS if m.against == "input"])["noise_floor_db"]


def test_the_noise_floor_is_the_level_of_pauses():
    x = noisy_speech(-60)
    assert floor_rise(x, x) == 0
    # 12 dB more hiss, and the speech as it was.
    assert floor_rise(noisy_speech(-48), x) == pytest.approx(12, abs=0.01)
    assert floor_rise(noisy_speech(-72), x) == pytest.approx(-12, abs=0.01)
    assert floor_rise(2 * x, x) == pytest.approx(SIX_DB, abs=1e-4)


def test_digital_silence_is_no_noise_floor():
    """Of half digital silence, only the hiss between the words is the floor."""
    x = noisy_speech(-60)
    x[:, : x.shape[1] // 2] = 0
    raised = x + (x != 0) * (noisy_speech(-48) - noisy_speech(-60))
    assert floor_rise(raised, x) == pytest.approx(12, abs=0.2)
    # What comes where nothing was raises no floor: there was none.
    tail = raised + (x == 0) * np.float32(0.1)
    assert floor_rise(tail, x) == pytest.approx(floor_rise(raised, x), abs=1e-6)
    # A gate that shuts in the pauses leaves the least that is measured, -120 dB.
    gated = np.where(np.abs(sine(440)) * (np.arange(x.shape[1]) % RATE >= RATE / 2) > 0, noisy_speech(-60), 0)
    assert floor_rise(gated, noisy_speech(-60)) == pytest.approx(-60, abs=1)


def test_a_noise_floor_needs_half_a_second_of_sound():
    x = noisy_speech(-60, seconds=0.49)
    for sound in (x, 0 * x):
        assert math.isnan(floor_rise(sound, sound))
        assert math.isnan(distance("noise_db", sound, sound))


def test_noise_is_compared_below_the_level_of_the_sound():
    clean = noisy_speech(-60)
    assert distance("noise_db", noisy_speech(-48), clean) == pytest.approx(12, abs=0.1)
    assert distance("noise_db", noisy_speech(-72), clean) == pytest.approx(-12, abs=0.1)
    # Neither a gain nor an amount of digital silence is noise.
    assert distance("noise_db", 4 * clean, clean) == pytest.approx(0, abs=1e-3)
    assert distance("noise_db", np.pad(clean, [(0, 0), (0, 2 * RATE)]), clean) == pytest.approx(0, abs=0.1)


def test_audio_features_need_mono_or_stereo_that_sounds(noise):
    x = noise(RATE, 3, 2.0)
    for sound in (x, 0 * x[:2], x[:1, :8000]):
        assert math.isnan(distance("af", sound, x[:1]))
        assert math.isnan(distance("af", x[:1], sound))
    assert distance("af", x[:2], x[:1]) > 10


def test_a_clear_rate_starts_beyond_its_margin():
    passes = {rate.name: rate.passes for rate in RATES}
    assert [passes["further"](value, 1.0) for value in (1.0, 1.01, 1.06)] == [False, True, True]
    assert [passes["harm"](value, 1.0) for value in (1.0, 1.04, 1.06)] == [False, False, True]
    assert [passes["nearer"](value, 1.0) for value in (1.0, 0.99)] == [False, True]
    assert [passes["noisy"](value, 99.0) for value in (5.9, 6.1)] == [False, True]


class TestPesq:
    @pytest.fixture(autouse=True)
    def package(self):
        self.pesq = pytest.importorskip("pesq").pesq

    def test_it_is_the_packages_with_the_target_first(self, speech):
        x = speech(16_000, 1, 3.0)
        y = np.tanh(8 * x) + 0.01 * speech(16_000, 2, 3.0)[1:]
        mark = distance("pesq", y, x, sample_rate=16_000)
        assert mark == pytest.approx(self.pesq(16_000, x[0], y[0], "wb"))
        assert mark != pytest.approx(self.pesq(16_000, y[0], x[0], "wb"), abs=0.02)

    def test_it_is_measured_at_16_khz_in_each_channel(self, speech):
        x = speech(RATE, 2, 3.0)
        y = np.tanh(np.float32([[5], [20]]) * x)
        low = [audio.resample(z, source_rate=RATE, target_rate=16_000) for z in (x, y)]
        each = [self.pesq(16_000, clean, rough, "wb") for clean, rough in zip(*low, strict=True)]
        assert distance("pesq", y, x) == pytest.approx(sum(each) / 2)
        assert each[1] < each[0] < distance("pesq", x, x)
        assert distance("pesq", x, x) == pytest.approx(4.644, abs=0.001)

    def test_what_it_cannot_judge_is_missing(self, speech):
        x = speech(RATE, 1, 5.0)
        silence = 0 * x
        for output, target in ((x[:, :5000], x[:, :5000]), (silence, silence), (x, silence), (1e-5 * silence, x)):
            assert math.isnan(distance("pesq", output, target))
        # Its code would crash on a hundred utterances.
        stutter = np.resize(np.concatenate([x[:, : RATE // 2], silence[:, : RATE // 2]], axis=1), (1, 100 * RATE))
        assert math.isnan(distance("pesq", stutter, stutter))

    def test_other_failures_are_not_hidden(self, speech, monkeypatch):
        def broken(*_):
            raise ZeroDivisionError

        monkeypatch.setattr("pesq.pesq", broken)
        with pytest.raises(ZeroDivisionError):
            distance("pesq", sine(440), sine(440))


def test_without_its_package_there_is_no_pesq(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert not metrics.pesq_available()
    assert math.isnan(distance("pesq", sine(440), sine(440)))


def test_with_its_package_there_is():
    pytest.importorskip("pesq")
    assert metrics.pesq_available()

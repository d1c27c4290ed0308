"""What is used of a model, in NumPy, is what was trained, in torch: for every shipped model, at every sample rate."""

import functools
import itertools

import numpy as np
import pytest
import torch

from fxst import audio
from fxst.checkpoints import checkpoint
from fxst.checkpoints.torch_models import load_trainable
from fxst.threads import one_thread

RATES = (8000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000)
MODELS = sorted(folder.name for folder in (checkpoint.pretrained_folder() / "style").iterdir())

A_KNOB = 1e-4
A_CURVE_DB = 0.01
A_STATISTIC = 1e-4
"""Of the largest one of its kind."""
A_FEATURE = 1e-3
"""In units of 20 dB: a deviation is the difference of two squares, which statistics hold in float32."""
A_LOGIT = 1e-3
A_FRAME_DB = 1e-3
FRAMES_DB = 1e-4
"""On average."""
A_SPREAD_DB = 0.01
"""The root of a small difference of large squares."""


@pytest.fixture(scope="module", autouse=True)
def on_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def sounds(speech, noise):
    """Give the windows of sounds that are easy and hard to analyse, by name, at a model's own analysis rate."""

    @functools.cache
    def at(rate):
        voices, hiss = speech(rate, 2, 3), noise(rate, 1, 3)[0]
        bursts = np.arange(len(hiss)) // (rate // 4) % 2
        return {
            "voice": voices[0],
            "other": voices[1],
            "hiss": hiss,
            "soft": voices[0] * 1e-3 / np.abs(voices[0]).max(),
            "clipped": np.clip(20 * voices[1], -1, 1),
            "bursts": bursts * voices[1],
            "silence": 0 * hiss,
        }

    @functools.cache
    def cut(rate, analysis_rate, window):
        found = {}
        for name, x in at(rate).items():
            x = audio.resample(x[None].astype(np.float32), source_rate=rate, target_rate=analysis_rate)[0]
            windows = x[: min(len(x) // window, 3) * window].reshape(-1, window)
            found[name] = windows - windows.mean(axis=1, keepdims=True)
        return found

    def make(model, rate):
        analysis_rate = model.analysis_rate(rate)
        return cut(rate, analysis_rate, model.window_at(analysis_rate)), analysis_rate

    return make


@pytest.fixture(scope="module", params=MODELS)
def both(request):
    """A shipped model in NumPy and in torch."""
    return checkpoint.load(request.param).model, load_trainable(request.param).model


def on_arrays(in_torch):
    """Call methods of a torch model with NumPy arrays; their results are such arrays too."""

    def run(method, *arrays, **named):
        with torch.inference_mode():
            found = getattr(in_torch, method)(*map(torch.from_numpy, arrays), **named)
        return found.numpy() if torch.is_tensor(found) else tuple(None if x is None else x.numpy() for x in found)

    return run


def near(ours, theirs, bound):
    assert ours.shape == theirs.shape
    assert np.isfinite(ours).all()
    assert np.abs(ours - theirs).max(initial=0) <= bound


@pytest.mark.parametrize("rate", RATES)
def test_what_is_analysed_and_decided_is_what_was_trained(both, sounds, rate):
    model, in_torch = both
    windows, analysis_rate = sounds(model, rate)
    found = []
    for run in (lambda method, *arrays, **named: getattr(model, method)(*arrays, **named), on_arrays(in_torch)):
        statistics = [run("analyse", x, sample_rate=analysis_rate).mean(axis=0) for x in windows.values()]
        frames = [run("frames", x, sample_rate=analysis_rate) for x in windows.values()]
        # Nothing is decided on silence.
        pairs = list(itertools.permutations([*zip(statistics, frames, strict=True)][:-1], 2))
        matched = np.stack([run("match", *ours, *theirs) for ours, theirs in pairs])
        given = *(np.stack([pair[side][0] for pair in pairs]) for side in (0, 1)), matched
        found.append((np.stack(statistics), frames, run("embed", given[0]), matched, run("decide", *given)))
    statistics, frames, features, matched, decision = zip(*found, strict=True)
    ends = np.cumsum((model.extractor if model.uses_frames else model.encoder).sizes)
    for ours, theirs in zip(*(np.split(of_all, ends, axis=1) for of_all in statistics), strict=True):
        near(ours, theirs, A_STATISTIC * np.abs(theirs).max(initial=0))
    for ours, theirs in zip(*frames, strict=True):
        near(ours, theirs, A_FRAME_DB)
        assert np.abs(ours - theirs).sum() <= FRAMES_DB * ours.size
    near(*features, A_FEATURE)
    bands = model.config.spectrum_bands if model.uses_frames else 0
    spreads = slice(2 * bands, 3 * bands)
    near(*(of_all[:, spreads] for of_all in matched), A_SPREAD_DB / 20)
    near(*(np.delete(of_all, spreads, axis=1) for of_all in matched), A_CURVE_DB / 20)
    knobs, activation, curve = zip(*decision, strict=True)
    near(*knobs, A_KNOB)
    if not model.uses_frames:
        assert (activation, curve) == ((None, None), (None, None))
        return
    near(*activation, A_LOGIT)
    near(*curve, A_CURVE_DB / 20)


def test_both_call_their_weights_alike(both):
    model, in_torch = both
    assert {name: (weights.shape, weights.dtype) for name, weights in model.state_dict().items()} == {
        name: (tuple(weights.shape), weights.numpy().dtype) for name, weights in in_torch.state_dict().items()
    }


@pytest.mark.parametrize("name", ["studio", "eq-comp"])
@pytest.mark.parametrize("rate", [8000, 44_100])
def test_gradients_are_finite_for_every_sound(sounds, name, rate):
    model = load_trainable(name).model.requires_grad_(True)
    windows, analysis_rate = sounds(model, rate)
    heard = []
    for x in map(torch.from_numpy, windows.values()):
        statistics = model.analyse(x, sample_rate=analysis_rate).mean(0)
        heard.append((statistics, model.frames(x, sample_rate=analysis_rate).detach()))
    for ours, theirs in itertools.permutations(heard, 2):
        matched = model.match(ours[0].detach(), ours[1], theirs[0].detach(), theirs[1])
        given = ours[0][None], theirs[0][None], matched[None]
        loss = sum(part.square().mean() for part in model.decide(*given) if part is not None)
        loss.backward(retain_graph=True)
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
    assert all(gradient.any() for gradient in gradients.values())

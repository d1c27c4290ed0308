import json
import shutil

import pytest
import torch

from fxst.chain import CHAINS, Chain
from fxst.data.manifest import Dataset
from fxst.effects import Compressor
from fxst.errors import ModelError
from fxst.gradients import ProxyRenderer
from fxst.models import checkpoint, proxy_file

RATE = 24_000


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
def test_every_effect_gets_its_own_knobs_in_the_chains_order(chain, speech):
    """The pipeline of the mission: of eight parameters the equaliser takes six, then the compressor two."""
    x = torch.from_numpy(speech(RATE)).repeat(2, 1, 1)
    knobs = torch.rand(2, len(chain.knobs), generator=torch.manual_seed(0))
    expected = x
    for effect, of_effect in zip(chain.effects, knobs.split([6, 2, 1, 3][: len(chain.effects)], 1), strict=True):
        expected = proxy_file.load(effect.name).model(expected, of_effect)
    torch.testing.assert_close(ProxyRenderer.load(chain, sample_rate=RATE)(x, knobs, sample_rate=RATE), expected)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("level", [0.0, 1.0, 30.0], ids=["silence", "speech", "overload"])
def test_gradients_are_finite_at_the_rails(chain, end, level, speech):
    x = (level * torch.from_numpy(speech(RATE)))[None].requires_grad_()
    knobs = torch.full((1, len(chain.knobs)), end, requires_grad=True)
    ProxyRenderer.load(chain, sample_rate=RATE)(x, knobs, sample_rate=RATE).sum().backward()
    assert knobs.grad.isfinite().all()
    assert x.grad.isfinite().all()


def test_nothing_of_it_is_trained_any_more():
    renderer = ProxyRenderer.load(CHAINS["eq-comp"], sample_rate=RATE)
    assert list(renderer.parameters())
    assert not any(weight.requires_grad for weight in renderer.parameters())


def test_proxies_of_something_else_are_refused(speech, tmp_path):
    chain = CHAINS["eq-comp"]
    equaliser, compressor = (proxy_file.load(effect.name) for effect in chain.effects)
    with pytest.raises(ModelError, match="needs 2 proxies"):
        ProxyRenderer(chain, [equaliser])
    with pytest.raises(ModelError, match="cannot stand in"):
        ProxyRenderer(chain, [compressor, equaliser])
    with pytest.raises(ModelError, match="from -20 to 20"):
        ProxyRenderer(Chain("other", (Compressor(),)), [compressor])
    with pytest.raises(ModelError, match="44100"):
        ProxyRenderer.load(chain, sample_rate=44_100)
    with pytest.raises(ModelError, match="no distortion"):
        ProxyRenderer.load(chain, ["distortion"], sample_rate=RATE)
    with pytest.raises(ModelError, match="44100"):
        ProxyRenderer(chain, [equaliser, compressor])(
            torch.from_numpy(speech(RATE))[None], torch.rand(1, 8), sample_rate=44_100
        )


def test_a_proxy_that_is_given_goes_before_the_shipped_one(tmp_path):
    own = tmp_path / "own"
    shutil.copytree(checkpoint.pretrained_folder() / "proxy" / "compressor", own)
    loaded = proxy_file.load(own)
    with torch.no_grad():
        next(loaded.model.parameters()).zero_()
    proxy_file.save(own, loaded.model, loaded.effect, card={})
    renderer = ProxyRenderer.load(CHAINS["eq-comp"], [own], sample_rate=RATE)
    assert not next(renderer.proxies[1].parameters()).any()
    assert next(ProxyRenderer.load(CHAINS["eq-comp"], sample_rate=RATE).proxies[1].parameters()).any()


# Error power over the power of what the effect changed, in dB, and median cosine of the gradients: what is asked for.
BOUNDS = {"parametric_eq": -15.0, "compressor": -15.0, "distortion": -25.0, "reverb": -8.0}
COSINE = 0.8


def renders(chain, x, *, count, seed=0):
    """Clips at random settings and what the exact chain makes of them, (B, 1, T), (B, P), (B, 1, T)."""
    generator = torch.manual_seed(seed)
    knobs = torch.rand(count, len(chain.knobs), generator=generator)
    outputs = []
    for clip, row in zip(x, knobs, strict=True):
        process = chain.exact(chain.settings(row), sample_rate=RATE, channels=1)
        outputs.append(torch.from_numpy(process(clip.numpy())))
    return knobs, torch.stack(outputs)


@pytest.mark.parametrize("effect", CHAINS["fx"].effects, ids=lambda effect: effect.name)
def test_a_shipped_proxy_sounds_like_its_effect_on_a_voice_it_has_never_heard(effect, examples):
    from fxst import audio

    chain = Chain(effect.name, (effect,))
    voice, rate = audio.read(examples / "voice.wav")
    voice = torch.from_numpy(audio.resample(voice[:1], source_rate=rate, target_rate=RATE))
    count = voice.shape[1] // 12_720
    x = voice[0, : count * 12_720].view(count, 1, -1)
    x = x * (10 ** (torch.linspace(-18, 0, count) / 20)[:, None, None] / x.abs().amax(-1, keepdim=True).clamp_min(0.01))
    knobs, target = renders(chain, x, count=count)
    output = ProxyRenderer.load(chain, sample_rate=RATE)(x, knobs, sample_rate=RATE)
    error_db = 10 * ((output - target).square().sum() / (target - x).square().sum()).log10().item()
    assert error_db <= BOUNDS[effect.name]


@pytest.mark.slow
@pytest.mark.parametrize("effect", CHAINS["fx"].effects, ids=lambda effect: effect.name)
def test_a_shipped_proxy_is_true_on_held_out_speakers(effect, shared_audio, tmp_path_factory):
    """The dataset's division of speakers is a function of their names: its test split is what training never saw."""
    from fxst.configs import DatasetConfig
    from fxst.data.build import build
    from fxst.training.fidelity import measure_fidelity

    folder = tmp_path_factory.getbasetemp() / "held-out"
    if not folder.exists():
        build(DatasetConfig(sources=(shared_audio / "speech",), output=folder, clips=2000))
    chain = Chain(effect.name, (effect,))
    fidelity = measure_fidelity(ProxyRenderer.load(chain, sample_rate=RATE), Dataset.open(folder), examples=64)
    assert fidelity.error_db <= BOUNDS[effect.name]
    assert fidelity.gradient_cosine >= COSINE
    said = json.loads((checkpoint.pretrained_folder() / "proxy" / effect.name / "card.json").read_text())["fidelity"]
    assert said["error_db"] <= BOUNDS[effect.name]
    assert said["gradient_cosine"] >= COSINE

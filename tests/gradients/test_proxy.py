import json
from dataclasses import replace

import pedalboard
import pytest
import torch

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint, proxy_file
from fxst.data.manifest import Dataset
from fxst.effects import EFFECTS, Compressor, declare_plugin
from fxst.effects.parameters import Parameter
from fxst.errors import ModelError, SettingsError
from fxst.gradients import ProxyRenderer
from fxst.models.proxy import ProxyModel, ProxyModelConfig

RATE = 24_000
COMPRESSOR = CHAINS["eq-comp"].effects[1]


def stand_ins(chain, folders=()):
    """The shipped proxies of a chain's effects, and those in the folders."""
    given = [proxy_file.load(folder) for folder in folders]
    for effect in chain.effects:
        (proxy, *_) = [p for p in (*given, proxy_file.load_shipped(effect.name)) if p and p.effect == effect]
        yield proxy


@pytest.mark.parametrize("chain", [chain.predicted for chain in CHAINS.values()], ids=lambda chain: chain.name)
def test_every_effect_gets_its_own_knobs_in_the_chains_order(chain, speech, own_proxies):
    """The pipeline of the mission: of eight parameters the equaliser takes six, then the compressor two."""
    x = torch.from_numpy(speech(RATE)).repeat(2, 1, 1)
    knobs = torch.rand(2, len(chain.knobs), generator=torch.manual_seed(0))
    folders = own_proxies(chain)
    expected = x
    for label, proxy in zip(chain.labels, stand_ins(chain, folders), strict=True):
        expected = proxy.model(expected, knobs[:, [owner == label for owner, _ in chain.knobs]])
    renderer = ProxyRenderer.load(chain, folders, sample_rate=RATE)
    torch.testing.assert_close(renderer(x, knobs, sample_rate=RATE), expected)


@pytest.mark.parametrize("chain", [chain.predicted for chain in CHAINS.values()], ids=lambda chain: chain.name)
@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("level", [0.0, 1.0, 30.0], ids=["silence", "speech", "overload"])
def test_gradients_are_finite_at_the_rails(chain, end, level, speech, own_proxies):
    x = (level * torch.from_numpy(speech(RATE)))[None].requires_grad_()
    knobs = torch.full((1, len(chain.knobs)), end, requires_grad=True)
    ProxyRenderer.load(chain, own_proxies(chain), sample_rate=RATE)(x, knobs, sample_rate=RATE).sum().backward()
    assert knobs.grad.isfinite().all()
    assert x.grad.isfinite().all()


def test_nothing_of_it_is_trained_any_more():
    model = ProxyModel(ProxyModelConfig(2, RATE))
    assert all(weight.requires_grad for weight in model.parameters())
    renderer = ProxyRenderer(Chain("c", (COMPRESSOR,)), [proxy_file.Proxy(model, COMPRESSOR, RATE, {})])
    assert list(renderer.parameters())
    assert not any(weight.requires_grad for weight in renderer.parameters())


def test_proxies_of_something_else_are_refused(speech, save_proxy):
    chain = CHAINS["eq-comp"]
    equaliser, compressor = stand_ins(chain)
    with pytest.raises(ModelError, match="needs 2 proxies"):
        ProxyRenderer(chain, [equaliser])
    with pytest.raises(ModelError, match=r"parametric_eq cannot be imitated by .*, which is for the compressor"):
        ProxyRenderer(chain, [compressor, equaliser])
    with pytest.raises(ModelError, match="from -20 to 20, not from -60 to 20"):
        ProxyRenderer(Chain("other", (Compressor(),)), [compressor])
    with pytest.raises(ModelError, match="44100"):
        ProxyRenderer(chain, [equaliser, compressor])(
            torch.from_numpy(speech(RATE))[None], torch.rand(1, 8), sample_rate=44_100
        )


def test_what_no_proxy_fits_is_said_with_the_nearest_one_and_what_to_do(save_proxy, monkeypatch):
    chain = CHAINS["eq-comp"]
    far = save_proxy(COMPRESSOR.restrict(ratio=(3.0, 5.0), threshold_db=(-10.0, 0.0)), "far")
    near = save_proxy(COMPRESSOR.restrict(ratio=(3.0, 5.0)), "near")
    linear = replace(COMPRESSOR, parameters=tuple(replace(p, scale="linear") for p in COMPRESSOR.parameters))
    train = "train one with `fxst proxy train DIR --chain {} --effect {}`"
    for wanted, folders, rate, words in (
        (chain, (), 44_100, "pretrained/proxy/parametric_eq', which is for 24000 Hz, not 44100 Hz"),
        (Chain("c", (COMPRESSOR.restrict(ratio=(3.0, 6.0)),)), (far, near), RATE, "near', which knows ratio from 3"),
        (Chain("c", (linear,)), (), RATE, "ratio from 2 to 6 on a log scale, not from 2 to 6 on a linear scale"),
        (
            Chain("c", CHAINS["studio"].predicted.effects[1:]),
            (),
            RATE,
            "the kinds low_shelf, peak, peak, peak, peak, high_shelf, not the kinds",
        ),
    ):
        with pytest.raises(ModelError) as refused:
            ProxyRenderer.load(wanted, folders, sample_rate=rate)
        assert words in str(refused.value)
        assert train.format(wanted.name, wanted.labels[0]) in str(refused.value)
    monkeypatch.setattr(checkpoint, "pretrained_folder", lambda: near / "nowhere")
    with pytest.raises(ModelError) as refused:
        ProxyRenderer.load(chain, sample_rate=RATE)
    said = train.format("eq-comp", "parametric_eq")
    assert f"There is no proxy of the parametric_eq: {said} and name its folder with --proxy" in str(refused.value)


def test_proxies_that_nobody_needs_are_refused(save_proxy):
    chain = CHAINS["eq-comp"]
    other = save_proxy(COMPRESSOR.restrict(ratio=(3.0, 5.0)), "other")
    twice = [save_proxy(COMPRESSOR, name) for name in ("once", "again")]
    for folders, words in (
        (["distortion"], "no use for the proxy '.*distortion' of a distortion"),
        ([other], "no use for the proxy '.*other' of a compressor"),
        (twice, "no use for the proxy '.*again' of a compressor"),
    ):
        with pytest.raises(ModelError, match=words):
            ProxyRenderer.load(chain, folders, sample_rate=RATE)


def test_two_effects_of_a_kind_get_the_proxies_that_fit_them(save_proxy):
    narrow = COMPRESSOR.restrict(ratio=(2.0, 4.0))
    wide, other = save_proxy(COMPRESSOR, "wide"), save_proxy(narrow, "narrow")
    two = Chain("two", (COMPRESSOR, narrow))
    for folders in ([wide, other], [other, wide], [other]):
        renderer = ProxyRenderer.load(two, folders, sample_rate=RATE)
        for proxy, folder in zip(renderer.proxies, (wide if wide in folders else "compressor", other), strict=True):
            wanted = proxy_file.load(folder).model.state_dict()
            assert all(torch.equal(value, wanted[name]) for name, value in proxy.state_dict().items())
    with pytest.raises(ModelError, match=r"compressor2 of chain two cannot be imitated by .*wide', which knows"):
        ProxyRenderer.load(two, [wide], sample_rate=RATE)
    twice = Chain("twice", (narrow, narrow))
    assert len(ProxyRenderer.load(twice, [other], sample_rate=RATE).proxies) == 2


def test_an_effect_without_knobs_needs_no_proxy(speech):
    fixed = COMPRESSOR.restrict(threshold_db=-10.0, ratio=3.0)
    equaliser = CHAINS["eq"].effects[0]
    chain = Chain("c", (fixed, equaliser))
    x = torch.from_numpy(speech(RATE)).repeat(2, 1, 1)
    knobs = torch.rand(2, 6, generator=torch.manual_seed(0)).requires_grad_()
    y = ProxyRenderer.load(chain, sample_rate=RATE)(x, knobs, sample_rate=RATE)
    compressed = Chain("f", (fixed,)).autodiff(x, torch.empty(2, 0), sample_rate=RATE)
    torch.testing.assert_close(y, proxy_file.load("parametric_eq").model(compressed, knobs))
    assert (torch.autograd.grad(y.square().sum(), knobs)[0].abs() > 0).all()
    with pytest.raises(SettingsError, match="no knobs"):
        ProxyRenderer.load(Chain("f", (fixed,)), sample_rate=RATE)


def test_an_effect_with_neither_knobs_nor_a_torch_form_is_a_dead_end_and_said_to_be():
    phaser = declare_plugin("phaser", pedalboard.Phaser, [Parameter("mix", 0.0, 1.0, 0.5)])()
    del EFFECTS["phaser"]
    with pytest.raises(SettingsError, match=r"phaser of chain c has neither a knob.*--gradient spsa"):
        ProxyRenderer.load(Chain("c", (phaser.restrict(mix=0.5), COMPRESSOR)), sample_rate=RATE)


def test_what_is_longer_than_a_proxys_echoes_is_refused():
    """They end where the clips ended that it was trained on; the rest of a reverb's tail would not be trained on."""
    x, knobs = torch.zeros(1, 1, 12_721), torch.rand(1, 12, generator=torch.manual_seed(0))
    renderer = ProxyRenderer.load(CHAINS["fx"], sample_rate=RATE)
    assert renderer(x[..., 1:], knobs, sample_rate=RATE).shape == (1, 1, 12_720)
    with pytest.raises(
        ModelError, match=r"proxy of the reverb models echoes of up to 12720 samples.*cannot render 12721"
    ):
        renderer(x, knobs, sample_rate=RATE)
    without = ProxyRenderer.load(CHAINS["eq-comp"], sample_rate=RATE)
    assert without(x, knobs[:, :8], sample_rate=RATE).shape == x.shape


def test_a_proxy_that_is_given_goes_before_the_shipped_one(save_proxy):
    renderer = ProxyRenderer.load(CHAINS["eq-comp"], [save_proxy(COMPRESSOR)], sample_rate=RATE)
    assert renderer.proxies[1].config.hidden == 8
    assert ProxyRenderer.load(CHAINS["eq-comp"], sample_rate=RATE).proxies[1].config.hidden == 64


def test_a_plain_name_is_the_shipped_proxys_and_a_path_a_folders(tmp_path, save_proxy, monkeypatch):
    save_proxy(COMPRESSOR, "compressor")
    monkeypatch.chdir(tmp_path)
    assert proxy_file.load("compressor").model.config.hidden == 64
    assert proxy_file.load("./compressor").model.config.hidden == 8
    assert ProxyRenderer.load(CHAINS["eq-comp"], sample_rate=RATE).proxies[1].config.hidden == 64


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
    fidelity = measure_fidelity(ProxyRenderer.load(chain, sample_rate=RATE), Dataset(folder), examples=64)
    assert fidelity.error_db <= BOUNDS[effect.name]
    assert fidelity.gradient_cosine >= COSINE
    said = json.loads((checkpoint.pretrained_folder() / "proxy" / effect.name / "card.json").read_text())["fidelity"]
    assert said["error_db"] <= BOUNDS[effect.name]
    assert said["gradient_cosine"] >= COSINE

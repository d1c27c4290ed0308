"""Plugins as effects: what they promise is in the contract; here is what is theirs alone."""

import gc
import threading
from contextlib import suppress
from typing import ClassVar

import numpy as np
import pedalboard
import pytest

from fxst.chains.chain import Chain
from fxst.chains.table import Table
from fxst.effects import EFFECTS, ParametricEQ, Reverb, declare_plugin
from fxst.effects.parameters import Parameter
from fxst.errors import SettingsError, UndeclaredError
from fxst.threads import processors

with suppress(ImportError):  # the extra train
    import torch

    from fxst.chains.rendering import render_exact

MIX = Parameter("mix", 0.0, 1.0, 0.5)
FEEDBACK = Parameter("feedback", 0.0, 0.9, 0.3)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test declares is forgotten after it."""
    before = dict(EFFECTS)
    yield
    EFFECTS.clear()
    EFFECTS.update(before)


class Swap:
    """A stand-in for a VST3 that takes only `channels` channels: it swaps them, and turns them down by `mix`."""

    channels = 2

    def __init__(self):
        self.mix = 0.5

    def reset(self):
        pass

    def process(self, x, sample_rate, buffer_size=8192, reset=True):
        if len(x) != self.channels:
            raise ValueError(f"Plugin 'Swap' does not support {len(x)}-channel output.\n(Its bus expects another.)")
        return np.ascontiguousarray(x[::-1] * np.float32(self.mix))


class Mono(Swap):
    channels = 1


class Settled(Mono):
    """As pedalboard has a VST3: none but the main thread makes it, resets it or turns its knobs; any may play it."""

    played_by: ClassVar[set[int]] = set()

    def __init__(self):
        self.reset()
        super().__init__()

    def __setattr__(self, name, value):
        self.reset()
        super().__setattr__(name, value)

    def reset(self):
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Plugin settled.vst3 must be reloaded on the main thread.")

    def process(self, x, sample_rate, buffer_size=8192, reset=True):
        self.played_by.add(threading.get_ident())
        return super().process(x, sample_rate)


class Narrow(Swap):
    """Holds what it is given to a range of its own, and says nothing."""

    def __setattr__(self, name, value):
        super().__setattr__(name, min(value, 0.7))


class Random(Mono):
    def process(self, x, sample_rate, buffer_size=8192, reset=True):
        return x + np.float32(0.01 * self.mix) * np.random.default_rng().standard_normal(x.shape, np.float32)


class Unlike(Mono):
    """No two of it sound the same."""

    count = 0

    def __init__(self):
        super().__init__()
        Unlike.count += 1
        self.gain = np.float32(Unlike.count)

    def process(self, x, sample_rate, buffer_size=8192, reset=True):
        return self.gain * x


class Diverging(Mono):
    """Blows up where its knob is turned up."""

    def process(self, x, sample_rate, buffer_size=8192, reset=True):
        return x * np.float32(np.inf) if self.mix > 0.9 and x.any() else x


class Stuck(Mono):
    def reset(self):
        raise RuntimeError("it hangs")


class Picky(Swap):
    def __setattr__(self, name, value):
        if value > 0.7:
            raise ValueError("out of range: 0 to 0.7")
        super().__setattr__(name, value)


def render(effect, x, sample_rate=24_000, **values):
    values = {p.name: p.default for p in effect.parameters} | values
    return effect.exact(values, sample_rate=sample_rate, channels=len(x))(x)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("make", [pedalboard.Delay, pedalboard.LadderFilter], ids=lambda make: make.__name__)
def test_it_sounds_as_pedalboard_does(make, channels, noise):
    """Plugins that do not move by themselves: what came before the recording, silence, cannot be heard."""
    name, low, high = ("mix", 0.0, 1.0) if make is pedalboard.Delay else ("cutoff_hz", 100.0, 4000.0)
    effect = declare_plugin("mine", make, [Parameter(name, low, high, 0.3 * high)])()
    plugin = make()
    setattr(plugin, name, 0.7 * high)
    x = noise(24_000, channels)
    np.testing.assert_array_equal(render(effect, x, **{name: 0.7 * high}), plugin(x, 24_000))


def test_more_than_two_channels_are_rendered_each_on_its_own(noise):
    effect = declare_plugin("mine", pedalboard.Chorus, [MIX])()
    x = noise(24_000, 4)
    each = [render(effect, x[c : c + 1]) for c in range(4)]
    np.testing.assert_array_equal(render(effect, x), np.concatenate(each))


def test_a_stereo_plugin_plays_mono_on_both_sides_and_is_heard_as_their_mean(noise):
    effect = declare_plugin("mine", Swap, [MIX])()
    stereo = noise(24_000, 2)
    np.testing.assert_array_equal(render(effect, stereo, mix=0.25), 0.25 * stereo[::-1])
    several = noise(24_000, 3)
    for x in (several[:1], several):
        np.testing.assert_array_equal(render(effect, x, mix=0.25), 0.25 * x)


def test_a_mono_plugin_renders_each_side(noise):
    effect = declare_plugin("mine", Mono, [MIX])()
    for channels in (1, 2, 3):
        x = noise(24_000, channels)
        np.testing.assert_array_equal(render(effect, x, mix=0.25), 0.25 * x)


@pytest.mark.parametrize("make", [pedalboard.Phaser, pedalboard.Chorus], ids=lambda make: make.__name__)
def test_a_plugin_that_has_rendered_before_renders_as_a_new_one(make, noise):
    made = []

    def counted():
        made.append(make())
        return made[-1]

    effect = declare_plugin("mine", counted, [MIX, FEEDBACK])()
    x = noise(24_000, 2)
    first = render(effect, x, mix=0.4, feedback=0.8)
    for other in (x, noise(48_000)):
        render(effect, other, sample_rate=48_000, mix=0.9, feedback=0.1)
    np.testing.assert_array_equal(render(effect, x, mix=0.4, feedback=0.8), first)
    gc.collect()
    # Loading a VST3 takes a thousand times as long as rendering a clip, so two are enough for all of this.
    assert len(made) == 2


def test_a_batch_is_rendered_by_threads_as_one_by_one(noise):
    effect = declare_plugin("mine", pedalboard.Phaser, [MIX, FEEDBACK])()
    chain = Chain("c", (Reverb(), effect))
    x = torch.from_numpy(noise(24_000, 3, 0.1)).repeat(8, 1, 1)
    knobs = torch.rand(8, len(chain.knobs), generator=torch.manual_seed(0))
    together = render_exact(chain, x, knobs, sample_rate=24_000)
    for row in range(8):
        alone = render_exact(chain, x[row : row + 1], knobs[row : row + 1], sample_rate=24_000)
        assert torch.equal(together[row : row + 1], alone)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_plugins_are_made_and_set_by_the_thread_that_asks_and_played_by_others(channels, noise):
    made = []

    def counted():
        made.append(Settled())
        return made[-1]

    effect = declare_plugin("mine", counted, [MIX])()
    chain = Chain("c", (Reverb(), effect))
    x = torch.from_numpy(noise(24_000, channels, 0.05)).repeat(40, 1, 1)
    knobs = torch.full((40, len(chain.knobs)), 0.4)
    knobs[:, -1] = torch.linspace(0, 1, 40)
    dry = render_exact(Chain("r", (Reverb(),)), x, knobs[:, :-1], sample_rate=24_000)
    rendered = render_exact(chain, x, knobs, sample_rate=24_000)
    torch.testing.assert_close(rendered, dry * knobs[:, -1, None, None])
    assert Settled.played_by - {threading.get_ident()}
    # As many as render at a time, one that waits and one that is made ready; not one a row.
    assert len(made) <= (processors() + 2) * channels


def test_what_fails_off_the_main_thread_is_told_of_and_not_lost(noise):
    """A library's caller may have threads of its own."""
    effect = declare_plugin("mine", Settled, [MIX])()
    failures = []

    def elsewhere():
        try:
            render(effect, noise(24_000))
        except SettingsError as error:
            failures.append(str(error))

    for _ in range(3):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert failures == ["The plugin mine cannot be reset: Plugin settled.vst3 must be reloaded on the main thread."] * 3
    assert len(type(effect).idle) == 2
    both = [effect.exact({"mix": 0.5}, sample_rate=24_000, channels=1) for _ in range(2)]
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failures[-1].startswith("The plugin mine cannot be made: ")
    assert len(both) == 2


def test_sound_that_is_not_finite_is_told_of_with_the_settings(noise):
    class Later(Mono):
        """Blows up, but not where it is tried."""

        def process(self, x, sample_rate, buffer_size=8192, reset=True):
            return np.full_like(x, np.nan) if 0.6 < self.mix < 0.7 and x.any() else x

    effect = declare_plugin("mine", Later, [MIX])()
    with pytest.raises(SettingsError, match=r"mine renders samples that are not finite, at mix = 0\.65"):
        render(effect, noise(24_000), mix=0.65)
    assert np.isinf(render(effect, noise(24_000) * np.float32(np.inf), mix=0.5)).any()  # which it was given


def test_there_is_no_autodiff_and_it_says_what_to_do():
    effect = declare_plugin("mine", pedalboard.Phaser, [MIX])()
    assert not effect.differentiable
    chain = Chain("c", (Reverb(), effect))
    assert not chain.differentiable
    assert Chain("c", (Reverb(),)).differentiable
    with pytest.raises(SettingsError, match=r"mine cannot be differentiated.*--gradient spsa"):
        chain.autodiff(torch.zeros(1, 1, 64), torch.full((1, len(chain.knobs)), 0.5), sample_rate=24_000)


def test_its_amount_cannot_be_changed():
    chain = Chain("moved", (ParametricEQ(), declare_plugin("mine", pedalboard.Phaser, [MIX])()))
    table = Table(chain, chain.defaults())
    for amount in (0.5, 0.0, {"mine": 0.5}, {"": 0.5, "eq": 1.0}):
        with pytest.raises(SettingsError, match=r"amount of 'mine' cannot be changed.* --amount mine=100"):
            table.at_amount(amount)
    assert table.at_amount({"": 0.5, "mine": 1.0}).provenance["amount"] == "parametric_eq 50 %, mine 100 %"
    assert table.at_amount(1.0) == table


def test_a_chain_keeps_it_by_its_name_alone():
    effect = declare_plugin("mine", pedalboard.Phaser, [MIX, FEEDBACK])().restrict(mix=(0.1, 0.4))
    chain = Chain("c", (effect,))
    spec = chain.to_spec()
    assert Chain.from_spec(spec) == chain
    assert spec["effects"][0].keys() == {"effect", "parameters"}
    del EFFECTS["mine"]
    with pytest.raises(UndeclaredError, match=r"no effect 'mine'.*--effects FILE\.py"):
        Chain.from_spec(spec)
    declare_plugin("mine", pedalboard.Chorus, [FEEDBACK])
    with pytest.raises(UndeclaredError, match="declared with feedback, but here it has mix, feedback"):
        Chain.from_spec(spec)
    declare_plugin("mine", pedalboard.Phaser, [MIX, FEEDBACK])  # declared again, as a notebook does
    assert Chain.from_spec(spec).to_spec() == spec


SHARED = Swap()
REFUSED = {
    "unknown attribute": ("mine", pedalboard.Phaser, [Parameter("colour", 0, 1, 0)], "mine has no parameter colour"),
    "a method": ("mine", pedalboard.Phaser, [Parameter("process", 0, 1, 0)], "refuses process"),
    "value": ("mine", Picky, [MIX], "mine refuses mix = 1: out of range: 0 to 0.7"),
    "latency": ("mine", pedalboard.PitchShift, [Parameter("semitones", -1, 1, 0)], "mine has latency, or"),
    "hidden latency": (
        "mine",
        pedalboard.MP3Compressor,
        [Parameter("vbr_quality", 0, 9, 2)],
        "mine has latency, or changes",
    ),
    "latency is told of by its own name": (
        "mine",
        pedalboard.PitchShift,
        [Parameter("semitones", 0, 1, 0)],
        "mine has latency",
    ),
    "a narrower range": ("mine", Narrow, [MIX], "mine sets mix to 0.7 instead of 1"),
    "chance": ("mine", Random, [MIX], "mine does not render the same sound every time, at mix = 1"),
    "chance from one to another": ("mine", Unlike, [MIX], "mine does not render the same sound every time"),
    "no finite sound": ("mine", Diverging, [MIX], "mine renders samples that are not finite, at mix = 1"),
    "no new beginning": ("mine", Stuck, [MIX], "mine cannot be reset: it hangs"),
    "no plugin file": ("mine", lambda: pedalboard.load_plugin("none.vst3"), [MIX], "mine cannot be made: .*none.vst3"),
    "neither mono nor stereo": ("mine", type("Six", (Swap,), {"channels": 6}), [MIX], "neither mono nor stereo"),
    "one plugin for all": ("mine", lambda: SHARED, [MIX], "same plugin twice"),
    "a plugin that is made": ("mine", pedalboard.Chorus(), [MIX], "pass what makes .*, such as Chorus or a lambda"),
    "no parameter": ("mine", pedalboard.Phaser, [MIX, ("depth", 0, 1, 0)], r"mine: .* not \('depth', 0, 1, 0\)"),
    "no plugin": ("mine", dict, [MIX], "returned a dict"),
    "no parameters": ("mine", pedalboard.Phaser, [], "needs at least one parameter"),
    "a parameter twice": ("mine", pedalboard.Phaser, [MIX, MIX], "no name twice"),
    "a name of fxst's": ("reverb", pedalboard.Reverb, [Parameter("room_size", 0, 1, 0)], "reverb of its own"),
    "a name that ends like a second one's": ("phaser2", pedalboard.Phaser, [MIX], "not 'phaser2'"),
    "a name that is a path": ("../x", pedalboard.Phaser, [MIX], r"not '\.\./x'"),
}


@pytest.mark.parametrize(("name", "make", "parameters", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_declared_is_said_at_once(name, make, parameters, words):
    before = dict(EFFECTS)
    with pytest.raises(SettingsError, match=words) as refused:
        declare_plugin(name, make, parameters)
    assert "\n" not in str(refused.value)
    assert before == EFFECTS


def test_a_plugin_that_fails_or_changes_length_later_is_told_of(noise):
    class Moody(Mono):
        def process(self, x, sample_rate, buffer_size=8192, reset=True):
            if x.shape[1] == 7:
                raise RuntimeError("bad\nluck")
            return x[:, 1:] if x.shape[1] == 5 else x

    effect = declare_plugin("mine", Moody, [MIX])()
    process = effect.exact({"mix": 0.5}, sample_rate=24_000, channels=1)
    for length, words in ((7, "mine failed: bad luck."), (5, "mine changes the length")):
        with pytest.raises(SettingsError, match=words):
            process(noise(24_000)[:, :length])

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

import fxst
from fxst.batch.preflight import preflight
from fxst.batch.session import Session
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.configs import ApplyConfig
from fxst.errors import SettingsError
from fxst.models.studio import Expected
from fxst.models.trainable import StudioModel
from fxst.training.studio import studio_config
from fxst.transfer.descriptors import Excerpt
from fxst.transfer.refinement import refined

STUDIO = CHAINS["studio"]
RATE = 24_000
SILENCE = np.zeros(1, np.float32), np.zeros((0, 96), np.float32)
"""What is heard of a reference that tells nothing: the rate of its statistics is all that an oracle looks at."""


class Oracle(StudioModel):
    """A model that expects what it was given."""

    def __init__(self, target):
        torch.manual_seed(0)
        super().__init__(studio_config(STUDIO, 0.5, channels=(4, 8)))
        self.requires_grad_(False)
        self.target = torch.from_numpy(target)

    def expect(self, input, reference, matched):  # noqa: A002
        self.matched = matched
        windows = self.target.unfold(-1, 12_000, 12_000).flatten(0, 1)
        spectrum, levels = self.extractor.meters(windows - windows.mean(-1, keepdim=True), sample_rate=RATE)
        shared = torch.from_numpy(self.extractor.shared(RATE))
        return Expected(spectrum[None], levels[None], shared[None])


def with_values(**of_effects):
    table = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
    return table.with_values(of_effects)


@pytest.fixture
def excerpt(speech):
    return Excerpt(np.ascontiguousarray(speech(RATE, 1, 4)), RATE)


def render(table, x):
    return STUDIO.exact(table, sample_rate=RATE, channels=1)(x.samples)


def test_settings_move_to_what_is_expected(excerpt):
    goal = with_values(
        parametric_eq={"peak3_gain_db": 8.0, "peak6_gain_db": -6.0},
        compressor={"threshold_db": -36.0, "ratio": 4.0, "makeup_db": 9.0},
    )
    near = goal.with_values(
        {"parametric_eq": {"peak3_gain_db": 4.0, "peak6_gain_db": -3.0}, "compressor": {"makeup_db": 5.0}}
    )
    target = render(goal, excerpt)
    model = Oracle(target)
    came = refined(model, STUDIO, near.rows, excerpt, *SILENCE, steps=40)
    assert came.after_db < 0.5 * came.before_db
    error = [np.square(render(table, excerpt) - target).mean() for table in (near, came.settings)]
    assert error[1] < 0.3 * error[0]


def test_what_is_as_expected_stays_as_it_is(excerpt):
    table = with_values(parametric_eq={"peak3_gain_db": 8.0}, compressor={"ratio": 2.0, "makeup_db": 3.0})
    model = Oracle(render(table, excerpt))
    came = refined(model, STUDIO, table.rows, excerpt, *SILENCE, steps=5)
    assert came.settings == table.rows
    assert came.before_db < 0.1


def test_bypassed_effects_stay_bypassed_and_the_same_comes_out_again(excerpt):
    table = with_values(parametric_eq={"peak3_gain_db": 3.0})
    model = Oracle(render(with_values(parametric_eq={"peak3_gain_db": 9.0}), excerpt))
    once, again = (refined(model, STUDIO, table.rows, excerpt, *SILENCE, steps=6) for _ in range(2))
    assert once == again
    assert once.after_db < once.before_db
    assert Table(STUDIO, once.settings).bypassed == (
        "upward_compressor",
        "compressor",
        "distortion",
        "reverb",
    )


def test_what_is_expected_is_told_what_alike_moments_differ_by(excerpt, in_numpy):
    table = with_values()
    model = Oracle(render(table, excerpt))
    windows = excerpt.samples[0, :84_000].reshape(-1, 12_000)
    frames = in_numpy(model).frames(windows - windows.mean(1, keepdims=True), sample_rate=RATE)
    refined(model, STUDIO, table.rows, excerpt, SILENCE[0], frames, steps=0)
    assert model.matched.shape[0] == 1
    assert model.matched[0, : 2 * frames.shape[1]].abs().max() < 1e-3  # it is alike to itself
    bass = 6 * (model.extractor.octave_centres < 200).astype(np.float32)
    refined(model, STUDIO, table.rows, excerpt, SILENCE[0], frames + bass, steps=0)
    assert np.corrcoef(model.matched[0, : len(bass)], bass)[0, 1] > 0.9
    refined(model, STUDIO, table.rows, excerpt, *SILENCE, steps=0)
    assert not model.matched.any()


def test_it_ends_when_nothing_is_gained(excerpt):
    table = with_values(compressor={"makeup_db": 1.0})
    model = Oracle(render(table, excerpt))
    assert refined(model, STUDIO, table.rows, excerpt, *SILENCE, steps=500).steps < 60


def test_apply_refines_and_tells_what_it_gained(noise):
    x, reference = noise(RATE, 1, 3), 0.3 * noise(RATE, 1, 3)
    model = fxst.load("studio")
    plain = model.predict(x, reference, sample_rate=RATE)
    better = model.predict(x, reference, sample_rate=RATE, refine=3)
    assert "refined" not in plain.provenance
    assert "dB from the expected spectrum before" in better.provenance["refined"]


def test_models_that_expect_nothing_do_not_refine(noise):
    x = noise(RATE, 1, 3)
    with pytest.raises(SettingsError, match="cannot refine"):
        fxst.load("eq-comp").predict(x, x, sample_rate=RATE, refine=3)


def test_a_command_that_cannot_refine_says_so_before_anything_is_analysed(tmp_path, noise):
    soundfile.write(tmp_path / "ref.wav", noise(RATE, 1, 1).T, RATE)
    command = ApplyConfig((tmp_path / "in.wav",), tmp_path / "out.wav", (str(tmp_path / "ref.wav"),), refine=True)
    with pytest.raises(SettingsError, match="cannot refine its settings: use studio"):
        Session(preflight(replace(command, model="eq-comp")))
    Session(preflight(command))


def test_the_command_refines_and_its_table_renders_the_same_again(tmp_path, noise):
    for name, level in (("in", 1.0), ("ref", 0.3)):
        soundfile.write(tmp_path / f"{name}.wav", level * noise(RATE, 1, 3).T, RATE)
    command = [sys.executable, "-m", "fxst", "apply", "in.wav", "--ceiling", "none"]
    for options in (["--ref", "ref.wav", "--refine", "--refine-steps", "2", "-o", "a.wav"], ["-o", "b.wav"]):
        options += ["--params", "a.params.json"] if "b.wav" in options else []
        done = subprocess.run([*command, *options], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "a.params.json").read_text())
    assert "dB from the expected spectrum before" in table["made_by"]["refined"]
    a, b = (soundfile.read(tmp_path / name)[0] for name in ("a.wav", "b.wav"))
    assert np.array_equal(a, b)

import numpy as np

from fxst.chains.named import CHAINS


def knob_table(chain):
    return {(label, p.name): (p.minimum, p.maximum, p.scale) for label, p in chain.knobs}


def test_eq_is_six_gains_on_log_spaced_frequencies():
    chain = CHAINS["eq"]
    bands = ("low_shelf", "peak1", "peak2", "peak3", "peak4", "high_shelf")
    assert list(knob_table(chain)) == [("parametric_eq", f"{band}_gain_db") for band in bands]
    assert set(knob_table(chain).values()) == {(-20.0, 20.0, "linear")}

    (eq,) = chain.effects
    assert eq.kinds == ("low_shelf", "peak", "peak", "peak", "peak", "high_shelf")
    fixed = {p.name: p.minimum for p in eq.parameters if p.constant}
    frequencies = [fixed[f"{band}_f0_hz"] for band in bands]
    np.testing.assert_allclose(frequencies, np.geomspace(20, 1200, 6), rtol=1e-6)
    assert {fixed[f"{band}_q"] for band in bands} == {0.7071068}


def test_eq_comp_adds_threshold_and_ratio():
    chain, eq = CHAINS["eq-comp"], CHAINS["eq"]
    assert chain.effects[:1] == eq.effects
    added = {key: knob for key, knob in knob_table(chain).items() if key not in knob_table(eq)}
    assert {key: knob[:2] for key, knob in added.items()} == {
        ("compressor", "threshold_db"): (-20.0, 20.0),
        ("compressor", "ratio"): (2.0, 6.0),
    }
    assert len(chain.knobs) == 8


def test_fx_adds_distortion_and_reverb():
    chain, eq_comp = CHAINS["fx"], CHAINS["eq-comp"]
    assert chain.effects[:2] == eq_comp.effects
    assert [effect.name for effect in chain.effects[2:]] == ["distortion", "reverb"]
    added = {key: knob[:2] for key, knob in knob_table(chain).items() if key not in knob_table(eq_comp)}
    assert added == {
        ("distortion", "drive_db"): (0.0, 30.0),
        ("reverb", "room_size"): (0.1, 1.0),
        ("reverb", "wet_level"): (0.1, 0.8),
        ("reverb", "dry_level"): (0.5, 1.0),
    }


def test_defaults_lie_in_their_ranges():
    for chain in CHAINS.values():
        assert all(row.minimum <= row.value <= row.maximum for row in chain.defaults())
        chain.stages(chain.defaults())


def test_an_effect_needs_bypass_where_its_range_excludes_passing_sound_unchanged():
    needing = {effect.name for effect in CHAINS["studio"].effects if effect.needs_bypass}
    assert needing == {"upward_compressor", "distortion", "reverb"}

import re

import numpy as np
import pytest
from scipy.signal import sosfreqz

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.effects.parametric_eq import HIGHEST_F0

FILTER = re.compile(r"Filter (\d+): ON (LSC|PK|HSC) Fc (\d+(?:\.\d+)?) Hz Gain (-?\d+(?:\.\d+)?) dB Q (\d+(?:\.\d+)?)")


def cookbook(kind, f0_hz, gain_db, q, sample_rate):
    """One section, from R. Bristow-Johnson's cookbook, which Equalizer APO names as its source."""
    A = 10 ** (gain_db / 40)
    w0 = 2 * np.pi * f0_hz / sample_rate
    cos, alpha = np.cos(w0), np.sin(w0) / (2 * q)
    if kind == "PK":
        return [1 + alpha * A, -2 * cos, 1 - alpha * A, 1 + alpha / A, -2 * cos, 1 - alpha / A]
    s = 1 if kind == "LSC" else -1
    root = 2 * np.sqrt(A) * alpha
    return [
        A * ((A + 1) - s * (A - 1) * cos + root),
        s * 2 * A * ((A - 1) - s * (A + 1) * cos),
        A * ((A + 1) - s * (A - 1) * cos - root),
        (A + 1) + s * (A - 1) * cos + root,
        -s * 2 * ((A - 1) + s * (A + 1) * cos),
        (A + 1) + s * (A - 1) * cos - root,
    ]


@pytest.mark.parametrize("chain", ["eq", "studio"])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_its_filters_are_our_bands(exported, draw, chain, seed, sample_rate):
    table = draw(seed, chain=chain)
    lines = exported("apo", table, sample_rate=sample_rate, channels=2).read_text(encoding="utf-8").splitlines()
    preamp, *filters = (line for line in lines if not line.startswith("#"))
    assert preamp == "Preamp: 0 dB"
    found = [FILTER.fullmatch(line).groups() for line in filters]
    assert [int(number) for number, *_ in found] == list(range(1, len(found) + 1))
    assert all(float(f0_hz) <= HIGHEST_F0 * sample_rate for _, _, f0_hz, *_ in found)
    sections = [cookbook(kind, *map(float, numbers), sample_rate) for _, kind, *numbers in found]
    place = table.chain.labels.index("parametric_eq")
    effect, values = table.chain.effects[place], [stage.values for stage in table.chain.stages(table)][place]
    theirs, ours = (
        sosfreqz(np.array(sos) / np.array(sos)[:, 3:4], worN=2048)[1]
        for sos in (sections, effect.sections(values, sample_rate=sample_rate))
    )
    np.testing.assert_allclose(20 * np.log10(abs(theirs / ours)), 0, atol=1e-6)


def test_the_file_lists_what_it_leaves_out(exported, draw):
    text = exported("apo", draw(0), sample_rate=48_000, channels=2).read_text(encoding="utf-8")
    left_out = "upward_compressor, compressor, distortion, reverb, stereo_width"
    assert f"# Equalizer APO has filters only. Left out, so the result differs: {left_out}." in text
    only = exported("apo", draw(0, "parametric_eq"), sample_rate=48_000, channels=2).read_text(encoding="utf-8")
    assert "has filters only" not in only
    assert f"Bypassed, so left out: {left_out}." in only


def test_bands_that_do_nothing_are_left_out(exported):
    chain = CHAINS["eq"]
    table = Table(chain, chain.defaults()).with_values({"parametric_eq": {"peak2_gain_db": -0.00001}})
    text = exported("apo", table, sample_rate=48_000, channels=1).read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("Filter")] == [
        "Filter 1: ON PK Fc 102.9 Hz Gain -0.00001 dB Q 0.7071068"
    ] or "Gain -0.00001 dB" in text

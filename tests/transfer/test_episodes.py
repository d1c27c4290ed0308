"""What `fxst apply` makes of twelve episodes by its defaults; the reference is a produced voice of another speaker."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fxst import audio
from fxst.cli.program import main
from fxst.evaluation import metrics
from fxst.evaluation.sound import EvaluatedSound

sys.path.insert(0, str(Path(__file__).parent))
import episodes

NEARER = 11
"""So many of the twelve are nearer to what the producer makes of them than by loudness alone. The reference was chosen
to reach this, and with other voices fewer are: it guards against getting worse, and is no measure of quality."""

MOST_DB = 6.0
"""By how much pauses may be above the producer's, or the episode's own."""


@pytest.fixture(scope="module")
def folder(shared_audio, tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    reference = episodes.make_reference(shared_audio, folder / "reference.wav")
    files = episodes.make_episodes(shared_audio, folder / "in")
    arguments = ["fxst", "apply", folder / "in", "--ref", reference, "-o", folder / "out", "--name", "{stem}.wav"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(argument) for argument in arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    assert len(files) == 12
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """Each episode, what fxst made of it, and what the producer made of it, with the sample rate."""
    found = {}
    for path in sorted((folder / "in").iterdir()):
        x, rate = audio.read(path)
        y, _ = audio.read(folder / "out" / f"{path.stem}.wav")
        found[path.name] = x, y, episodes.produced(x, rate).astype(np.float32), rate
    return found


def test_most_episodes_come_nearer_to_the_producer_than_by_loudness_alone(results):
    def distance(x, y, rate):
        return metrics.mrstft(EvaluatedSound(x, sample_rate=rate), EvaluatedSound(y, sample_rate=rate))

    nearer, distances = [], []
    for name, (x, y, produced, rate) in results.items():
        turned = episodes.at_loudness(x, rate, episodes.loudness(produced, rate)).astype(np.float32)
        distances.append((distance(y, produced, rate), distance(turned, produced, rate)))
        nearer += [name] if distances[-1][0] < distances[-1][1] else []
    assert len(nearer) >= NEARER, (nearer, distances)
    ours, turned = np.mean(distances, axis=0)
    assert ours < 0.9 * turned


def test_pauses_do_not_rise(results):
    for name, (x, y, produced, rate) in results.items():
        before, after, theirs = (episodes.pauses_db(sound, rate) for sound in (x, y, produced))
        assert after <= max(before, theirs) + MOST_DB, name

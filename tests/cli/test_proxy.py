import numpy as np
import pytest
import soundfile

from fxst.checkpoints import proxy_file
from fxst.configs import DatasetConfig
from fxst.data.build import build

QUICK = ["--effect", "distortion", "--part", "waveshape", "--batch", "4", "--validate-every", "2", "--device", "cpu"]
QUICK += ["--validation-examples", "4", "--test-examples", "4"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    source, output = tmp_path_factory.mktemp("voices"), tmp_path_factory.mktemp("built") / "data"
    for speaker in range(6):
        (source / f"p{speaker}").mkdir()
        noise = 0.1 * np.random.default_rng(speaker).standard_normal(24_000 * 2)
        soundfile.write(source / f"p{speaker}/a.wav", noise, 24_000)
    build(DatasetConfig(sources=(source,), output=output, clips=0, workers=1))
    return output


def test_a_proxy_is_trained_told_of_and_found(fxst, dataset, tmp_path):
    folder = tmp_path / "run"
    code, out, err = fxst("proxy", "train", dataset, *QUICK, "--steps", "2", "-o", folder)
    assert code == 0, err
    assert out.strip() == str(folder)
    assert "after 2 steps" in err
    assert "dB relative to what the effect changes" in err
    proxy = proxy_file.load(folder)
    assert proxy.effect.name == "distortion"
    assert proxy.model.tone is proxy.model.echoes is None


def test_what_cannot_be_done_is_said_in_one_line(fxst, dataset, tmp_path):
    assert fxst("proxy", "train", dataset)[0] == 2  # no effect was named
    for options, words in (
        (["--effect", "flanger"], "flanger"),
        (["--effect", "reverb", "--chain", "eq-comp"], "There is no effect 'reverb'"),
        (["--effect", "reverb", "--part", "soul"], "soul"),
    ):
        code, out, err = fxst("proxy", "train", dataset, *options, "-o", tmp_path / "run")
        assert (code, out) == (2, "")
        assert words in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()

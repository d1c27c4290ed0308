import numpy as np
import pytest
import soundfile

from fxst.audio import Writer

EDGES = np.arange(-32_768, 32_769) / np.float32(32_768)


@pytest.mark.parametrize(
    ("ending", "subtypes"),
    [
        ("WAV", ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")),
        ("AIFF", ("PCM_S8", "PCM_16", "PCM_24")),
        ("AU", ("PCM_16", "PCM_24")),
        ("CAF", ("PCM_S8", "PCM_16", "PCM_32")),
        ("W64", ("PCM_U8", "PCM_16")),
        ("FLAC", ("PCM_S8", "PCM_16", "PCM_24")),
    ],
)
def test_samples_are_those_that_libsndfile_makes_of_floats(tmp_path, ending, subtypes):
    soft = np.random.default_rng(0).normal(0.0, np.geomspace(1e-9, 1.0, 20_000))
    near = [np.nextafter(EDGES.astype(np.float32), np.float32(end)) for end in (-2, 2)]
    x = np.concatenate([EDGES, *near, soft, [-0.0, 1e-45]]).astype(np.float32).clip(-1, 1)
    stereo = np.stack([x, x[::-1]])
    for subtype in subtypes:
        with Writer(tmp_path / "ours", sample_rate=8000, channels=2, subtype=subtype, format=ending) as writer:
            writer.write(stereo[:, :1])
            writer.write(stereo[:, 1:])
        soundfile.write(tmp_path / "theirs", stereo.T, 8000, subtype=subtype, format=ending)
        ours, theirs = (soundfile.read(tmp_path / name, dtype="int32")[0] for name in ("ours", "theirs"))
        np.testing.assert_array_equal(ours, theirs, subtype)

"""A dataset of one's own: `fxst --effects docs/own_dataset.py style train pairs --dataset-type folders`.

`pairs` has the folders `train` and `val`. Each holds `dry/` and `wet/`, with mono files of the same names.
"""

from fxst import audio
from fxst.training.declarations import declare_dataset


@declare_dataset("folders")
class Folders:
    """The dry input is one half of a recording; the reference is the other half of its processed version."""

    def __init__(self, folder, split):
        self.dry = sorted((folder / split / "dry").iterdir())
        self.sample_rate = audio.probe(self.dry[0]).sample_rate

    def __len__(self):
        return len(self.dry)

    def __getitem__(self, index):
        dry = self.dry[index]
        wet = dry.parents[1] / "wet" / dry.name
        (x, _), (y, _) = audio.read(dry), audio.read(wet)
        half = x.shape[1] // 2
        return x[0, :half], y[0, half : 2 * half], y[0, :half]

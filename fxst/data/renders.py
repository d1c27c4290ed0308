"""Training examples of a proxy: dry clips at any level, random settings, and renders by the exact effect."""

from dataclasses import dataclass

import numpy as np
import torch

from fxst.chains.chain import Chain
from fxst.chains.rendering import render_exact
from fxst.data.manifest import Dataset
from fxst.data.sources import SPLITS
from fxst.dsp import Samples
from fxst.errors import SettingsError

__all__ = ["Renders", "draw_renders"]


@dataclass(frozen=True)
class Renders:
    """A batch of dry clips, settings, and renders.

    Shape:
        input, output: (B, 1, T); knobs: (B, P), on [0, 1].
    """

    input: Samples
    knobs: Samples
    output: Samples


def draw_renders(
    dataset: Dataset, split: str, chain: Chain, *, batch: int, peak_db: tuple[float, float], seed: int, step: int
) -> Renders:
    """Draw a batch; it depends on the arguments only, so that training can resume at any step.

    Args:
        dataset: The clips.
        split: `train`, `val` or `test`.
        chain: The chain whose exact effects render the clips.
        batch: Number of clips.
        peak_db: Range of the clips' peak level, drawn uniformly.
        seed: Seed of the run.
        step: Number of the batch in the run.

    Raises:
        SettingsError: The split has no clips.
    """
    # With the split, so that validation uses other settings than training.
    rng = np.random.default_rng((seed, step, SPLITS.index(split)))
    clips = np.concatenate([np.empty(0, np.int64), *dataset.indices_by_speaker(split).values()])
    if not len(clips):
        raise SettingsError(f"{dataset.folder} has no clips in its {split} split: build it from more speakers.")
    dry = dataset.clips(rng.choice(clips, batch))
    level = 10 ** (rng.uniform(*peak_db, batch) / 20)
    dry *= (level / np.maximum(np.abs(dry).max(-1), 1e-6))[:, None].astype(np.float32)
    knobs = rng.random((batch, len(chain.knobs)), dtype=np.float32)
    settings = torch.from_numpy(knobs)
    output = render_exact(chain, torch.from_numpy(dry)[:, None], settings, sample_rate=dataset.sample_rate)
    return Renders(dry[:, None], knobs, output.numpy())

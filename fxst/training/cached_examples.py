"""Examples that a studio model has analysed, cached as files: analysis takes longer than all that follows."""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fxst import staging
from fxst.data.training_pairs import STYLES, Styles, TrainingPairs
from fxst.dsp.compiled import Compiled
from fxst.models.trainable import StudioModel
from fxst.threads import one_thread
from fxst.training.curriculum import TrainingStage
from fxst.training.progress import Monitor, Progress, leave_signals
from fxst.untrusted import to_json

__all__ = ["AnalysisStage", "CachedExamples", "Examples", "LabelledStatistics", "PairBatch", "analyse"]

PUBLISHED_SECONDS: Final = (0.25, 1.0)
REVERB_SECONDS: Final = (0.75, 0.75)
"""What is rendered of each example before it is compared, for there filters and followers settle and the sound gathers
that a reverb still holds; and what is compared."""

MARK: Final = "cache.json"
"""What the cached examples depend on; its bytes are locked while they are made."""

FULL_SCALE: Final = 32767

LANES: Final = 8
"""Rows whose treble is lowered side by side."""

EMPHASIS: Final = 0.95
"""So much of each sample is taken from the next, and added again."""


class PairBatch(NamedTuple):
    """Training pairs as tensors.

    Shape:
        As `TrainingPairs`; section: (n * VERSIONS * 2,), where each example's section begins, on [0, 1]; sample_rate,
            styles: (), the latter a number of `STYLES`.
    """

    inputs: Tensor
    targets: Tensor
    references: Tensor
    active: Tensor
    knobs: Tensor
    curves: Tensor
    section: Tensor
    sample_rate: Tensor
    styles: Tensor

    @classmethod
    def of(cls, pairs: TrainingPairs, styles: Styles, rng: np.random.Generator) -> "PairBatch":
        """Make tensors of pairs, and draw the sections."""
        drawn = {
            "section": torch.from_numpy(rng.random(pairs.inputs[..., 0].size, dtype=np.float32)),
            "styles": torch.tensor(STYLES.index(styles)),
        }
        tensors = {name: torch.as_tensor(getattr(pairs, name)) for name in cls._fields if name not in drawn}
        return cls(**tensors, **drawn)


DrawPairs = Callable[[str, int], PairBatch]
"""Draws the pairs of a split and a number."""


class LabelledStatistics(NamedTuple):
    """What a model analyses of some examples, and the labels of its decision.

    Shape:
        input, reference: (B, D); matched: (B, M); curves: (B, bands); knobs: (B, P) and active: (B, E), NaN where
            nobody can say.
    """

    input: Tensor
    reference: Tensor
    matched: Tensor
    curves: Tensor
    knobs: Tensor
    active: Tensor


class Examples(NamedTuple):
    """Labelled statistics with a section of their sound.

    Shape:
        As `LabelledStatistics`; inputs, targets: (B, lead + T), whose lead is not compared; loudness: (B,), the
            targets' RMS; lead, sample_rate, styles: (), the last a number of `STYLES`.
    """

    input: Tensor
    reference: Tensor
    matched: Tensor
    curves: Tensor
    knobs: Tensor
    active: Tensor
    inputs: Tensor
    targets: Tensor
    loudness: Tensor
    lead: Tensor
    sample_rate: Tensor
    styles: Tensor

    @property
    def labelled(self) -> LabelledStatistics:
        """The examples without their sound."""
        return LabelledStatistics(*self[: len(LabelledStatistics._fields)])


def analyse(model: StudioModel, pairs: PairBatch) -> Examples:
    """Analyse pairs: each half of each version is an example."""
    sample_rate = int(pairs.sample_rate)
    window = model.window_at(sample_rate)
    windows = torch.stack((pairs.inputs, pairs.references)).unfold(-1, window, window)
    windows = windows - windows.mean(-1, keepdim=True)
    statistics = model.analyse(windows.flatten(0, -2), sample_rate=sample_rate)
    of_inputs, references = statistics.view(*windows.shape[:-1], -1).mean(-2).flatten(1, 3)
    frames = [model.frames(x, sample_rate=sample_rate) for x in windows.flatten(0, -3)]
    input_frames, reference_frames = frames[: len(of_inputs)], frames[len(of_inputs) :]
    matched = [model.match(*pair) for pair in zip(of_inputs, input_frames, references, reference_frames, strict=True)]
    labels = (x.repeat_interleave(2, 1).flatten(0, 1) for x in (pairs.curves, pairs.knobs, pairs.active))
    published = int(pairs.styles) == STYLES.index("published")
    inputs, targets, lead = _sections(pairs, PUBLISHED_SECONDS if published else REVERB_SECONDS)
    loudness = pairs.targets.square().mean(-1).sqrt().flatten()
    labelled = LabelledStatistics(of_inputs, references, torch.stack(matched), *labels)
    return Examples(*labelled, inputs, targets, loudness, torch.tensor(lead), pairs.sample_rate, pairs.styles)


def _sections(pairs: PairBatch, seconds: tuple[float, float]) -> tuple[Tensor, Tensor, int]:
    """Cut a section with its lead out of each example: inputs, targets, and the length of the lead."""
    lead, length = (round(part * int(pairs.sample_rate)) for part in seconds)
    starts = (pairs.section * (pairs.inputs.shape[-1] - lead - length)).long().tolist()
    inputs, targets = (
        torch.stack([row[start : start + lead + length] for row, start in zip(x.flatten(0, 2), starts, strict=True)])
        for x in (pairs.inputs, pairs.targets)
    )
    return inputs, targets, lead


class CachedExamples(Dataset[Examples]):
    """A folder of analysed examples, a file for each batch; what is not there yet is drawn and analysed first.

    Sound is kept in 16 bits, every row at full scale, its treble raised before and lowered after: treble that is soft
    would drown in their noise.

    Args:
        folder: Where they are kept.
        model: Analyses them; it is not to change any more.
        draw: Gives the pairs of a split and a number.
        split: Whose batches it has when it is asked for them by number alone.
        count: And how many.
    """

    def __init__(self, folder: Path, model: StudioModel, draw: DrawPairs, split: str, count: int) -> None:
        self.folder, self.model, self.draw = folder, model, draw
        self.split, self.count = split, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Examples:
        return self.get(self.split, index)

    def prepare(self, about: Mapping[str, Any]) -> None:
        """Keep what is there, if the same feature extractor analysed it, and clear it away if not.

        Args:
            about: What the examples depend on beside the feature extractor, as JSON has it.
        """
        weights = b"".join(tensor.numpy().tobytes() for tensor in self.model.extractor.state_dict().values())
        about = {"layout": list(Examples._fields), **about, "extractor": hashlib.sha256(weights).hexdigest()}
        text = to_json(about, indent=1) + "\n"
        mark = self.folder / MARK
        if mark.is_file() and mark.read_text(encoding="utf-8") == text:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        staging.write(mark, text.encode())

    def get(self, split: str, number: int) -> Examples:
        """Return a batch."""
        path = self.folder / f"{split}-{number:06d}.npz"
        if not path.is_file():
            with self._made_once(split, number), torch.no_grad():
                if not path.is_file():
                    self._keep(path, analyse(self.model, self.draw(split, number)))
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in Examples._fields}  # each is read where it is asked for
            for name in ("inputs", "targets"):
                arrays[name] = _from_16_bits(arrays[name], kept[f"{name}_scale"])
        return Examples(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    @contextlib.contextmanager
    def _made_once(self, split: str, number: int) -> Iterator[None]:
        """Wait while another process makes the same batch, unless it dies."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ImportError, OSError):  # where nothing can be locked, both make it
                import fcntl

                mark = stack.enter_context(open(self.folder / MARK, "rb+"))
                place = 2 * number + (split == self.split)
                fcntl.lockf(mark, fcntl.LOCK_EX, 1, place)  # a byte for each batch, whether the file is so long or not
            yield

    def _keep(self, path: Path, examples: Examples) -> None:
        arrays = {name: tensor.numpy() for name, tensor in examples._asdict().items()}
        for name in ("inputs", "targets"):
            arrays[name], arrays[f"{name}_scale"] = _in_16_bits(arrays[name])
        whole = io.BytesIO()
        np.savez(whole, **arrays)
        staging.write(path, whole.getvalue())  # several processes analyse, and one may be killed


class AnalysisStage(TrainingStage):
    """Fills the cache, for all later stages learn from it.

    Args:
        cache: The examples.
        about: What they depend on.
        loaders: In how many processes to analyse; 0 for this one.
    """

    name = "analysis"

    def __init__(self, cache: CachedExamples, about: Mapping[str, Any], loaders: int) -> None:
        self._cache, self._about, self._loaders = cache, about, loaders
        self.labelled: LabelledStatistics

    @property
    def steps(self) -> int:
        return len(self._cache)

    def run(self, monitor: Monitor) -> None:
        self._cache.prepare(self._about)
        batches = []
        with one_thread():
            loader = DataLoader(
                _WithoutSound(self._cache), batch_size=None, num_workers=self._loaders, worker_init_fn=leave_signals
            )
            for step, batch in enumerate(loader, 1):
                batches.append(LabelledStatistics(*(tensor.clone() for tensor in batch)))
                monitor.report(Progress(self.name, step, self.steps))
                monitor.check()
        self.labelled = LabelledStatistics(*(torch.cat(parts) for parts in zip(*batches, strict=True)))

    def recall(self) -> None:
        self.run(Monitor(None))


class _WithoutSound(Dataset[LabelledStatistics]):
    """Cached examples without their sound, so that no process hands it to another."""

    def __init__(self, cache: CachedExamples) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> LabelledStatistics:
        return self.cache[index].labelled


def _in_16_bits(x: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    raised = x.copy()
    raised[:, 1:] -= EMPHASIS * x[:, :-1]
    scale = np.maximum(np.abs(raised).max(axis=1, keepdims=True), 1e-6) / FULL_SCALE
    return np.round(raised / scale).astype(np.int16), scale.astype(np.float32)


def _from_16_bits(kept: NDArray[np.int16], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    lowered = np.empty(kept.shape, np.float32)
    _lower(kept, scale[:, 0], np.float32(EMPHASIS), lowered)
    return lowered


@Compiled
def _lower(kept: NDArray[Any], scale: NDArray[Any], emphasis: float, lowered: NDArray[Any]) -> None:
    """Scale rows and lower their treble, in single precision, as the samples are."""
    # A sample waits for the one before it; meanwhile the CPU can take those of other rows.
    lanes = np.zeros(LANES, np.float32)
    for first in range(0, kept.shape[0], LANES):
        rows = min(LANES, kept.shape[0] - first)
        lanes[:] = 0
        for n in range(kept.shape[1]):
            for lane in range(rows):
                row = first + lane
                lanes[lane] = kept[row, n] * scale[row] + emphasis * lanes[lane]
                lowered[row, n] = lanes[lane]

"""Examples that a studio model has listened to, kept as files: listening takes longer than all that follows."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fxst import staging
from fxst.models.studio import StudioModel
from fxst.threads import one_thread

__all__ = ["Examples", "Lesson", "Lessons", "hear"]

Draw = Callable[[str, int], tuple[Tensor, ...]]
"""Gives productions as tensors, by split and number: inputs and targets (n, WAYS, 2, T), wanted (n, WAYS, E), knobs
(n, WAYS, P), curves (n, WAYS, bands), where each example's section begins (n * WAYS * 2,) on [0, 1], and the sample
rate ()."""

LEAD_SECONDS: Final = 0.25
SECTION_SECONDS: Final = 1.0
REVERB_LEAD_SECONDS: Final = 0.75
REVERB_SECTION_SECONDS: Final = 0.75
"""What is rendered of each example before it is compared, for there filters and followers settle and the sound gathers
that a reverb still holds; and what is compared."""

FULL_SCALE: Final = 32767

EMPHASIS: Final = 0.95
"""So much of each sample is taken from the next, and added again."""


class Lesson(NamedTuple):
    """What a model hears of some examples, and what it should say.

    Shape:
        heard, reference: (B, D); matched: (B, M); curves: (B, bands); knobs: (B, P) and wanted: (B, E), NaN where
            nobody can say.
    """

    heard: Tensor
    reference: Tensor
    matched: Tensor
    curves: Tensor
    knobs: Tensor
    wanted: Tensor


class Examples(NamedTuple):
    """Lessons with a section of their sound.

    Shape:
        As `Lesson`; inputs, targets: (B, lead + T), whose lead is not compared; loudness: (B,), the targets' RMS;
        lead, sample_rate: (); published: (), whether their styles are those of the published evaluation.
    """

    heard: Tensor
    reference: Tensor
    matched: Tensor
    curves: Tensor
    knobs: Tensor
    wanted: Tensor
    inputs: Tensor
    targets: Tensor
    loudness: Tensor
    lead: Tensor
    sample_rate: Tensor
    published: Tensor

    @property
    def lesson(self) -> Lesson:
        """What is known without the sound."""
        return Lesson(*self[: len(Lesson._fields)])


def hear(model: StudioModel, drawn: tuple[Tensor, ...]) -> Examples:
    """Listen to productions: each half of each way is an example, and the target's other half its reference."""
    inputs, targets, wanted, knobs, curves, at, rate = drawn
    sample_rate = int(rate)
    window = model.window_at(sample_rate)
    windows = torch.stack((inputs, targets)).unfold(-1, window, window)
    windows = windows - windows.mean(-1, keepdim=True)
    statistics = model.hear(windows.flatten(0, -2), sample_rate=sample_rate)
    heard, produced = statistics.view(*windows.shape[:-1], -1).mean(-2)
    heard, references = heard.flatten(0, 2), produced.flip(2).flatten(0, 2)
    frames = [model.frames(x, sample_rate=sample_rate) for x in windows.flatten(0, -3)]
    of_inputs, of_targets = frames[: len(heard)], frames[len(heard) :]
    # An example's reference is its target's other half, the one beside it.
    pairs = zip(heard, of_inputs, references, (of_targets[i ^ 1] for i in range(len(heard))), strict=True)
    matched = torch.stack([model.match(*pair) for pair in pairs])
    curves, knobs, wanted = (known.repeat_interleave(2, 1).flatten(0, 1) for known in (curves, knobs, wanted))
    published = wanted.isnan().any()
    seconds = (LEAD_SECONDS, SECTION_SECONDS) if published else (REVERB_LEAD_SECONDS, REVERB_SECTION_SECONDS)
    lead, length = (round(part * sample_rate) for part in seconds)
    starts = (at * (inputs.shape[-1] - lead - length)).long().tolist()
    before, after = (
        torch.stack([row[start : start + lead + length] for row, start in zip(x.flatten(0, 2), starts, strict=True)])
        for x in (inputs, targets)
    )
    loudness = targets.square().mean(-1).sqrt().flatten()
    return Examples(
        heard,
        references,
        matched,
        curves,
        knobs,
        wanted,
        before,
        after,
        loudness,
        torch.tensor(lead),
        rate,
        published,
    )


class Lessons(Dataset[Examples]):
    """A folder of examples that were heard, a file for each batch; what is not there yet is drawn and heard first.

    Sound is kept in 16 bits, every row at full scale, its treble raised before and lowered after: treble that is soft
    would drown in their noise.

    Args:
        folder: Where they are kept.
        model: Who listens; it is not to change any more.
        draw: Gives the productions of a split and a number.
        split: Whose batches it has when it is asked for them by number alone.
        count: And how many.
    """

    def __init__(self, folder: Path, model: StudioModel, draw: Draw, split: str, count: int) -> None:
        self.folder, self.model, self.draw = folder, model, draw
        self.split, self.count = split, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Examples:
        return self.get(self.split, index)

    def begin(self, about: Mapping[str, Any]) -> None:
        """Keep what is there of a run that ended early, if it was heard with the same ear, and clear it away if not.

        Args:
            about: What the lessons depend on beside the ear, as JSON has it.
        """
        ear = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in self.model.ear.state_dict().values()))
        text = json.dumps({**about, "ear": ear.hexdigest()}, indent=1) + "\n"
        mark = self.folder / "heard.json"
        if mark.is_file() and mark.read_text(encoding="utf-8") == text:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        staging.write(mark, text.encode())

    def get(self, split: str, number: int) -> Examples:
        """Give a batch."""
        path = self.folder / f"{split}-{number:06d}.npz"
        if not path.is_file():
            with torch.no_grad():
                self._keep(path, hear(self.model, self.draw(split, number)))
        with np.load(path, allow_pickle=False) as kept:
            known = {name: torch.from_numpy(kept[name]) for name in Examples._fields}
            for name in ("inputs", "targets"):
                known[name] = torch.from_numpy(_from_16_bits(kept[name], kept[f"{name}_scale"]))
        return Examples(**known)

    def all(self, loaders: int) -> Lesson:
        """Hear what was not heard yet, and give of every batch what is known without its sound.

        Args:
            loaders: In how many processes; 0 for this one.
        """
        with one_thread():
            loader = DataLoader(_Heard(self), batch_size=None, num_workers=loaders)
            every = [Lesson(*(tensor.clone() for tensor in lesson)) for lesson in loader]
        return Lesson(*(torch.cat(parts) for parts in zip(*every, strict=True)))

    def _keep(self, path: Path, examples: Examples) -> None:
        arrays = {name: tensor.numpy() for name, tensor in examples._asdict().items()}
        for name in ("inputs", "targets"):
            arrays[name], arrays[f"{name}_scale"] = _in_16_bits(arrays[name])
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = io.BytesIO()
        np.savez(whole, **arrays)
        staging.write(path, whole.getvalue())  # several processes hear, and one may be killed


class _Heard(Dataset[Lesson]):
    """Lessons without their sound, so that no process hands it to another."""

    def __init__(self, lessons: Lessons) -> None:
        self.lessons = lessons

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, index: int) -> Lesson:
        return self.lessons[index].lesson


def _in_16_bits(x: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    raised = x.copy()
    raised[:, 1:] -= EMPHASIS * x[:, :-1]
    scale = np.maximum(np.abs(raised).max(axis=1, keepdims=True), 1e-6) / FULL_SCALE
    return np.round(raised / scale).astype(np.int16), scale.astype(np.float32)


def _from_16_bits(kept: NDArray[np.int16], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.signal import lfilter

    # In single precision, as the samples are.
    lowered: NDArray[np.float32] = lfilter(np.ones(1, np.float32), np.array([1, -EMPHASIS], np.float32), kept * scale)
    return lowered

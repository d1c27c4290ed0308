"""Train a studio model: passages are produced in two ways, and it is asked to turn one into the other."""

import copy
import json
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.chains.chain import Chain
from fxst.checkpoints import checkpoint
from fxst.configs import StyleConfig
from fxst.data import manifest
from fxst.data.productions import WAYS, Productions, draw_productions, drawn_rates
from fxst.dsp.stft import MR_STFT_FLOOR, mirrored, spectral_power, stft
from fxst.effects import ParametricEQ
from fxst.errors import ModelError, SettingsError
from fxst.models.studio import StudioModel, StudioModelConfig
from fxst.training import runs
from fxst.training.lessons import (
    REVERB_LEAD_SECONDS,
    REVERB_SECTION_SECONDS,
    Examples,
    Lessons,
    hear,
)
from fxst.training.study import CURVE_WEIGHT, STUDY, STUDY_RATE, study, teach_expectation, teach_fitter, told_loss

__all__ = ["StudioLoss", "StudioModule", "render_wanted", "train"]

log = logging.getLogger(__name__)

PUBLISHED_SHARE: Final = 0.8
"""How often a batch's styles are those of the published evaluation; else the chain's own."""

EXAMPLES_OF_A_PASSAGE: Final = 2 * WAYS

SHORT_SHARE: Final = 0.3
"""How often a model hears half as much: it is to judge short recordings, too."""

TYPICAL_RMS: Final = 0.04

STEP_SHARES: Final = {"controller.hidden.0": 0.6, "controller.out": 0.65}
"""Layers whose weights take smaller steps: many inputs that move together would move every band by a decibel a step."""

TOLD_WEIGHTS: Final = {"curve_db": CURVE_WEIGHT / 20, "wanted": 0.3, "knobs": 0.1}
"""What is known of examples, beside their sound. Knobs count little: many are of SoX's compressors, which are not ours.
Curves count fully: left to the sound alone, the rest of the chain comes to rely on curves that are no curves."""

EXPECTATION_EPOCHS: Final = 5

FIRST_VALUES: Final = {
    ("upward_compressor", "ratio"): 2.5,
    ("compressor", "threshold_db"): -36.0,
    ("compressor", "ratio"): 2.5,
    ("compressor", "attack_ms"): 50.0,
    ("compressor", "release_ms"): 300.0,
}

AVERAGE_STEPS: Final = 500
"""Over how many steps, about, the weights that are kept are averaged."""


class StudioLoss(nn.Module):
    """What the evaluation asks for, as a loss: spectra at several resolutions, waveform, level, crest and brightness.

    Source:
        The spectral distance of the published evaluation (C. J. Steinmetz et al., 2022), at four of its resolutions.
    """

    WINDOWS = (128, 512, 2048, 8192)
    CENTROID_WINDOW = 2048

    def __init__(self) -> None:
        super().__init__()
        for window in self.WINDOWS:
            self.register_buffer(f"window{window}", torch.hann_window(window), persistent=False)

    def forward(self, output: Tensor, target: Tensor, *, sample_rate: int) -> dict[str, Tensor]:
        """Measure how far outputs are from their targets.

        Shape:
            output, target: (B, T); each result: scalar.
        """
        stft = output.new_zeros(())
        brightness = output.new_zeros(())
        for window in self.WINDOWS:
            ours, theirs = (self._magnitudes(x, window) for x in (output, target))
            stft = stft + F.l1_loss(ours, theirs) + F.l1_loss(ours.log(), theirs.log())
            if window == self.CENTROID_WINDOW:
                hz = torch.linspace(0, sample_rate / 2, ours.shape[-1], device=ours.device)
                our_centroid, their_centroid = (((m * hz).sum(-1) / m.sum(-1)).mean(-1) for m in (ours, theirs))
                brightness = F.l1_loss(our_centroid, their_centroid) / 1000
        (our_level, our_crest), (their_level, their_crest) = _dynamics(output), _dynamics(target)
        level, crest = F.l1_loss(our_level, their_level), F.l1_loss(our_crest, their_crest)
        mae = F.l1_loss(output, target)
        stft = stft / len(self.WINDOWS)
        loss = stft + 10 * mae + 0.03 * level + 0.02 * crest + 0.15 * brightness
        return {
            "loss": loss,
            "stft": stft,
            "mae": mae,
            "level_db": level,
            "crest_db": crest,
            "brightness_khz": brightness,
        }

    def _magnitudes(self, x: Tensor, window: int) -> Tensor:
        spectrum = stft(mirrored(x, window), self.get_buffer(f"window{window}"), hop=window // 2)
        return spectral_power(spectrum).clamp_min(MR_STFT_FLOOR).sqrt()


def _dynamics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Measure level and crest factor, in dB: (B,) each."""
    level = 10 * (x.square().mean(-1) + 1e-10).log10()
    return level, 20 * (x.abs().amax(-1) + 1e-5).log10() - level


def render_wanted(chain: Chain, x: Tensor, knobs: Tensor, wanted: Tensor, *, sample_rate: int) -> Tensor:
    """Render each row through those effects that it wants.

    Args:
        chain: The effects.
        x: Audio.
        knobs: Where their knobs are.
        wanted: Which effects each row wants.
        sample_rate: Samples a second.

    Shape:
        x: (B, 1, T); knobs: (B, P), on [0, 1]; wanted: (B, E), bool; result: (B, 1, T).
    """
    for effect, values, rows in zip(chain.effects, chain.split(knobs), wanted.unbind(1), strict=True):
        if rows.all():
            x = effect.autodiff(x, values, sample_rate=sample_rate)
        elif rows.any():
            # What an effect costs is paid for the rows that are to hear it.
            index = rows.nonzero()[:, 0]
            heard = {name: value[index] for name, value in values.items()}
            x = x.index_copy(0, index, effect.autodiff(x[index], heard, sample_rate=sample_rate))
    return x


class StudioModule(runs.TrainingModule):
    """One training step: hear all productions, pair them, render sections of the pairs, compare.

    Args:
        model: Decides.
        chain: What it decides on.
        config: The run's settings.
    """

    def __init__(self, model: StudioModel, chain: Chain, config: StyleConfig) -> None:
        super().__init__(model, config)
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.chain = chain
        self.loss = StudioLoss()
        self.switched = torch.tensor([effect.switched for effect in chain.effects])
        # Bands can take each other's place: where they were says little.
        told = [label for label, e in zip(chain.labels, chain.effects, strict=True) if not isinstance(e, ParametricEQ)]
        self.told = torch.tensor([[float(label == mine) for label, _ in chain.knobs] for mine in told])

    def measure(self, batch: Examples | tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the losses of a batch; of validation batches also what doing nothing leaves, by the average weights.

        Args:
            batch: Examples that were heard, or productions to hear, as `fxst.training.lessons` has them.
        """
        if self.training:  # what is dropped at random depends on the step alone, so that resuming is exact
            torch.manual_seed((1_000_003 * self.config.seed + self.global_step) % 2**63)
        model: StudioModel = self.model if self.training else self.average
        examples = batch if isinstance(batch, Examples) else hear(model, batch)
        sample_rate, lead = int(examples.sample_rate), int(examples.lead)
        _, decided, told = told_loss(model, examples.lesson, self.told)
        x, target, true_wanted = examples.inputs, examples.targets, examples.wanted
        assert decided.wanted is not None
        predicted = decided.wanted > 0
        gates = torch.where(true_wanted.isnan(), predicted, true_wanted > 0) if self.training else predicted
        gates = gates | ~self.switched.to(gates.device)
        output = render_wanted(self.chain, x[:, None], decided.knobs, gates, sample_rate=sample_rate)[:, 0]
        # Every example counts as if its target were as loud as those of the published evaluation.
        scale = (TYPICAL_RMS / examples.loudness.clamp_min(1e-6)).clamp(0.02, 50)[:, None]
        x, output, target = (scale * y[:, lead:] for y in (x, output, target))
        losses = self.loss(output, target, sample_rate=sample_rate)

        losses["loss"] = losses["loss"] + sum(weight * told[part] for part, weight in TOLD_WEIGHTS.items())
        if self.training:
            return {**losses, **told}
        kind = "published" if examples.published else "chain"
        nothing = self.loss(x, target, sample_rate=sample_rate)["stft"]
        right = (predicted == (true_wanted > 0))[true_wanted.isfinite()].float().mean()
        return {
            "loss": losses["loss"],
            f"{kind}_stft": losses["stft"],
            f"{kind}_input_stft": nothing,
            f"{kind}_right": right,
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give the weights, those of some layers with a smaller step."""
        rate = self.config.learning_rate
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if name.startswith(("expectation", "controller.fitter")):
                continue  # they have learned before
            if self.config.lessons and name.startswith("ear"):
                continue  # what was heard with it is kept
            share = next((share for layer, share in STEP_SHARES.items() if name.startswith(layer)), 1.0)
            groups.setdefault(share, []).append(parameter)
        return [{"params": parameters, "lr": share * rate} for share, parameters in groups.items()]

    def on_train_batch_end(self, *_: Any) -> None:
        share = 1 / min(AVERAGE_STEPS, self.global_step + 1)
        with torch.no_grad():
            for mine, theirs in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                mine.lerp_(theirs, share)

    def on_validation_epoch_end(self) -> None:
        metrics = self.trainer.callback_metrics
        for kind in ("published", "chain"):
            self.log(
                f"val_{kind}_ratio", metrics[f"val_{kind}_stft"] / metrics[f"val_{kind}_input_stft"], prog_bar=True
            )


COLUMNS = (
    "step",
    "seconds",
    "train_loss",
    "val_loss",
    "val_published_stft",
    "val_published_input_stft",
    "val_published_ratio",
    "val_chain_stft",
    "val_chain_input_stft",
    "val_chain_ratio",
    "val_chain_right",
)

CURVES = (
    runs.Curve("val_published_ratio", "validation, published styles, of the input's"),
    runs.Curve("val_chain_ratio", "validation, the chain's styles, of the input's"),
    runs.Curve("train_loss", "training loss", "--"),
)


def train(config: StyleConfig, chain: Chain, folder: Path) -> "runs.Run[StudioModule]":
    """Train a studio model on built datasets, and export the best one.

    Raises:
        FxstError: A dataset, the chain or the folder will not do.
        KeyboardInterrupt: It was interrupted before there was a model.
    """
    if config.gradient != "autodiff" or config.proxies:
        raise SettingsError(
            "--recipe passages trains through the effects' torch forms: leave out --gradient and --proxy."
        )
    datasets = [manifest.Dataset.open(path) for path in (config.dataset, *config.also)]
    seconds = datasets[0].clip_samples / datasets[0].sample_rate
    for data in datasets:
        if abs(data.clip_samples - seconds * data.sample_rate) > 1:
            raise SettingsError(
                f"The clips of {str(data.folder)!r} are not as long as those of the first dataset: build it with "
                f"--seconds {seconds:.6g}."
            )
    passages = config.batch // EXAMPLES_OF_A_PASSAGE
    if not passages:
        raise SettingsError(f"A passage makes {EXAMPLES_OF_A_PASSAGE} examples: --batch takes so many or more.")
    shortest = max(1, config.listen_clips // 2) * seconds
    if shortest < REVERB_LEAD_SECONDS + REVERB_SECTION_SECONDS:
        raise SettingsError(
            f"{max(1, config.listen_clips // 2)} clips last {shortest:.3g} s, and half a passage must last "
            f"{REVERB_LEAD_SECONDS + REVERB_SECTION_SECONDS:.3g} s at least: use more --listen-clips, or longer clips."
        )
    config_of_model = StudioModelConfig.for_chain(chain, seconds)
    eq = chain.effects[chain.labels.index(chain.knobs[config_of_model.first_curve_knob][0])]
    assert isinstance(eq, ParametricEQ)
    if not chain.differentiable or not all(effect.transparent() for effect in chain.effects):
        raise SettingsError(f"Chain {chain.name} has an effect without a torch form: use --recipe clips.")

    def draw(split: str, step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((config.seed, ("train", "val", STUDY).index(split), step))
        training = split != "val"
        published = rng.random() < PUBLISHED_SHARE if training else step % 3 < 2
        short = training and rng.random() < SHORT_SHARE
        made = draw_productions(
            datasets if training else [datasets[step % len(datasets)]],
            "train" if training else split,
            chain,
            styles="published" if published else "chain",
            passages=passages,
            clips=max(1, config.listen_clips // 2) if short else config.listen_clips,
            augment=training,
            rng=rng,
        )
        return _tensors(made, rng)

    for number in range(len(datasets)):  # what is missing must not be found out after hundreds of steps
        draw("val", number)

    lessons: list[Lessons] = []

    def make() -> StudioModule:
        model = StudioModel(config_of_model)
        model.controller.begin(_first_knobs(chain, config_of_model.curve_knobs))
        if config.begin_with:
            begun = checkpoint.load(config.begin_with)
            if not isinstance(begun.model, StudioModel) or begun.chain.to_spec() != chain.to_spec():
                raise ModelError(f"The model {config.begin_with} sets another chain: it cannot be trained further.")
            model.load_state_dict(begun.model.state_dict())
        module = StudioModule(model, chain, config)
        if config.lessons:
            ear = copy.deepcopy(model).requires_grad_(False).eval()
            lessons.append(Lessons(folder / "lessons", ear, draw, STUDY, config.lessons))
        if not config.resume:  # else all of it comes from the checkpoint
            if not config.begin_with:
                log.info("Teaching the fitter: %d steps.", config.fitter_steps)
                rates = drawn_rates(datasets)
                error_db = teach_fitter(model, eq, sample_rates=rates, steps=config.fitter_steps, seed=config.seed)
                log.info("It misses its curves by %.2f dB on average.", error_db)
            if config.lessons:
                lessons[0].begin(_heard_by(config, chain))
                log.info("Listening to %d batches.", config.lessons)
                known = lessons[0].all(config.loaders)
            if config.lessons and not config.begin_with:  # else it has studied before
                log.info("Learning from what is known of them %d times.", config.study_epochs)
                loss = study(
                    model,
                    known,
                    told=module.told,
                    epochs=config.study_epochs,
                    learning_rate=STUDY_RATE,
                    seed=config.seed,
                )
                log.info("The loss of what is known is %.3f.", loss)
                error_db = teach_expectation(
                    model, known, epochs=EXPECTATION_EPOCHS, learning_rate=STUDY_RATE, seed=config.seed
                )
                log.info("Spectra are expected with %.2f dB of error; now through the sound.", error_db)
            module.average.load_state_dict(model.state_dict())
        return module

    def batch(split: str, step: int) -> tuple[Tensor, ...]:
        if not lessons:
            return draw(split, step)
        if split == "train":
            epoch, place = divmod(step, config.lessons)
            order = np.random.default_rng((config.seed, 3, epoch)).permutation(config.lessons)
            return lessons[0].get(STUDY, int(order[place]))
        return lessons[0].get(split, step)

    run = runs.run(config, folder, make, batch, columns=COLUMNS)
    card = run.card(*datasets, gradient="autodiff")
    checkpoint.save(run.folder, run.module.average, chain, sample_rate=datasets[0].sample_rate, card=card)
    run.write_losses(chain.name, CURVES, unit="MR-STFT, of the input's; loss")
    return run


def _tensors(made: Productions, rng: np.random.Generator) -> tuple[Tensor, ...]:
    at = rng.random(made.inputs[..., 0].size, dtype=np.float32)
    arrays = (made.inputs, made.targets, made.wanted, made.knobs, made.curves, at, np.array(made.sample_rate))
    return tuple(torch.from_numpy(np.asarray(array)) for array in arrays)


def _heard_by(config: StyleConfig, chain: Chain) -> dict[str, Any]:
    """Tell what lessons depend on beside the ear."""
    layout = {"layout": list(Examples._fields)}  # so that none of an older layout are taken for today's
    names = ("dataset", "also", "batch", "listen_clips", "seed")
    plain: dict[str, Any] = json.loads(json.dumps({name: getattr(config, name) for name in names}, default=str))
    return layout | plain | {"chain": chain.to_spec()}  # its ranges, too: knobs are told on them


def _first_knobs(chain: Chain, curve_knobs: slice) -> Tensor:
    """Begin where effects do as little as they can, and at their defaults where that says nothing.

    But for a compressor: one that does nothing passes no gradient on to what it could do.
    """
    knobs = [
        p.to_knob(FIRST_VALUES.get((effect.name, p.name), effect.transparent().get(p.name, p.default)))
        for effect in chain.effects
        for p in effect.parameters
        if not p.constant
    ]
    del knobs[curve_knobs]
    return torch.tensor(knobs)

"""Train a studio model: of each passage there are versions, and it is asked to turn one into another.

Its curriculum has three stages: the EQ fitter learns from curves alone; pretraining, from the labels of analysed
examples; and end to end, the model learns through the sound.
"""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.chains.chain import Chain
from fxst.checkpoints import card as cards
from fxst.checkpoints import checkpoint, torch_models
from fxst.configs import PassagesConfig
from fxst.data import manifest
from fxst.data.training_pairs import STYLES, VERSIONS, Styles, draw_pairs, drawn_rates
from fxst.data_parallel import all_rows_mean
from fxst.effects import ParametricEQ
from fxst.errors import ModelError, SettingsError
from fxst.models.studio import StudioModelConfig
from fxst.models.trainable import StudioModel
from fxst.training import declarations, run_folder, runs
from fxst.training.cached_examples import REVERB_SECONDS, AnalysisStage, CachedExamples, Examples, PairBatch, analyse
from fxst.training.curriculum import TrainingStage, run_stages
from fxst.training.losses import SpectralDistance
from fxst.training.pretraining import CURVE_WEIGHT, EQFitterStage, PretrainingStage, supervised_loss
from fxst.training.progress import Report
from fxst.untrusted import quoted

__all__ = ["StudioLoss", "StudioModule", "render_active", "studio_config", "train"]

STYLE_SHARES: Final[dict[Styles, float]] = {"published": 0.45, "chain": 0.15, "produced": 0.4}
"""How often a batch's styles are of each kind."""

VALIDATED: Final[tuple[Styles, ...]] = ("published", "produced", "published", "produced", "chain")
"""The styles of validation batches, in turn."""

EXAMPLES_OF_A_PASSAGE: Final = 2 * VERSIONS

CACHED: Final = "cached"
"""Split of the batches that are analysed once, beside `train` and `val`."""

LOWEST_RATE: Final = 22_050
"""Of the corruptions of the published evaluation, many act on frequencies that lower rates do not hold."""

SHORT_SHARE: Final = 0.3
"""How often passages are half as long: the model is to judge short recordings, too."""

TYPICAL_RMS: Final = 0.04

FRAME_SECONDS: Final = 0.05
LEVELS_RANGE_DB: Final = 40.0
"""The frames whose levels are compared as a distribution, and how far below the loudest one they count."""

STEP_SHARES: Final = {"controller.hidden.0": 0.6, "controller.out": 0.65}
"""Layers whose weights take smaller steps: many inputs that move together would move every band by a decibel a step."""

LABEL_WEIGHTS: Final = {"curve_db": CURVE_WEIGHT / 20, "activation": 0.3, "knobs": 0.1}
"""Weights of the labels' losses beside that of the sound. Knobs count little: many are of SoX's compressors, which are
not ours. Curves count fully: left to the sound alone, the rest of the chain comes to rely on curves that are none."""

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

    Spectra alone hardly ask for dynamics, so the levels of short frames are compared as distributions, too.

    Source:
        The spectral distance of the published evaluation (C. J. Steinmetz et al., 2022), at four of its resolutions.
    """

    WINDOWS = (128, 512, 2048, 8192)
    CENTROID_WINDOW = 2048

    def __init__(self) -> None:
        super().__init__()
        hops = [window // 2 for window in self.WINDOWS]
        self.spectral_distance = SpectralDistance(self.WINDOWS, hops=hops, centroid_window=self.CENTROID_WINDOW)

    def forward(self, output: Tensor, target: Tensor, *, sample_rate: int) -> dict[str, Tensor]:
        """Measure how far outputs are from their targets.

        Shape:
            output, target: (B, T); each result: scalar.
        """
        stft, brightness = self.spectral_distance(output, target)
        brightness = brightness * (sample_rate / 2000)
        (our_level, our_crest), (their_level, their_crest) = _dynamics(output), _dynamics(target)
        level, crest = F.l1_loss(our_level, their_level), F.l1_loss(our_crest, their_crest)
        levels = F.l1_loss(_sorted_levels(output, sample_rate), _sorted_levels(target, sample_rate))
        mae = F.l1_loss(output, target)
        loss = stft + 10 * mae + 0.03 * level + 0.04 * crest + 0.02 * levels + 0.15 * brightness
        return {
            "loss": loss,
            "stft": stft,
            "mae": mae,
            "level_db": level,
            "crest_db": crest,
            "levels_db": levels,
            "brightness_khz": brightness,
        }


def _dynamics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Measure level and crest factor, in dB: (B,) each."""
    level = 10 * (x.square().mean(-1) + 1e-10).log10()
    return level, 20 * (x.abs().amax(-1) + 1e-5).log10() - level


def _sorted_levels(x: Tensor, sample_rate: int) -> Tensor:
    """Sort the levels of short frames, in dB: (B, T) to (B, frames). Their differences are those of distributions."""
    samples = round(FRAME_SECONDS * sample_rate)
    frames = x.unfold(-1, samples, samples).square().mean(-1)
    floor = frames.amax(-1, keepdim=True) * 10 ** (-LEVELS_RANGE_DB / 10) + 1e-10
    return 10 * (frames + floor).log10().sort(-1).values


def render_active(chain: Chain, x: Tensor, knobs: Tensor, active: Tensor, *, sample_rate: int) -> Tensor:
    """Render each row through its active effects.

    Args:
        chain: The effects.
        x: Audio.
        knobs: Where their knobs are.
        active: Which effects each row goes through.
        sample_rate: Samples a second.

    Shape:
        x: (B, 1, T); knobs: (B, P), on [0, 1]; active: (B, E), bool; result: (B, 1, T).
    """
    for effect, values, rows in zip(chain.effects, chain.split(knobs), active.unbind(1), strict=True):
        if rows.all():
            x = effect.autodiff(x, values, sample_rate=sample_rate)
        elif rows.any():
            # What an effect costs is paid for the rows that go through it.
            index = rows.nonzero()[:, 0]
            of_rows = {name: value[index] for name, value in values.items()}
            x = x.index_copy(0, index, effect.autodiff(x[index], of_rows, sample_rate=sample_rate))
    return x


class StudioModule(runs.TrainingModule):
    """One training step: analyse all pairs, decide, render sections of the inputs, compare with the targets.

    Args:
        model: Decides.
        chain: What it decides on.
        config: The run's settings.
        stages: What the model is trained by before.
    """

    stage = "end to end"
    columns = (
        "step",
        "seconds",
        "train_loss",
        "val_loss",
        runs.LOSS_RATIO,
        "val_published_stft",
        "val_published_input_stft",
        "val_published_ratio",
        "val_chain_stft",
        "val_chain_input_stft",
        "val_chain_ratio",
        "val_chain_right",
        "val_produced_stft",
        "val_produced_input_stft",
        "val_produced_ratio",
        "val_produced_crest_ratio",
    )

    def __init__(
        self, model: StudioModel, chain: Chain, config: PassagesConfig, stages: Sequence[TrainingStage] = ()
    ) -> None:
        super().__init__(model, config)
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.chain = chain
        self.stages = stages
        self.loss = StudioLoss()
        self.needs_bypass = torch.tensor([effect.needs_bypass for effect in chain.effects])
        self.labelled_knobs = _labelled_knobs(chain)

    def prepare(self, folder: Path) -> None:
        try:
            run_stages(self.stages, self.model, folder / "checkpoints" / "stages.ckpt", self.monitor)
        finally:
            self.average.load_state_dict(self.model.state_dict())

    def measure(self, batch: Examples | PairBatch) -> dict[str, Tensor]:
        """Return the losses of a batch; of validation batches also what doing nothing leaves, by the average weights.

        Args:
            batch: Analysed examples, or pairs to analyse.
        """
        if self.training:  # what is dropped at random depends on the step alone, so that resuming is exact
            torch.manual_seed((1_000_003 * self.config.seed + self.global_step) % 2**63)
        model: StudioModel = self.model if self.training else self.average
        examples = batch if isinstance(batch, Examples) else analyse(model, batch)
        sample_rate, lead = int(examples.sample_rate), int(examples.lead)
        _, decided, of_labels = supervised_loss(model, examples.labelled, self.labelled_knobs)
        x, target = examples.inputs, examples.targets
        assert decided.activation is not None
        predicted = decided.activation > 0
        label = examples.active
        gates = torch.where(label.isnan(), predicted, label > 0) if self.training else predicted
        gates = gates | ~self.needs_bypass.to(gates.device)
        output = render_active(self.chain, x[:, None], decided.knobs, gates, sample_rate=sample_rate)[:, 0]
        # Every example counts as if its target were as loud as those of the published evaluation.
        scale = (TYPICAL_RMS / examples.loudness.clamp_min(1e-6)).clamp(0.02, 50)[:, None]
        x, output, target = (scale * y[:, lead:] for y in (x, output, target))
        losses = self.loss(output, target, sample_rate=sample_rate)
        own = {}
        if self.config.loss is not None:
            own = declarations.measure(self.config.loss, output, target, sample_rate=sample_rate)
        losses |= own
        output_loss = losses["loss"]
        losses["loss"] = output_loss + sum(weight * of_labels[part] for part, weight in LABEL_WEIGHTS.items())
        if self.training:
            return {**losses, **of_labels}
        kind = STYLES[int(examples.styles)]
        undone = self.loss(x, target, sample_rate=sample_rate)
        right = (predicted == (label > 0)) & label.isfinite()
        input_loss = undone["loss"]
        if self.config.loss is not None:
            input_loss = declarations.measure(self.config.loss, x, target, sample_rate=sample_rate)["loss"]
        return {
            **own,
            "loss": losses["loss"],
            "output_loss": output_loss,
            "input_loss": input_loss,
            f"{kind}_stft": losses["stft"],
            f"{kind}_input_stft": undone["stft"],
            f"{kind}_crest_ratio": all_rows_mean(losses["crest_db"]) / all_rows_mean(undone["crest_db"]),
            f"{kind}_right": right.sum().float() / all_rows_mean(label.isfinite().sum().float()),
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the weights, those of some layers with a smaller step."""
        rate = self.config.learning_rate
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if name.startswith("controller.fitter"):
                continue  # its stage is over
            if self.config.cached_batches and name.startswith("extractor"):
                continue  # what it has analysed is cached
            share = next((share for layer, share in STEP_SHARES.items() if name.startswith(layer)), 1.0)
            groups.setdefault(share, []).append(parameter)
        return [{"params": parameters, "lr": share * rate} for share, parameters in groups.items()]

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        share = 1 / min(AVERAGE_STEPS, self.global_step + 1)
        with torch.no_grad():
            for mine, theirs in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                mine.lerp_(theirs, share)
        super().on_train_batch_end(outputs, batch, index)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        metrics = self.trainer.callback_metrics
        for kind in STYLES:
            if f"val_{kind}_stft" in metrics:  # a validation of few batches has none of the last
                self.log(f"val_{kind}_ratio", metrics[f"val_{kind}_stft"] / metrics[f"val_{kind}_input_stft"])


CURVES = (
    runs.LossCurve("val_published_ratio", "validation, published styles, of the input's"),
    runs.LossCurve("val_produced_ratio", "validation, productions, of the input's"),
    runs.LossCurve("val_chain_ratio", "validation, the chain's styles, of the input's"),
    runs.LossCurve("train_loss", "training loss", "--"),
)


def studio_config(chain: Chain, window_seconds: float, **sizes: Any) -> StudioModelConfig:
    """Return the sizes of a model that sets a chain.

    Args:
        chain: Has an equaliser of free bands, and behind it a compressor with a make-up gain.
        window_seconds: Length of one analysis window.
        sizes: What else is not as usual.

    Raises:
        SettingsError: It is no such chain.
    """
    chain = chain.predicted
    free = [
        label
        for label, effect in zip(chain.labels, chain.effects, strict=True)
        if isinstance(effect, ParametricEQ) and not any(p.constant for p in effect.parameters)
    ]
    if not free:
        raise SettingsError(f"Chain {chain.name} has no equaliser of free bands: use --recipe clips.")
    mine = [index for index, (label, _) in enumerate(chain.knobs) if label == free[0]]
    gains = [
        (i, p.maximum) for i, (label, p) in enumerate(chain.knobs) if (label, p.name) == chain.gain and i > mine[-1]
    ]
    if not gains:
        raise SettingsError(
            f"Chain {chain.name} has no compressor with a make-up gain behind its equaliser: use --recipe clips."
        )
    gain_knob, gain_db = gains[0]
    return StudioModelConfig(
        n_knobs=len(chain.knobs),
        n_effects=len(chain.effects),
        n_curve_knobs=len(mine),
        gain_knob=gain_knob,
        gain_db=gain_db,
        window_seconds=window_seconds,
        first_curve_knob=mine[0],
        **sizes,
    )


def train(
    config: PassagesConfig, chain: Chain, folder: Path, *, resume: bool, report: Report | None
) -> "runs.Run[StudioModule]":
    """Train a studio model on built datasets, and export the best one.

    Raises:
        FxstError: A dataset, the chain or the folder will not do.
    """
    datasets = _datasets(config)
    whole, chain = chain, chain.predicted
    sizes = studio_config(chain, datasets[0].clip_samples / datasets[0].sample_rate)
    if not chain.differentiable:
        raise SettingsError(f"Chain {chain.name} has an effect without a torch form: use --recipe clips.")
    if not chain.can_be_bypassed:
        raise SettingsError(f"Chain {chain.name} has an effect that no setting bypasses: use --recipe clips.")
    if config.loss is not None:
        declarations.try_loss(config.loss, samples=datasets[0].clip_samples, sample_rate=datasets[0].sample_rate)
    draw = partial(_draw, config, chain, datasets)
    for number in range(len(datasets)):  # what is missing must not be found out after hundreds of steps
        draw("val", number)

    def make() -> tuple[StudioModule, runs.Draw]:
        model = StudioModel(sizes)
        with torch.no_grad():
            first = torch.logit(_first_knobs(chain, sizes.curve_knobs), eps=0.1)
            model.controller.out.bias[: len(first)] = first
        if config.begin_with:
            begun = torch_models.load_trainable(config.begin_with)
            if not isinstance(begun.model, StudioModel) or begun.chain.predicted.to_spec() != chain.to_spec():
                raise ModelError(
                    f"The model {config.begin_with} sets another chain: choose one of the chain {chain.name}."
                )
            model.load_state_dict(begun.model.state_dict())
        if not config.cached_batches:
            fitter = () if config.begin_with else (_eq_fitter(config, chain, model, datasets),)
            return StudioModule(model, chain, config, fitter), draw
        extractor = copy.deepcopy(model).requires_grad_(False).eval()
        cache = CachedExamples(folder / "cached-examples", extractor, draw, CACHED, config.cached_batches)
        stages = _curriculum(config, chain, model, datasets, cache, folder)
        return StudioModule(model, chain, config, stages), partial(_cached, cache, config.seed)

    run = runs.run(config, folder, make, resume=resume, report=report)
    card = run.card(runs.describe(*datasets), gradient="autodiff")
    checkpoint.save(folder, run.module.average, whole, sample_rate=datasets[0].sample_rate, card=card)
    run.write_losses(chain.name, CURVES, unit="MR-STFT, of the input's; loss")
    return run


def _datasets(config: PassagesConfig) -> list[manifest.Dataset]:
    """Open the datasets, and check that passages of them are long enough."""
    datasets = [manifest.Dataset(path) for path in (config.dataset, *config.also)]
    seconds = datasets[0].clip_samples / datasets[0].sample_rate
    least_rate, needed_for = LOWEST_RATE, "the recipe passages"
    if config.begin_with:
        begun = cards.read_card(cards.find(config.begin_with, "style"), cards.STYLE_FORMATS)
        least_rate, needed_for = int(begun["sample_rate"]), f"the model {quoted(config.begin_with)}"
    for data in datasets:
        if abs(data.clip_samples - seconds * data.sample_rate) > 1:
            raise SettingsError(
                f"The clips of {str(data.folder)!r} are not as long as those of the first dataset: build it with "
                f"--seconds {seconds:.6g}."
            )
        if data.sample_rate < least_rate:
            raise SettingsError(
                f"The dataset {str(data.folder)!r} has a sample rate of {data.sample_rate} Hz, and {least_rate} Hz are "
                f"needed for {needed_for}: build it with a higher --sample-rate, from recordings that have it."
            )
    if config.batch < EXAMPLES_OF_A_PASSAGE:
        raise SettingsError(f"A passage makes {EXAMPLES_OF_A_PASSAGE} examples: use a --batch of at least as many.")
    processes = config.nodes * config.devices
    if (config.batch // EXAMPLES_OF_A_PASSAGE) % processes:
        raise SettingsError(
            f"A --batch of {config.batch} has {config.batch // EXAMPLES_OF_A_PASSAGE} passages, which {processes} "
            f"processes cannot divide equally: use a multiple of {processes * EXAMPLES_OF_A_PASSAGE}."
        )
    clips = max(1, config.listen_clips // 2)
    if clips * seconds < sum(REVERB_SECONDS):
        raise SettingsError(
            f"{clips} clips last {clips * seconds:.3g} s, and half a passage must last at least "
            f"{sum(REVERB_SECONDS):.3g} s: use more --listen-clips, or longer clips."
        )
    return datasets


def _draw(
    config: PassagesConfig, chain: Chain, datasets: Sequence[manifest.Dataset], split: str, number: int
) -> PairBatch:
    """Draw a batch; it depends on the arguments alone, so that training can resume at any step."""
    rng = np.random.default_rng((config.seed, ("train", "val", CACHED).index(split), number))
    training = split != "val"
    if training:
        styles = STYLES[int(rng.choice(len(STYLES), p=[STYLE_SHARES[kind] for kind in STYLES]))]
    else:
        styles = VALIDATED[number // len(datasets) % len(VALIDATED)]
    short = training and rng.random() < SHORT_SHARE
    pairs = draw_pairs(
        datasets if training else [datasets[number % len(datasets)]],
        "train" if training else split,
        chain,
        styles=styles,
        passages=config.batch // EXAMPLES_OF_A_PASSAGE,
        clips=max(1, config.listen_clips // 2) if short else config.listen_clips,
        augment=training,
        rng=rng,
    )
    return PairBatch.of(pairs, styles, rng)


def _cached(cache: CachedExamples, seed: int, split: str, step: int) -> Examples:
    """Return a batch of the cache: all of them in random order, then again in another one."""
    if split != "train":
        return cache.get(split, step)
    epoch, place = divmod(step, len(cache))
    return cache[int(np.random.default_rng((seed, 3, epoch)).permutation(len(cache))[place])]


def _curriculum(
    config: PassagesConfig,
    chain: Chain,
    model: StudioModel,
    datasets: Sequence[manifest.Dataset],
    cache: CachedExamples,
    folder: Path,
) -> list[TrainingStage]:
    """List what comes before a model learns through the sound; one to begin with has been through it."""
    about = {
        # By their content: a dataset that was moved must not be analysed again.
        "datasets": run_folder.contents_of(folder) or [str(data.folder.absolute()) for data in datasets],
        **{name: getattr(config, name) for name in ("batch", "listen_clips", "seed")},
        "chain": chain.to_spec(),  # its ranges, too: labels are on them
    }
    analysis = AnalysisStage(cache, about, config.loaders)
    if config.begin_with:
        return [analysis]
    knobs, epochs = _labelled_knobs(chain), config.pretraining_epochs
    return [
        _eq_fitter(config, chain, model, datasets),
        analysis,
        PretrainingStage(model, analysis, knobs, epochs=epochs, seed=config.seed),
    ]


def _eq_fitter(
    config: PassagesConfig, chain: Chain, model: StudioModel, datasets: Sequence[manifest.Dataset]
) -> EQFitterStage:
    eq = chain.effects[chain.labels.index(chain.knobs[model.config.first_curve_knob][0])]
    assert isinstance(eq, ParametricEQ)
    rates = drawn_rates(datasets)
    return EQFitterStage(model, eq, sample_rates=rates, steps=config.fitter_steps, seed=config.seed)


def _labelled_knobs(chain: Chain) -> Tensor:
    """Mark the knobs that are trained on labels, effect by effect: (n, P).

    Those of an equaliser are not: its bands can take each other's place, so where they were says little.
    """
    effects = zip(chain.labels, chain.effects, strict=True)
    labels = [label for label, effect in effects if not isinstance(effect, ParametricEQ)]
    return torch.tensor([[float(label == mine) for label, _ in chain.knobs] for mine in labels])


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

"""`eval`: models and baselines on the same items, and what came of it as tables."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import fxst
from fxst.audio import Samples
from fxst.chain import CHAINS, Chain
from fxst.configs import EvalConfig
from fxst.data.manifest import Dataset
from fxst.data.shards import write_atomically
from fxst.errors import FxstError, SettingsError
from fxst.evaluation.baselines import closed_form
from fxst.evaluation.items import DrawnItems, Item, Items, PairedItems
from fxst.evaluation.metrics import METRICS
from fxst.evaluation.scores import Progress, Score, System, score
from fxst.evaluation.summary import CONFIDENCE, DRAWS, INPUT, Interval, Requirement, Row, summarise

__all__ = ["CLOSED_FORM", "ITEMS", "OUTPUT", "SUMMARY", "Evaluation", "Model", "evaluate"]

CLOSED_FORM: Final = "closed-form"
OUTPUT: Final = "output"
"""The row of the outputs that a CSV names."""

DEFAULT_CHAIN: Final = "eq-comp"
ITEMS: Final = "items.csv"
SUMMARY: Final = "summary.json"
FORMAT: Final = "fxst-evaluation"
FORMAT_VERSION: Final = 1


class _Result(Protocol):
    @property
    def audio(self) -> Samples: ...


class Model(Protocol):
    """A style-transfer model, as `fxst.load` gives it."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def chain(self) -> Chain:
        """The effects that it sets."""

    def apply(
        self, audio: Any, reference: Any, *, sample_rate: int, reference_sample_rate: int | None = None
    ) -> _Result:
        """Make a recording sound like another one."""


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Args:
        config: What was asked for.
        chain: The effects of the closed form and, with a dataset, of the targets.
        scores: Every system's score on every item.
        rows: The systems in order, the input first, with their means and ratios.
        shortfalls: Each requirement that was not met, in a sentence.
    """

    config: EvalConfig
    chain: Chain
    scores: tuple[Score, ...]
    rows: tuple[Row, ...]
    shortfalls: tuple[str, ...]


def evaluate(config: EvalConfig, models: Sequence[Model], progress: Progress | None = None) -> Evaluation:
    """Score the input, the closed form, given outputs and models on the same items.

    With an output folder, it gets `items.csv`, a line for each system on each item, and `summary.json`.

    Args:
        config: The command.
        models: Its models, loaded, in the same order.
        progress: Called after each item.

    Raises:
        SettingsError: The items, the chain or a requirement make no sense.
        AudioError: A recording that a CSV names cannot be read.
        ModelError: The dataset cannot be read.
        FxstError: The output folder cannot be written.
    """
    requirements = [Requirement.parse(text) for text in config.require]
    chain = _chain(config, models)
    items: Items
    if config.pairs is not None:
        items = PairedItems(config.pairs)
    elif config.data is not None:
        data = Dataset.open(config.data)
        items = DrawnItems(data, split=config.split, chain=chain, count=config.items, seed=config.seed)
    else:
        raise SettingsError("Name what to score: a CSV of recordings (--pairs), or a dataset (--data).")
    judged = _outputs(items) | _named(config, models)
    systems = _baselines(chain) | judged
    for requirement in requirements:
        _check(requirement, systems, judged)
    if config.output is not None:
        _make_folder(config.output)

    scores = score(items, systems, progress)
    rows = summarise(scores, seed=config.seed)
    shortfalls = [
        sentence for requirement in requirements for sentence in _shortfalls(requirement, rows, judged=tuple(judged))
    ]
    result = Evaluation(config, chain, scores, rows, tuple(shortfalls))
    if config.output is not None:
        _write(result, config.output)
    return result


def _chain(config: EvalConfig, models: Sequence[Model]) -> Chain:
    """Choose the effects: those asked for, else the models'."""
    if config.chain is not None:
        if config.chain not in CHAINS:
            raise SettingsError(f"There is no chain {config.chain!r}; there are: {', '.join(CHAINS)}.")
        return CHAINS[config.chain]
    chains = list({json.dumps(model.chain.to_spec()): model.chain for model in models}.values())
    if len(chains) > 1:
        raise SettingsError("The models set different chains: choose one for all with --chain.")
    return chains[0] if chains else CHAINS[DEFAULT_CHAIN]


def _baselines(chain: Chain) -> dict[str, System]:
    def match(_: int, item: Item) -> Samples:
        return closed_form(
            item.input,
            item.reference,
            chain=chain,
            sample_rate=item.sample_rate,
            reference_sample_rate=item.reference_sample_rate,
        ).audio

    return {INPUT: lambda _, item: item.input, CLOSED_FORM: match}


def _outputs(items: Items) -> dict[str, System]:
    return {OUTPUT: items.output} if isinstance(items, PairedItems) and items.has_outputs else {}


def _named(config: EvalConfig, models: Sequence[Model]) -> dict[str, System]:
    """Name the models: by their folders' names, or as they were asked for where two would share a name."""
    names = [INPUT, CLOSED_FORM, OUTPUT, *(model.name for model in models)]
    systems: dict[str, System] = {}
    for given, model in zip(config.models, models, strict=True):
        name = model.name if names.count(model.name) == 1 else given
        if name in systems or name in names[:3]:
            raise SettingsError(f"Two rows would be called {name!r}: leave one model out, or name it by another path.")
        systems[name] = _applied(model)
    return systems


def _applied(model: Model) -> System:
    return lambda _, item: (
        model.apply(
            item.input,
            item.reference,
            sample_rate=item.sample_rate,
            reference_sample_rate=item.reference_sample_rate,
        ).audio
    )


def _check(requirement: Requirement, systems: Mapping[str, System], judged: Mapping[str, System]) -> None:
    if requirement.system and requirement.system not in systems:
        raise SettingsError(f"{requirement.text!r}: there is no row of that name; there are {', '.join(systems)}.")
    if not requirement.system and not judged:
        raise SettingsError(f"{requirement.text!r}: there is neither a model nor an output to require it of.")


def _shortfalls(requirement: Requirement, rows: Sequence[Row], *, judged: Sequence[str]) -> list[str]:
    systems = (requirement.system,) if requirement.system else judged
    return [
        f"{row.system} falls short of {requirement.text}: "
        + ("it could not be measured." if math.isnan(value := requirement.value(row)) else f"it is {value:.4g}.")
        for row in rows
        if row.system in systems and not requirement.met_by(row)
    ]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FxstError(
            f"The folder {str(folder)!r} cannot be made ({(error.strerror or str(error)).lower()}): choose another."
        ) from error


def _write(evaluation: Evaluation, folder: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["item", "system", *(metric.name for metric in METRICS), "error"])
    for s in evaluation.scores:
        cells = ("" if math.isnan(value) else repr(value) for value in s.values.values())
        writer.writerow([s.item, s.system, *cells, s.error])
    try:
        write_atomically(folder / ITEMS, text.getvalue())
        write_atomically(folder / SUMMARY, json.dumps(_summary(evaluation), indent=1) + "\n")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FxstError(f"{str(folder)!r} cannot be written ({reason}): free space or choose another.") from error


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    config = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(evaluation.config).items()}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fxst": fxst.__version__,
        "config": config,
        "chain": evaluation.chain.to_spec(),
        "items": len({s.item for s in evaluation.scores}),
        "bootstrap": {"draws": DRAWS, "confidence": CONFIDENCE},
        "metrics": {m.name: {"heading": m.heading, "unit": m.unit} for m in METRICS},
        "rows": [
            {
                "system": row.system,
                "figures": {
                    name: {
                        "mean": _bounds(figure.mean),
                        "ratio": _bounds(figure.ratio),
                        "missing": figure.missing,
                    }
                    for name, figure in row.figures.items()
                },
            }
            for row in evaluation.rows
        ],
        "shortfalls": list(evaluation.shortfalls),
    }


def _bounds(interval: Interval) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in asdict(interval).items()}

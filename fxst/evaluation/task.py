"""The task of an evaluation: its items, and the systems that do them."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import fxst
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.configs import EvalConfig
from fxst.errors import SettingsError, unknown
from fxst.evaluation import baselines
from fxst.evaluation.baselines import BASELINES, CLOSED_FORM_IN_CHAIN, MATCHERING, ORACLE_CHAIN, ORACLE_EQ
from fxst.evaluation.items import Items, PairedItems
from fxst.evaluation.journal import FORMAT_VERSION
from fxst.evaluation.protocol import DrawnItems
from fxst.evaluation.scores import Scored
from fxst.evaluation.summary import INPUT, SystemRow
from fxst.evaluation.systems import Output, System, applied, given, renders_in, through_proxies
from fxst.evaluation.voices import Voices
from fxst.transfer import style_transfer
from fxst.transfer.style_transfer import StyleTransfer

__all__ = ["Evaluation", "Task", "make_task", "no_targets"]

DEFAULT_CHAIN: Final = "eq-comp"
DEFAULT_ITEMS: Final = 200
OUTPUT: Final = "output"
"""The row of the outputs that a CSV names."""

THROUGH_PROXIES: Final = "@proxy"
REFINED: Final = "@refined"
"""What the row of a model that renders through proxies is called, after the model's name."""

ALL, NONE = "all", "none"
TRAINING: Final = ("gradient", "steps", "examples", "ms_per_step", "peak_memory_mb")
"""What of a model's card is shown beside its figures."""

NOT_OUTPUTS: Final = frozenset(("reference", "target"))
"""Folders of kept audio that hold no row's outputs."""


@dataclass(frozen=True)
class Task:
    """What an evaluation does.

    Args:
        items: The items.
        systems: Who does them, by the names of their rows.
        judged: The rows of models and given outputs: those that a requirement without a row's name is about.
        chain: The chain of `--protocol chain`; None otherwise.
        training: How the models were trained, as their cards tell, by the names of their rows.
        identity: Changes with whatever changes a score.
    """

    items: Items
    systems: Mapping[str, System]
    judged: tuple[str, ...]
    chain: Chain | None
    training: Mapping[str, Mapping[str, Any]]
    identity: str


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Args:
        config: What was asked for.
        task: The items and the systems.
        items: What came of every item.
        rows: The systems in order, the input first, with their means and ratios.
        shortfalls: Each requirement that was not met, in a sentence.
    """

    config: EvalConfig
    task: Task
    items: tuple[Scored, ...]
    rows: tuple[SystemRow, ...]
    shortfalls: tuple[str, ...]


@lru_cache(maxsize=1)
def make_task(config: EvalConfig) -> Task:
    """Make the task of an evaluation; the last one is kept.

    Args:
        config: The command.

    Raises:
        SettingsError: The items, a chain or a baseline are invalid.
        AudioError: A recording that a CSV names cannot be read.
        ModelError: A model or dataset cannot be read.
    """
    models = [style_transfer.load(model, device=config.device) for model in config.models]
    chain = _chain(config, models) if config.protocol == "chain" and config.data is not None else None
    items, what = _items(config, chain)
    named = _named(config, models)
    judged = _given(config, items) | {name: applied(model) for name, model in named.items()} | _refined(config, named)
    imitated, proxies = _imitated(config, named)
    systems = {INPUT: lambda item: Output(item.input)} | _baselines(config, models, items)
    taken = (systems.keys() & judged.keys()) | (imitated.keys() & judged.keys())
    if taken:
        raise SettingsError(f"Two rows would be called {min(taken)!r}: rename a model's or an output's folder.")
    of_items = NOT_OUTPUTS & judged.keys()
    if of_items and config.audio is not None:
        raise SettingsError(f"The --audio of a row called {min(of_items)!r} would overwrite the items': rename it.")
    about = {
        "fxst": fxst.__version__,
        "format": FORMAT_VERSION,
        "items": what,
        "chain": None if chain is None else chain.to_spec(),
        "oracle_chains": [chain.to_spec() for chain in _chains(config, models)],
        "rows": [*systems, *judged, *imitated],
        "models": [model.sha256 for model in models],
        "proxies": proxies,
        "outputs": [_stamps(renders_in(folder, items.names).values()) for folder in config.outputs],
        "pesq": config.pesq,
        # What was finished without keeping its audio would be missing there.
        "audio": None if config.audio is None else str(config.audio.resolve()),
        "oracle_steps": config.oracle_steps,
    }
    identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    training = {name: {key: model.training.get(key) for key in TRAINING} for name, model in named.items()}
    return Task(items, systems | judged | imitated, tuple(judged), chain, training, identity)


def _items(config: EvalConfig, chain: Chain | None) -> tuple[Items, dict[str, Any]]:
    """Find the items, and say what they depend on."""
    if (config.pairs is None) == (config.data is None):
        raise SettingsError("Name either a folder of recordings (--data) or a CSV of recordings (--pairs).")
    if config.effects is not None and chain is None:
        raise SettingsError("--effects needs --data with --protocol chain.")
    if config.other_voice and (config.pairs is not None or config.protocol != "p"):
        raise SettingsError("--other-voice needs --data with --protocol p.")
    if config.pairs is not None:
        paired = PairedItems(config.pairs, limit=config.limit)
        return paired, {"pairs": str(config.pairs.resolve()), "lines": paired.lines, "files": _stamps(paired.files)}
    assert config.data is not None
    voices = Voices(config.data, split=config.split, split_seed=config.split_seed, each_file=config.each_file)
    drawn = DrawnItems(
        voices,
        chain=chain,
        sample_rate=config.sample_rate,
        count=config.limit or DEFAULT_ITEMS,
        seed=config.seed,
        effects=config.effects,
        other_voice=config.other_voice,
    )
    return drawn, {
        "data": str(config.data.resolve()),
        "voices": voices.names,
        "protocol": config.protocol,
        "effects": config.effects,
        "other_voice": config.other_voice,
        "sample_rate": config.sample_rate,
        "seed": config.seed,
    }


def _stamps(paths: Iterable[Path | None]) -> list[tuple[str, int, int] | None]:
    """Tell what changes when a file is written again: its size, and when that was; None where there is no file."""
    stamps: list[tuple[str, int, int] | None] = []
    for path in paths:
        stamp = None
        with contextlib.suppress(OSError):
            if path is not None:
                found = path.stat()
                stamp = (str(path.resolve()), found.st_size, found.st_mtime_ns)
        stamps.append(stamp)
    return stamps


def _chain(config: EvalConfig, models: Sequence[StyleTransfer]) -> Chain:
    chains = _chains(config, models)
    if len(chains) > 1:
        raise SettingsError("The models set different chains: choose one for all with --chain.")
    return chains[0]


def _chains(config: EvalConfig, models: Sequence[StyleTransfer]) -> list[Chain]:
    """Choose the effects: those asked for, else the models'."""
    if config.chain is not None:
        if config.chain not in CHAINS:
            raise SettingsError(f"{unknown('chain', config.chain, CHAINS)}.")
        return [CHAINS[config.chain]]
    chains = list({json.dumps(model.chain.to_spec()): model.chain for model in models}.values())
    return chains or [CHAINS[DEFAULT_CHAIN]]


def _baselines(config: EvalConfig, models: Sequence[StyleTransfer], items: Items) -> dict[str, System]:
    """Make the rows that were asked for, as far as they are possible, in the order of the tables."""
    of_chain: dict[str, Callable[[Chain], System]] = {
        CLOSED_FORM_IN_CHAIN: baselines.closed_form_in_chain_system,
        ORACLE_CHAIN: partial(baselines.oracle_chain, steps=config.oracle_steps),
    }
    known = (*BASELINES, *of_chain, ALL, NONE)
    others = set(config.baselines) - set(known)
    if others:
        raise SettingsError(f"{unknown('baseline', min(others), known)}.")
    wanted = set(config.baselines) - {ALL, NONE}
    if not config.baselines:
        wanted = set(BASELINES)
    elif ALL in config.baselines:
        wanted = {*BASELINES, *of_chain}
    if MATCHERING in wanted and not baselines.matchering_available():
        if MATCHERING in config.baselines:
            raise SettingsError("The baseline matchering needs its package: pip install matchering.")
        wanted.remove(MATCHERING)
    if not items.has_targets:
        if {ORACLE_EQ, ORACLE_CHAIN} & set(config.baselines):
            raise SettingsError(f"An oracle is fitted on targets, and {no_targets(config)}.")
        wanted -= {ORACLE_EQ, ORACLE_CHAIN}
    systems = {name: make() for name, make in BASELINES.items() if name in wanted}
    chains = _chains(config, models)
    for name, make_for in of_chain.items():
        for chain in chains if name in wanted else ():
            systems[name if len(chains) == 1 else f"{name} {chain.name}"] = make_for(chain)
    return systems


def _given(config: EvalConfig, items: Items) -> dict[str, System]:
    """Find the rows of outputs that were rendered elsewhere."""
    systems: dict[str, System] = {}
    if isinstance(items, PairedItems) and items.outputs:
        systems[OUTPUT] = given(items.outputs)
    for folder in config.outputs:
        name = folder.resolve().name
        if name in systems:
            raise SettingsError(f"Two rows would be called {name!r}: rename an output folder.")
        systems[name] = given(renders_in(folder, items.names))
    return systems


def _named(config: EvalConfig, models: Sequence[StyleTransfer]) -> dict[str, StyleTransfer]:
    """Name the models: by their folders' names, or as they were asked for where two would share a name."""
    names = [model.name for model in models]
    named: dict[str, StyleTransfer] = {}
    for asked, model in zip(config.models, models, strict=True):
        name = model.name if names.count(model.name) == 1 else asked
        if name in named:
            raise SettingsError(f"Two rows would be called {name!r}: leave one model out, or name it by another path.")
        named[name] = model
    return named


def _refined(config: EvalConfig, named: Mapping[str, StyleTransfer]) -> dict[str, System]:
    """Make the rows of models that refine what they chose, where asked for."""
    if not config.refined:
        return {}
    from fxst.transfer.refinement import STEPS

    able = {name: model for name, model in named.items() if model.refines}
    if not able:
        raise SettingsError("--refined needs a model that can refine: name one with -m studio.")
    return {f"{name}{REFINED}": applied(model, refine=STEPS) for name, model in able.items()}


def _imitated(config: EvalConfig, named: Mapping[str, StyleTransfer]) -> tuple[dict[str, System], list[str]]:
    """Make the rows of models that render through proxies, where asked for, and tell the proxies' fingerprints."""
    if not config.through_proxies:
        return {}, []
    if not named:
        raise SettingsError("--through-proxies needs a model: name one with --model.")
    from fxst.checkpoints import checkpoint, proxy_file
    from fxst.gradients import ProxyRenderer

    systems, fingerprints = {}, []
    shipped = checkpoint.pretrained_folder() / "proxy"
    for name, model in named.items():
        effects = [effect for effect in model.chain.effects if not all(p.constant for p in effect.parameters)]
        proxies = [proxy_file.load(shipped / effect.name) for effect in effects]
        renderer = ProxyRenderer(model.chain, proxies)
        if renderer.sample_rate != config.sample_rate:
            raise SettingsError(
                f"The shipped proxies are of {renderer.sample_rate} Hz: --through-proxies cannot render at "
                f"{config.sample_rate} Hz."
            )
        systems[f"{name}{THROUGH_PROXIES}"] = through_proxies(model, renderer)
        fingerprints += [str(proxy.card["sha256"]) for proxy in proxies]
    return systems, fingerprints


def no_targets(config: EvalConfig) -> str:
    """Return why there are no targets."""
    return "--other-voice has none" if config.other_voice else "the CSV names none: add the column target"

"""The task of an evaluation: its items and its systems."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import fxst
from fxst import extras
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
"""The row of the outputs in a CSV."""

THROUGH_PROXIES: Final = "@proxy"
"""Suffix of a model's name in the rows that render through proxies."""

ALL, NONE = "all", "none"
TRAINING: Final = ("gradient", "steps", "examples", "ms_per_step", "peak_memory_mb")
"""Fields of a model's card that the summary contains."""

NOT_OUTPUTS: Final = frozenset(("reference", "target"))
"""Folders of kept audio that hold no outputs."""


@dataclass(frozen=True)
class Task:
    """The items and systems of an evaluation.

    Args:
        items: The items.
        systems: The systems, by the names of their rows.
        judged: The rows of models and given outputs, to which a requirement without a row's name applies.
        chain: The chain of `--protocol chain`; None otherwise.
        training: Training figures from the models' cards, by the names of their rows.
        identity: Fingerprint of everything that the scores depend on.
    """

    items: Items
    systems: Mapping[str, System]
    judged: tuple[str, ...]
    chain: Chain | None
    training: Mapping[str, Mapping[str, Any]]
    identity: str


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation.

    Args:
        config: The command's settings.
        task: The items and the systems.
        items: The scored items.
        rows: The systems in order, the input first, with their means and ratios.
        shortfalls: A sentence for each requirement that was not met.
    """

    config: EvalConfig
    task: Task
    items: tuple[Scored, ...]
    rows: tuple[SystemRow, ...]
    shortfalls: tuple[str, ...]


@lru_cache(maxsize=1)
def make_task(config: EvalConfig) -> Task:
    """Build the task of an evaluation; the last one is cached.

    Args:
        config: The command's settings.

    Raises:
        SettingsError: The items, a chain or a baseline are invalid.
        AudioError: A recording that a CSV names cannot be read.
        ModelError: A model or dataset cannot be read.
    """
    models = [style_transfer.load(model, device=config.device) for model in config.models]
    chain = _chain(config, models) if config.protocol == "chain" and config.data is not None else None
    items, source = _items(config, chain)
    named = _named(config, models)
    judged = _given(config, items) | {name: applied(model) for name, model in named.items()}
    proxied, proxies = _proxied(config, named)
    systems = {INPUT: lambda item: Output(item.input)} | _baselines(config, models, items)
    duplicates = (systems.keys() & judged.keys()) | (proxied.keys() & judged.keys())
    if duplicates:
        raise SettingsError(f"Two rows would be called {min(duplicates)!r}: rename a model's or an output's folder.")
    reserved = NOT_OUTPUTS & judged.keys()
    if reserved and config.audio is not None:
        raise SettingsError(f"The --audio of a row called {min(reserved)!r} would overwrite the items': rename it.")
    depends_on = {
        "fxst": fxst.__version__,
        "format": FORMAT_VERSION,
        "items": source,
        "chain": None if chain is None else chain.to_spec(),
        "oracle_chains": [chain.to_spec() for chain in _chains(config, models)],
        "rows": [*systems, *judged, *proxied],
        "models": [model.sha256 for model in models],
        "proxies": proxies,
        "outputs": [_stamps(renders_in(folder, items.names).values()) for folder in config.outputs],
        "pesq": config.pesq,
        # Items finished without keeping their audio would be missing there.
        "audio": None if config.audio is None else str(config.audio.resolve()),
        "oracle_steps": config.oracle_steps,
    }
    identity = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    training = {name: {key: model.training.get(key) for key in TRAINING} for name, model in named.items()}
    return Task(items, systems | judged | proxied, tuple(judged), chain, training, identity)


def _items(config: EvalConfig, chain: Chain | None) -> tuple[Items, dict[str, Any]]:
    """Return the items, and what they depend on."""
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
    """Return each file's path, size and modification time; None for a missing file."""
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
    """Return the requested chain, else the models' chains."""
    if config.chain is not None:
        if config.chain not in CHAINS:
            raise SettingsError(f"{unknown('chain', config.chain, CHAINS)}.")
        return [CHAINS[config.chain]]
    chains = list({json.dumps(model.chain.to_spec()): model.chain for model in models}.values())
    return chains or [CHAINS[DEFAULT_CHAIN]]


def _baselines(config: EvalConfig, models: Sequence[StyleTransfer], items: Items) -> dict[str, System]:
    """Return the requested baselines that are possible, in the order of the tables."""
    of_chain: dict[str, Callable[[Chain], System]] = {
        CLOSED_FORM_IN_CHAIN: baselines.closed_form_in_chain_system,
        ORACLE_CHAIN: partial(baselines.oracle_chain, steps=config.oracle_steps),
    }
    known = (*BASELINES, *of_chain, ALL, NONE)
    others = set(config.baselines) - set(known)
    if others:
        raise SettingsError(f"{unknown('baseline', min(others), known)}.")
    requested = set(config.baselines) - {ALL, NONE}
    if not config.baselines:
        requested = set(BASELINES)
    elif ALL in config.baselines:
        requested = {*BASELINES, *of_chain}
    if MATCHERING in requested and not baselines.matchering_available():
        if MATCHERING in config.baselines:
            raise SettingsError("The baseline matchering needs its package: pip install matchering.")
        requested.remove(MATCHERING)
    if not items.has_targets:
        if {ORACLE_EQ, ORACLE_CHAIN} & set(config.baselines):
            raise SettingsError(f"An oracle is fitted on targets, and {no_targets(config)}.")
        requested -= {ORACLE_EQ, ORACLE_CHAIN}
    systems = {name: make() for name, make in BASELINES.items() if name in requested}
    chains = _chains(config, models)
    for name, make_for in of_chain.items():
        for chain in chains if name in requested else ():
            systems[name if len(chains) == 1 else f"{name} {chain.name}"] = make_for(chain)
    return systems


def _given(config: EvalConfig, items: Items) -> dict[str, System]:
    """Return the systems of outputs that were rendered elsewhere."""
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
    """Name the models after their folders, or as given if two would share a name."""
    names = [model.name for model in models]
    named: dict[str, StyleTransfer] = {}
    for given_name, model in zip(config.models, models, strict=True):
        name = model.name if names.count(model.name) == 1 else given_name
        if name in named:
            raise SettingsError(f"Two rows would be called {name!r}: leave one model out, or name it by another path.")
        named[name] = model
    return named


def _proxied(config: EvalConfig, named: Mapping[str, StyleTransfer]) -> tuple[dict[str, System], list[str]]:
    """Return the systems that render models' settings through proxies, if requested, and the proxies' hashes."""
    if not config.through_proxies:
        return {}, []
    if not named:
        raise SettingsError("--through-proxies needs a model: name one with --model.")
    extras.need("--through-proxies", *extras.GRADIENTS)
    from fxst.checkpoints import checkpoint, proxy_file
    from fxst.gradients import ProxyRenderer

    systems, fingerprints = {}, []
    shipped = checkpoint.pretrained_folder() / "proxy"
    for name, model in named.items():
        effects = [effect for effect in model.chain.predicted.effects if not all(p.constant for p in effect.parameters)]
        proxies = [proxy_file.load(shipped / effect.name) for effect in effects]
        renderer = ProxyRenderer(model.chain.predicted, proxies)
        if renderer.sample_rate != config.sample_rate:
            raise SettingsError(
                f"The shipped proxies are for {renderer.sample_rate} Hz: --through-proxies cannot render at "
                f"{config.sample_rate} Hz."
            )
        systems[f"{name}{THROUGH_PROXIES}"] = through_proxies(model, renderer)
        fingerprints += [str(proxy.card["sha256"]) for proxy in proxies]
    return systems, fingerprints


def no_targets(config: EvalConfig) -> str:
    """Return why there are no targets."""
    return "--other-voice has none" if config.other_voice else "the CSV names none: add the column target"

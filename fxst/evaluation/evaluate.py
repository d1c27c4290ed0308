"""`fxst eval`: score models, baselines and oracles on the same items, and write the results."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from fxst import authorship
from fxst.configs import EvalConfig
from fxst.errors import FxstError, SettingsError, unknown
from fxst.evaluation.journal import Journal, KeptAudio, is_journal, make_folder
from fxst.evaluation.metrics import METRICS, RATES
from fxst.evaluation.results import FILES, write_results
from fxst.evaluation.scores import SETTINGS, Scored, score_item
from fxst.evaluation.sharing import on_cluster, score_share, scored_before, shard_in
from fxst.evaluation.summary import INPUT, Requirement, SystemRow, summarise
from fxst.evaluation.task import NO_TARGETS, Evaluation, Task, make_task
from fxst.places import check_inside
from fxst.workers import WorkerPool, processors

__all__ = ["Progress", "evaluate", "evaluate_share"]

FEW_ITEMS: Final = 4
"""With fewer items, a second process does not pay: it would still load its libraries."""

Progress = Callable[[int, int], None]
"""Called with the number of finished items and the total."""


def evaluate(config: EvalConfig, progress: Progress | None = None) -> Evaluation:
    """Score the input, baselines, given outputs and models on the same items.

    With an output folder, write `items.csv`, `items.jsonl` and `summary.json` there; an interrupted evaluation
    continues from it.

    Args:
        config: The command's settings.
        progress: Called after each item.

    Raises:
        SettingsError: The items, a chain, a baseline or a requirement are invalid.
        AudioError: A recording that a CSV names cannot be read.
        ModelError: A model or dataset cannot be read.
        FxstError: A folder cannot be written, or a worker process died.
    """
    shard_in(config)
    requirements = [Requirement.parse(text) for text in config.require]
    # Models and files may have changed since the last call with the same settings.
    make_task.cache_clear()
    task = make_task(config)
    for requirement in requirements:
        _check(requirement, task, config)
    replaced = [config.report] if config.report is not None else []
    if config.output is not None:
        check_inside(config.output, (config.output / name for name in FILES))
        # A killed run leaves its journal, which is then continued or discarded.
        replaced += [path for name in FILES if not is_journal(path := config.output / name)]
    authorship.check(replaced, overwrite=config.overwrite)
    if config.audio is not None:
        KeptAudio(config.audio).check(task.systems, task.items, overwrite=config.overwrite)
    for folder in (config.output, config.audio, config.report and config.report.parent):
        if folder is not None:
            make_folder(folder)
    if config.report is not None and config.report.is_dir():
        raise FxstError(f"{str(config.report)!r} is a folder: name a file for the page, such as page.html in it.")

    count = len(task.items.names)
    if config.engine == "ray":
        finished = 0
        for more in on_cluster(config, task, _scorer):
            finished += more
            if progress is not None:
                progress(finished, count)
    batch, shared = scored_before(config, task)
    with Journal(config.output, task.identity) as journal:
        done = {index: scored for index, scored in {**journal.finished, **shared}.items() if index < count}
        left = [index for index in range(count) if index not in done]
        for index, scored in zip(left, _score(config, left), strict=True):
            journal.add(index, scored)
            done[index] = scored
            if progress is not None:
                progress(len(done), count)

    items = tuple(done[index] for index in range(count))
    rows = summarise(items, seed=config.seed)
    shortfalls = [sentence for requirement in requirements for sentence in _shortfalls(requirement, rows, task.judged)]
    result = Evaluation(config, task, items, rows, tuple(shortfalls))
    with authorship.noted():
        if config.audio is not None:
            KeptAudio(config.audio).list(items, has_targets=task.items.has_targets)
        if config.output is not None:
            write_results(result, config.output)
        if config.report is not None:
            from fxst.evaluation.report import write_evaluation

            write_evaluation(result, config.report)
    journal.remove()
    if batch is not None:
        batch.remove()
    return result


def evaluate_share(config: EvalConfig, progress: Progress | None = None) -> int:
    """Score the share of the items that `--shard` names; `fxst batch merge` makes one result of all.

    Args:
        config: The command's settings.
        progress: Called after each item.

    Returns:
        The number of items of the share.

    Raises:
        As for `evaluate`.
    """
    shard = shard_in(config)
    assert shard is not None, "a share has a number"
    make_task.cache_clear()
    task = make_task(config)
    if config.audio is not None:
        KeptAudio(config.audio).check(task.systems, task.items, overwrite=config.overwrite)
    for folder in (config.output, config.audio):
        if folder is not None:
            make_folder(folder)
    return score_share(config, task, shard, partial(_score, config), progress)


def _scorer(config: EvalConfig) -> Callable[[tuple[int, Sequence[int]]], tuple[int, list[Scored]]]:
    """Return what scores the items of a chunk in an actor."""
    return lambda chunk: (chunk[0], [_score_one(config, index) for index in chunk[1]])


def _score(config: EvalConfig, indices: Sequence[int]) -> Iterator[Scored]:
    """Yield the items' scores in order, several in parallel if that pays."""
    workers = min(config.workers or processors(), len(indices))
    if workers < 2 or len(indices) < FEW_ITEMS:
        yield from map(partial(_score_one, config), indices)
        return
    with WorkerPool(workers) as pool:
        yield from pool.map(partial(_score_one, config), indices)


def _score_one(config: EvalConfig, index: int) -> Scored:
    """Score one item; each worker process builds its items and systems once."""
    task = make_task(config)
    keep = None if config.audio is None else KeptAudio(config.audio).keep
    return score_item(task.items, index, task.systems, pesq=config.pesq, keep=keep)


def _check(requirement: Requirement, task: Task, config: EvalConfig) -> None:
    """Refuse a requirement that can never be met, before any work."""
    metric = requirement.metric
    if not config.pesq and metric == "pesq":
        raise SettingsError(f"{requirement.text!r}: PESQ is not measured with --no-pesq: leave one of the two out.")
    judged = next((rate.metric for rate in RATES if rate.name == metric), metric)
    against = next((m.against for m in METRICS if m.name == judged), "")
    if not task.items.has_targets and against == "target":
        raise SettingsError(f"{requirement.text!r}: {metric} needs targets, and {NO_TARGETS}.")
    if task.items.has_targets and against == "input":
        raise SettingsError(f"{requirement.text!r}: {metric} is measured only where there are no targets.")
    if metric == SETTINGS and task.chain is None:
        raise SettingsError(f"{requirement.text!r}: the true settings are known only with --protocol chain.")
    if requirement.system and requirement.system not in task.systems:
        raise SettingsError(f"{requirement.text!r}: {unknown('row', requirement.system, task.systems)}.")
    if not requirement.system and not task.judged:
        raise SettingsError(f"{requirement.text!r}: there is no model and no output to check.")


def _shortfalls(requirement: Requirement, rows: Sequence[SystemRow], judged: Sequence[str]) -> list[str]:
    systems = (requirement.system,) if requirement.system else judged
    inputs = next(row for row in rows if row.system == INPUT)
    reasons = ((row.system, _reason(requirement, row, inputs)) for row in rows if row.system in systems)
    return [f"{system} falls short of {requirement.text}: {reason}" for system, reason in reasons if reason]


def _reason(requirement: Requirement, row: SystemRow, inputs: SystemRow) -> str:
    """Return why a requirement is not met; empty if it is met."""
    value = requirement.value(row)
    if math.isnan(value):
        return "it could not be measured."
    if not requirement.met_by(row):
        return f"it is {value:.4g}."
    if requirement.figure == "missing":
        return ""
    # Silence has no level and no spectrum, and the mean over the other items would hide a silent output.
    measured = inputs.figures.get(requirement.metric)
    lost = row.figures[requirement.metric].missing - (measured.missing if measured is not None else 0)
    return f"it is missing on {lost:,} more {'item' if lost == 1 else 'items'} than the input's." if lost > 0 else ""

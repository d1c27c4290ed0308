"""Write the generated blocks of the documentation: `python tests/readme.py`. A test fails when one is stale."""

import importlib
import inspect
import json
import pkgutil
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import typer

import fxst.cli
from fxst import records
from fxst.batch.manifest import ManifestRow
from fxst.chains.named import CHAINS, STUDIO_BANDS
from fxst.chains.table import Table
from fxst.chains.table_files import TableFile
from fxst.checkpoints import catalogue
from fxst.checkpoints.card import IN_REPOSITORY
from fxst.cli.app import EXIT_CODES, app
from fxst.effects import EFFECTS, Effect
from fxst.evaluation.metrics import METRICS
from fxst.exports import jsfx
from fxst.exports.base import Export
from fxst.layers import LAYERS
from fxst.transfer import profiles
from fxst.transfer.profiles import StyleProfile

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted(ROOT.glob("docs/*.md")))
BLOCK = re.compile(r"(<!-- (?P<name>[\w ]+): python tests/readme\.py -->\n).*?(<!-- end of (?P=name) -->)", re.DOTALL)


def without_band(effect: Effect, name: str) -> str:
    """Name what all bands of an equaliser share."""
    for band in getattr(effect, "bands", ()):
        if name.startswith(band + "_"):
            return "BAND" + name[len(band) :]
    return name


def effects_table() -> str:
    """List every effect with the widest range of each parameter; an EQ's bands share theirs, and are shown once."""
    lines = ["| effect | parameter | range | default | scale |", "|---|---|---|---|---|"]
    for name, effect_type in sorted(EFFECTS.items()):
        effect = effect_type()
        seen = set()
        for p in effect.parameters:
            shown = without_band(effect, p.name)
            if shown in seen:
                continue
            seen.add(shown)
            default = "spread over the bands" if shown == "BAND_f0_hz" else f"{p.default:g}"
            limits = f"{p.minimum:g} to {p.maximum:g} {p.unit}".rstrip()
            lines.append(f"| {name} | `{shown}` | {limits} | {default} | {p.scale} |")
    return "\n".join([*lines, "", *bands()])


def bands() -> Iterator[str]:
    """Say what BAND stands for, in each equaliser that a chain has."""
    chains: dict[tuple[str, ...], list[str]] = {}
    for chain in CHAINS.values():
        for effect in chain.effects:
            if named := getattr(effect, "bands", ()):
                chains.setdefault(named, []).append(f"`{chain.name}`")
    for named, users in chains.items():
        yield f"- BAND in {', '.join(users)}: {', '.join(f'`{band}`' for band in named)}."


def nulls_table() -> str:
    """List how closely the two forms of each effect agree."""
    lines = ["| effect | power of the difference between the two forms, relative to the exact output |", "|---|---|"]
    lines += [f"| {name} | {effect.autodiff_error_db:g} dB or less |" for name, effect in sorted(EFFECTS.items())]
    return "\n".join(lines)


def chains_table() -> str:
    """List every named chain with its effects and what its knobs are."""
    lines = ["| chain | knobs | effects and the ranges of their knobs |", "|---|---|---|"]
    for chain in CHAINS.values():
        effects = []
        for label, effect in zip(chain.labels, chain.effects, strict=True):
            ranges: dict[str, tuple[float, float]] = {}  # of all bands together, where each has its own
            for p in effect.parameters:
                if not p.constant:
                    low, high = ranges.get(without_band(effect, p.name), (p.minimum, p.maximum))
                    ranges[without_band(effect, p.name)] = min(low, p.minimum), max(high, p.maximum)
            knobs = [f"`{name}` {low:g} to {high:g}" for name, (low, high) in ranges.items()]
            effects.append(f"{label}: {', '.join(knobs)}")
        lines.append(f"| `{chain.name}` | {len(chain.knobs)} | {'; '.join(effects)} |")
    eq = CHAINS["eq"].effects[0]
    fixed = ", ".join(f"{p.minimum:.4g}" for p in eq.parameters if p.name.endswith("_f0_hz"))
    places = "; ".join(f"{kind.replace('_', ' ')} {low:g} to {high:g}" for kind, low, high in STUDIO_BANDS)
    lines += [
        "",
        f"The bands of the first three chains are fixed at {fixed} Hz: a low shelf, four peaks and a high shelf. The "
        f"bands of `studio` move, each within its own range in Hz: {places}.",
    ]
    return "\n".join(lines)


def models_table() -> str:
    """List the shipped models."""
    lines = ["| model | kind | chain | knobs | size | figure |", "|---|---|---|---|---|---|"]
    for folder in catalogue.shipped():
        entry = catalogue.describe(folder)
        megabytes = f"{entry.weights_bytes / 1e6:.1f} MB" if entry.weights_bytes > 1e6 else ""
        size = megabytes or f"{entry.weights_bytes / 1e3:.0f} kB"
        name = f"`{entry.name}` (default)" if entry.is_default else f"`{entry.name}`"
        name += " (repository only)" if entry.kind == "style" and entry.name in IN_REPOSITORY else ""
        figure = entry.figure.text if entry.figure else ""
        lines.append(f"| {name} | {entry.kind} | {entry.chain.name} | {len(entry.chain.knobs)} | {size} | {figure} |")
    return "\n".join(lines)


def metrics_table() -> str:
    """List the metrics of `fxst eval`."""
    lines = ["| name | heading | unit | published | what it measures |", "|---|---|---|---|---|"]
    for metric in METRICS:
        what = (metric.measure.__doc__ or "").split("\n\n")[0]
        lines.append(
            f"| `{metric.name}` | {metric.heading} | {metric.unit} | {'yes' if metric.published else ''} "
            f"| {' '.join(what.split())} |"
        )
    return "\n".join(lines)


def exit_codes_table() -> str:
    """List what the program's exit codes mean."""
    return "\n".join(
        ["| exit code | means |", "|---|---|", *(f"| {code} | {told} |" for code, told in EXIT_CODES.items())]
    )


def layers_table() -> str:
    """List the layers of imports, lowest first."""
    lines = ["| layer | modules and packages |", "|---|---|"]
    for number, layer in enumerate(LAYERS, 1):
        lines.append(f"| {number} | {', '.join(f'`{name}`' for name in sorted(layer))} |")
    return "\n".join(lines)


def commands() -> str:
    """Describe every command of the program: its purpose, arguments and options."""
    for module in pkgutil.iter_modules(fxst.cli.__path__):  # each registers its commands
        importlib.import_module(f"fxst.cli.{module.name}")
    root = app.registered_callback
    assert root is not None
    parts = ["## Options of every command", *_usage("fxst", root.callback, " COMMAND ...")]
    for path, callback in sorted(_commands(app, "fxst")):
        parts += [f"## {path}", inspect.cleandoc(callback.__doc__ or ""), *_usage(path, callback)]
    return "\n\n".join(parts)


def _commands(program: typer.Typer, path: str) -> Iterator[tuple[str, Any]]:
    """Find every command below a program, by the words that call it."""
    for command in program.registered_commands:
        yield f"{path} {command.name}", command.callback
    for group in program.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, f"{path} {group.name}")


def _usage(path: str, callback: Any, rest: str = "") -> Iterator[str]:
    """Show how a command is called, and list its arguments and options by their panels."""
    panels: dict[str, list[str]] = {}
    arguments = ""
    for parameter in inspect.signature(callback).parameters.values():
        if parameter.annotation is typer.Context:
            continue
        kind, info = get_args(parameter.annotation) or (parameter.annotation, parameter.default)
        default = info.default if parameter.default is info else parameter.default
        is_argument, is_required = isinstance(info, typer.models.ArgumentInfo), default is inspect.Parameter.empty
        if is_argument:
            names = str(info.metavar or parameter.name.upper()) + ("..." if get_origin(kind) is list else "")
            arguments += f" {names}" if is_required else f" [{names}]"
        else:
            # Typer keeps the first of the flags that an annotation gives as the default.
            given = (info.default, *(info.param_decls or ()))
            flags = [flag for flag in given if isinstance(flag, str)] or ["--" + parameter.name.replace("_", "-")]
            names = ", ".join(flags).replace("/", ", ") + _takes(kind, info)
        notes = [] if is_argument or not is_required else ["required"]
        if shown := _default(default):
            notes.append(f"default: {shown}")
        limits = [f"{word} {x:g}" for word, x in (("from", info.min), ("to", info.max)) if x is not None]
        notes += [" ".join(limits)] if limits else []
        told = info.help.replace("*", "\\*") + (f" *({'; '.join(notes)})*" if notes else "")
        panel = info.rich_help_panel or ("Arguments" if is_argument else "Options")
        cells = (cell.replace("|", "\\|") for cell in (f"`{names}`", told))
        panels.setdefault(panel, []).append(f"| {' | '.join(cells)} |")
    yield f"```text\n{path}{arguments} [OPTIONS]{rest}\n```"
    for panel, rows in panels.items():
        yield "\n".join([f"| {panel} | |", "|---|---|", *rows])


def _default(value: Any) -> str:
    """Write a default; nothing where an option is simply not given."""
    if value is inspect.Parameter.empty or value is None or value is False:
        return ""
    if value is True:
        return "on"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _takes(kind: Any, info: Any) -> str:
    """Name what an option takes."""
    if get_origin(kind) in (list, Union, types.UnionType):
        kind = get_args(kind)[0]
    if kind is bool:
        return ""
    if get_origin(kind) is Literal:
        return f" {'|'.join(get_args(kind))}"
    return f" {info.metavar or {Path: 'PATH', int: 'INTEGER', float: 'NUMBER', str: 'TEXT'}[kind]}"


def jsfx_sliders() -> str:
    """Show the sliders of a JSFX: those of a compressor and a stereo width."""
    chain = CHAINS["studio"]
    away = {effect.name: effect.transparent() for effect in chain.effects if effect.name != "compressor"}
    table = Table(chain, chain.defaults()).with_values(away | {"stereo_width": {"width": 1.2}})
    export = Export(table, 44_100, 2, "")
    return "\n".join(["```text", *re.findall("^(?:desc|slider).*", jsfx.write(export), re.MULTILINE), "```"])


BLOCKS = {
    "chains": chains_table,
    "commands": commands,
    "effects": effects_table,
    "exit codes": exit_codes_table,
    "jsfx sliders": jsfx_sliders,
    "layers": layers_table,
    "metrics": metrics_table,
    "models": models_table,
    "nulls": nulls_table,
}


def _schema(record: Any, title: str, **head: Any) -> str:
    """Write the JSON schema of a record or of one of several, with what its file has before its fields."""
    schema = msgspec.json.schema(record)
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title} | schema
    if head:
        body = schema["$defs"][record.__name__]
        body["properties"] = head | body["properties"]
        body["required"] = [*head, *body.get("required", [])]
    for definition in schema["$defs"].values():
        if "description" in definition:  # what a record's docstring says of Python is not for its file
            definition["description"] = " ".join(definition["description"].split("\n\n")[0].split())
    return json.dumps(described, indent=2) + "\n"


def schemas() -> dict[Path, str]:
    """Write the schemas of the records that fxst reads and writes."""
    made_by = {"type": "object", "properties": {"fxst": {"type": "string"}}, "required": ["fxst"]}
    version = {"const": profiles.FORMAT_VERSION}
    return {
        ROOT / "docs/apply.schema.json": _schema(records.ApplyReport, "fxst apply --format json"),
        ROOT / "docs/batch.schema.json": _schema(records.BatchReport, "fxst batch status --format json"),
        ROOT / "docs/card.schema.json": _schema(records.CardRecord, "card.json of a model"),
        ROOT / "docs/chains.schema.json": _schema(records.ChainsReport, "fxst chains --format json"),
        ROOT / "docs/doctor.schema.json": _schema(records.DoctorReport, "fxst doctor --format json"),
        ROOT / "docs/models.schema.json": _schema(
            records.ModelsReport | records.ModelReport | records.VerifyReport, "fxst models --format json"
        ),
        ROOT / "docs/summary.schema.json": _schema(records.Summary, "summary.json of fxst eval"),
        ROOT / "docs/params.schema.json": _schema(TableFile, "A parameter table"),
        ROOT / "docs/manifest.schema.json": _schema(ManifestRow, "A line of fxst-manifest.jsonl"),
        ROOT / "docs/style-profile.schema.json": _schema(
            StyleProfile, "A style profile", format={"const": profiles.FORMAT}, version=version, made_by=made_by
        ),
    }


def with_blocks(text: str) -> str:
    """Put the generated blocks between their marks."""
    return BLOCK.sub(lambda block: f"{block[1]}{BLOCKS[block['name']]()}\n{block[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_blocks(page.read_text(encoding="utf-8")), encoding="utf-8")
    for path, text in schemas().items():
        path.write_text(text, encoding="utf-8")

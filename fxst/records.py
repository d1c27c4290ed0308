"""What fxst writes as JSON for other programs; `docs/*.schema.json` are generated from these types."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "ApplyReport",
    "BatchReport",
    "CardRecord",
    "ChainsReport",
    "DoctorReport",
    "FigureReport",
    "FileReport",
    "ModelReport",
    "ModelsReport",
    "Summary",
    "VerifyReport",
    "plain",
]

Count = Annotated[int, Meta(ge=0)]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class CardRecord(Struct):
    """A model's card; its other fields are the model's own."""

    format: Annotated[str, Meta(description="The kind of model: fxst-style, fxst-studio, fxst-proxy, or one declared.")]
    format_version: Literal[3]
    sha256: Annotated[Hash, Meta(description="Of the weights, then of the card with an empty sha256.")]
    sample_rate: Annotated[int, Meta(ge=8000, le=768_000, description="In Hz.")]
    chain: Annotated[dict[str, Any], Meta(description="The chain that it sets; of a proxy, its effect.")]
    model: Annotated[dict[str, Any], Meta(description="The sizes of the network.")]
    # Information for people: a model works whatever stands here.
    fxst_version: Any = ""
    training: Annotated[Any, Meta(description="Command, options, data, steps and speed of the training.")] = {}
    losses: Annotated[Any, Meta(description="The best row of the loss table.")] = {}
    fidelity: Annotated[Any, Meta(description="Of a proxy: its error on test clips.")] = {}


class FileReport(Struct, forbid_unknown_fields=True):
    """What became of a recording."""

    input: Annotated[str, Meta(description="The recording, as it was named or found.")]
    status: Annotated[
        Literal["written", "finished", "failed", "planned"],
        Meta(description="finished: by an earlier run. planned: with --dry-run."),
    ]
    output: Annotated[str | None, Meta(description="The rendered file; null where it failed.")]
    table: Annotated[str | None, Meta(description="The file of its parameter table.")]
    exports: Annotated[list[str], Meta(description="The files for other programs.")]
    settings: Annotated[dict[str, dict[str, float]] | None, Meta(description="The settings, by effect and parameter.")]
    warnings: list[str]
    error: Annotated[str | None, Meta(description="Why there is no output; null where there is one.")]


class ApplyReport(Struct, tag_field="format", tag="fxst-apply", forbid_unknown_fields=True):
    """What `fxst apply --format json` prints; with jsonl, each line is one of the files."""

    format_version: Literal[1]
    fxst: Annotated[str, Meta(description="The version that wrote it.")]
    exit_code: Literal[0, 1, 5, 130, 143]
    counts: dict[Literal["written", "finished", "failed", "planned"], Count]
    files: list[FileReport]


class BatchReport(Struct, tag_field="format", tag="fxst-batch-status", forbid_unknown_fields=True):
    """What `fxst batch status --format json` and `fxst batch merge --format json` print."""

    format_version: Literal[1]
    files: Annotated[Count, Meta(description="When the batch was last begun.")]
    done: Count
    failed: Count
    missing: Annotated[Count, Meta(description="Files without a result.")]
    chunks: Annotated[int, Meta(ge=1)]
    missing_chunks: Count
    shards: Annotated[int | None, Meta(description="null where the batch was not begun with --shard.")]
    missing_shards: Annotated[list[Count], Meta(description="Those with a chunk without a result.")]
    array: Annotated[str, Meta(description="The missing shards as Slurm's --array takes them; empty without any.")]


class ParameterSpec(Struct, forbid_unknown_fields=True):
    """A parameter of an effect, with its range."""

    name: str
    minimum: float
    maximum: Annotated[float, Meta(description="Equal to the minimum where the chain fixes it.")]
    default: float
    unit: str
    scale: Literal["linear", "log"]


class EffectSpec(Struct):
    """An effect. Whatever else defines it, such as the kinds of an equaliser's bands, is beside its parameters."""

    effect: str
    parameters: Annotated[list[ParameterSpec], Meta(min_length=1)]


class ChainSpec(Struct, forbid_unknown_fields=True):
    """A chain: its effects in order."""

    name: str
    effects: Annotated[list[EffectSpec], Meta(min_length=1)]


class ChainsReport(Struct, tag_field="format", tag="fxst-chains", forbid_unknown_fields=True):
    """What `fxst chains --format json` prints: the named chains, with the range of every parameter."""

    format_version: Literal[1]
    chains: list[ChainSpec]


class CheckReport(Struct, forbid_unknown_fields=True):
    """One check of an installation."""

    part: str
    group: Literal["program", "package", "extra", "optional package", "optional program", "device", "cache", "model"]
    state: Literal["ok", "missing", "failed"]
    found: Annotated[str, Meta(description="Its version or other details; the reason if it failed.")]
    required: bool
    purpose: str
    remedy: Annotated[str, Meta(description="Empty if it is ok.")]


class DoctorReport(Struct, tag_field="format", tag="fxst-doctor", forbid_unknown_fields=True):
    """What `fxst doctor --format json` prints."""

    format_version: Literal[1]
    well: Annotated[bool, Meta(description="Whether all that is required is ok.")]
    checks: list[CheckReport]


class FigureReport(Struct, forbid_unknown_fields=True):
    """A model's headline figure: of a style model on validation recordings, of a proxy on test clips."""

    name: str
    value: float
    text: str


class ModelEntry(Struct, forbid_unknown_fields=True):
    """A model in a list."""

    name: str
    kind: Literal["style", "proxy"]
    default: Annotated[bool, Meta(description="Whether fxst apply uses it by default.")]
    chain: str
    effects: list[str]
    knobs: Annotated[int, Meta(ge=1)]
    sample_rate: Annotated[int, Meta(ge=1)]
    weights_bytes: Count
    figure: FigureReport | None
    folder: str


class ModelsReport(Struct, tag_field="format", tag="fxst-models", forbid_unknown_fields=True):
    """What `fxst models list --format json` prints: the shipped models whose cards can be read."""

    format_version: Literal[1]
    models: list[ModelEntry]


class ModelReport(ModelEntry, tag_field="format", tag="fxst-model", forbid_unknown_fields=True):
    """What `fxst models info --format json` prints."""

    format_version: Literal[1]
    limits: list[str]
    card: Annotated[dict[str, Any], Meta(description="The whole card.")]


class VerifiedModel(Struct, forbid_unknown_fields=True):
    """Whether a model is intact."""

    name: str
    folder: str | None
    whole: bool
    sha256: Hash | None
    error: str | None


class VerifyReport(Struct, tag_field="format", tag="fxst-models-verified", forbid_unknown_fields=True):
    """What `fxst models verify --format json` prints."""

    format_version: Literal[1]
    models: list[VerifiedModel]


class Bounds(Struct, forbid_unknown_fields=True):
    """A figure and its confidence interval; null is not known."""

    value: float | None
    low: float | None
    high: float | None


class MetricReport(Struct, forbid_unknown_fields=True):
    """A metric that was measured."""

    heading: str
    unit: str
    published: Annotated[bool, Meta(description="Whether it is one of the seven of the published evaluation.")]
    higher_is_better: bool


class FigureSummary(Struct, forbid_unknown_fields=True):
    """A metric of a system."""

    mean: Bounds
    ratio: Annotated[Bounds, Meta(description="The mean over the input's; null if higher is better.")]
    missing: Annotated[Count, Meta(description="Items without a value.")]


class DetectionSummary(Struct, forbid_unknown_fields=True):
    """How well a system detects whether an effect is audible."""

    balanced_accuracy: Bounds
    audible: Count
    inaudible: Count
    missing: Annotated[Count, Meta(description="Items on which it decided nothing.")]


class RowSummary(Struct, forbid_unknown_fields=True):
    """A system."""

    system: str
    judged: Annotated[bool, Meta(description="Whether requirements without a row's name are about it.")]
    figures: dict[str, FigureSummary]
    detection: Annotated[dict[str, DetectionSummary], Meta(description="By effect, where the true settings are known.")]


class BootstrapSummary(Struct, forbid_unknown_fields=True):
    """How confidence intervals were drawn."""

    draws: int
    confidence: float
    over: str


class TrainingSummary(Struct, forbid_unknown_fields=True):
    """How a model was trained, by its card; null is not known."""

    gradient: str | None
    steps: int | None
    examples: int | None
    ms_per_step: float | None
    peak_memory_mb: float | None


class Summary(Struct, tag_field="format", tag="fxst-evaluation", forbid_unknown_fields=True):
    """What an evaluation found: a row for each system, the input first, and a figure for each metric."""

    format_version: Literal[3]
    fxst: Annotated[str, Meta(description="The version that wrote it.")]
    config: Annotated[dict[str, Any], Meta(description="Every option of the command.")]
    chain: Annotated[dict[str, Any] | None, Meta(description="The chain of the targets, with --protocol chain.")]
    compared_with: Annotated[Literal["target", "reference"], Meta(description="What outputs were compared with.")]
    items: Annotated[int, Meta(ge=1)]
    groups: Annotated[int, Meta(ge=1, description="The number of voices or songs.")]
    bootstrap: BootstrapSummary
    metrics: dict[str, MetricReport]
    rows: Annotated[list[RowSummary], Meta(min_length=1)]
    training: dict[str, TrainingSummary]
    shortfalls: Annotated[list[str], Meta(description="Each requirement that was not met, in a sentence.")]


Record = TypeVar("Record", bound=Struct)


def plain(record: type[Record], /, **fields: Any) -> dict[str, Any]:
    """Return a document as plain data, of exactly the fields and types that its schema has.

    Args:
        record: Its type.
        fields: Its fields as plain data.

    Raises:
        msgspec.ValidationError: They are not of this type, which is a fault of fxst.
    """
    tag = record.__struct_config__.tag
    given = {} if tag is None else {"format": tag}
    result: dict[str, Any] = msgspec.to_builtins(msgspec.convert(given | fields, record))
    return result

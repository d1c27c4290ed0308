"""Settings of every command: the only definition of their names, types, defaults and help.

One frozen dataclass a command. The command line derives arguments and options from the fields, library functions take
the dataclass itself, and model cards contain it. Nothing here imports torch.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from fxst.errors import SettingsError

__all__ = [
    "CHANGEABLE",
    "CHOOSING",
    "PRESETS",
    "REFERENCE",
    "ApplyConfig",
    "BatchMergeConfig",
    "BatchStatusConfig",
    "ChainsConfig",
    "ClipsConfig",
    "ConfigShowConfig",
    "DatasetConfig",
    "DoctorConfig",
    "EvalConfig",
    "ModelsInfoConfig",
    "ModelsListConfig",
    "ModelsVerifyConfig",
    "PassagesConfig",
    "ProfileConfig",
    "ProxyConfig",
    "StyleConfig",
    "TrainingConfig",
    "UiConfig",
    "adopting",
    "argument",
    "check_used",
    "flags",
    "is_adopted",
    "option",
]

CHANGEABLE: Final = ("steps", "nodes", "devices", "device", "loaders", "data_note", "test_examples")
"""Settings that a resumed training run may change."""

CHOOSING: Final = ("model", "device", "input_range", "ref_eq", "ref_dynamics", "noise", "max_noise")
"""Options of `fxst apply` for settings that a model chooses; with a table they change nothing."""

REFERENCE: Final = "reference"
"""The loudness of the reference, as a loudness target."""

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "podcast": {"loudness": "-16", "ceiling": "-1", "noise": "guard", "max_noise": 3.0, "max_boost": 12.0},
    "broadcast": {"loudness": "-23", "ceiling": "-1", "noise": "guard", "max_noise": 3.0, "max_boost": 9.0},
    "music": {"loudness": "-14", "ceiling": "-1", "noise": "keep", "max_noise": 3.0, "max_boost": 6.0, "max_cut": 12.0},
}
"""Options of `fxst apply` by the name of a preset. Speech has no limit on cuts: a telephone's sound consists of them.

Source:
    Loudness: Apple's requirements for podcasts; EBU R 128; what most music services play at. The other limits are ours.
"""

_adopted: ContextVar[frozenset[str]] = ContextVar("adopted", default=frozenset())
"""Fields whose values come from a settings file or a preset."""


def argument(
    help: str,
    *,
    metavar: str | None = None,
    default: Any = ...,
    required: bool = True,
    completes: str | None = None,
) -> Any:
    """Declare a positional argument of a command; it is optional with a `default`, or if not `required`.

    `completes` says what it names, for `fxst.cli.completion`.
    """
    metadata = {"help": help, "argument": True, "metavar": metavar, "required": required, "completes": completes}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def option(
    default: Any,
    help: str,
    *,
    flags: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    metavar: str | None = None,
    panel: str | None = None,
    completes: str | None = None,
) -> Any:
    """Declare an option; without `flags` it is named after the field (`n_mels` is `--n-mels`).

    `panel` is its group in the help, `completes` what it names, for `fxst.cli.completion`.
    """
    metadata = {"help": help, "flags": tuple(flags), "min": minimum, "max": maximum, "metavar": metavar}
    return field(default=default, metadata=metadata | {"panel": panel, "completes": completes})


def flags(item: "Field[Any]") -> tuple[str, ...]:
    """Return how an option is written on the command line."""
    return item.metadata["flags"] or ("--" + item.name.replace("_", "-"),)


def is_adopted(name: str) -> bool:
    """Return whether a field has its value from a settings file or a preset."""
    return name in _adopted.get()


@contextlib.contextmanager
def adopting(names: Iterable[str]) -> Iterator[None]:
    """Let fields have values from a settings file or a preset during the block: no user need leave those out.

    Args:
        names: The fields.
    """
    token = _adopted.set(frozenset(names))
    try:
        yield
    finally:
        _adopted.reset(token)


def check_used(config: Any, needs: Mapping[str, tuple[bool, str]]) -> None:
    """Refuse options that change nothing beside the others; those of a settings file are for other commands, too.

    Args:
        config: A command's configuration.
        needs: For a field, whether it changes anything, and what it is for.

    Raises:
        SettingsError: One that is not at its default changes nothing.
    """
    for item in fields(config):
        used, purpose = needs.get(item.name, (True, ""))
        if not used and not is_adopted(item.name) and getattr(config, item.name) != item.default:
            raise SettingsError(f"{flags(item)[0]} is for {purpose}: leave it out.")


def _shard() -> Any:
    return option(
        None,
        "Do one share of the batch, such as 0/100, ..., 99/100: shares count from 0. auto takes it from the variables "
        "of Slurm, of Kubernetes, or FXST_SHARD_INDEX and FXST_SHARDS. `fxst batch` shows and merges them.",
        metavar="I/N",
        panel="Several machines",
    )


def _engine() -> Any:
    return option(
        "local",
        "Where the work is done: on this machine, or on a Ray cluster (needs the extra ray).",
        panel="Several machines",
    )


def _address() -> Any:
    return option(
        "auto", "With --engine ray: address of the cluster; auto for that of this machine.", panel="Several machines"
    )


@dataclass(frozen=True)
class DatasetConfig:
    """Cut a folder of recordings into clips to train on."""

    sources: tuple[Path, ...] = argument(
        "Recordings or folders of recordings. A file's folder names its speaker; files directly in a single SOURCE are "
        "a speaker each.",
        metavar="SOURCE",
    )
    output: Path = option(Path("data"), "Folder for the dataset.", flags=("--output", "-o"), panel="Output")
    clips: int = option(
        1000, "Number of clips; 0 for as many as there are.", flags=("--clips", "-n"), minimum=0, panel="Clips"
    )
    seconds: float = option(0.53, "Length of a clip in seconds.", minimum=0.01, panel="Clips")
    sample_rate: int = option(24_000, "Sample rate of the clips in Hz.", minimum=8000, panel="Clips")
    seed: int = option(0, "Random seed; the same seed gives the same dataset.", panel="Clips")
    workers: int = option(0, "Worker processes; 0 for one per processor.", minimum=0, panel="Output")
    shard: str | None = _shard()
    engine: Literal["local", "ray"] = _engine()
    address: str = _address()


@dataclass(frozen=True)
class TrainingConfig:
    """What every training has."""

    dataset: Path = argument(
        "Folder of a dataset that `fxst dataset build` made; with --resume, the run's folder, or beside -o the dataset."
    )
    output: Path | None = option(None, "Folder of the run; without it, a new one in runs/.", flags=("--output", "-o"))
    steps: int = option(12_000, "Optimiser steps.", minimum=1)
    batch: int = option(16, "Examples in a step.", minimum=2)
    learning_rate: float = option(1e-3, "Peak learning rate of AdamW; it decays along a cosine.", minimum=0.0)
    warmup_steps: int = option(200, "Steps over which the learning rate rises.", minimum=1)
    validate_every: int = option(250, "Steps between validations and checkpoints.", minimum=1)
    validation_examples: int = option(256, "Examples in each validation; always the same ones.", minimum=1)
    data_note: str = option("", "What the recordings are, and their licence, for the model's card.")
    seed: int = option(0, "Seed of every random choice.", minimum=0)
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Where to train.")
    devices: int = option(
        1,
        "Devices of each machine, with a process each that takes its part of every batch; on a CPU, processes.",
        minimum=1,
    )
    nodes: int = option(1, "Machines that train together; start the same command on each.", minimum=1)


@dataclass(frozen=True)
class StyleConfig(TrainingConfig):
    """Train a style-transfer model on a dataset of clips."""

    chain: str = option(
        "eq-comp", "Chain of effects whose knobs the model learns to set; `fxst chains` lists them.", completes="chains"
    )
    loss: str | None = option(
        None, "Loss that a file of --effects declares, instead of the recipe's own.", metavar="NAME"
    )
    listen_clips: int = option(
        4, "Number of clips of the input, and of the reference, that the model analyses.", minimum=3
    )
    loaders: int = option(0, "Processes that prepare batches; 0 prepares them in the training process.", minimum=0)


@dataclass(frozen=True)
class ClipsConfig(StyleConfig):
    """Train a model to find the random settings that a reference was rendered with."""

    dataset_type: str | None = option(
        None,
        "Type of DATASET that a file of --effects declares: pairs of dry and processed recordings, instead of clips "
        "that fxst renders.",
        metavar="NAME",
    )
    network: str | None = option(
        None, "Network that a file of --effects declares, instead of the recipe's own.", metavar="NAME"
    )
    gradient: Literal["autodiff", "proxy", "half-hybrid", "full-hybrid", "spsa"] = option(
        "autodiff",
        "How the gradient passes through the effects: through their torch form (autodiff), through networks that "
        "imitate them (proxy; half-hybrid, which validates with the exact effects; full-hybrid, which always renders "
        "with them), or by trying random directions (spsa), which works with any effect.",
    )
    proxies: tuple[Path, ...] = option(
        (),
        "For proxy and hybrids: folder of a proxy that `fxst proxy train` made; it takes precedence over a shipped "
        "one.",
        flags=("--proxy",),
        metavar="FOLDER",
    )
    spsa_directions: int = option(1, "For spsa: directions that each step tries, with two renders each.", minimum=1)
    spsa_epsilon: float = option(
        0.01, "For spsa: initial perturbation of the knobs, as a fraction of their ranges.", minimum=1e-4, maximum=0.5
    )
    spsa_epsilon_decay: float = option(
        0.101, "For spsa: exponent with which the perturbation decays over the steps.", minimum=0.0, maximum=1.0
    )
    stft_windows: tuple[int, ...] = option(
        (32, 128, 512, 2048), "Length of an STFT window of the loss, in samples.", flags=("--stft-window",)
    )
    stft_hop: int = option(256, "Hop size of the STFTs of the loss, in samples.", minimum=1)
    mae_weight: float = option(1.0, "Weight of the mean absolute error relative to the spectral loss.", minimum=0.0)


@dataclass(frozen=True)
class PassagesConfig(StyleConfig):
    """Train a model to turn one version of a passage into another, at any sample rate."""

    also: tuple[Path, ...] = option(
        (),
        "Another dataset to train on, such as songs, at any sample rate, with clips of the same length in seconds. "
        "Build "
        "it from the song files themselves, so that no passage spans two songs.",
        metavar="DATASET",
    )
    begin_with: str | None = option(
        None,
        "Model to start from, by name or folder, instead of random weights; only the end-to-end stage trains it.",
        completes="style models",
    )
    fitter_steps: int = option(
        6000, "Steps of the first stage, which learns to fit an equaliser's bands to curves.", minimum=1
    )
    cached_batches: int = option(
        2000,
        "Batches that are analysed once and cached in the run's folder, 4 MB each; all stages learn from them. With 0, "
        "every step draws a new batch, there is no pretraining, and the feature extractor is trained too.",
        minimum=0,
    )
    pretraining_epochs: int = option(
        20, "Epochs of pretraining on the cached batches, which renders none of them.", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(TrainingConfig):
    """Train a network to imitate one effect at every setting, so that gradients can pass where the effect has none."""

    effect: str = option(
        MISSING, "Effect to imitate, by its name in the chain; a second one of its kind ends in 2.", completes="effects"
    )
    chain: str = option(
        "fx", "Chain that sets the ranges of the effect's parameters; `fxst chains` lists them.", completes="chains"
    )
    parts: tuple[str, ...] = option(
        (),
        "Part of the network: tone (a curve over frequency), echoes, dynamics (a gain that follows the level) or "
        "waveshape (a gain that depends on the instantaneous level alone). Default: all; fewer are faster.",
        flags=("--part",),
    )
    steps: int = option(2000, "Optimiser steps.", minimum=1)
    batch: int = option(16, "Clips in a step.", minimum=1)
    learning_rate: float = option(3e-3, "Peak learning rate; it decays along a cosine.", minimum=0.0)
    warmup_steps: int = option(50, "Steps over which the learning rate rises.", minimum=1)
    mae_weight: float = option(
        10.0, "Weight of the mean absolute error, on clips of equal level, relative to the spectral loss.", minimum=0.0
    )
    validate_every: int = option(200, "Steps between validations and checkpoints.", minimum=1)
    validation_examples: int = option(128, "Clips in each validation; always the same ones.", minimum=1)
    test_examples: int = option(256, "Clips of held-out speakers to measure the finished proxy on.", minimum=1)


ExportName = Literal["ffmpeg", "apo", "pedalboard", "camilladsp", "easyeffects", "sox", "jsfx", "ir", "all"]


@dataclass(frozen=True)
class ApplyConfig:
    """Make recordings sound as if they had been produced like another one.

    Sample rate, channels, bit depth and length are kept, and tags where the format has them. The settings are saved as
    a table to edit and apply again. Files may be objects, such as s3://bucket/voice.wav, with the extra cloud.
    """

    inputs: tuple[Path, ...] = argument(
        "Recordings, folders, or quoted patterns such as 'in/**/*.wav'; - reads one recording from standard input.",
        metavar="INPUT",
        required=False,
    )
    output: Path = option(
        MISSING,
        "Output file, or the output folder for several inputs or a folder; - writes WAV to standard output.",
        flags=("--output", "-o"),
        metavar="OUT",
        panel="Output",
    )
    references: tuple[str, ...] = option(
        (),
        "Recording to sound like, or a folder of them. Several are averaged; radio.wav:2 has the weight 2.",
        flags=("--ref", "-r"),
        metavar="FILE",
        panel="Reference",
    )
    styles: tuple[str, ...] = option(
        (),
        "Style profile from `fxst style save`. Several are averaged, together with references; a.json:0.3 has the "
        "weight 0.3.",
        flags=("--style",),
        metavar="JSON",
        panel="Reference",
    )
    ref_eq: str | None = option(
        None,
        "Recording or style profile from which the equaliser's settings are taken; --ref is for the rest.",
        metavar="FILE",
        panel="Reference",
    )
    ref_dynamics: str | None = option(
        None,
        "Recording or style profile from which the compressors' settings are taken; --ref is for the rest.",
        metavar="FILE",
        panel="Reference",
    )
    ref_range: str | None = option(
        None,
        "Part of every --ref recording to analyse, such as 1:20-2:10 or 80-; the rest does not count.",
        metavar="START-END",
        panel="Reference",
    )
    input_range: str | None = option(
        None,
        "Part of every input to analyse, such as 1:20-2:10; all of it is rendered.",
        metavar="START-END",
        panel="Reference",
    )
    params: Path | None = option(
        None,
        "Parameter table to apply. With --ref or --style: the table to write, .json or .csv; just json or csv names "
        "it after the output.",
        flags=("--params", "-p"),
        metavar="FILE",
        panel="Output",
    )
    params_dir: Path | None = option(
        None,
        "Folder of parameter tables: each recording gets its own, called as a batch calls them, such as "
        "season1/one.params.json for season1/one.wav.",
        metavar="FOLDER",
        panel="Reference",
    )
    model: str = option(
        "studio",
        "Name of a shipped model, or a model's folder.",
        flags=("--model", "-m"),
        panel="Reference",
        completes="style models",
    )
    device: Literal["cpu", "cuda"] = option(
        "cpu", "Device for the model; the effects run on the CPU. cuda needs the extra train.", panel="Reference"
    )
    amount: tuple[str, ...] = option(
        (),
        "Amount of the style in percent, 0 to 150, or of one effect: eq=50, comp=120, dist=0, reverb=30, up=50.",
        metavar="PERCENT",
        panel="Reference",
        completes="amounts",
    )
    max_boost: float | None = option(
        None,
        "Highest gain of the equaliser's curve at any frequency, in dB.",
        minimum=0,
        maximum=60,
        metavar="DB",
        panel="Equaliser",
    )
    max_cut: float | None = option(
        None,
        "Deepest cut of the equaliser's curve at any frequency, in dB.",
        minimum=0,
        maximum=60,
        metavar="DB",
        panel="Equaliser",
    )
    smooth: float = option(
        0.0,
        "Average the equaliser's curve over so many octaves.",
        minimum=0,
        maximum=4,
        metavar="OCTAVES",
        panel="Equaliser",
    )
    noise: Literal["keep", "guard"] = option(
        "keep",
        "keep: apply less of a style that would raise the noise too far. guard: turn down the pauses instead, by an "
        "expander.",
        panel="Level",
    )
    max_noise: float | None = option(
        None,
        "By how much noise may rise relative to the signal, in dB. Default: 3 with --noise guard, else 9 above the "
        "noisier of input and reference.",
        minimum=0,
        maximum=60,
        metavar="DB",
        panel="Level",
    )
    link: bool | None = option(
        None,
        "Compress all channels by the same gain, or each by its own. Default: as the table says, else linked.",
        flags=("--link/--no-link",),
        panel="Level",
    )
    preset: Literal["none", "podcast", "broadcast", "music"] = option(
        "none",
        "Loudness, ceiling, and limits on noise and equaliser for a purpose: podcast (-16 LUFS), broadcast (-23, EBU R "
        "128) or music (-14). Options that you give beside it take precedence.",
        panel="Level",
    )
    loudness: str | None = option(
        None,
        "Integrated loudness of the output (BS.1770) in LUFS; or that of the reference (reference) or input (keep).",
        metavar="LUFS",
        panel="Level",
    )
    ceiling: str = option(
        "-1",
        "Highest true peak in dBTP, held by a look-ahead limiter; none for no ceiling.",
        metavar="DBTP",
        panel="Level",
    )
    clip: Literal["ceiling", "float"] = option(
        "ceiling", "ceiling: limit every output. float: do not limit outputs of floating-point samples.", panel="Level"
    )
    to: Literal["flac", "wav", "opus", "mp3"] | None = option(
        None, "Format of the outputs. Default: that of each input, or .wav where it cannot be written.", panel="Output"
    )
    rate: int | None = option(
        None,
        "Sample rate of the outputs in Hz. Default: that of each input, or the next one that the format has.",
        minimum=1000,
        maximum=768_000,
        metavar="HZ",
        panel="Output",
    )
    quality: str | None = option(
        None,
        "For lossy outputs (mp3, ogg, opus): quality from 0 to 10, or a bit rate such as 192k. Default: about the bit "
        "rate of a lossy input, else the encoder's own.",
        metavar="QUALITY",
        panel="Output",
    )
    tail: str = option(
        "0",
        "Seconds of reverb tail to keep after the end; auto keeps all that is audible, up to 30 s.",
        metavar="SECONDS",
        panel="Output",
    )
    export: tuple[ExportName, ...] = option(
        (),
        "Also write the settings for another program: ffmpeg, apo (Equalizer APO, AutoEq), pedalboard (Python), "
        "camilladsp, easyeffects, sox, jsfx (REAPER), ir (the reverb's impulse response), or all.",
        metavar="NAME",
        panel="Output",
    )
    plot: Path | None = option(
        None,
        "For one recording: picture of the spectra and the equaliser (.svg; also .png or .pdf with the extra plots).",
        metavar="FILE",
        panel="Reports",
    )
    report: Path | None = option(
        None,
        "Web page with players, spectra, loudness and settings; one .html that works offline.",
        metavar="HTML",
        panel="Reports",
    )
    report_items: int = option(
        10, "Number of recordings that the page plays; its table lists all.", minimum=1, panel="Reports"
    )
    list_file: Path | None = option(
        None,
        "File that lists recordings, one per line, or separated by NUL bytes; an M3U playlist; - reads standard input.",
        flags=("--list",),
        metavar="FILE",
        panel="Batch",
    )
    recursive: bool = option(True, "Search subfolders too.", flags=("--recursive/--no-recursive",), panel="Batch")
    include: tuple[str, ...] = option(
        (),
        "Take only files that match the pattern, such as '*.flac', or 'season1/*' for a path in the given folder.",
        metavar="PATTERN",
        panel="Batch",
    )
    exclude: tuple[str, ...] = option(
        (), "Skip files that match the pattern, such as 'drafts/**'.", metavar="PATTERN", panel="Batch"
    )
    name: str | None = option(
        None,
        "Naming template for outputs, such as '{relpath}-{ref}.{ext}'; other fields are {stem} and {model}.",
        metavar="TEMPLATE",
        panel="Batch",
    )
    album: bool = option(
        False,
        "Give all inputs one table, chosen for all of them together, and one gain for --loudness.",
        flags=("--album",),
        panel="Batch",
    )
    album_loudness: bool = option(
        False,
        "Keep the loudness relations of the inputs; --loudness, by default reference, is that of all together.",
        flags=("--album-loudness",),
        panel="Batch",
    )
    jobs: int | None = option(
        None,
        "Recordings to process in parallel, each in its own process; 0 for one per processor. Default: 1, and with "
        "--engine ray one per processor of the cluster.",
        flags=("--jobs", "-j"),
        minimum=0,
        panel="Batch",
    )
    shard: str | None = _shard()
    engine: Literal["local", "ray"] = _engine()
    address: str = _address()
    resume: bool = option(
        True,
        "Skip files that the folder's fxst-manifest.jsonl lists as finished; --no-resume renders them again.",
        flags=("--resume/--no-resume",),
        panel="Batch",
    )
    overwrite: bool = option(
        False,
        "Replace existing files that fxst did not make, or that were edited since.",
        flags=("--overwrite",),
        panel="Output",
    )
    dry_run: bool = option(False, "List what would be done, and change nothing.", flags=("--dry-run",), panel="Batch")
    format: Literal["table", "json", "jsonl", "quiet"] = option(
        "table", "Standard output: text, one JSON document, one JSON object per recording, or nothing.", panel="Reports"
    )
    verbose: bool = option(
        False, "Print every parameter instead of a summary.", flags=("--verbose", "-v"), panel="Reports"
    )

    @property
    def by_model(self) -> bool:
        """Whether a model chooses the settings; else a table is applied."""
        return bool(self.references or self.styles)

    @property
    def is_album(self) -> bool:
        """Whether the result of a recording depends on the other inputs."""
        return self.album or self.album_loudness


@dataclass(frozen=True)
class BatchStatusConfig:
    """Show how far a batch is that several processes share: what is done, failed and missing.

    Exits with 1 where something failed or is missing.
    """

    folder: Path = argument("Output folder of the batch.", metavar="DIR")
    format: Literal["table", "json", "jsonl"] = option(
        "table", "Standard output: text, one JSON document, or one JSON object per file that failed."
    )


@dataclass(frozen=True)
class BatchMergeConfig:
    """Merge the results of all shards: one manifest and one summary.

    Refused while results are missing. Exits with 1 where a file failed.
    """

    folder: Path = argument("Output folder of the batch.", metavar="DIR")
    report: Path | None = option(None, "Web page as `fxst apply --report` writes it.", metavar="HTML")
    report_items: int = option(10, "Number of recordings that the page plays.", minimum=1)
    overwrite: bool = option(
        False, "Replace an existing page that fxst did not make, or that was edited since.", flags=("--overwrite",)
    )
    format: Literal["table", "json", "jsonl"] = option(
        "table", "Standard output: text, one JSON document, or one JSON object per file that failed."
    )


@dataclass(frozen=True)
class ProfileConfig:
    """Save the style of recordings as a profile, which `fxst apply --style` uses in their place.

    A profile holds numbers from the model's analysis, and no audio.
    """

    references: tuple[str, ...] = argument(
        "Recordings or folders of recordings. Several are averaged; radio.wav:2 has the weight 2.", metavar="REF"
    )
    output: Path = option(MISSING, "Profile to write (.json).", flags=("--output", "-o"), metavar="JSON")
    model: str = option(
        "studio",
        "Model that the profile is for: a shipped model's name, or a folder.",
        flags=("--model", "-m"),
        completes="style models",
    )
    device: Literal["cpu", "cuda"] = option("cpu", "Device for the model; cuda needs the extra train.")
    overwrite: bool = option(
        False, "Replace an existing file that fxst did not make, or that was edited since.", flags=("--overwrite",)
    )


@dataclass(frozen=True)
class UiConfig:
    """Open a page in your browser to hear a transfer, change its settings and keep the result.

    The page is on this machine only, and nothing is sent anywhere. Needs the extra ui. Ctrl-C ends it.
    """

    model: str = option(
        "studio", "Name of a shipped model, or a model's folder.", flags=("--model", "-m"), metavar="MODEL"
    )
    port: int = option(0, "Port on 127.0.0.1; 0 for any free one.", minimum=0, maximum=65_535)
    browser: bool = option(True, "Open the page in the browser.", flags=("--browser/--no-browser",))


@dataclass(frozen=True)
class ConfigShowConfig:
    """Show the value of every option, and where it comes from: a settings file, a preset, or the default."""

    command: tuple[str, ...] = argument(
        "Command, such as apply or style train; all commands by default.", metavar="COMMAND", default=()
    )
    json: bool = option(False, "Print JSON.", flags=("--json",))


@dataclass(frozen=True)
class ChainsConfig:
    """List the named chains: their effects, and every parameter with its range."""

    format: Literal["table", "json"] = option("table", "Output format: text, or JSON.")


@dataclass(frozen=True)
class ModelsListConfig:
    """List the shipped models: chain, size and headline figure."""

    format: Literal["table", "json"] = option("table", "Output format: text, or JSON.")


@dataclass(frozen=True)
class ModelsInfoConfig:
    """Show a model's card: results, limits, chain, training and training data."""

    model: str = argument("Name of a shipped model, or a model's folder.", metavar="MODEL", completes="models")
    format: Literal["table", "json"] = option("table", "Output format: text, or JSON.")
    verbose: bool = option(False, "Name every source of the training data.", flags=("--verbose", "-v"))


@dataclass(frozen=True)
class ModelsVerifyConfig:
    """Check that models are complete and unchanged; exit with 4 where one is not."""

    models: tuple[str, ...] = argument(
        "Names of shipped models, or folders of models; all shipped models by default.",
        metavar="MODEL",
        default=(),
        completes="models",
    )
    format: Literal["table", "json"] = option("table", "Output format: text, or JSON.")


@dataclass(frozen=True)
class DoctorConfig:
    """Check this installation: versions, devices and libraries, with a remedy for each that does not work."""

    format: Literal["table", "json"] = option("table", "Output format: text, or JSON.")


@dataclass(frozen=True)
class EvalConfig:
    """Measure style transfer: models, baselines and oracles on the same items, with confidence intervals.

    Items are drawn from a folder of recordings, as in the evaluation of DeepAFx-ST, or listed in a CSV.
    """

    data: Path | None = option(
        None, "Folder of recordings, or a dataset, to draw items from.", metavar="FOLDER", panel="Items"
    )
    pairs: Path | None = option(
        None,
        "CSV with the columns input and reference, and optionally target, output (to be scored) and group (the "
        "speaker). Paths are relative to its folder. Without targets, distances to the reference are measured.",
        metavar="CSV",
        panel="Items",
    )
    models: tuple[str, ...] = option(
        (),
        "Name of a shipped model, or a model's folder. Default: none.",
        flags=("--model", "-m"),
        panel="Systems",
        completes="style models",
    )
    outputs: tuple[Path, ...] = option(
        (),
        "Folder of outputs to score, each named after its item (with --pairs, after its input).",
        metavar="FOLDER",
        panel="Systems",
    )
    baselines: tuple[str, ...] = option(
        (),
        "Baseline to compare with: closed-form, rule-based, matchering, oracle-eq, closed-form-eq, oracle-chain (many "
        "seconds per item; needs the extra train), all or none. Default: the first four, matchering only where it is "
        "installed.",
        flags=("--baseline",),
        metavar="NAME",
        completes="baselines",
        panel="Systems",
    )
    through_proxies: bool = option(
        False,
        "Also render each model's settings with the shipped proxies, as NAME@proxy; at 24000 Hz only. It needs the "
        "extra train.",
        flags=("--through-proxies",),
        panel="Systems",
    )
    limit: int | None = option(
        None,
        "Number of items; default 200, or all with --pairs.",
        flags=("--limit", "--items", "-n"),
        minimum=1,
        panel="Items",
    )
    protocol: Literal["p", "q", "chain"] = option(
        "p",
        "With --data, how items are made. p: the corruptions of the published evaluation; the reference is the same "
        "voice. q: productions; the reference is another voice or song. chain: random settings of the models' own "
        "chain.",
        panel="Items",
    )
    kind: Literal["same-studio", "any-studio"] | None = option(
        None,
        "With --protocol q: whose voice or song the reference is. same-studio: one of the same corpus or album, which "
        "is the folder around the voice's folder or the song's file (default). any-studio: one of another.",
        panel="Items",
    )
    only: Literal["distortion", "reverb"] | None = option(
        None,
        "With --protocol q: make every style of one strong distortion or reverb, on dry inputs. Default: whole "
        "productions, and half of the inputs have one of their own.",
        panel="Items",
    )
    responses: Path | None = option(
        None,
        "With --protocol q: folder of measured room responses, for the styles with a room. Default: modelled rooms.",
        metavar="FOLDER",
        panel="Items",
    )
    effects: int | None = option(
        None,
        "With --protocol chain: number of effects in each target, drawn at random; the others are bypassed. Default: "
        "all.",
        minimum=1,
        panel="Items",
    )
    chain: str | None = option(
        None,
        "Chain of oracle-chain and of --protocol chain; default: the models', or eq-comp.",
        panel="Items",
        completes="chains",
    )
    sample_rate: int = option(
        24_000,
        "With --data: sample rate of the items, 24000 or 44100 Hz; other rates are resampled. With --protocol q, 44100 "
        "is for music, which stays stereo.",
        panel="Items",
    )
    split: Literal["train", "val", "test", "all"] = option(
        "test", "With --data: split of speakers, as `fxst dataset build` makes it.", panel="Items"
    )
    split_seed: int = option(0, "Seed of the split; a dataset has its own.", minimum=0, panel="Items")
    each_file: bool = option(
        False,
        "Count every file as a speaker or song; by default every folder is one.",
        flags=("--each-file",),
        panel="Items",
    )
    seed: int = option(0, "Random seed; the same seed gives the same items.", minimum=0, panel="Items")
    pesq: bool = option(
        True,
        "Measure PESQ where its package is installed; it takes most of the time.",
        flags=("--pesq/--no-pesq",),
        panel="Results",
    )
    oracle_steps: int = option(150, "Optimisation steps of oracle-chain.", minimum=1, panel="Systems")
    output: Path | None = option(
        None,
        "Folder for items.csv, items.jsonl and summary.json; an interrupted evaluation continues from it.",
        flags=("--output", "-o"),
        metavar="FOLDER",
        panel="Results",
    )
    audio: Path | None = option(
        None, "Folder for the audio of every item, with a pairs.csv that lists it.", metavar="FOLDER", panel="Results"
    )
    report: Path | None = option(None, "Web page with the tables, and items to play.", metavar="HTML", panel="Results")
    report_items: int = option(
        10, "Number of items on the page, from the best to the worst.", minimum=1, panel="Results"
    )
    overwrite: bool = option(
        False,
        "Replace existing files that fxst did not make, or that were edited since.",
        flags=("--overwrite",),
        panel="Results",
    )
    require: tuple[str, ...] = option(
        (),
        "Exit with 1 unless every model and output meets this bound, such as mrstft_ratio<=0.45; eq.mrstft<=1 is for "
        "the row eq only.",
        metavar="BOUND",
        panel="Results",
    )
    shard: str | None = _shard()
    engine: Literal["local", "ray"] = _engine()
    address: str = _address()
    workers: int = option(0, "Worker processes; 0 for one per processor.", minimum=0, panel="Computing")
    device: Literal["cpu", "cuda"] = option(
        "cpu", "Device for the models; the effects run on the CPU. cuda needs the extra train.", panel="Computing"
    )

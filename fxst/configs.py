"""Every command's settings: the only home of their names, types, defaults and help.

One frozen dataclass a command. The command line derives its arguments and options from the fields, the
library functions take the dataclass itself, and model cards quote it. Nothing here imports torch.
"""

from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "ApplyConfig",
    "ChainsConfig",
    "ClipsConfig",
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
    "argument",
    "flags",
    "option",
]


def argument(help: str, *, metavar: str | None = None, default: Any = ..., required: bool = True) -> Any:
    """Declare a positional argument of a command; `default` makes it optional, and so does not `required`."""
    metadata = {"help": help, "argument": True, "metavar": metavar, "required": required}
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
) -> Any:
    """Declare an option; without `flags` it is named after the field (`n_mels` is `--n-mels`)."""
    metadata = {"help": help, "flags": tuple(flags), "min": minimum, "max": maximum, "metavar": metavar}
    return field(default=default, metadata=metadata)


def flags(item: "Field[Any]") -> tuple[str, ...]:
    """Return how an option is written on the command line."""
    return item.metadata["flags"] or ("--" + item.name.replace("_", "-"),)


@dataclass(frozen=True)
class DatasetConfig:
    """Cut a folder of recordings into clips to train on."""

    sources: tuple[Path, ...] = argument(
        "Folders or files of recordings. Whose voice it is, a file's folder tells; files directly in a single SOURCE "
        "count as a speaker each.",
        metavar="SOURCE",
    )
    output: Path = option(Path("data"), "Folder to write the dataset to.", flags=("--output", "-o"))
    clips: int = option(1000, "How many clips to cut; 0 takes every one there is.", flags=("--clips", "-n"), minimum=0)
    seconds: float = option(0.53, "Length of a clip, in seconds.", minimum=0.01)
    sample_rate: int = option(24_000, "Sample rate of the clips, in Hz.", minimum=8000)
    seed: int = option(0, "Seed of every random choice: same seed, same dataset.")
    workers: int = option(0, "Worker processes; 0 is one for each processor.", minimum=0)


@dataclass(frozen=True)
class TrainingConfig:
    """What every training has."""

    dataset: Path = argument("Folder of a dataset that `fxst dataset build` made; with --resume, the run's folder.")
    output: Path | None = option(None, "Folder of the run; without it, a new one in runs/.", flags=("--output", "-o"))
    steps: int = option(12_000, "Optimiser steps.", minimum=1)
    batch: int = option(16, "Examples in a step.", minimum=2)
    learning_rate: float = option(1e-3, "Peak learning rate of AdamW; it falls along a cosine.", minimum=0.0)
    warmup_steps: int = option(200, "Steps over which the learning rate rises.", minimum=1)
    validate_every: int = option(250, "Steps between validations and checkpoints.", minimum=1)
    validation_examples: int = option(256, "Examples of each validation; always the same ones.", minimum=1)
    data_note: str = option("", "What the recordings are, and their licence, for the model's card.")
    seed: int = option(0, "Seed of every random choice.", minimum=0)
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Where to train.")


@dataclass(frozen=True)
class StyleConfig(TrainingConfig):
    """Train a style-transfer model on a dataset of clips."""

    chain: str = option("eq-comp", "Chain of effects whose knobs the model learns to set; `fxst chains` lists them.")
    listen_clips: int = option(4, "Clips that the model analyses of the input, and of the reference.", minimum=3)
    loaders: int = option(0, "Processes that prepare batches during training; 0 prepares them in turn.", minimum=0)


@dataclass(frozen=True)
class ClipsConfig(StyleConfig):
    """Train a model to find the random settings that a reference was rendered with."""

    gradient: Literal["autodiff", "proxy", "half-hybrid", "full-hybrid", "spsa"] = option(
        "autodiff",
        "How the gradient passes through the effects: through their torch form (autodiff), through networks that "
        "imitate them (proxy; half-hybrid, which validates with the exact effects; full-hybrid, which always renders "
        "with them), or by trying random directions (spsa), which any effect takes.",
    )
    proxies: tuple[Path, ...] = option(
        (),
        "For proxy and hybrids: folder of a proxy that `fxst proxy train` made, before the shipped ones; repeat the "
        "option for more.",
        flags=("--proxy",),
        metavar="FOLDER",
    )
    spsa_directions: int = option(1, "For spsa: directions that each step tries, with two renders each.", minimum=1)
    spsa_epsilon: float = option(
        0.01, "For spsa: how far knobs are moved at first, in parts of their ranges.", minimum=1e-4, maximum=0.5
    )
    spsa_epsilon_decay: float = option(
        0.101, "For spsa: the perturbation falls with this power of the step's number.", minimum=0.0, maximum=1.0
    )
    stft_windows: tuple[int, ...] = option(
        (32, 128, 512, 2048), "An STFT window of the loss, in samples; repeat it for each.", flags=("--stft-window",)
    )
    stft_hop: int = option(256, "Hop of the loss' STFTs, in samples.", minimum=1)
    mae_weight: float = option(1.0, "Weight of the mean absolute error beside the spectral loss.", minimum=0.0)


@dataclass(frozen=True)
class PassagesConfig(StyleConfig):
    """Train a model to turn one version of a passage into another, at any sample rate."""

    also: tuple[Path, ...] = option(
        (),
        "Another dataset to train on, of songs, at any sample rate, its clips as long; build it from the files "
        "themselves, so that a passage stays in one song. Repeat the option for more.",
        metavar="DATASET",
    )
    begin_with: str | None = option(
        None,
        "Model to begin with, by name or folder, instead of random weights; only the end-to-end stage trains it.",
    )
    fitter_steps: int = option(
        6000, "Steps of the first stage, which learns from curves alone to set an equaliser's bands.", minimum=1
    )
    cached_batches: int = option(
        2000,
        "Batches that are analysed once and kept in the run's folder, 4 MB each; all stages learn from them. With 0 "
        "every step has a new batch, there is no pretraining, and the feature extractor learns as well.",
        minimum=0,
    )
    pretraining_epochs: int = option(
        20, "How often pretraining goes through the cached batches, without rendering any.", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(TrainingConfig):
    """Train a network to imitate one effect at every setting, so that gradients can pass where the effect has none."""

    effect: str = option(MISSING, "The effect to imitate, as it stands in the chain; a second of its kind has a 2.")
    chain: str = option("fx", "Chain that sets the ranges of the effect's parameters; `fxst chains` lists them.")
    parts: tuple[str, ...] = option(
        (),
        "A part that the network has: tone (a curve over frequency), echoes, dynamics (a gain that follows the level) "
        "or waveshape (one of the moment's level alone); repeat the option for more. Without it all; fewer are faster.",
        flags=("--part",),
    )
    steps: int = option(2000, "Optimiser steps.", minimum=1)
    batch: int = option(16, "Clips in a step.", minimum=1)
    learning_rate: float = option(3e-3, "Peak learning rate; it falls along a cosine.", minimum=0.0)
    warmup_steps: int = option(50, "Steps over which the learning rate rises.", minimum=1)
    mae_weight: float = option(
        10.0, "Weight of the mean absolute error, on clips of equal level, beside the spectral loss.", minimum=0.0
    )
    validate_every: int = option(200, "Steps from one validation to the next; each ends with a checkpoint.", minimum=1)
    validation_examples: int = option(128, "Clips of each validation; always the same ones.", minimum=1)
    test_examples: int = option(256, "Clips of held-out speakers that the finished proxy is measured on.", minimum=1)


ExportName = Literal["ffmpeg", "apo", "pedalboard", "camilladsp", "easyeffects", "sox", "ir", "all"]


@dataclass(frozen=True)
class ApplyConfig:
    """Make recordings sound as if they had been produced like another one.

    Rate, channels, bit depth and length are kept. The settings are printed, and written as a table to use again.
    """

    inputs: tuple[Path, ...] = argument(
        "Recordings, folders of recordings, or quoted patterns such as 'in/**/*.wav'; - alone is standard input.",
        metavar="INPUT",
        required=False,
    )
    output: Path = option(
        MISSING,
        "The file to write; for several recordings or a folder, the folder to write them to, as they lie in theirs. "
        "With - the sound goes to standard output, as WAV.",
        flags=("--output", "-o"),
        metavar="OUT",
    )
    references: tuple[str, ...] = option(
        (),
        "Recording to sound like, all of which is listened to, or a folder of recordings; repeat the option for a mean "
        "of several, which count alike or by a weight behind the name, as in radio.wav:2.",
        flags=("--ref", "-r"),
        metavar="FILE",
    )
    styles: tuple[str, ...] = option(
        (),
        "Style profile that `fxst style save` made, instead of a reference or beside it; repeat the option, with "
        "weights such as a.json:0.3, for what lies between several.",
        flags=("--style",),
        metavar="JSON",
    )
    params: Path | None = option(
        None,
        "Without --ref and --style: the parameter table to apply, edited or not. With them: where to write the table, "
        "as .json or .csv; just json or csv names it after the output, and so does leaving this out.",
        flags=("--params", "-p"),
        metavar="FILE",
    )
    model: str = option("studio", "A shipped model's name, or a model's folder.", flags=("--model", "-m"))
    refine: bool = option(
        False,
        "Move the settings on, by gradient, until an excerpt is heard as the model expects it to be; takes seconds.",
        flags=("--refine",),
    )
    refine_steps: int = option(25, "With --refine: steps at most; it ends earlier when nothing is gained.", minimum=1)
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Where the model runs; the effects run on the CPU.")
    amount: tuple[str, ...] = option(
        (),
        "How much of the style, in percent from 0, which changes nothing, to 150; or how much of one effect, such as "
        "eq=50, comp=120, dist=0, reverb=30 or up=50; repeat the option for more.",
        metavar="PERCENT",
    )
    link: bool | None = option(
        None,
        "Compressors turn all channels down alike, by the loudest, or each channel on its own. Without either: alike, "
        "or as the table says.",
        flags=("--link/--no-link",),
    )
    loudness: str | None = option(
        None,
        "Bring the integrated loudness (BS.1770) by one gain behind the effects to the reference's (reference), to the "
        "input's (keep), or to a number of LUFS, such as -16.",
        metavar="LUFS",
    )
    ceiling: str = option(
        "-1",
        "Highest true peak, in dBTP: what would pass it is turned down by a limiter that looks ahead, and all else is "
        "left as it is; none for no ceiling.",
        metavar="DBTP",
    )
    clip: Literal["ceiling", "float"] = option(
        "ceiling",
        "Hold every output under the ceiling, or (float) leave outputs of floating-point samples as high as they come: "
        "they lose nothing above full scale.",
    )
    tail: str = option(
        "0",
        "Seconds that ring on behind the end and are kept, as of a reverb; auto for all that is heard of them, 30 s at "
        "most.",
        metavar="SECONDS",
    )
    export: tuple[ExportName, ...] = option(
        (),
        "Also write the settings beside each output as another program reads them: ffmpeg (a filter graph), apo "
        "(Equalizer APO's and AutoEq's ParametricEQ.txt), pedalboard (Python), camilladsp (YAML), easyeffects (a "
        "preset), sox (a command) or ir (the reverb as an impulse response, true stereo for stereo); or all. Repeat "
        "the option for more.",
        metavar="NAME",
    )
    plot: Path | None = option(
        None,
        "For one recording: draw the spectra and the equaliser to a .png, .svg or .pdf.",
        metavar="FILE",
    )
    report: Path | None = option(
        None,
        "Web page to write, an .html that needs no network: the recordings before and after and the reference, to "
        "listen to and to look at, with their loudness, true peaks and settings.",
        metavar="HTML",
    )
    report_items: int = option(
        10, "How many recordings of a batch the page plays; its table lists them all.", minimum=1
    )
    list_file: Path | None = option(
        None,
        "File that lists recordings: a name a line, or divided by NUL bytes as of `find -print0`; - is standard input.",
        flags=("--list",),
        metavar="FILE",
    )
    recursive: bool = option(
        True,
        "Search folders with all that is below them, or only what lies in them.",
        flags=("--recursive/--no-recursive",),
    )
    include: tuple[str, ...] = option(
        (),
        "Take only recordings whose name matches this pattern, such as '*.flac'; with a slash in it, whose path below "
        "the given folder does. Repeat the option for more.",
        metavar="PATTERN",
    )
    exclude: tuple[str, ...] = option(
        (),
        "Leave out recordings that match this pattern, such as 'drafts/**'; repeat the option for more.",
        metavar="PATTERN",
    )
    name: str | None = option(
        None,
        "What outputs are called in their folder, with the fields {stem}, {ext}, {relpath} (the path in the given "
        "folder, without the ending), {ref} and {model}, such as '{relpath}-{ref}.{ext}'.",
        metavar="TEMPLATE",
    )
    jobs: int = option(
        1,
        "Recordings to work on side by side, each in a process of its own; 0 is one for each processor.",
        flags=("--jobs", "-j"),
        minimum=0,
    )
    resume: bool = option(
        True,
        "For several recordings or a folder: leave out what is finished already, as the folder's fxst-manifest.jsonl "
        "tells, or make it again.",
        flags=("--resume/--no-resume",),
    )
    overwrite: bool = option(
        False,
        "Replace outputs that are there already though no manifest tells that fxst made them.",
        flags=("--overwrite",),
    )
    dry_run: bool = option(False, "Only tell what would be done; nothing is touched.", flags=("--dry-run",))
    format: Literal["table", "json", "jsonl", "quiet"] = option(
        "table",
        "What goes to standard output: tables for people, one JSON document, a JSON object a line as each recording "
        "is done, or nothing.",
    )

    @property
    def by_model(self) -> bool:
        """Whether a model chooses the settings; else a table is applied."""
        return bool(self.references or self.styles)


@dataclass(frozen=True)
class ProfileConfig:
    """Save what recordings sound like as a style profile, which `fxst apply --style` uses without them.

    A profile holds what a model heard, as numbers, and no sound.
    """

    references: tuple[str, ...] = argument(
        "Recordings, or folders of recordings; of several the mean, in which they count alike or by a weight behind "
        "the name, as in radio.wav:2.",
        metavar="REF",
    )
    output: Path = option(MISSING, "The profile to write, a .json.", flags=("--output", "-o"), metavar="JSON")
    model: str = option(
        "studio", "The model that is to use it: a shipped one's name, or a folder.", flags=("--model", "-m")
    )
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Where the model runs.")


@dataclass(frozen=True)
class ChainsConfig:
    """List the named chains: their effects, and every parameter with its range."""

    format: Literal["table", "json"] = option("table", "How to write it: for people, or as JSON for programs.")


@dataclass(frozen=True)
class ModelsListConfig:
    """List the shipped models: what each sets, its size, and what it reached on recordings kept from it."""

    format: Literal["table", "json"] = option("table", "How to write it: for people, or as JSON for programs.")


@dataclass(frozen=True)
class ModelsInfoConfig:
    """Tell all that is known of a model: its figures, limits and chain, how it was trained, and on whose recordings."""

    model: str = argument("A shipped model's name, or a model's folder.", metavar="MODEL")
    format: Literal["table", "json"] = option("table", "How to write it: for people, or as JSON for programs.")


@dataclass(frozen=True)
class ModelsVerifyConfig:
    """Check that models are whole and as they were written; exit with 4 where one is not."""

    models: tuple[str, ...] = argument(
        "A shipped model's name, or a model's folder; without one, all shipped models.", metavar="MODEL", default=()
    )
    format: Literal["table", "json"] = option("table", "How to write it: for people, or as JSON for programs.")


@dataclass(frozen=True)
class DoctorConfig:
    """Check this installation: versions, devices, which parts load and, where one does not, what to do about it."""

    format: Literal["table", "json"] = option("table", "How to write it: for people, or as JSON for programs.")


@dataclass(frozen=True)
class EvalConfig:
    """Measure style transfer: models, baselines and oracles on the same items, with intervals.

    The items are drawn from a folder of recordings, as DeepAFx-ST's own evaluation drew them, or a CSV lists them.
    """

    data: Path | None = option(
        None,
        "Folder of recordings (or a dataset made from some) to draw items from: passages of held-out voices.",
        metavar="FOLDER",
    )
    pairs: Path | None = option(
        None,
        "CSV with the columns input, reference and, where they are known, target, output (to be scored) and group "
        "(whose voice it is); paths count from its folder. Without targets, distances to the reference are measured.",
        metavar="CSV",
    )
    models: tuple[str, ...] = option(
        (), "A shipped model's name, or a model's folder; repeat the option for more.", flags=("--model", "-m")
    )
    outputs: tuple[Path, ...] = option(
        (),
        "Folder of renders to score, in it or in sub-folders, each named after its item (with --pairs, its input); "
        "repeat the option for more.",
        metavar="FOLDER",
    )
    baselines: tuple[str, ...] = option(
        (),
        "A row to show beside them: closed-form, rule-based, matchering, oracle-eq, closed-form-eq or oracle-chain "
        "(within the models' chain; the latter takes many seconds an item), all or none; repeat the option for more. "
        "By default the first four, and matchering only where it is installed.",
        flags=("--baseline",),
        metavar="NAME",
    )
    through_proxies: bool = option(
        False,
        "Show every model once more, as NAME@proxy: the shipped proxies of its effects render its settings. They are "
        "of 24000 Hz.",
        flags=("--through-proxies",),
    )
    refined: bool = option(
        False,
        "Show every model that can refine once more, as NAME@refined, as `fxst apply --refine` uses it.",
        flags=("--refined",),
    )
    limit: int | None = option(
        None,
        "Score only so many items; without it 200, or with --pairs all.",
        flags=("--limit", "--items", "-n"),
        minimum=1,
    )
    protocol: Literal["p", "chain"] = option(
        "p",
        "With --data, what makes the targets: p, the published corruptions by equalisers, compressors and expanders; "
        "chain, random settings of the models' own chain.",
    )
    effects: int | None = option(
        None,
        "With --protocol chain: each target is made by so many of the chain's effects, drawn at random, and the others "
        "are out of the way; without it by all of them.",
        minimum=1,
    )
    other_voice: bool = option(
        False,
        "With --protocol p: the reference is another voice, or song, in the style of the target. Nobody knows the "
        "target then, and distances to the reference are measured.",
        flags=("--other-voice",),
    )
    chain: str | None = option(
        None, "Chain of oracle-chain, and of --protocol chain's targets; by default the models', or eq-comp."
    )
    sample_rate: int = option(24_000, "With --data: 24000, or 44100 for music. Other rates are resampled.")
    split: Literal["train", "val", "test", "all"] = option(
        "test", "With --data: whose voices, divided as `fxst dataset build` divides them."
    )
    split_seed: int = option(0, "Seed of that division; a dataset knows its own.", minimum=0)
    each_file: bool = option(
        False, "Every file is a voice, or a song, of its own; without it, every folder.", flags=("--each-file",)
    )
    seed: int = option(0, "Seed of every random choice: same seed, same items.", minimum=0)
    pesq: bool = option(
        True, "Measure PESQ, where its package is installed; it takes most of the time.", flags=("--pesq/--no-pesq",)
    )
    oracle_steps: int = option(150, "Steps of oracle-chain's optimisation.", minimum=1)
    output: Path | None = option(
        None,
        "Folder to write items.csv, items.jsonl and summary.json to; an evaluation that was stopped goes on from it.",
        flags=("--output", "-o"),
        metavar="FOLDER",
    )
    audio: Path | None = option(
        None,
        "Folder to write every item's input, reference, target and outputs to, with a pairs.csv that lists them.",
        metavar="FOLDER",
    )
    report: Path | None = option(
        None, "Web page to write: the table, and items to listen to and look at.", metavar="HTML"
    )
    report_items: int = option(10, "How many items the page shows, from the best to the worst.", minimum=1)
    require: tuple[str, ...] = option(
        (),
        "Fail unless every model and output keeps to this bound, such as mrstft_ratio<=0.45; with a row's name before "
        "it (eq.mrstft<=1), unless that row does. Repeat the option for more.",
        metavar="BOUND",
    )
    workers: int = option(0, "Worker processes; 0 is one for each processor.", minimum=0)
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Where the models run; the effects run on the CPU.")

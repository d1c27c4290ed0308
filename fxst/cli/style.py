"""`fxst style train` and `fxst style save`."""

from typing import TYPE_CHECKING, Any

from fxst.cli.app import app
from fxst.cli.commands import command_group
from fxst.cli.options import command
from fxst.cli.terminal import say, warn
from fxst.cli.training import training_command
from fxst.configs import ClipsConfig, PassagesConfig, ProfileConfig

if TYPE_CHECKING:
    from fxst.training.progress import Report
    from fxst.training.runs import Run

__all__: list[str] = []

style_app = command_group("Train style models, and save style profiles.")
app.add_typer(style_app, name="style")


@training_command(
    style_app,
    {"clips": ClipsConfig, "passages": PassagesConfig},
    "clips: learn to find random settings of the chain in clips. passages: learn to turn one version of a passage into "
    "another, made by the corruptions of the published evaluation or by some of the chain's effects; such a model also "
    "detects which effects are active, and takes recordings of any sample rate.",
)
def _train(config: ClipsConfig | PassagesConfig, resume: bool, report: "Report") -> tuple["Run[Any]", str]:
    """Train a style-transfer model on a dataset of clips."""
    from fxst.training.style import train

    run = train(config, resume=resume, report=report)
    ratio = run.best.get("val_stft_ratio", run.best.get("val_published_ratio", 0.0))
    return run, f", MR-STFT {ratio:.3f} of the unprocessed input's."


@command(style_app, ProfileConfig, "save", urls=True)
def _save(config: ProfileConfig) -> None:
    from fxst.batch.objects import local_profile
    from fxst.batch.profiles import save_profile

    with local_profile(config) as local:
        profile, remarks = save_profile(local)
    for remark in remarks:
        warn(remark)
    count = len(profile.recordings)
    made_of = "1 recording" if count == 1 else f"{count:,} recordings"
    say(f"wrote {str(config.output)!r}, the style of {made_of} for the model {profile.model}")

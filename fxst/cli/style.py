"""`fxst style train` and `fxst style save`."""

import logging

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.cli.terminal import say, warn
from fxst.cli.training import tell_result
from fxst.configs import ProfileConfig, StyleConfig

__all__: list[str] = []

style_app = typer.Typer(
    no_args_is_help=True,
    help="Train style models, and save style profiles.",
)
app.add_typer(style_app, name="style")


@command(style_app, StyleConfig, "train")
def _train(config: StyleConfig) -> None:
    from fxst.training.style import train

    # Show the log, since the stages before the first step take minutes.
    logger = logging.getLogger("fxst")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    result = train(config)
    tell_result(
        result,
        f"Best at step {result.best_step}: validation loss {result.val_loss:.4f}, MR-STFT {result.val_stft_ratio:.3f} "
        "of the unprocessed input's.",
    )


@command(style_app, ProfileConfig, "save")
def _save(config: ProfileConfig) -> None:
    from fxst.batch.profiles import save_profile

    profile, remarks = save_profile(config)
    for remark in remarks:
        warn(remark)
    count = len(profile.recordings)
    made_of = "1 recording" if count == 1 else f"{count:,} recordings"
    say(f"wrote {str(config.output)!r}, the style of {made_of} for the model {profile.model}")

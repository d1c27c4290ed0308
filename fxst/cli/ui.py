"""`fxst ui`."""

from fxst import extras
from fxst.cli.app import app
from fxst.cli.options import command
from fxst.cli.terminal import say
from fxst.configs import UiConfig


@command(app, UiConfig, "ui")
def _ui(config: UiConfig) -> None:
    """Serve the page until Ctrl-C."""
    extras.need("fxst ui", "starlette", "uvicorn", extra="ui")
    from fxst.ui import serve

    def ready(address: str) -> None:
        say(f"fxst ui: {address}")
        say("Ctrl-C ends it and removes all that was uploaded.", err=True)
        if config.browser:
            import webbrowser

            webbrowser.open(address)

    serve(config, ready)

"""What the tests of `fxst ui` share: its application, and the recordings."""

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fxst.transfer.style_transfer import load
from fxst.ui.server import application
from fxst.ui.tabs import Tabs

sys.path.insert(0, str(Path(__file__).parent))
from ui_page import HOST, PORT, TOKEN, Page


@pytest.fixture(scope="session")
def studio():
    return load("studio")


@pytest.fixture
def tabs(studio, tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    tabs = Tabs(studio, "studio", folder)
    yield tabs
    tabs.close_all()
    assert list(folder.iterdir()) == []


@pytest.fixture
def client(tabs):
    app = application(tabs, token=TOKEN, port=PORT)
    return TestClient(app, base_url=f"http://{HOST}", headers={"origin": f"http://{HOST}"})


@pytest.fixture
def page(client):
    return Page(client)


@pytest.fixture(scope="session")
def recordings(examples):
    """The bytes of the voice and of the reference."""
    return tuple((examples / name).read_bytes() for name in ("voice.wav", "radio.wav"))

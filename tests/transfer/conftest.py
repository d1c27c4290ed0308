"""What the tests of style transfer share."""

import pytest


@pytest.fixture
def halves(speech):
    """The two halves of six seconds of a voice at 24 kHz: different words."""
    x = speech(24_000, 1, 6)
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]

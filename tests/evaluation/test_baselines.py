import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.errors import AudioError
from fxst.evaluation import baselines
from fxst.evaluation.baselines import BASELINES, MATCHERING, ORACLE_EQ
from fxst.evaluation.items import Item

RATE, REFERENCE_RATE = 24_000, 44_100


@pytest.fixture(scope="module")
def item(speech):
    x = speech(RATE, 1, 2.0)
    chain = CHAINS["eq-comp"]
    settings = chain.settings(np.full(len(chain.knobs), 0.7))
    target = chain.exact(settings, sample_rate=RATE, channels=1)(x)
    reference = speech(REFERENCE_RATE, 2, 1.0)
    return Item("a name", "a voice", x, reference, target, RATE, REFERENCE_RATE, Table(chain, settings))


def oracle_chain(**options):
    import torch  # noqa: F401

    return baselines.oracle_chain(CHAINS["eq-comp"], **options)


SYSTEMS = {
    **BASELINES,
    baselines.CLOSED_FORM_IN_CHAIN: lambda: baselines.closed_form_in_chain_system(CHAINS["eq"]),
    baselines.ORACLE_CHAIN: lambda: oracle_chain(steps=5),
}


def without_target(item):
    return Item(item.name, item.group, item.input, item.reference, None, RATE, REFERENCE_RATE)


@pytest.mark.parametrize(("name", "make"), SYSTEMS.items())
def test_every_row_gives_what_can_be_scored(item, name, make):
    system = make()
    if name == MATCHERING and not baselines.matchering_available():
        with pytest.raises(AudioError, match="pip install"):
            system(item)
        return
    before = item.input.copy()
    output = system(item)
    assert output.audio.shape == item.input.shape
    assert output.audio.dtype == np.float32
    assert np.isfinite(output.audio).all()
    assert not np.array_equal(output.audio, item.input)
    assert np.array_equal(item.input, before)


@pytest.mark.parametrize(("name", "make"), SYSTEMS.items())
def test_only_oracles_look_at_the_target(item, name, make):
    system = make()
    if name in (ORACLE_EQ, baselines.ORACLE_CHAIN):
        with pytest.raises(AudioError, match="a name has no target"):
            system(without_target(item))
    elif name != MATCHERING or baselines.matchering_available():
        assert np.array_equal(system(without_target(item)).audio, system(item).audio)


def test_the_oracle_of_a_chain_tells_its_settings_and_begins_where_it_is_told(item):
    output = oracle_chain(steps=0, start=lambda given: given.settings)(item)
    assert output.settings == item.settings
    assert np.array_equal(output.audio, item.target)
    assert oracle_chain(steps=0, start=lambda _: None)(item).settings != item.settings

import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.chains.table import Table, short
from fxst.errors import SettingsError


@pytest.fixture
def table():
    """A table of eq-comp with values between its ends that are no round numbers."""
    chain = CHAINS["eq-comp"]
    return Table(chain, chain.settings(np.full(len(chain.knobs), 0.123456789)))


def test_a_table_is_its_rows_and_reads_aloud(table):
    assert list(table) == list(table.rows)
    assert table[0].parameter == "low_shelf_gain_db"
    assert table.to_dict()["compressor"]["ratio"] == table[-4].value
    lines = str(table).splitlines()
    assert len(lines) == len(table)
    ratio = next(line for line in lines if " ratio " in line).split()
    assert ratio == ["compressor", "ratio", short(table.to_dict()["compressor"]["ratio"]), ":1"]


def test_values_are_changed_by_name(table):
    changed = table.with_values({"compressor": {"ratio": 5.5}})
    assert changed.to_dict()["compressor"]["ratio"] == 5.5
    assert table.to_dict()["compressor"]["ratio"] != 5.5
    with pytest.raises(SettingsError, match="compressor knee_db"):
        table.with_values({"compressor": {"knee_db": 1.0}})
    with pytest.raises(SettingsError, match="ratio is 500"):
        table.with_values({"compressor": {"ratio": 500.0}})


def test_a_table_that_does_not_fit_its_chain_cannot_be_made():
    with pytest.raises(SettingsError, match="no row for parametric_eq"):
        Table(CHAINS["eq"], ())
    with pytest.raises(SettingsError, match="compressor"):
        Table(CHAINS["eq"], CHAINS["eq-comp"].defaults())

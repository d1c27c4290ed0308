"""A batch that several processes share: any order, at once, killed and repeated, it ends as one process would end it."""

import itertools
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from fxst.batch.run import apply_files
from fxst.configs import ApplyConfig
from fxst.coordination.parts import Batch
from fxst.coordination.store import LocalStore
from fxst.errors import SettingsError

FILES = 40
SHARDS = 7


@pytest.fixture
def many(batch):
    """Short recordings, and what one process makes of them."""
    shutil.rmtree("in")
    batch.recordings(FILES, seconds=0.05)
    run("whole")
    return batch


def run(output="out", shard=None, **options):
    """Apply in this process; return the results by name."""
    config = ApplyConfig((Path("in"),), output=Path(output), params=Path("house.json"), shard=shard, **options)
    return {result.input.relative_to("in").as_posix(): result for result in apply_files(config)}


def merged(batch, output="out"):
    code, out, err = batch.run("batch", "merge", output)
    assert code == 0, err
    return out


def test_shards_in_any_order_make_what_one_run_makes(many):
    order = list(range(SHARDS))
    random.Random(1).shuffle(order)
    found = [set(run(shard=f"{index}/{SHARDS}")) for index in [*order, order[0]]]
    assert found[0] == found[-1]  # the repeated one
    assert sum(map(len, found[:-1])) == FILES  # each file once
    assert all(found)
    merged(many)
    assert many.tree() == many.tree("whole")
    assert bytes_of("out") == bytes_of("whole")  # the order of the rows too
    assert all(result.was_finished for result in run().values())


def bytes_of(folder):
    return Path(folder, "fxst-manifest.jsonl").read_bytes()

"""Which share of a batch a job array's variables name, and when they name none."""

import pytest

from fxst.coordination.shards import Shard, array_expression, shard_of
from fxst.errors import SettingsError

SLURM = {
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_COUNT": "10",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "9",
}
PART = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "7"}


@pytest.mark.parametrize(
    ("variables", "shard"),
    [
        (SLURM, Shard(3, 10)),
        ({"FXST_SHARD_INDEX": "0", "FXST_SHARDS": "2"}, Shard(0, 2)),
        ({"JOB_COMPLETION_INDEX": "4", "FXST_SHARDS": "5"}, Shard(4, 5)),
        (SLURM | PART | {"FXST_SHARDS": "10"}, Shard(3, 10)),  # a part of an array, run again
        (SLURM | {"FXST_SHARD_INDEX": "3"}, None),  # whose count is the array's, if both mean it
    ],
)
def test_a_share_is_found_in_the_variables(variables, shard):
    if shard is None:
        with pytest.raises(SettingsError, match="set FXST_SHARDS"):
            shard_of("auto", variables)
    else:
        assert shard_of("auto", variables) == shard
        assert shard_of(str(shard), {}) == shard


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "finds no number"),
        ({"FXST_SHARDS": "4"}, "FXST_SHARDS is set, but none of"),
        ({"FXST_SHARD_INDEX": "4"}, "not of how many"),
        ({"JOB_COMPLETION_INDEX": "4"}, "not of how many"),
        ({"SLURM_ARRAY_TASK_ID": "4"}, "not of how many"),
        (SLURM | PART, "FXST_SHARDS to the number of all shards"),
        (SLURM | {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "10"}, "--array=0-9"),
        (SLURM | {"FXST_SHARD_INDEX": "2"}, "finds two numbers"),
        ({"FXST_SHARD_INDEX": "2", "FXST_SHARDS": "2"}, "shards count from 0"),
        ({"FXST_SHARD_INDEX": "-1", "FXST_SHARDS": "2"}, "there is no shard -1"),
        ({"FXST_SHARD_INDEX": "one", "FXST_SHARDS": "2"}, "no whole number"),
        ({"FXST_SHARD_INDEX": "0", "FXST_SHARDS": "0"}, "at least one"),
    ],
)
def test_what_is_half_set_or_wrong_is_refused(variables, message):
    with pytest.raises(SettingsError, match=message):
        shard_of("auto", variables)


def test_missing_shards_are_written_as_slurm_takes_them():
    assert array_expression([]) == ""
    assert array_expression([5]) == "5"
    assert array_expression([9, 0, 1, 2, 4, 5]) == "0-2,4-5,9"

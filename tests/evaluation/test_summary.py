import math
from dataclasses import replace

import numpy as np
import pytest

from fxst.errors import SettingsError
from fxst.evaluation.metrics import COLUMNS
from fxst.evaluation.scores import Score, Scored
from fxst.evaluation.summary import (
    Interval,
    Requirement,
    SystemRow,
    detection_sentence,
    summarise,
    sure_over,
    which_is_better,
)


def rows(seed=0, groups=None, **systems):
    """Summarise systems that have these figures, the same for every metric, on items of these groups."""
    count = len(next(iter(systems.values())))
    items = [
        Scored(
            f"item {index}",
            f"group {index if groups is None else groups[index]}",
            tuple(
                Score(system, {column.name: values[index] for column in COLUMNS}) for system, values in systems.items()
            ),
        )
        for index in range(count)
    ]
    return {row.system: row for row in summarise(items, seed=seed)}


def test_the_interval_of_a_mean_is_two_standard_errors_wide():
    values = np.random.default_rng(0).normal(5, 2, 400)
    mean = rows(input=values)["input"].figures["mae"].mean
    error = values.std(ddof=1) / 20
    assert mean.value == pytest.approx(values.mean())
    assert mean.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert mean.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_it_covers_the_truth_19_times_in_20():
    generator = np.random.default_rng(1)
    intervals = [rows(input=generator.exponential(1, 60))["input"].figures["mae"].mean for _ in range(100)]
    assert 0.88 <= np.mean([one.low <= 1 <= one.high for one in intervals]) <= 0.98


def test_items_of_one_voice_are_no_new_voices():
    """Twenty copies of each voice's figure tell no more than the voices do."""
    of_voice = np.random.default_rng(0).normal(5, 2, 12)
    few = rows(input=of_voice)["input"].figures["mae"].mean
    copies = np.repeat(of_voice, 20)
    honest = rows(input=copies, groups=np.repeat(range(12), 20))["input"].figures["mae"].mean
    naive = rows(input=copies)["input"].figures["mae"].mean
    assert honest.value == pytest.approx(few.value)
    assert honest.high - honest.low == pytest.approx(few.high - few.low, rel=0.1)
    assert naive.high - naive.low < 0.3 * (honest.high - honest.low)


def test_items_that_nobody_could_open_are_no_voices():
    values = np.random.default_rng(0).normal(5, 2, 40)
    voices = np.arange(40) % 4
    alone = rows(input=values, groups=voices)["input"].figures["mae"].mean
    broken = [*values, math.nan, math.nan]
    found = rows(input=broken, groups=[*voices, 90, 91])["input"].figures["mae"]
    assert found.missing == 2
    assert found.mean.value == alone.value
    assert found.mean.high - found.mean.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_few_voices_are_told_of():
    assert "too narrow" in sure_over(3)
    assert "too narrow" not in sure_over(8)
    assert sure_over(1) == "over the items of one voice or song"


def test_voices_that_are_all_alike_add_nothing_to_the_items():
    values = np.random.default_rng(0).normal(5, 2, 400)
    ours = rows(input=values, groups=np.arange(400) % 8)["input"].figures["mae"].mean
    plain = rows(input=values)["input"].figures["mae"].mean
    # Both draws, of voices and of items in them, see the same spread: at most the root of two wider.
    assert plain.high - plain.low < (ours.high - ours.low) < 1.6 * (plain.high - plain.low)


def test_more_is_better_has_no_share():
    figure = rows(input=[1.0, 2.0], model=[2.0, 3.0])["model"].figures["pesq"]
    assert figure.mean.value == 2.5
    assert math.isnan(figure.ratio.value)


def test_a_rate_is_the_mean_of_its_items_and_no_share():
    found = rows(input=[0.0] * 4, model=[1.0, 0.0, 0.0, 1.0])
    assert found["model"].figures["harm"].mean.value == 0.5
    assert math.isnan(found["model"].figures["harm"].ratio.value)
    assert Requirement.parse("harm<=0.5").met_by(found["model"])
    assert not Requirement.parse("nearer>=0.95").met_by(found["model"])


def test_which_way_is_better_is_told_of_what_was_measured():
    mae, harm, nearer = (Score("input", {name: 1.0}) for name in ("mae", "harm", "nearer"))

    def sentence(*scores):
        values = {name: value for score in scores for name, value in score.values.items()}
        return which_is_better(summarise([Scored("item", "voice", (Score("input", values),))], seed=0))

    assert sentence(mae, harm) == "Lower is better."
    assert sentence(mae, nearer) == "Lower is better, except for nearer."


def test_a_metric_that_does_not_apply_is_no_missing_one():
    items = [
        Scored(str(index), "", (Score("input", {"mae": 1.0}), Score("model", {"mae": 1.0, "settings": 3.0})))
        for index in range(3)
    ]
    found = {row.system: row.figures for row in summarise(items, seed=0)}
    assert list(found["input"]) == ["mae"]
    assert found["model"]["settings"].mean.value == 3
    assert math.isnan(found["model"]["settings"].ratio.value)
    assert not Requirement.parse("settings<=5").met_by(summarise(items, seed=0)[0])


def test_a_ratio_is_one_of_means_and_hardness_cancels():
    hard = np.random.default_rng(0).exponential(1, 100)
    figure = rows(input=hard, model=hard / 4)["model"].figures["mae"]
    assert (figure.ratio.value, figure.ratio.low, figure.ratio.high) == pytest.approx((0.25, 0.25, 0.25))
    assert figure.mean.low < 0.25 * hard.mean() < figure.mean.high


def test_missing_values_are_counted_and_never_averaged():
    nan = math.nan
    found = rows(input=[1, 2, nan, 4], model=[nan, 1, 7, 1])["model"].figures["mae"]
    assert found.missing == 1
    assert found.mean.value == pytest.approx(3)
    assert found.ratio.value == pytest.approx(2 / 6)  # on the two items that both have
    assert math.isfinite(found.ratio.low + found.ratio.high)


def test_nothing_measured_and_nothing_to_compare_with():
    found = rows(input=[0.0, 0.0], model=[1.0, 1.0], broken=[math.nan, math.nan])
    assert math.isnan(found["model"].figures["mae"].ratio.value)
    assert math.isnan(found["broken"].figures["mae"].mean.value)
    assert [row.empty for row in found.values()] == [False, False, True]


def test_nothing_is_a_share_of_what_rounding_left():
    found = rows(input=[0.0, 4e-15, 0.0], model=[1.0, 2.0, 3.0])["model"].figures["cfe_db"]
    assert found.mean.value == 2
    assert math.isnan(found.ratio.value)


def verdicts(pairs):
    """Items with the true verdict on a reverb, and a model's; None is no verdict."""
    return [
        Scored(
            str(index),
            f"group {index}",
            (
                Score("input", {"mae": 1.0}),
                Score("model", {"mae": 1.0}, audible=None if said is None else {"reverb": said}),
            ),
            audible={"reverb": true},
        )
        for index, (true, said) in enumerate(pairs)
    ]


def test_balanced_accuracy_gives_the_rare_case_its_half():
    # Nine in ten have a reverb: always saying so is right nine times in ten, and tells nothing.
    always = summarise(verdicts([(True, True)] * 90 + [(False, True)] * 10), seed=0)
    found = {row.system: row.detection for row in always}
    assert found["input"] == {}
    assert found["model"]["reverb"].balanced_accuracy.value == 0.5
    # 80 of 90 found, 4 of 10 left out.
    pairs = [(True, True)] * 80 + [(True, False)] * 10 + [(False, False)] * 4 + [(False, True)] * 6
    reverb = summarise(verdicts(pairs), seed=0)[1].detection["reverb"]
    assert reverb.balanced_accuracy.value == pytest.approx((80 / 90 + 4 / 10) / 2)
    # The standard errors of the two shares, each halved.
    error = ((8 / 9 * 1 / 9 / 90) + (0.4 * 0.6 / 10)) ** 0.5 / 2
    assert reverb.balanced_accuracy.low == pytest.approx(reverb.balanced_accuracy.value - 1.96 * error, abs=0.3 * error)
    assert (reverb.audible, reverb.inaudible, reverb.missing) == (90, 10, 0)


def test_what_was_not_decided_is_counted():
    pairs = [(True, True), (True, None), (False, False), (False, None), (False, True)]
    items = verdicts(pairs)
    items.append(Scored("broken", "broken", tuple(Score(name, {"mae": math.nan}, "no") for name in ("input", "model"))))
    row = summarise(items, seed=0)[1]
    reverb = row.detection["reverb"]
    assert reverb.balanced_accuracy.value == pytest.approx(0.75)
    assert (reverb.audible, reverb.inaudible, reverb.missing) == (1, 2, 3)
    assert math.isnan(reverb.balanced_accuracy.low)  # one item with a reverb says nothing of others
    assert detection_sentence(row).endswith("in detecting effects: reverb 75 %, 3 missing.")


def test_what_is_always_heard_cannot_be_told_apart():
    row = summarise(verdicts([(True, True)] * 5), seed=0)[1]
    assert math.isnan(row.detection["reverb"].balanced_accuracy.value)
    assert (row.detection["reverb"].audible, row.detection["reverb"].inaudible) == (5, 0)
    assert detection_sentence(row) == ""
    # Beside another effect it stands without a figure.
    beside = SystemRow(
        "model",
        {},
        {
            "eq": row.detection["reverb"],
            "reverb": replace(row.detection["reverb"], balanced_accuracy=Interval(0.5, 0.25, 1.0)),
        },
    )
    assert detection_sentence(beside).endswith("effects: eq -; reverb 50 % (25-100).")


def test_one_item_has_no_interval():
    mean = rows(input=[3.0])["input"].figures["mae"].mean
    assert mean.value == 3
    assert math.isnan(mean.low)
    assert math.isnan(mean.high)


def test_the_seed_decides():
    values = np.random.default_rng(0).exponential(1, 50)
    one, again, other = (rows(input=values, seed=seed)["input"].figures["mae"] for seed in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.mark.parametrize(
    ("text", "system", "metric", "figure", "relation", "bound"),
    [
        ("mrstft_ratio<=0.45", "", "mrstft", "ratio", "<=", 0.45),
        (" rms_db > 1e-3 ", "", "rms_db", "mean", ">", 0.001),
        ("mae_missing<1", "", "mae", "missing", "<", 1),
        ("v1.2/eq-comp.rms_db_ratio>=0", "v1.2/eq-comp", "rms_db", "ratio", ">=", 0),
        ("pesq>=4.3", "", "pesq", "mean", ">=", 4.3),
    ],
)
def test_requirements_are_read(text, system, metric, figure, relation, bound):
    assert Requirement.parse(text) == Requirement(text, system, metric, figure, relation, bound)


@pytest.mark.parametrize(
    "text", ["", "mrstft", "mrstft<=", "mrstft=1", "mrstft<=x", "mrstft<=nan", "mrstft<=inf", "stoi>=4", ".mae<1"]
)
def test_what_is_no_requirement_is_refused(text):
    with pytest.raises(SettingsError, match="not a valid bound"):
        Requirement.parse(text)


def test_a_missing_figure_meets_nothing():
    row = rows(input=[1.0, 1.0], model=[math.nan, math.nan])["model"]
    assert not any(Requirement.parse(text).met_by(row) for text in ("mae<1", "mae>1", "mae_ratio<=1", "mae_missing<1"))
    assert Requirement.parse("mae_missing<=2").met_by(row)

import numpy as np
import pytest
from scipy import optimize

from fxst.chains.named import CHAINS
from fxst.transfer import eq_fitting
from fxst.transfer.least_squares import least_squares

EQ = CHAINS["studio"].effects[1]


def scipys(errors, start, *, farthest, soft, evaluations):
    found = optimize.least_squares(
        lambda x: errors(x)[0],
        start,
        lambda x: errors(x)[1],
        bounds=(-farthest, farthest),
        loss="soft_l1",
        f_scale=soft,
        max_nfev=evaluations,
    )
    return found.x


def random_fit(rng):
    """Starting knobs, and a curve: one with noise, one without any sense, or one that an equaliser has."""
    sample_rate = int(rng.choice([44_100, 96_000]))
    hz = 27.5 * 2 ** (np.arange(96) / 10)
    start = rng.random(len(EQ.parameters))
    knobs = np.clip(start + rng.choice([0.1, 0.5]) * rng.standard_normal(len(start)), 0, 1)
    values = {p.name: np.array([p.to_value(knob)]) for p, knob in zip(EQ.parameters, knobs, strict=True)}
    curve = EQ.response_db(values, hz, sample_rate=sample_rate)[0]
    return start, rng.choice([0, 1]) * curve + rng.choice([0, 3, 10]) * rng.standard_normal(len(hz)), hz, sample_rate


def test_equalisers_are_fitted_as_scipy_fits_them(monkeypatch):
    rng = np.random.default_rng(0)
    away = []
    for _ in range(60):
        start, curve, hz, sample_rate = random_fit(rng)
        found = eq_fitting.fitted(EQ, start, curve, hz, sample_rate=sample_rate)
        with monkeypatch.context() as patch:
            patch.setattr(eq_fitting, "least_squares", scipys)
            theirs = eq_fitting.fitted(EQ, start, curve, hz, sample_rate=sample_rate)
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-6)
        away.append(np.abs(found - start).max())
    assert np.median(away) > 0.1


@pytest.mark.parametrize(
    ("count", "soft", "evaluations"),
    [(3, 0.5, 2), (3, 0.5, 5), (4, 100.0, 2), (4, 100.0, 100), (30, 0.1, 5), (30, 0.1, 100)],
)
def test_the_search_is_scipys_at_bounds_and_to_its_end(count, soft, evaluations):
    rng = np.random.default_rng(count)
    for _ in range(20):
        matrix, target = rng.standard_normal((count, 4)), 10 * rng.standard_normal(count)

        def errors(x, matrix=matrix, target=target):
            return matrix @ np.sinh(x) - target, matrix * np.cosh(x)

        start = rng.uniform(-1.9, 1.9, 4)
        given = {"farthest": 2.0, "soft": soft, "evaluations": evaluations}
        found, theirs = least_squares(errors, start, **given), scipys(errors, start, **given)
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-6)
        assert np.abs(found).max() < 2


def test_a_variable_without_effect_stays_where_it_is():
    def errors(x):
        return np.array([x[0] - 1, 2 * x[0] + x[2], x[2] ** 2, 1.0]), np.array(
            [[1, 0, 0], [2, 0, 1], [0, 0, 2 * x[2]], [0, 0, 0.0]]
        )

    found = least_squares(errors, np.array([-3.0, 0.7, 3.0]), farthest=6.0, soft=1.0, evaluations=30)
    assert found[1] == pytest.approx(0.7, abs=1e-12)
    assert np.abs(found[::2]).max() < 1

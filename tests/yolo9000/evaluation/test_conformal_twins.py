"""The thresholds of the three rules agree with MAPIE and with scipy's Clopper–Pearson bound."""

from __future__ import annotations

import numpy as np
import pytest

from yolo9000.evaluation.calibrate import confident_rank, threshold_of

mapie = pytest.importorskip("mapie", reason="pip install mapie")


class Zero:
    """A regressor that predicts 0, so that the residuals are the values themselves."""

    is_fitted = True

    def fit(self, x: np.ndarray, y: np.ndarray) -> Zero:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.zeros(len(x))


@pytest.mark.parametrize("count", [20, 21, 137, 400])
@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
def test_marginal_is_the_quantile_of_split_conformal_prediction(count: int, target: float) -> None:
    from mapie.regression import SplitConformalRegressor

    required = np.random.default_rng(count).random(count)
    rows = np.zeros((count, 1))
    regressor = SplitConformalRegressor(Zero(), confidence_level=target, prefit=True)
    regressor.conformalize(rows, required)
    _, intervals = regressor.predict_interval(rows[:1])
    found = threshold_of(required, target, "marginal", confidence=0.5, boxes_per_image=1)
    assert found == pytest.approx(float(intervals[0, 1, 0]), abs=1e-12)


@pytest.mark.parametrize(("images", "boxes"), [(40, 1), (50, 3), (30, 19)])
@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
def test_per_image_is_conformal_risk_control_of_recall(images: int, boxes: int, target: float) -> None:
    """Each image has as many boxes as the rule allows. A box is recalled where its required threshold is reached."""
    from mapie.risk_control import MultiLabelClassificationController

    rng = np.random.default_rng(images)
    steps = 200
    required = (rng.integers(0, steps, (images, boxes)) + 0.5) / steps  # between the values that MAPIE tries
    controller = MultiLabelClassificationController(
        predict_function=lambda scores: scores,
        risk="recall",
        method="crc",
        target_level=target,
        predict_params=np.arange(steps) / steps,
    )
    controller.calibrate(1 - required, np.ones((images, boxes), int))
    (lowest_score,) = controller.best_predict_param
    found = threshold_of(required.ravel(), target, "per_image", confidence=0.5, boxes_per_image=boxes)
    missed = np.sum(1 - required <= lowest_score)
    if found is None:
        assert missed == 0
    else:
        # MAPIE goes from score to score, so it may stop between the last box that must be right and the next.
        assert missed == np.sum(required > found)


@pytest.mark.parametrize("count", [59, 100, 137, 500])
@pytest.mark.parametrize(("target", "confidence"), [(0.95, 0.95), (0.9, 0.9), (0.8, 0.99)])
def test_confident_is_the_first_rank_whose_clopper_pearson_bound_is_low_enough(
    count: int, target: float, confidence: float
) -> None:
    """Risk-controlling prediction sets (Bates et al., 2021) with the exact binomial bound of the error rate."""
    from scipy.stats import beta

    errors = np.arange(count)
    bound = beta.ppf(confidence, errors + 1, count - errors)  # of the error rate, with this probability
    allowed = np.flatnonzero(bound <= 1 - target + 1e-9)
    rank = confident_rank(count, target, confidence)
    assert rank == (count - max(allowed) if len(allowed) else count + 1)


@pytest.mark.parametrize("seed", range(3))
def test_confident_is_learn_then_test_with_a_fixed_sequence(seed: int) -> None:
    """Thresholds from high to low, each tested by its binomial p-value (Angelopoulos et al., 2021)."""
    from mapie.risk_control import control_fwer
    from scipy.stats import binom

    target, confidence = 0.9, 0.95
    required = np.random.default_rng(seed).beta(2, 5, 300)
    thresholds = np.sort(required)[::-1]
    errors = (required > thresholds[:, None]).sum(axis=1)
    p_values = binom.cdf(errors, len(required), 1 - target)
    valid = control_fwer(p_values, 1 - confidence, fwer_method="fixed_sequence")
    found = threshold_of(required, target, "confident", confidence=confidence, boxes_per_image=1)
    assert found == thresholds[max(valid)]

"""A classifier that tries to tell two sets of samples apart (Lopez-Paz & Oquab, ICLR 2017).

If both sets follow one law, no classifier is right more often than by chance on samples that it was
not trained on. The classifier here is a logistic regression with a ridge,

``min over w, b:  Σ_i c_i·log(1 + exp(-y_i·(w·x_i + b))) + ridge/2·|w|²``,  y = ±1,

with class weights c that make both sets count alike, solved by Newton's method. Its accuracy is
the mean of both sets' shares that are recognized, on folds that leave whole groups (scenes, places)
out: patches of one scene resemble each other, and a classifier must not profit from having seen
their neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

RIDGE = 1.0
"""Weight of the ridge for standardized features; the class weights sum to 100 per set."""
_WEIGHT = 100.0
_NEWTON_STEPS = 12
FOLDS = 4


def fit_logistic(
    x: NDArray[np.float64], y: NDArray[np.bool_], ridge: float = RIDGE
) -> NDArray[np.float64]:
    """Return weights and, last, the intercept of a ridge logistic regression.

    Parameters
    ----------
    x : array, shape (n, d)
        Standardized features.
    y : array of bool, shape (n,)
        Which set; both must occur.
    ridge : float
        Strength of the penalty on the weights; the intercept is free.
    """
    design = np.column_stack([x, np.ones(len(x))])
    share = np.where(y, _WEIGHT / max(y.sum(), 1), _WEIGHT / max((~y).sum(), 1))
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 1e-6
    beta = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = expit(design @ beta)
        gradient = design.T @ (share * (probability - y)) + penalty * beta
        curvature = share * np.maximum(probability * (1 - probability), 1e-9)
        hessian = (design * curvature[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        beta -= step / max(1.0, np.abs(step).max() / 2)
        if np.abs(step).max() < 1e-6:
            break
    return beta


def accuracy(
    first: NDArray[np.float64],
    first_groups: NDArray[np.intp],
    second: NDArray[np.float64],
    second_groups: NDArray[np.intp],
    folds: int = FOLDS,
) -> float:
    """Return the cross-validated balanced accuracy; 0.5 is chance, 1 is perfect.

    Parameters
    ----------
    first, second : array, shape (n, d)
        Standardized features of both sets.
    first_groups, second_groups : array of int, shape (n,)
        Samples of a group share a fold.
    folds : int
        Number of folds; fewer where a set has fewer groups.
    """
    folds = min(folds, _number(first_groups), _number(second_groups))
    x = np.concatenate([first, second])
    y = np.arange(len(x)) < len(first)
    fold = np.concatenate([_folds(first_groups, folds), _folds(second_groups, folds)])
    right = np.zeros(len(x), dtype=bool)
    for k in range(folds):
        held = fold == k
        beta = fit_logistic(x[~held], y[~held])
        right[held] = (x[held] @ beta[:-1] + beta[-1] > 0) == y[held]
    return 0.5 * float(right[y].mean() + right[~y].mean())


def _number(groups: NDArray[np.intp]) -> int:
    return len(np.unique(groups))


def _folds(groups: NDArray[np.intp], folds: int) -> NDArray[np.intp]:
    """Deal groups to folds in turn."""
    return np.unique(groups, return_inverse=True)[1] % folds

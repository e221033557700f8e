"""Who goes on: asynchronous successive halving by Optuna (Li et al., MLSys 2020)."""

from __future__ import annotations

from collections.abc import Iterable

from hdsmlm.config.search import HalvingMethod
from hdsmlm.errors import require_extra
from hdsmlm.search.record import Rung, TrialRecord


def rung_steps(method: HalvingMethod, steps: int) -> tuple[int, ...]:
    """Return the steps below ``steps`` at which is decided.

    Examples
    --------
    >>> rung_steps(HalvingMethod(kind="halving", trials=9, min_steps=100), 1000)
    (100, 300, 900)
    """
    found, step = [], method.min_steps
    while step < steps:
        found.append(step)
        step *= method.reduction_factor
    return tuple(found)


class Halving:
    """Decides at each rung whether a trial belongs to the best 1/η of those that were there.

    Optuna's state is in memory; a search that goes on tells it the earlier decisions in their
    order, after which it decides as it would have done.

    Parameters
    ----------
    method : HalvingMethod
        Settings.
    goal : str
        "maximize" or "minimize".
    records : iterable of TrialRecord
        What happened so far.
    """

    def __init__(self, method: HalvingMethod, goal: str, records: Iterable[TrialRecord]) -> None:
        require_extra("optuna", "search", "for the method 'halving'")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            direction=goal,
            sampler=optuna.samplers.RandomSampler(seed=method.seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=method.min_steps, reduction_factor=method.reduction_factor
            ),
        )
        self._trials: dict[int, optuna.trial.Trial] = {}
        self.decisions = 0
        past = [(rung, record.number) for record in records for rung in record.rungs]
        for rung, number in sorted(past, key=lambda entry: entry[0].order):
            self.goes_on(number, rung.step, rung.score)

    def goes_on(self, number: int, step: int, score: float) -> bool:
        """Report a score and return whether the trial goes on."""
        if number not in self._trials:
            self._trials[number] = self._study.ask()
        trial = self._trials[number]
        self.decisions += 1
        trial.report(score, step)
        return not trial.should_prune()

    def rung(self, step: int, score: float) -> Rung:
        """Return the record of the latest decision."""
        return Rung(step=step, score=score, order=self.decisions)

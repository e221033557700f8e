"""Many runs: the space, its trials, who goes on, and the report; no process is started here."""

from hdsmlm.search.record import Attempt, Rung, State, TrialRecord
from hdsmlm.search.space import Trial, draw_trials

__all__ = ["Attempt", "Rung", "State", "Trial", "TrialRecord", "draw_trials"]

"""Decides whether trained weights may serve, and whether they may stay. Touches no weights.

Every labelled sample is predicted by serving, candidate and frozen golden model before anyone
trains on it; a candidate is a frozen copy of the learner, so all its evidence is about the very
weights that would serve. Two models are compared only where exactly one of them is right. Under
"not better", each such sample is a fair coin at best, and a bet on it cannot be expected to win:
when a bettor's wealth reaches 1/alpha, the claim is refuted with error at most alpha however
often one looks (Ville's inequality; bets mixed over several stakes as in Waudby-Smith and Ramdas
2023).
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Hits = npt.NDArray[np.bool_]
STAKES = (0.1, 0.3, 0.5, 0.7, 0.9)
WORSE = "worse than the serving model"
MIN_CLASS_LABELS = 20
"""Labels of a class needed before its disappearance from the predictions means anything."""


@dataclass
class Race:
    """Paired comparison of two models on the same samples.

    >>> race = Race(wins=9, losses=0)
    >>> race.refutes_not_better(0.05), race.refutes_not_worse(0.05)
    (True, False)
    """

    wins: int = 0
    losses: int = 0
    samples: int = 0

    def add(self, ours: Hits, theirs: Hits) -> None:
        self.wins += int((ours & ~theirs).sum())
        self.losses += int((theirs & ~ours).sum())
        self.samples += len(ours)

    def _log_wealth(self, wins: int, losses: int) -> float:
        logs = [wins * math.log1p(s) + losses * math.log1p(-s) for s in STAKES]
        top = max(logs)
        return top + math.log(sum(math.exp(value - top) for value in logs) / len(logs))

    def refutes_not_better(self, alpha: float) -> bool:
        """True when ours is better than theirs, with error at most alpha."""
        return self._log_wealth(self.wins, self.losses) >= -math.log(alpha)

    @property
    def ahead(self) -> bool:
        """The evidence so far speaks for ours, if not yet loud enough."""
        return self._log_wealth(self.wins, self.losses) > 0.0

    def refutes_not_worse(self, alpha: float) -> bool:
        """True when ours is worse than theirs, with error at most alpha."""
        return self._log_wealth(self.losses, self.wins) >= -math.log(alpha)


class Window:
    """Accuracy over the last `capacity` samples."""

    def __init__(self, capacity: int) -> None:
        self._hits = np.zeros(capacity, dtype=np.bool_)
        self._total = 0

    def add(self, hits: Hits) -> None:
        hits = hits[-len(self._hits) :]
        self._hits[(self._total + np.arange(len(hits))) % len(self._hits)] = hits
        self._total += len(hits)

    @property
    def samples(self) -> int:
        return min(self._total, len(self._hits))

    @property
    def accuracy(self) -> float:
        """Share of hits. Raises ZeroDivisionError before the first sample."""
        return float(self._hits[: self.samples].sum()) / self.samples


@dataclass(frozen=True)
class Rules:
    """The gate's bounds; see the `gate` section of the configuration."""

    alpha: float
    min_samples: int
    max_samples: int
    probation_samples: int
    window_samples: int
    max_norm_ratio: float
    min_class_share: float


@dataclass
class Trial:
    """The evidence on one candidate."""

    version: int
    norm_ratio: float
    finite: bool
    classes: int
    against_serving: Race = field(default_factory=Race)
    against_golden: Race = field(default_factory=Race)
    learner_against: Race = field(default_factory=Race)
    predicted: npt.NDArray[np.int64] = field(init=False)
    labelled: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.predicted = np.zeros(self.classes, dtype=np.int64)
        self.labelled = np.zeros(self.classes, dtype=np.int64)

    def outrun(self, alpha: float) -> bool:
        """The learner has become better than this candidate, which is not ahead of serving either:
        the world changed after it was frozen, and waiting for its verdict would only lose time."""
        return not self.against_serving.ahead and self.learner_against.refutes_not_better(alpha)

    def conditions(self, rules: Rules) -> dict[str, bool]:
        """All must hold for a promotion; the operator sees which one does not."""
        expected = self.labelled >= MIN_CLASS_LABELS
        share = self.predicted[expected] >= rules.min_class_share * self.labelled[expected]
        return {
            "finite": self.finite,
            "norm_bounded": self.norm_ratio <= rules.max_norm_ratio,
            "enough_samples": self.against_serving.samples >= rules.min_samples,
            "better_than_serving": self.against_serving.refutes_not_better(rules.alpha),
            "not_worse_than_golden": not self.against_golden.refutes_not_worse(rules.alpha),
            "no_class_collapsed": bool(share.all()),
        }


@dataclass(frozen=True)
class Verdict:
    """What to do now: promote, reject, renew (freeze a newer candidate), rollback (to previous)
    or fallback (to golden)."""

    action: str
    reason: str
    conditions: dict[str, bool] = field(default_factory=dict)


class Gate:
    """Feeds on predictions, gives verdicts."""

    def __init__(self, rules: Rules, classes: int) -> None:
        self.rules = rules
        self._classes = classes
        self.trial: Trial | None = None
        self.windows = {name: Window(rules.window_samples) for name in ("serving", "golden")}
        self.candidate_window = Window(rules.window_samples)
        self._since_swap = Race()
        self._probation: Race | None = None
        self.samples = 0

    @property
    def on_probation(self) -> bool:
        return self._probation is not None

    def open_trial(self, version: int, norm_ratio: float, finite: bool) -> None:
        """A new candidate replaces the one before."""
        self.trial = Trial(version, norm_ratio, finite, self._classes)
        self.candidate_window = Window(self.rules.window_samples)

    def close_trial(self) -> None:
        self.trial = None

    def swapped(self, *, probation: bool) -> None:
        """Serving changed: comparisons with the old serving model say nothing now. The accuracy
        windows go on: they tell of whatever served when a sample came."""
        self.trial = None
        self._since_swap = Race()
        watch = probation and self.rules.probation_samples > 0
        self._probation = Race() if watch else None

    def score(
        self, labels: npt.NDArray[np.int64], predicted: dict[str, npt.NDArray[np.int64]]
    ) -> Verdict | None:
        """Add a batch: class predicted per sample, by model name; returns a verdict if one is due.

        `predicted` has serving and golden, during a trial candidate and learner, and previous on
        probation.
        """
        hits = {name: classes == labels for name, classes in predicted.items()}
        self.samples += len(labels)
        for name, window in self.windows.items():
            window.add(hits[name])
        self._since_swap.add(hits["serving"], hits["golden"])
        if self._probation is not None and "previous" in hits:
            self._probation.add(hits["serving"], hits["previous"])
        if self.trial is not None and "candidate" in hits:
            self._add_to_trial(self.trial, labels, predicted["candidate"], hits)
        return self._watch_serving() or self._judge()

    def _add_to_trial(
        self,
        trial: Trial,
        labels: npt.NDArray[np.int64],
        predicted: npt.NDArray[np.int64],
        hits: dict[str, Hits],
    ) -> None:
        trial.against_serving.add(hits["candidate"], hits["serving"])
        trial.against_golden.add(hits["candidate"], hits["golden"])
        trial.learner_against.add(hits["learner"], hits["candidate"])
        trial.predicted += np.bincount(predicted, minlength=self._classes)
        trial.labelled += np.bincount(labels, minlength=self._classes)
        self.candidate_window.add(hits["candidate"])

    def _watch_serving(self) -> Verdict | None:
        alpha = self.rules.alpha
        if self._probation is not None:
            if self._probation.refutes_not_worse(alpha):
                return Verdict("rollback", "worse than the previous model during probation")
            if self._probation.samples >= self.rules.probation_samples:
                self._probation = None
        if self._since_swap.refutes_not_worse(alpha):
            return Verdict("fallback", "worse than the frozen golden model")
        return None

    def _judge(self) -> Verdict | None:
        if self.trial is None:
            return None
        conditions = self.trial.conditions(self.rules)
        if all(conditions.values()):
            return Verdict("promote", "better than the serving model", conditions)
        for hard in ("finite", "norm_bounded"):
            if not conditions[hard]:
                return Verdict("reject", hard, conditions)
        if self.trial.against_serving.refutes_not_worse(self.rules.alpha):
            return Verdict("reject", WORSE, conditions)
        if self.trial.outrun(self.rules.alpha):
            return Verdict("renew", "outrun by the learner", conditions)
        if self.trial.against_serving.samples >= self.rules.max_samples:
            missing = ", ".join(name for name, holds in conditions.items() if not holds)
            return Verdict("reject", f"undecided: not {missing}", conditions)
        return None

"""What our kernel was asked to reach, beside the paper, and what the model says of it.

As specified, and as the sources in hls are. All modelled; renders nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from eftraind import boards, networks
from eftraind.plan import energy, search
from eftraind.plan.ef_train import published
from eftraind.plan.outcome import Schedule
from eftraind.plan.search import PLANNED, WRITTEN, Found, Limits

Finder = Callable[[str, str, int], Found]


@dataclass(frozen=True)
class Reached:
    """What the model says of a target."""

    text: str
    enough: bool
    found: Found

    def __str__(self) -> str:
        return self.text if self.enough else f"{self.text}: **not reached**"


@dataclass(frozen=True)
class Target:
    """A figure to reach."""

    network: str
    board: str
    batch: int
    paper: str
    asked: str
    judge: Callable[[Finder, "Target"], Reached]

    def reached(self, limits: Limits) -> Reached:
        return self.judge(lambda *which: found(*which, limits), self)

    def found(self, finder: Finder) -> Found:
        return finder(self.network, self.board, self.batch)


@lru_cache(maxsize=64)
def found(network: str, board: str, batch: int, limits: Limits = PLANNED) -> Found:
    """Our design and schedule; the page asks for some more than once."""
    return search.plan(networks.load(network), boards.load(board), batch, limits=limits)


def watts_spread(outcome: Schedule) -> float:
    """GFLOPS/W that the assumption about LUTs alone may add or take."""
    drawn = energy.of_schedule(outcome, boards.load(outcome.board).family, 1)
    return outcome.gflops / (drawn.watts - drawn.power.spread_watts) - outcome.gflops / drawn.watts


def per_watt(outcome: Schedule) -> float:
    family = boards.load(outcome.board).family
    return outcome.gflops / energy.of_schedule(outcome, family, 1).watts


def _rate(least: float) -> Callable[[Finder, Target], Reached]:
    def judge(finder: Finder, target: Target) -> Reached:
        ours = target.found(finder)
        rate = ours.schedule.gflops
        return Reached(f"{rate:.1f} GFLOPS", rate >= least, ours)

    return judge


def _rate_and_efficiency(finder: Finder, target: Target) -> Reached:
    ours = target.found(finder)
    rate, efficiency = ours.schedule.gflops, per_watt(ours.schedule)
    text = f"{rate:.1f} GFLOPS, {efficiency:.2f} GFLOPS/W"
    return Reached(text, rate >= 140 and efficiency >= 12, ours)


def _share_of_128(finder: Finder, target: Target) -> Reached:
    ours, many = target.found(finder), finder(target.network, target.board, 128)
    share = ours.schedule.gflops / many.schedule.gflops
    return Reached(f"{ours.schedule.gflops:.1f} GFLOPS, {share:.1%}", share >= 0.85, ours)


def _loss_by_norms(finder: Finder, target: Target) -> Reached:
    ours, plain = target.found(finder), finder("vgg16", target.board, target.batch)
    loss = 1 - ours.schedule.gflops / plain.schedule.gflops
    return Reached(f"{ours.schedule.gflops:.1f} GFLOPS, {loss:.1%} below", loss <= 0.05, ours)


TARGETS = (
    Target(
        "vgg16", "zcu102", 16, "46.99 GFLOPS, 6.09 GFLOPS/W", "140 GFLOPS, 12 GFLOPS/W",
        _rate_and_efficiency,
    ),
    Target("cifar1x", "zcu102", 128, "28.15 GFLOPS", "60 GFLOPS", _rate(60)),
    Target("cifar1x", "zcu102", 1, "not reported", "85 % of batch 128", _share_of_128),
    Target(
        "vgg16bn", "zcu102", 8, "40.08 GFLOPS, 15 % below", "at most 5 % below vgg16",
        _loss_by_norms,
    ),
    Target("cifar1x", "pynq-z1", 128, "4.08 GFLOPS", "10 GFLOPS", _rate(10)),
    Target("cifar1x", "pynq-z2", 128, "not reported", "10 GFLOPS", _rate(10)),
)  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """GFLOPS of a whole training step: the paper's, measured, and ours, modelled."""

    title: str
    paper: float
    written: float
    planned: float


def rivals() -> Iterator[Rival]:
    """Every build of the paper whose batch it tells."""
    for build in published.BUILDS:
        if build.batch is None:
            continue
        which = (build.network, build.board, build.batch)
        rates = (found(*which, limits).schedule.gflops for limits in (WRITTEN, PLANNED))
        title = f"{build.network}, {build.board}\nbatch {build.batch}"
        yield Rival(title, build.gflops, *rates)

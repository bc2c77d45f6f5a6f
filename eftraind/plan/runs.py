"""Sequences with equal neighbours counted, and loops over them.

A command walks nested loops whose turns are nearly all alike. Here a loop is a list of runs, and a
nest of loops is enumerated as (times, turn, the turn before, the turn after), which is all that a
pipeline of three stages needs to know of a turn.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
Runs = list[tuple[T, int]]


class Turn(NamedTuple):
    """One turn of a loop that is told apart: the first, the second, later ones, the last."""

    value: Any
    place: int
    """0, 1, or 2 for all later ones."""
    last: bool


def counted(items: Sequence[T]) -> Runs[T]:
    """
    >>> counted("aab")
    [('a', 2), ('b', 1)]
    """
    return [(item, len(list(same))) for item, same in groupby(items)]


def parts(whole: int, part: int) -> Runs[int]:
    """`whole` in equal parts and a rest.

    >>> parts(7, 3), parts(6, 3), parts(2, 3)
    ([(3, 2), (1, 1)], [(3, 2)], [(2, 1)])
    """
    number, rest = divmod(whole, part)
    return [(part, number)] * (number > 0) + [(rest, 1)] * (rest > 0)


def turns(runs: Runs[Any]) -> Runs[Turn]:
    """The first two turns and the last one apart from the others.

    >>> [(turn.value, turn.place, count) for turn, count in turns([("a", 4), ("b", 1)])]
    [('a', 0, 1), ('a', 1, 1), ('a', 2, 2), ('b', 2, 1)]
    """
    total = sum(count for _, count in runs)
    told: Runs[Turn] = []
    position = 0
    for value, count in runs:
        end = position + count
        for start, stop in ((0, 1), (1, 2), (2, max(2, total - 1)), (max(2, total - 1), total)):
            number = min(stop, end) - max(start, position)
            if number > 0:
                told.append((Turn(value, min(start, 2), stop == total and number == 1), number))
        position = end
    return told


def neighbours(runs: Runs[T]) -> Iterator[tuple[int, T, T | None, T | None]]:
    """(times, turn, the one before, the one after).

    >>> list(neighbours([("a", 3), ("b", 1)]))
    [(1, 'a', None, 'a'), (1, 'a', 'a', 'a'), (1, 'a', 'a', 'b'), (1, 'b', 'a', None)]
    """
    for place, (item, count) in enumerate(runs):
        before = runs[place - 1][0] if place else None
        after = runs[place + 1][0] if place + 1 < len(runs) else None
        if count == 1:
            yield 1, item, before, after
            continue
        yield 1, item, before, item
        if count > 2:
            yield count - 2, item, item, item
        yield 1, item, item, after


def nest(loops: Sequence[Runs[Any]]) -> Iterator[tuple[int, Any, Any, Any]]:
    """(times, turn, before, after) of nested loops, outermost first; a turn is a tuple.

    >>> [(n, *turn) for n, turn, _, _ in nest([[("x", 2)], [(1, 1), (2, 1)]])]
    [(1, 'x', 1), (1, 'x', 2), (1, 'x', 1), (1, 'x', 2)]
    """
    head, rest = loops[0], loops[1:]
    if not rest:
        for times, item, before, after in neighbours(head):
            ahead = None if before is None else (before,)
            yield times, (item,), ahead, None if after is None else (after,)
        return
    first, last = first_turn(rest), last_turn(rest)
    inner = list(nest(rest))
    for times, item, before, after in neighbours(head):
        for count, turn, left, right in inner:
            if left is not None:
                left = (item, *left)
            elif before is not None:
                left = (before, *last)
            if right is not None:
                right = (item, *right)
            elif after is not None:
                right = (after, *first)
            yield times * count, (item, *turn), left, right


def first_turn(loops: Sequence[Runs[Any]]) -> tuple[Any, ...]:
    return tuple(loop[0][0] for loop in loops)


def last_turn(loops: Sequence[Runs[Any]]) -> tuple[Any, ...]:
    return tuple(loop[-1][0] for loop in loops)

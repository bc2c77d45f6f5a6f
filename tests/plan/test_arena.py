"""The arena: tensors alive at the same time never share a word, and placing is economical."""

from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind.plan.arena import ALIGN_WORDS, Arena

LIVES = st.lists(
    st.tuples(st.integers(1, 200), st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=25
)
"""Words, first command, and how many commands later the last one."""


def filled(lives: list[tuple[int, int, int]]) -> Arena:
    arena = Arena()
    numbers = [arena.tensor(words) for words, _, _ in lives]
    for command in range(20):
        for number, (_, first, more) in zip(numbers, lives, strict=True):
            if command in (first, first + more):
                arena.touch(number, command)
    return arena


def aligned(words: int) -> int:
    return -(-words // ALIGN_WORDS) * ALIGN_WORDS


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lives=LIVES)
def test_no_two_live_tensors_overlap(lives: list[tuple[int, int, int]]) -> None:
    offsets, size = filled(lives).place()
    assert len(offsets) == len(lives)
    owners: dict[tuple[int, int], int] = {}
    for number, (offset, (words, first, more)) in enumerate(zip(offsets, lives, strict=True)):
        assert offset % ALIGN_WORDS == 0 and offset >= 0 and offset + words <= size
        for command in range(first, first + more + 1):
            for block in range(offset // ALIGN_WORDS, (offset + aligned(words)) // ALIGN_WORDS):
                assert owners.setdefault((command, block), number) == number


@settings(max_examples=100, deadline=None, derandomize=True)
@given(lives=LIVES)
def test_the_whole_lies_between_the_live_most_and_the_sum(
    lives: list[tuple[int, int, int]],
) -> None:
    _, size = filled(lives).place()
    alive = [
        sum(aligned(words) for words, first, more in lives if first <= command <= first + more)
        for command in range(20)
    ]
    assert max(alive) <= size <= sum(aligned(words) for words, _, _ in lives)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(lives=LIVES)
def test_placing_is_deterministic(lives: list[tuple[int, int, int]]) -> None:
    assert filled(lives).place() == filled(lives).place()


def test_a_chain_needs_its_two_largest_neighbours() -> None:
    sizes = [64, 160, 32, 96, 16]
    arena = Arena()
    numbers = [arena.tensor(words) for words in sizes]
    for command in range(len(sizes) - 1):
        arena.touch(numbers[command], command)
        arena.touch(numbers[command + 1], command)
    assert arena.place()[1] == 64 + 160


def test_an_empty_arena_and_an_unused_tensor_take_nothing() -> None:
    assert Arena().place() == ([], 0)
    arena = Arena()
    arena.tensor(500)
    used = arena.tensor(10)
    arena.touch(used, 0)
    assert arena.place() == ([0, 0], ALIGN_WORDS)

"""What offline training shows while it runs: a bar on a terminal, one line an epoch anywhere else.

Owns the look and nothing else. Without the package rich there are lines on a terminal too.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave."""

    number: int
    loss: float
    train_accuracy: float
    """Of each batch before it was learnt from."""
    test_accuracy: float
    seconds: float
    samples_per_s: float

    def line(self, epochs: int) -> str:
        return (
            f"epoch {self.number:>{len(str(epochs))}}/{epochs}  loss {self.loss:.4f}  "
            f"train {self.train_accuracy:.2%}  test {self.test_accuracy:.2%}  "
            f"{self.seconds:.1f} s  {self.samples_per_s:,.0f} images/s"
        )


class Progress:
    """Use as a context."""

    def __init__(self, stream: TextIO, epochs: int, steps: int) -> None:
        self._stream = stream
        self._epochs = epochs
        self._steps = steps
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if self._stream.isatty():
            self._bar = _bar(self._stream)
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._steps)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def step(self, epoch: int, step: int, loss: float, right: float) -> None:
        """After each step; numbers count from 0."""
        if self._bar is not None:
            text = f"epoch {epoch + 1}/{self._epochs}  loss {loss:.3f}  right {right:.0%}"
            self._bar.update(self._task, completed=step + 1, description=text)

    def epoch(self, done: Epoch) -> None:
        self.say(done.line(self._epochs))


def _bar(stream: TextIO) -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError:
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Bar(*columns, console=Console(file=stream), transient=True)

"""The ring of segments in memory: which exist, which is next, where a record is.

Owns the list of segments and the lock that readers and the one writer share. Never writes to a
file and never makes one: the writer is store.journal, the files come from store.recovery.
"""

import threading
from collections import deque
from pathlib import Path

from eftraind.errors import JournalFull
from eftraind.store.layout import BLOCK
from eftraind.store.segment import Damage, Segment

DAMAGES_KEPT = 64  # the list is for an operator's eyes; the counter is exact

Place = tuple[int, int, int, int]  # sequence number, payload offset, length, CRC


class Ring:
    """All segments of one journal. `active` is the one being written, also the last of `live`."""

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.read_only = False
        self.guard = threading.Lock()  # protects the lists and their order
        self.live: list[Segment] = []  # by generation, oldest first
        self.free: list[Segment] = []
        self.active: Segment | None = None
        self.epoch = 0
        self.generation = 0
        self.next_seq = 1
        self.durable_seq = 0
        self.released_seq = 0
        self.quarantined = 0
        self.torn = 0
        self.corrupt = 0
        self.damages: deque[Damage] = deque(maxlen=DAMAGES_KEPT)

    @property
    def size_bytes(self) -> int:
        return (len(self.live) + len(self.free)) * self.segment_bytes

    @property
    def first_seq(self) -> int:
        """The oldest record there is; `next_seq` when there is none."""
        with self.guard:
            return next((segment.seqs[0] for segment in self.live if segment.seqs), self.next_seq)

    @property
    def free_bytes(self) -> int:
        with self.guard:
            spare = len(self.free) + sum(self.recyclable(segment) for segment in self.live)
            here = self.active.limit - self.active.end if self.active else 0
            return spare * (self.segment_bytes - 2 * BLOCK) + here

    @property
    def records(self) -> int:
        with self.guard:
            return sum(len(segment.seqs) - len(segment.damaged) for segment in self.live)

    def recyclable(self, segment: Segment) -> bool:
        """Whether a live segment holds nothing that is still needed."""
        consumed = not segment.seqs or segment.seqs[-1] <= self.released_seq
        return consumed and segment is not self.active

    def find_victim(self) -> Segment:
        """The segment to use next: an unused one, else the oldest that holds nothing needed."""
        with self.guard:
            if self.free:
                return self.free[0]
            for segment in self.live:
                if self.recyclable(segment):
                    return segment
        message = f"all {self.size_bytes} bytes of the journal hold samples not yet consumed"
        raise JournalFull(message, remedy="wait for the engine, or raise journal.size_bytes")

    def take(self, victim: Segment) -> None:
        """Remove a segment from the lists; nobody plans a read from it any more."""
        with self.guard:
            (self.free if victim in self.free else self.live).remove(victim)
            self.active = None

    def put(self, segment: Segment, *, live: bool) -> None:
        with self.guard:
            (self.live if live else self.free).append(segment)

    def plan(
        self, from_seq: int, max_bytes: int, *, at_least_one: bool
    ) -> tuple[Segment, int, list[Place]] | None:
        """Where the next durable records from `from_seq` on are, all of one segment.

        With the segment goes its generation: a reader that finds other bytes than planned asks
        `note_damage`, which tells rot from a segment that was reused meanwhile.
        """
        with self.guard:
            for segment in self.live:
                wanted: list[Place] = []
                for position in range(segment.position_of(from_seq), len(segment.seqs)):
                    place = segment.locate(position)
                    if place[0] in segment.damaged:
                        continue
                    max_bytes -= place[2]
                    too_much = max_bytes < 0 and (wanted or not at_least_one)
                    if too_much or place[0] > self.durable_seq:
                        return (segment, segment.generation, wanted) if wanted else None
                    wanted.append(place)
                if wanted:
                    return segment, segment.generation, wanted
        return None

    def note_damage(self, segment: Segment, generation: int, seq: int) -> None:
        with self.guard:
            if segment.generation != generation or seq in segment.damaged:
                return
            segment.damaged.add(seq)
            self.add_damage(Damage(segment.path.name, seq, 1, "checksum or read error"))

    def add_damage(self, damage: Damage) -> None:
        self.corrupt += damage.count
        self.damages.append(damage)

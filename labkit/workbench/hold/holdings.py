"""Which states are kept where, in memory, in a file or both, and the bounds of both. No thread, no file is touched here.

Files that are to be removed are listed in `_rubbish` and count until they are gone. See `timeline` for the rules.
"""

from itertools import count
from pathlib import Path

from labkit.workbench.hold.state_files import Found, Size
from labkit.workbench.hold.thinning import Kept, thin

MOST = 2048


class Holdings:
    """The states of all branches by step. To be used under a lock."""

    def __init__(self, memory: int, disk: int, found: list[Found]):
        self.memory, self.disk = memory, disk
        self._kept: dict[str, dict[int, Kept]] = {}
        self._only_here: dict[Kept, None] = {}  # in memory and not on the disk, in the order in which they came
        self._both: dict[Kept, None] = {}  # in memory and on the disk
        self._waiting: dict[Kept, None] = {}  # to be written
        self._rubbish: list[tuple[Path, int]] = []
        self._flight: Kept | None = None  # being written
        self._newest: Kept | None = None
        self._used = [0, 0]
        for one in found:
            if (old := self._of(one.branch).get(one.step)) is not None:
                self._drop(old)
            size = Size(0, one.nbytes, None)
            self._of(one.branch)[one.step] = Kept(one.branch, one.step, one.marked, one.order, size, None, one.path)
            self._used[1] += one.nbytes
        self._orders = count(max((one.order for one in found), default=-1) + 1)

    def _of(self, branch: str) -> dict[int, Kept]:
        return self._kept.setdefault(branch, {})

    def _all(self) -> list[Kept]:
        return [one for steps in self._kept.values() for one in steps.values()]

    def _fit(self) -> None:
        """Make memory and the number of states fit again; a state that is being written cannot leave."""
        while self._used[0] > self.memory:
            one = next((one for one in self._both if one is not self._newest), None)
            if one is None:
                break
            self._out_of_memory(one)
        stay = {self._newest, self._flight}
        if self._used[0] > self.memory:
            thin(list(self._only_here), stay, lambda: self._used[0], self.memory, self._drop)
        number = [sum(map(len, self._kept.values()))]

        def drop(one: Kept) -> None:
            number[0] -= 1
            self._drop(one)

        if number[0] > MOST:
            thin(self._all(), stay, lambda: number[0], MOST, drop)

    def _out_of_memory(self, one: Kept) -> None:
        del self._both[one]
        one.state = None
        self._used[0] -= one.size.nbytes

    def _drop(self, one: Kept) -> None:
        """Let a state go everywhere. One that is being written takes its memory until that is done."""
        if self._of(one.branch).get(one.step) is one:
            del self._kept[one.branch][one.step]
        self._waiting.pop(one, None)
        if self._newest is one:
            self._newest = None
        if one in self._only_here and one is self._flight:
            del self._only_here[one]
        elif one in self._only_here or one in self._both:
            self._only_here.pop(one, None)
            self._both[one] = None
            self._out_of_memory(one)
        self._file_away(one)

    def _file_away(self, one: Kept) -> None:
        """Let the file go, and all of it where it is not in memory."""
        if one.path is not None:
            self._rubbish.append((one.path, one.writes))
            one.path = None
            if one in self._both:
                del self._both[one]
                self._only_here[one] = None
            elif self._of(one.branch).get(one.step) is one:
                del self._kept[one.branch][one.step]

    def _make_room(self, nbytes: int) -> None:
        """Let files go until there is room for so many bytes, once they are removed."""
        going = [self._used[1] - sum(taken for _, taken in self._rubbish)]

        def drop(one: Kept) -> None:
            going[0] -= one.writes
            self._file_away(one)

        thin([one for one in self._all() if one.path is not None], (), lambda: going[0], self.disk - nbytes, drop)

"""Is this string of the Reber grammar? A task for networks that remember where in a walk they are.

A Reber string is a walk through a small machine, from B to E; every step writes a sign:

    start -T-> 1, -P-> 2      1 -S-> 1, -X-> 3      2 -T-> 2, -V-> 4      3 -X-> 2, -S-> end      4 -P-> 3, -V-> end

Half of the strings are right. The others have one sign changed so that no walk writes them. The same sign is right in one state
and wrong in another, so that one has to know the state, which the last sign alone does not tell. With more `mistakes` as many
signs are changed (fewer, where a sign is drawn again), and a wrong string is easier to know.

An embedded string has a Reber string inside and the same sign, T or P, around it: B T (B ... E) T E or B P (B ... E) P E. Of the
wrong ones half have the other sign at their end: every step is fine, and only who remembers the second sign can tell.

Source: A. Reber, "Implicit learning of artificial grammars" (1967); embedded as in S. Hochreiter and J. Schmidhuber, "Long
short-term memory" (1997). The wrong strings are ours.
"""

import random
from zlib import crc32

import torch

from labkit.workbench.tasks.rows import Labelled

SIGNS = "·BTPSXVE"
STEPS = {0: "T1P2", 1: "S1X3", 2: "T2V4", 3: "X2S5", 4: "P3V5"}
END = 5


class ReberStrings(Labelled):
    """Rows (rows, longest) of sign numbers, filled up with · in front, so that all end together; 1 where a string is right.

    `longest` counts all signs. No string of the test part is in the training part.
    """

    def __init__(
        self,
        *,
        rows: int = 4000,
        test_rows: int = 1000,
        longest: int = 20,
        batch: int = 100,
        embedded: bool = False,
        mistakes: int = 1,
    ):
        self.name, self.batch, self.longest, self.embedded = "Reber strings", batch, longest, embedded
        self.mistakes = mistakes
        self.in_width, self.out_width, self.labels = len(SIGNS), 2, ("wrong", "right")
        draw = random.Random(0)
        self.test_x, self.test_y = self._rows(test_rows, draw, tested=True)
        self.train_x, self.train_y = self._rows(rows, draw, tested=False)

    def _rows(self, rows: int, draw: random.Random, tested: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """So many strings, right and wrong in turn. A third of all there are, by their spelling, are for the test part."""
        strings: list[str] = []
        while len(strings) < rows:
            string = right(draw, self.longest, self.embedded)
            if len(strings) % 2:
                string = spoilt(string, draw, self.embedded, len(strings) % 4 == 1, self.mistakes)
            if (crc32(string.encode()) % 3 == 0) == tested:
                strings.append(string)
        numbers = [[SIGNS.index(sign) for sign in string.rjust(self.longest, SIGNS[0])] for string in strings]
        return torch.tensor(numbers), torch.tensor([1 - place % 2 for place in range(rows)])


def right(draw: random.Random, longest: int, embedded: bool = False) -> str:
    """A string of the grammar of at most so many signs."""
    while True:
        state, string = 0, "B"
        while state != END:
            sign, state = draw.choice([(STEPS[state][at], int(STEPS[state][at + 1])) for at in (0, 2)])
            string += sign
        around = draw.choice("TP")
        string = f"B{around}{string}E{around}E" if embedded else string + "E"
        if len(string) <= longest:
            return string


def follows(string: str, embedded: bool = False) -> bool:
    """Whether a string is of the grammar."""
    if embedded:
        framed = len(string) > 4 and string[0] + string[-1] == "BE" and string[1] == string[-2] and string[1] in "TP"
        return framed and follows(string[2:-2])
    if len(string) < 2 or string[0] != "B" or string[-1] != "E":
        return False
    state = 0
    for sign in string[1:-1]:
        found = [int(STEPS[state][at + 1]) for at in (0, 2) if state != END and STEPS[state][at] == sign]
        if not found:
            return False
        state = found[0]
    return state == END


def spoilt(string: str, draw: random.Random, embedded: bool = False, forgets: bool = False, mistakes: int = 1) -> str:
    """A right string with signs changed so that it is wrong; an embedded one that `forgets`, only the sign that comes back."""
    if embedded and forgets:
        return string[:-2] + ("P" if string[1] == "T" else "T") + "E"
    edge = 3 if embedded else 1
    while True:
        found = string
        for _ in range(mistakes):
            place = draw.randrange(edge, len(string) - edge)
            found = found[:place] + draw.choice("TPSXV") + found[place + 1 :]
        if not follows(found, embedded):
            return found

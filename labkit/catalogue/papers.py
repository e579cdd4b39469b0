"""The papers of the lab's plan, and what this checkout holds of each: a status is computed, never typed."""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from labkit.catalogue.evidence import RecordedRun, evidence
from labkit.errors import LabError

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Reference:
    """Who wrote a paper, when, and where it is; every value was read in one of the public pages `confirmed_in`."""

    authors: tuple[str, ...]
    year: int
    arxiv: str | None
    doi: str | None
    confirmed_in: tuple[str, ...]

    @property
    def address(self) -> str:
        """A web address where the paper can be read."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else f"https://doi.org/{self.doi}"


@dataclass(frozen=True)
class Paper:
    """One paper: what it claims, how it works, what to measure, and what of it this lab holds."""

    id: str
    title: str
    chapter: str
    family: str
    kind: str
    build: str
    core: int
    effort: str
    mechanism: str
    experiment: str
    claim: str
    shares: tuple[str, ...] = ()
    why_none: str | None = None
    reference: Reference | None = None
    modules: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    notebooks: tuple[str, ...] = ()
    runs: tuple[RecordedRun, ...] = ()

    @property
    def stage(self) -> str:
        """One of "recorded", "built", "planned", "not built"."""
        if self.verdicts:
            return "recorded"
        if self.modules or self.studies:
            return "built"
        return "not built" if self.build == "none" else "planned"

    @property
    def status(self) -> str:
        """The stage, with the reason where the paper will not be built."""
        return f"not built: {self.why_none}" if self.stage == "not built" else self.stage

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdicts of all recorded claims about this paper."""
        return tuple(verdict for run in self.runs for verdict in run.verdicts)


def papers(root: Path | None = None) -> list[Paper]:
    """All papers in the order of their ids, with their status in the checkout at `root` (default: this one)."""
    known = evidence(root)
    references = _references()
    return [
        Paper(
            **row,
            reference=references.get(number),
            modules=tuple(known.modules.get(number, ())),
            studies=tuple(known.studies.get(number, ())),
            notebooks=tuple(known.notebooks.get(number, ())),
            runs=tuple(known.runs.get(number, ())),
        )
        for number, row in _rows().items()
    ]


def paper(number: str, root: Path | None = None) -> Paper:
    """The paper with this id, such as "P120".

    Raises: LabError for an id that is not in the catalogue, with the nearest ones.
    """
    wanted = number.strip().upper()
    if wanted not in _rows():
        near, ids = get_close_matches(wanted, _rows(), n=3, cutoff=0.0), list(_rows())
        raise LabError(
            f'There is no paper "{number}": the catalogue goes from {ids[0]} to {ids[-1]}, '
            f"and the ids most like it are {', '.join(near)}."
        )
    return next(row for row in papers(root) if row.id == wanted)


@lru_cache(maxsize=1)
def _rows() -> dict[str, dict]:
    lines = (FOLDER / "papers.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return {row["id"]: {**row, "shares": tuple(row["shares"])} for row in rows}


@lru_cache(maxsize=1)
def _references() -> dict[str, Reference]:
    rows = json.loads((FOLDER / "references.json").read_text(encoding="utf-8"))
    many = ("authors", "confirmed_in")
    return {number: Reference(**{**row, **{key: tuple(row[key]) for key in many}}) for number, row in rows.items()}

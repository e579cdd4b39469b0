"""The catalogue: all rows ship, and every status is computed from the files of a checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.catalogue import words
from labkit.catalogue.evidence import MECHANISMS, evidence
from labkit.catalogue.papers import paper, papers
from labkit.errors import LabError

ROOT = Path(__file__).resolve().parents[1]
MODULE = (
    '"""A layer.\n\nSource: "Fast Feedforward Networks" (P120), after\n"Another" (P121).\n\nNotes: P122 is not it."""\n'
)


@pytest.fixture
def checkout(tmp_path):
    """An empty checkout, and `plant(place, text)`, which puts a file into it."""

    def plant(place: str, text: str) -> None:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return tmp_path, plant


def test_all_527_rows_ship_with_unique_ids():
    ids = [row.id for row in papers()]
    assert len(ids) == 527
    assert len(set(ids)) == 527
    assert ids == sorted(ids)


def test_every_code_in_a_row_has_plain_words():
    for row in papers():
        assert row.chapter in words.CHAPTERS, row.id
        assert row.family in words.FAMILIES, row.id
        assert row.kind in words.KINDS, row.id
        assert row.build in words.BUILDS, row.id
        assert row.effort in words.EFFORTS, row.id
        assert row.core in words.CORES, row.id
        assert row.stage in words.STAGES, row.id
        assert set(row.verdicts) <= set(words.VERDICTS), row.id


def test_no_plain_word_is_left_without_rows():
    rows = papers()
    for table, name in ((words.CHAPTERS, "chapter"), (words.FAMILIES, "family"), (words.KINDS, "kind")):
        assert set(table) == {getattr(row, name) for row in rows}


def test_every_row_says_what_it_is():
    for row in papers():
        assert row.title.strip(), row.id
        assert row.mechanism.strip(), row.id


def test_a_row_that_will_not_be_built_says_why(checkout):
    root, _ = checkout
    refused = [row for row in papers(root) if row.build == "none"]
    assert refused
    for row in refused:
        assert row.why_none, row.id
        assert row.status == f"not built: {row.why_none}"
    assert all(row.why_none is None for row in papers(root) if row.build != "none")


def test_status_follows_from_the_files_of_the_checkout(checkout):
    root, plant = checkout
    assert paper("P120", root).status == "planned"
    plant("labkit/layers/feedforward/fast.py", MODULE)
    assert paper("P120", root).status == "built"
    assert paper("P120", root).modules == ("labkit/layers/feedforward/fast.py",)
    plant("assets/runs/fast.json", _run(verdicts=["shown", "contradicted"]))
    assert paper("P120", root).status == "recorded"
    assert paper("P120", root).verdicts == ("shown", "contradicted")
    (root / "assets/runs/fast.json").unlink()
    (root / "labkit/layers/feedforward/fast.py").unlink()
    assert paper("P120", root).status == "planned"


def test_a_source_may_run_over_several_lines_but_other_paragraphs_do_not_cite(checkout):
    root, plant = checkout
    plant("labkit/layers/feedforward/fast.py", MODULE)
    assert paper("P121", root).status == "built"
    assert paper("P122", root).status == "planned"


def test_an_id_in_code_or_in_a_comment_does_not_cite(checkout):
    root, plant = checkout
    plant("labkit/losses/plain.py", '"""A loss."""\n# Source: (P120)\nname = "Source: P120"\n')
    assert paper("P120", root).status == "planned"


def test_a_class_docstring_cites_too(checkout):
    root, plant = checkout
    plant("labkit/losses/plain.py", 'class Plain:\n    """A loss.\n\n    Source: "It" (P120).\n    """\n')
    assert paper("P120", root).modules == ("labkit/losses/plain.py",)


def test_modules_are_read_and_not_imported(checkout):
    root, plant = checkout
    plant("labkit/losses/plain.py", '"""A loss.\n\nSource: "It" (P120).\n"""\nraise SystemExit("imported")\n')
    assert paper("P120", root).status == "built"


def test_a_study_is_found_by_its_paper(checkout):
    root, plant = checkout
    plant("labkit/studies/feedforward/fast.py", 'study = Study(\n    paper="P120",\n    question="P125?",\n)\n')
    assert paper("P120", root).studies == ("labkit/studies/feedforward/fast.py",)
    assert paper("P125", root).studies == ()


def test_a_notebook_counts_by_its_cells_and_not_by_its_outputs(checkout):
    root, plant = checkout
    cell = {"cell_type": "code", "source": ["x = 1  # P120"], "outputs": [{"text": ["P121"]}]}
    plant("notebooks/a/one.ipynb", json.dumps({"cells": [cell]}))
    plant("notebooks/a/.ipynb_checkpoints/one.ipynb", json.dumps({"cells": [cell]}))
    assert paper("P120", root).notebooks == ("notebooks/a/one.ipynb",)
    assert paper("P121", root).notebooks == ()


@pytest.mark.parametrize("text", ["{ torn", "[]", '{"study": "fast"}', '{"study": "f", "paper": "P120", "claims": []}'])
def test_a_broken_recorded_run_is_named_and_counts_for_nothing(checkout, text):
    root, plant = checkout
    plant("assets/runs/fast.json", text)
    assert paper("P120", root).status == "planned"
    assert len(evidence(root).problems) == 1
    assert "assets/runs/fast.json" in evidence(root).problems[0]


def test_a_module_that_does_not_parse_is_named(checkout):
    root, plant = checkout
    plant("labkit/losses/torn.py", '"""Source: (P120)')
    assert "labkit/losses/torn.py" in evidence(root).problems[0]


def test_an_id_in_small_letters_is_understood():
    assert paper(" p120 ").id == "P120"


def test_an_unknown_id_is_refused_with_the_nearest_ones():
    with pytest.raises(LabError, match="P12") as caught:
        paper("P12")
    assert "P001 to P527" in str(caught.value)


def test_this_checkout_is_readable_and_cites_only_papers_that_exist():
    known = {row.id for row in papers()}
    assert evidence().problems == []
    assert evidence().cited() <= known


def test_every_paper_cited_by_a_mechanism_has_a_confirmed_reference():
    cited = {
        number
        for number, places in evidence().modules.items()
        if any(place.split("/")[1] in MECHANISMS for place in places)
    }
    assert cited
    for number in sorted(cited):
        found = paper(number).reference
        assert found is not None, f"{number} needs an entry in labkit/catalogue/references.json"
        assert found.authors, number
        assert 1940 < found.year < 2100, number
        assert found.arxiv or found.doi, number
        assert found.confirmed_in, number
        assert all(address.startswith("https://") for address in (*found.confirmed_in, found.address)), number


def test_a_reference_belongs_to_a_paper_of_the_catalogue():
    written = json.loads((ROOT / "labkit/catalogue/references.json").read_text(encoding="utf-8"))
    assert set(written) <= {row.id for row in papers()}


def test_the_catalogue_needs_no_heavy_library():
    code = (
        "import sys; from labkit.catalogue.papers import papers; papers();"
        "print({'xarray', 'pandas', 'plotly', 'panel', 'mlflow'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "set()"


def _run(verdicts: list[str]) -> str:
    claims = [{"says": "It is faster.", "rule": "faster", "measured": "2x", "verdict": verdict} for verdict in verdicts]
    return json.dumps({"study": "fast", "paper": "P120", "scale": "smoke", "claims": claims, "provenance": {}})

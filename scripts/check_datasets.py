#!/usr/bin/env python3
"""Compares datasets with their raw files, read by other programs.

For each recipe the raw files are converted with `dash-nas data ingest`; pyarrow opens the Parquet files as fixed-shape
tensors, numpy and scipy read the raw files, and the values of every row of every split must agree: exactly where the
dataset holds bytes, to single precision elsewhere. Raw files are looked for in one folder per task, as in data/raw.

    python3 -m venv /tmp/arrow && /tmp/arrow/bin/pip install numpy scipy pyarrow
    /tmp/arrow/bin/python scripts/check_datasets.py --raw data/raw
    /tmp/arrow/bin/python scripts/check_datasets.py --raw data/raw --only ecg,music --binary target/debug/dash-nas
"""

import argparse
import gzip
import hashlib
import json
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io

ROOT = Path(__file__).resolve().parent.parent
SPLITS = {"train": "train.parquet", "validation": "val.parquet", "test": "test.parquet"}
# Single precision of values that were computed in double precision.
TOLERANCE = dict(rtol=2e-6, atol=2e-6)


class Dataset:
    """A dataset folder: its card, and per split the columns as arrays."""

    def __init__(self, folder):
        self.card = json.loads((folder / "dataset.json").read_text())
        self.notes = self.card["notes"]
        self.splits = {}
        for split, name in SPLITS.items():
            path = folder / name
            info = self.card["splits"][split]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == info["sha256"], f"{path}: not the file of the card"
            table = pq.read_table(path)
            assert table.num_rows == info["rows"], f"{path}: {table.num_rows} rows"
            self.splits[split] = {column: self.column(table, column) for column in table.column_names}

    def column(self, table, name):
        values = table.column(name).combine_chunks()
        fields = [self.card["input"], self.card["target"], self.card["target"].get("ignore") or {}]
        shapes = {field["column"]: field["shape"] for field in fields if "shape" in field}
        if self.card["target"]["kind"] == "labels":
            shapes[self.card["target"]["column"]] = [len(self.card["target"]["labels"])]
        if name not in shapes:
            return values.to_numpy(zero_copy_only=False)
        kind = table.schema.field(name).type
        assert isinstance(kind, pa.FixedShapeTensorType), f"column {name} is {kind}, no fixed-shape tensor"
        assert list(kind.shape) == shapes[name], f"column {name}: shape {kind.shape}, the card says {shapes[name]}"
        if isinstance(values, pa.ChunkedArray):
            values = values.chunk(0)
        return values.to_numpy_ndarray()

    def input(self, split):
        """What networks see, in single precision."""
        values = self.splits[split]["input"]
        scaling = self.card.get("input_scaling")
        if scaling:
            axes = (1, -1) + (1,) * (values.ndim - 2)
            values = values * np.reshape(scaling["scale"], axes) + np.reshape(scaling["offset"], axes)
        return values.astype(np.float32)


def find(raw, pattern):
    found = sorted(raw.rglob(pattern))
    assert found, f"{raw}: no {pattern}"
    return found[0]


def latin(path):
    return pickle.loads(path.read_bytes(), encoding="latin1")


# Each function takes the raw folder and the dataset, and returns for a split what its rows must be: a function from the
# columns of the split to inputs and targets.


def ecg(raw, data):
    file = pickle.loads(find(raw, "challenge2017.pkl").read_bytes())
    labels = data.card["target"]["labels"]
    records = [np.asarray(record, dtype=np.float64) for record in file["data"]]
    records = [(record - record.mean()) / record.std() for record in records]
    window = data.notes["window"]

    def rows(split, columns):
        pairs = list(zip(columns["record"], columns["start"]))
        x = np.stack([records[record][None, start : start + window] for record, start in pairs])
        return x, np.array([labels.index(file["label"][record]) for record, _ in pairs])

    return rows


def satellite(raw, data):
    files = {part: np.load(find(raw, f"satellite_{part}.npy"), allow_pickle=True)[()] for part in ("train", "test")}
    first = min(int(file["label"].min()) for file in files.values())

    def rows(split, columns):
        file = files["test" if split == "test" else "train"]
        return file["data"][columns["sample"]][:, None], file["label"][columns["sample"]] - first

    return rows


def ninapro(raw, data):
    parts = ["train", "val", "test"]
    x = [np.load(find(raw, f"ninapro_{part}.npy")) for part in parts]
    y = [np.load(find(raw, f"label_{part}.npy")) for part in parts]

    def rows(split, columns):
        at = list(zip(columns["file"], columns["sample"]))
        return np.stack([x[file][row].T[None] for file, row in at]), np.array([y[file][row] for file, row in at])

    return rows


def cifar(train, test, label):
    def reader(raw, data):
        parts = {"train": [latin(find(raw, name)) for name in train], "test": [latin(find(raw, test))]}
        x = {part: np.concatenate([file["data"] for file in files]) for part, files in parts.items()}
        y = {part: np.concatenate([file[label] for file in files]) for part, files in parts.items()}
        mean, deviation = (np.reshape(data.notes[name], (1, -1, 1, 1)) for name in ("mean", "deviation"))

        def rows(split, columns):
            part = "test" if split == "test" else "train"
            side = int((x[part].shape[1] // 3) ** 0.5)
            images = x[part][columns["sample"]].reshape(-1, 3, side, side)
            if "row_order" in data.notes:
                bits = side.bit_length() - 1
                order = [int(format(i, f"0{bits}b")[::-1], 2) for i in range(side)]
                images = images[:, :, order][:, :, :, order]
            return (images / 255 - mean) / deviation, y[part][columns["sample"]]

        return rows

    return reader


def spherical(raw, data):
    file = pickle.loads(gzip.decompress(find(raw, "s2_cifar100.gz").read_bytes()), encoding="latin1")

    def rows(split, columns):
        part = file["test" if split == "test" else "train"]
        return part["images"][columns["sample"]], np.asarray(part["labels"])[columns["sample"]]

    return rows


def deepsea(raw, data):
    file = np.load(find(raw, "deepsea_filtered.npz"))

    def rows(split, columns):
        part = {"train": "train", "validation": "val", "test": "test"}[split]
        return file[f"x_{part}"][columns["row"]].transpose(0, 2, 1), file[f"y_{part}"][columns["row"]]

    return rows


def darcy_flow(raw, data):
    step = data.notes["subsample"]

    def fields(pattern):
        file = scipy.io.loadmat(find(raw, pattern))
        return [file[name][:, ::step, ::step].astype(np.float32).astype(np.float64) for name in ("coeff", "sol")]

    files = {"train": fields("piececonst_r*_smooth1.mat"), "test": fields("piececonst_r*_smooth2.mat")}
    fitted = [field[: data.notes["normalised_with_samples"]] for field in files["train"]]
    means, deviations = [f.mean(0) for f in fitted], [f.std(0, ddof=1) + 1e-5 for f in fitted]

    def rows(split, columns):
        part = files["test" if split == "test" else "train"]
        x, y = [(f[columns["sample"]] - m) / d for f, m, d in zip(part, means, deviations)]
        grid = np.linspace(0, 1, x.shape[1])
        u, v = np.broadcast_to(grid, x.shape), np.broadcast_to(grid[:, None], x.shape)
        return np.stack([x, u, v], 1), y[:, None]

    return rows


def cosmic(raw, data):
    kept = data.card["input"]["shape"][1:]

    def images(tree):
        found = []
        for path in find(raw, tree).rglob("*_*.npy"):
            place = path.parts[-4:]
            if place[0] == data.notes["filter"] and "_".join(place[1:3]) in data.notes["fields"]:
                found.append((place, path))
        return [path for _, path in sorted(found)]

    def read(path):
        planes = np.load(path)
        rows, columns = (slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(planes.shape[1:], kept))
        sky = path.with_name("sky.npy")
        level = np.load(sky)[int(path.name.split("_")[0]) - 1] if sky.exists() else 0
        return planes[:, rows, columns], level

    parts = {"train": images("npy_train"), "test": images("npy_test")}

    def rows(split, columns):
        part = parts["test" if split == "test" else "train"]
        planes, levels = zip(*(read(part[image]) for image in columns["image"]))
        planes = np.stack(planes)
        assert np.array_equal(columns["ignore"], planes[:, 2:3]), f"{split}: ignored positions differ"
        np.testing.assert_allclose(columns[data.card["background"]], levels, rtol=1e-6)
        return planes[:, :1], planes[:, 1:2]

    return rows


def idx(path):
    bytes_ = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    axes = bytes_[3]
    shape = np.frombuffer(bytes_, ">u4", axes, 4)
    return np.frombuffer(bytes_, np.uint8, offset=4 + 4 * axes).reshape(shape)


def mnist(raw, data):
    files = {
        part: [idx(find(raw, f"{name}-{what}-ubyte*")) for what in ("images-idx3", "labels-idx1")]
        for part, name in (("train", "train"), ("test", "t10k"))
    }

    def rows(split, columns):
        images, labels = files["test" if split == "test" else "train"]
        x = images[columns["sample"]].reshape(len(columns["sample"]), 1, -1) / 255
        if "permutation_seed" in data.notes:
            x = x[:, :, np.random.RandomState(data.notes["permutation_seed"]).permutation(x.shape[2])]
        return (x - data.notes["mean"]) / data.notes["deviation"], labels[columns["sample"]]

    return rows


def music(file):
    def reader(raw, data):
        mat = scipy.io.loadmat(find(raw, file))
        pieces = [list(mat[name].ravel()) for name in ("traindata", "validdata", "testdata")]
        steps = data.notes["steps"]

        def roll(piece):
            out = np.zeros((steps, piece.shape[1]), np.uint8)
            out[: len(piece)] = piece[:steps]
            return out.T

        def rows(split, columns):
            rolls = np.stack([roll(pieces[part][piece]) for part, piece in zip(columns["part"], columns["piece"])])
            return rolls[:, :, :-1], rolls[:, :, 1:]

        return rows

    return reader


CIFAR100 = cifar(["train"], "test", "fine_labels")
CIFAR10 = cifar([f"data_batch_{n}" for n in range(1, 6)], "test_batch", "labels")
# Pipeline file, folder of the raw files, reader, more settings.
CHECKS = {
    "ecg": ("ecg", "ecg", ecg, []),
    "satellite": ("satellite", "satellite", satellite, []),
    "ninapro": ("ninapro", "ninapro", ninapro, []),
    "cifar100": ("cifar100", "cifar100", CIFAR100, []),
    "cifar100-permuted": ("cifar100", "cifar100", CIFAR100, ["dataset.permuted=true"]),
    "cifar10": ("cifar10", "cifar10", CIFAR10, []),
    "spherical": ("spherical", "spherical", spherical, []),
    "deepsea": ("deepsea", "deepsea", deepsea, []),
    "darcy-flow": ("darcy-flow", "darcy_flow", darcy_flow, []),
    "cosmic": ("cosmic", "cosmic", cosmic, []),
    "mnist": ("mnist", "mnist", mnist, []),
    "mnist-permuted": ("mnist-permuted", "mnist", mnist, []),
    "jsb": ("jsb", "music", music("JSB_Chorales.mat"), []),
    "nottingham": ("nottingham", "music", music("Nottingham.mat"), []),
    "piano-midi": (
        "jsb",
        "music",
        music("Piano_midi.mat"),
        ["dataset.file=Piano_midi.mat", "dataset.steps=1000"],
    ),
}


def check(name, folder, binary, runs, profile):
    pipeline, _, reader, sets = CHECKS[name]
    command = [binary, "data", "ingest", str(ROOT / "pipelines" / f"{pipeline}.toml"), "--runs-dir", str(runs / name)]
    for value in [f"dataset.raw={folder}", *sets]:
        command += ["--set", value]
    ran = subprocess.run(command + profile, capture_output=True, text=True)
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stderr}"
    data = Dataset(runs / name / pipeline / "dataset")
    rows = reader(folder, data)
    ids = set()
    for split in SPLITS:
        columns = data.splits[split]
        x, y = rows(split, columns)
        found = data.input(split)
        if data.card["input"]["element"] == "u8" and not data.card.get("input_scaling"):
            assert np.array_equal(found, x), f"{split}: inputs differ"
        else:
            np.testing.assert_allclose(found, x, **TOLERANCE, err_msg=f"{split}: inputs")
        np.testing.assert_allclose(columns["target"], y, **TOLERANCE, err_msg=f"{split}: targets")
        names = [id_ for id_ in columns if columns[id_].dtype == np.int64 and columns[id_].ndim == 1 and id_ != "target"]
        if split != "test":
            here = {tuple(int(columns[id_][row]) for id_ in names) for row in range(len(found))}
            # DeepSEA counts the rows of each part anew.
            assert name == "deepsea" or not ids & here, f"{split}: rows of another split"
            ids |= here
    element = data.card["input"]["element"]
    counts = ", ".join(f"{data.card['splits'][split]['rows']} {split}" for split in SPLITS)
    print(f"{name}: {counts}, input {data.card['input']['shape']} {element}: all values agree", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, default=ROOT / "data/raw", help="folder with a folder per task")
    parser.add_argument("--binary", default=str(ROOT / "target/release/dash-nas"))
    parser.add_argument("--only", help="names separated by commas; by default all whose folder is there")
    parser.add_argument("--profile", help="profile of the pipeline files, for raw files that are smaller than published")
    args = parser.parse_args()
    profile = ["--profile", args.profile] if args.profile else []
    failed = 0
    with tempfile.TemporaryDirectory() as runs:
        for name in args.only.split(",") if args.only else CHECKS:
            folder = (args.raw / CHECKS[name][1]).resolve()
            if not args.only and not folder.is_dir():
                print(f"{name}: no folder {folder}, left out")
                continue
            try:
                check(name, folder, args.binary, Path(runs), profile)
            except AssertionError as error:
                failed += 1
                print(f"{name}: {error}", file=sys.stderr)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())

"""Makes files to begin with, in fuzz/corpus/<target>.

    python fuzz/seeds.py        # needs numpy and scipy
"""

import gzip
import io
import os
import pickle
import shutil
import tarfile

import numpy as np
import scipy.io

here = os.path.dirname(os.path.abspath(__file__))


def put(target, name, data):
    folder = os.path.join(here, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def saved(save, *args, **kwargs):
    out = io.BytesIO()
    save(out, *args, **kwargs)
    return out.getvalue()


arrays = {
    "f4": np.arange(12, dtype="f4").reshape(3, 4),
    "f8": np.asfortranarray(np.arange(12, dtype=">f8").reshape(3, 4)),
    "f2": np.arange(6, dtype="f2"),
    "u1": np.arange(24, dtype="u1").reshape(2, 3, 4),
    "i8": np.arange(5),
    "bool": np.array([True, False]),
    "text": np.array(["N", "A"]),
    "one": np.array(3.0),
}
objects = np.empty(2, dtype=object)
objects[0], objects[1] = np.arange(3, dtype="i2"), {"data": np.arange(4.0), "label": ["a", "b"]}
for name, array in arrays.items():
    put("npy", name, saved(np.save, array))
put("npy", "object", saved(np.save, objects, allow_pickle=True))
put("npz", "stored", saved(np.savez, **arrays, objects=objects))
put("npz", "deflated", saved(np.savez_compressed, **arrays, objects=objects))
values = {"data": objects, "label": np.array(["N", "~"]), "x": [1, 2.5, None, True, b"b", "u", (1,), -(10**12)]}
for protocol in range(6):
    put("pickle", f"protocol{protocol}", pickle.dumps(values, protocol))
    for name, array in arrays.items():
        put("pickle", f"{name}{protocol}", pickle.dumps({"a": array, "b": array[()]}, protocol))
fields = {"coeff": np.arange(27.0).reshape(3, 3, 3), "sol": np.arange(27, dtype="u1").reshape(3, 3, 3)}
more = {"text": "abc", "cells": np.array([1, "a"], dtype=object), "struct": {"x": 1}, "complex": np.array([1j])}
for compressed in (False, True):
    put("matlab", f"level5-{compressed}", saved(scipy.io.savemat, fields | more, do_compression=compressed))
    put("matlab", f"fields-{compressed}", saved(scipy.io.savemat, fields, do_compression=compressed))
for name in os.listdir(os.path.join(here, "../tests/fixtures/hdf5")):
    os.makedirs(os.path.join(here, "corpus/hdf5"), exist_ok=True)
    shutil.copy(os.path.join(here, "../tests/fixtures/hdf5", name), os.path.join(here, "corpus/hdf5"))
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
    for name, count in (("train", 10), ("test", 3), ("meta", 0)):
        data = {"data": np.zeros((count, 12), "u1"), "fine_labels": [i % 2 for i in range(count)]}
        data = pickle.dumps(data if count else {"fine_label_names": ["a", "b"]}, 2)
        info = tarfile.TarInfo("cifar-100-python/" + name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
put("packed", "plain", out.getvalue())
put("packed", "gzip", gzip.compress(out.getvalue(), mtime=0))
for name in os.listdir(os.path.join(here, "../pipelines")):
    if name.endswith(".toml"):
        with open(os.path.join(here, "../pipelines", name), "rb") as file:
            put("pipeline", name, file.read())

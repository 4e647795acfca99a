"""Makes small files that announce more than they hold, in tests/fixtures/fuzz/<target>.

    python fuzz/hostile.py
"""

import gzip
import os
import struct

here = os.path.dirname(os.path.abspath(__file__))


def put(target, name, data):
    folder = os.path.join(here, "../tests/fixtures/fuzz", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def npy(descr, shape):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header


put("npy", "huge-shape", npy("<f8", (2**40, 2**40)))
put("npy", "overflowing-shape", npy("<f8", (2**62, 2)))
put("npy", "no-rows", npy("<f8", (2**40, 0)))
put("npz", "empty-directory", b"PK\x05\x06" + bytes(18))
put("npz", "many-members", b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2))
put("pickle", "long-bytes", b"\x80\x05\x8e" + struct.pack("<Q", 2**60) + b"x.")
put("pickle", "itself", b"\x80\x02]q\0h\0a.")
put("pickle", "wide", b"\x80\x02" + b"]q\0" + b"(" + b"h\0" * 30 + b"e" + b".")
put("pickle", "deep", b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".")
level5 = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
put("matlab", "large-element", level5 + struct.pack("<II", 14, 2**32 - 8))
put("matlab", "large-packed", level5 + struct.pack("<II", 15, 2**31))
put("hdf5", "signature-only", b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
put("packed", "packed-twice", gzip.compress(gzip.compress(bytes(80 << 20), mtime=0), mtime=0))
put("pipeline", "nested", b"name = " + b"[" * 5000)
put("pipeline", "keys", b"name = 'x'\n[dataset]\nrecipe = 'spherical'\nraw = ''\nproject = {}\nproject = {}\n")

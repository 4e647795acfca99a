use super::*;
use crate::{
    Error,
    testing::{self, Member, npy, npy_f32, npy_i64, zip},
};
use bytes::Bytes;
use std::path::{Path, PathBuf};

// numpy.save(f, numpy.array({"data": numpy.array([[1.5, -2.0], [0.25, 8.0]]), "label":
// numpy.array([1, 24])}, dtype=object), allow_pickle=True) with numpy 2.4.6.
const DICT: &[u8] = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }                                                               \n\x80\x04\x95M\x01\x00\x00\x00\x00\x00\x00\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01)h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02O8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t\x94b\x89]\x94}\x94(\x8c\x04data\x94h\x02h\x05K\x00\x85\x94h\x07\x87\x94R\x94(K\x01K\x02K\x02\x86\x94h\x0b\x8c\x02f8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89C \x00\x00\x00\x00\x00\x00\xf8?\x00\x00\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\xd0?\x00\x00\x00\x00\x00\x00 @\x94t\x94b\x8c\x05label\x94h\x02h\x05K\x00\x85\x94h\x07\x87\x94R\x94(K\x01K\x02\x85\x94h\x0b\x8c\x02i8\x94\x89\x88\x87\x94R\x94(K\x03h\x1bNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89C\x10\x01\x00\x00\x00\x00\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x94t\x94buat\x94b.";

// numpy.save(f, numpy.asfortranarray(numpy.arange(6, dtype=">i2").reshape(3, 2))).
const FORTRAN: &[u8] = b"\x93NUMPY\x01\x00v\x00{'descr': '>i2', 'fortran_order': True, 'shape': (3, 2), }                                                           \n\x00\x00\x00\x02\x00\x04\x00\x01\x00\x03\x00\x05";

// numpy.lib.format.write_array(f, numpy.array([1.5, -2], dtype="<f2"), version=(3, 0)).
const VERSION_3: &[u8] = b"\x93NUMPY\x03\x00t\x00\x00\x00{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }                                                          \n\x00>\x00\xc0";

fn from(bytes: impl Into<Bytes>) -> Result<NpyArray, Error> {
    NpyArray::from_bytes(bytes.into(), Path::new("x.npy"))
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_about_content(), "{error}");
    error.to_string()
}

/// A file in a folder of its own.
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    testing::file("file", bytes)
}

#[test]
fn files_of_numpy_are_read_from_disk_and_from_memory() {
    for (bytes, shape, values) in
        [(FORTRAN, &[3, 2][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..]), (VERSION_3, &[2], &[1.5, -2.0])]
    {
        let (_folder, path) = file(bytes);
        for mut array in [NpyArray::open(&path).unwrap(), from(bytes).unwrap()] {
            assert_eq!(array.shape(), shape);
            assert_eq!(array.rows(0, array.len()).unwrap(), values);
            let last = array.len() - 1;
            assert_eq!(array.rows(last, 1).unwrap(), values[last * array.row_len()..]);
            assert!(array.rows(last, 0).unwrap().is_empty());
            assert!(matches!(array.rows(last, 2), Err(Error::Row { .. })));
            assert!(matches!(array.rows(usize::MAX, 2), Err(Error::Row { .. })));
        }
    }
    let mut ints = from(FORTRAN).unwrap();
    assert_eq!(ints.dtype().to_string(), ">i2");
    assert_eq!(ints.ints(1, 2).unwrap(), [2, 3, 4, 5]);
    assert_eq!(ints.rows_f64(0, 1).unwrap(), [0.0, 1.0]);
    assert_eq!(
        refusal(from(VERSION_3).unwrap().ints(0, 2)),
        "x.npy: row 0 holds something else than an integer"
    );
}

#[test]
fn every_numeric_type_in_both_byte_orders() {
    let cases: [(&str, Vec<u8>, f32); 13] = [
        ("|b1", vec![1], 1.0),
        ("|i1", vec![0xfe], -2.0),
        ("|u1", vec![0xfe], 254.0),
        ("<i2", (-2i16).to_le_bytes().to_vec(), -2.0),
        (">u2", 7u16.to_be_bytes().to_vec(), 7.0),
        ("<i4", (-9i32).to_le_bytes().to_vec(), -9.0),
        (">u4", 9u32.to_be_bytes().to_vec(), 9.0),
        (">i8", (-9i64).to_be_bytes().to_vec(), -9.0),
        ("<u8", 9u64.to_le_bytes().to_vec(), 9.0),
        (">f2", vec![0xc0, 0x00], -2.0),
        (">f4", 0.5f32.to_be_bytes().to_vec(), 0.5),
        ("<f8", 0.5f64.to_le_bytes().to_vec(), 0.5),
        (">f8", 0.5f64.to_be_bytes().to_vec(), 0.5),
    ];
    for (descr, bytes, value) in cases {
        let twice = [bytes.clone(), bytes].concat();
        assert_eq!(from(npy(descr, false, &[2], &twice)).unwrap().rows(0, 2).unwrap(), [value; 2], "{descr}");
    }
    assert_eq!(from(npy("<f4", false, &[], &[0; 4])).unwrap().rows(0, 1).unwrap(), [0.0]);
}

#[test]
fn damaged_files_name_the_file_and_the_problem() {
    let whole = npy_f32(&[2, 3], &[0.0; 6]);
    for length in 0..whole.len() {
        let (_folder, path) = file(&whole[..length]);
        let message = refusal(NpyArray::open(&path));
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(message.contains("ends early") || message.contains("follow its header"), "{message}");
        refusal(from(whole[..length].to_vec()));
    }
    let message = refusal(from([&whole[..], b"x"].concat()));
    assert_eq!(message, "x.npy: an array of <f4 of shape [2, 3] takes 24 bytes, 25 follow its header");
    assert!(refusal(from(npy("<U1", false, &[1], b"N\0\0\0"))).contains("type <U1; numbers are expected"));
    assert!(refusal(from(DICT)).contains("holds Python objects"));
    assert!(refusal(from(b"\x93NUMPX\x01\0".to_vec())).contains("not a numpy file"));
    assert!(refusal(from(b"\x93NUMPY\x04\0v\0".to_vec())).contains("format version 4"));
    assert!(refusal(from(b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec())).contains("a header of 4294967295"));
    assert!(matches!(NpyArray::open(Path::new("/nowhere.npy")), Err(Error::Io { .. })));
}

#[test]
fn object_arrays_are_pickles() {
    let (_folder, path) = file(DICT);
    // The same as numpy 1 named its modules.
    let at = DICT.windows(11).position(|name| name == b"numpy._core").unwrap();
    let mut old = [&DICT[..at], b"numpy.core", &DICT[at + 11..]].concat();
    // Length of the name, and of the frame.
    old[at - 1] -= 1;
    old[131] -= 1;
    for pickle in [object(&path).unwrap(), object_from_bytes(old.into(), &path).unwrap()] {
        let dict = pickle.root().only().unwrap();
        assert_eq!(dict.keys().unwrap(), ["data", "label"]);
        let data = dict.get("data").unwrap().as_array().unwrap();
        assert_eq!((data.shape(), data.rows_f32(1, 1).unwrap()), (&[2, 2][..], vec![0.25, 8.0]));
        assert_eq!(dict.get("label").unwrap().integers().unwrap().unwrap(), [1, 24]);
    }
    let pickled = |pickle: &[u8]| refusal(object_from_bytes(npy("|O", false, &[], pickle).into(), &path));
    assert!(pickled(b"\x80\x03cposix\nsystem\nX\x02\0\0\0id\x85R.").contains("posix.system"));
    assert!(
        pickled(b"\x80\x03K\x01.")
            .contains("the header announces objects of shape [], the pickle holds an int")
    );
    assert!(pickled(b"").contains("the file is empty"));
    assert!(refusal(object_from_bytes(npy_i64(&[1], &[1]).into(), &path)).contains("objects are expected"));
    for length in 0..DICT.len() {
        refusal(object_from_bytes(Bytes::from_static(&DICT[..length]), &path));
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * i % 1013) as f32).collect()
}

#[test]
fn archives_stored_and_deflated() {
    let values = numbers(5000 * 6);
    let x = npy_f32(&[5000, 2, 3], &values);
    for deflated in [false, true] {
        let (_folder, path) = file(&zip(&[
            Member { name: "x_train.npy", bytes: &x, deflated },
            Member { name: "f.npy", bytes: FORTRAN, deflated },
            Member { name: "d.npy", bytes: DICT, deflated },
            Member { name: "notes.txt", bytes: b"x", deflated },
        ]));
        let archive = NpzArchive::open(&path).unwrap();
        assert_eq!(archive.names().collect::<Vec<_>>(), ["x_train", "f", "d"]);
        let mut array = archive.array("x_train").unwrap();
        assert_eq!((array.shape(), array.row_len()), (&[5000, 2, 3][..], 6));
        // Forwards, back, and far on.
        for (first, count) in [(0, 10), (10, 4000), (3, 1), (4999, 1), (0, 5000)] {
            assert_eq!(array.rows(first, count).unwrap(), values[first * 6..(first + count) * 6]);
        }
        assert_eq!(archive.array("f").unwrap().ints(0, 3).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert!(archive.object("d").unwrap().root().only().unwrap().get("label").is_some());
        assert!(refusal(archive.array("d")).contains("array `d`: holds Python objects"));
        assert!(refusal(archive.object("f")).contains("array `f`: holds elements of type >i2"));
        let message = refusal(archive.array("y"));
        assert!(message.ends_with("no field `y`; the file has `x_train`, `f`, `d`"), "{message}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let x = npy_f32(&[100, 2], &numbers(200));
    for deflated in [false, true] {
        let whole = zip(&[Member { name: "x.npy", bytes: &x, deflated }]);
        let open = |bytes: &[u8]| {
            let (_folder, path) = file(bytes);
            NpzArchive::open(&path).and_then(|archive| {
                let mut array = archive.array("x")?;
                array.rows(0, array.len())
            })
        };
        assert_eq!(open(&whole).unwrap(), numbers(200));
        for length in (0..whole.len()).step_by(7) {
            refusal(open(&whole[..length]));
        }
        // One wrong bit: never a panic, and never wrong numbers.
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            match open(&bytes) {
                Ok(values) => assert_eq!(values, numbers(200), "byte {at}"),
                Err(error) => assert!(error.is_about_content(), "{error}"),
            }
        }
    }
    let (_folder, path) = file(&zip(&[Member { name: "../x.npy", bytes: &x, deflated: false }]));
    assert!(refusal(NpzArchive::open(&path)).contains("points out of the archive"));
    let (_folder, path) = file(b"PK\x05\x06 no archive");
    assert!(refusal(NpzArchive::open(&path)).contains("not a complete zip archive"));
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    // A few kilobytes that announce and hold 80 million bytes.
    let shapes: [(&[usize], bool); 2] = [(&[1, 80_000_000], false), (&[2, 40_000_000], true)];
    for (shape, fortran) in shapes {
        let bytes = npy("|u1", fortran, shape, &vec![0; 80_000_000]);
        let (_folder, path) = file(&zip(&[Member { name: "x.npy", bytes: &bytes, deflated: true }]));
        let message = refusal(NpzArchive::open(&path).unwrap().array("x"));
        assert!(message.contains("80000000 bytes must be unpacked at once"), "{message}");
    }
    // In small rows the same is read in blocks.
    let bytes = npy("|u1", false, &[80_000_000 / 8, 8], &vec![0; 80_000_000]);
    let (_folder, path) = file(&zip(&[Member { name: "x.npy", bytes: &bytes, deflated: true }]));
    let mut array = NpzArchive::open(&path).unwrap().array("x").unwrap();
    assert_eq!(array.rows(9_999_999, 1).unwrap(), [0.0; 8]);
    // A header that announces more than the member holds.
    let bytes = npy("|u1", false, &[1 << 40], &[0; 8]);
    let (_folder, path) = file(&zip(&[Member { name: "x.npy", bytes: &bytes, deflated: true }]));
    let message = refusal(NpzArchive::open(&path).unwrap().array("x"));
    assert!(message.contains("takes 1099511627776 bytes, 8 follow its header"), "{message}");
}

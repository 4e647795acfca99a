use super::*;
use std::io::Write;

/// Number of bytes order: `true` is big-endian.
fn words(order: bool, values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| if order { v.to_be_bytes() } else { v.to_le_bytes() }).collect()
}

fn file_header(order: bool) -> Vec<u8> {
    let mut head = b"MATLAB 5.0 MAT-file, written by a test".to_vec();
    head.resize(124, b' ');
    head.extend(if order { [1, 0, b'M', b'I'] } else { [0, 1, b'I', b'M'] });
    head
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A matrix element: class, number format code, dimensions, data.
fn matrix(order: bool, name: &str, class: u32, dimensions: &[u32], code: u32, data: &[u8]) -> Vec<u8> {
    let mut body = words(order, &[6, 8, class, 0, 5, 4 * dimensions.len() as u32]);
    body.extend(padded(words(order, dimensions)));
    if name.len() <= 4 {
        // The small form: length and format in one word.
        body.extend(words(order, &[(name.len() as u32) << 16 | 1]));
        let mut short = name.as_bytes().to_vec();
        short.resize(4, 0);
        body.extend(short);
    } else {
        body.extend(words(order, &[1, name.len() as u32]));
        body.extend(padded(name.as_bytes().to_vec()));
    }
    body.extend(words(order, &[code, data.len() as u32]));
    body.extend(padded(data.to_vec()));
    let mut element = words(order, &[14, body.len() as u32]);
    element.extend(body);
    element
}

fn compressed(order: bool, element: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(element).unwrap();
    let content = encoder.finish().unwrap();
    let mut out = words(order, &[15, content.len() as u32]);
    out.extend(content);
    out
}

fn doubles(order: bool, values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(|v| if order { v.to_be_bytes() } else { v.to_le_bytes() }).collect()
}

fn open(bytes: &[u8]) -> (tempfile::NamedTempFile, Result<MatFile, Error>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mat = MatFile::open(file.path());
    (file, mat)
}

fn values(mat: &MatFile, name: &str) -> Result<Vec<f64>, Error> {
    let mut all = vec![];
    let variable = mat.numeric(name)?;
    mat.visit::<Error>(variable, |piece| {
        assert_eq!(piece.column * variable.dimensions[0] + piece.first, all.len());
        all.extend(piece.values);
        Ok(())
    })?;
    Ok(all)
}

#[test]
fn doubles_in_both_byte_orders_compressed_or_not() {
    let expected: Vec<f64> = (0..24).map(|v| f64::from(v) * 0.5 - 3.0).collect();
    for order in [false, true] {
        let coeff = matrix(order, "coeff", 6, &[2, 3, 4], 9, &doubles(order, expected.iter().copied()));
        let sol = matrix(order, "sol", 6, &[1, 1], 9, &doubles(order, [7.25]));
        let mut plain = file_header(order);
        plain.extend([coeff.clone(), sol.clone()].concat());
        let mut zipped = file_header(order);
        zipped.extend([compressed(order, &coeff), compressed(order, &sol)].concat());
        for bytes in [plain, zipped] {
            let (_file, mat) = open(&bytes);
            let mat = mat.unwrap();
            let names: Vec<&str> = mat.variables().iter().map(|v| v.name.as_str()).collect();
            assert_eq!(names, ["coeff", "sol"]);
            assert_eq!(mat.variables()[0].dimensions, [2, 3, 4]);
            assert_eq!(values(&mat, "coeff").unwrap(), expected);
            assert_eq!(values(&mat, "sol").unwrap(), [7.25]);
        }
    }
}

#[test]
fn every_number_format() {
    let formats: [(u32, Vec<u8>); 10] = [
        (1, vec![0xff, 5]),
        (2, vec![0xff, 5]),
        (3, [-300i16, 5].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (4, [60000u16, 5].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (5, [-70000i32, 5].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (6, [4_000_000_000u32, 5].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (7, [1.5f32, 5.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (9, doubles(false, [-0.1, 5.0])),
        (12, [i64::MIN, 5].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (13, [1u64 << 63, 5].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    let firsts = [
        -1.0,
        255.0,
        -300.0,
        60000.0,
        -70000.0,
        4e9,
        1.5,
        -0.1,
        -9223372036854775808.0,
        9223372036854775808.0,
    ];
    for ((code, data), first) in formats.into_iter().zip(firsts) {
        let mut bytes = file_header(false);
        bytes.extend(matrix(false, "x", 6, &[2, 1], code, &data));
        assert_eq!(values(&open(&bytes).1.unwrap(), "x").unwrap(), [first, 5.0], "format {code}");
    }
}

/// A cell array of the given cells, each a matrix element without a name.
fn cell_array(order: bool, name: &str, dimensions: &[u32], cells: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = matrix(order, name, 1, dimensions, 2, &[]);
    // Without the empty tag of numbers, which a cell array does not have.
    whole.truncate(whole.len() - 8);
    whole.extend(cells.concat());
    let length = words(order, &[whole.len() as u32 - 8]);
    whole[4..8].copy_from_slice(&length);
    whole
}

/// Index, dimensions and values of a cell.
type Found = (usize, Vec<usize>, Vec<f64>);

fn cells(mat: &MatFile, name: &str) -> Result<Vec<Found>, Error> {
    let mut all = vec![];
    mat.visit_cells::<Error>(mat.cells(name)?, |cell| {
        all.push((cell.index, cell.dimensions.to_vec(), cell.values.to_vec()));
        Ok(())
    })?;
    Ok(all)
}

#[test]
fn cells_hold_arrays_of_their_own_shapes() {
    for order in [false, true] {
        let bytes = |values: &[u8], dimensions: &[u32]| matrix(order, "", 9, dimensions, 2, values);
        let empty = words(order, &[14, 0]);
        // The second is in the small form: four bytes in the tag.
        let mut small = bytes(&[], &[2, 2]);
        small.truncate(small.len() - 8);
        small.extend(words(order, &[4 << 16 | 2]));
        small.extend([5, 6, 7, 8]);
        let length = words(order, &[small.len() as u32 - 8]);
        small[4..8].copy_from_slice(&length);
        let doubles = matrix(order, "", 6, &[1, 2], 9, &doubles(order, [0.5, -1.0]));
        let parts = [bytes(&[1, 0, 1], &[3, 1]), small, empty, doubles];
        let element = cell_array(order, "traindata", &[1, 4], &parts);
        let last = matrix(order, "x", 6, &[1, 1], 9, &self::doubles(order, [2.0]));
        let plain = [file_header(order), element.clone(), last.clone()].concat();
        let zipped = [file_header(order), compressed(order, &element), compressed(order, &last)].concat();
        for bytes in [plain, zipped] {
            let (_file, mat) = open(&bytes);
            let mat = mat.unwrap();
            let expected = [
                (0, vec![3, 1], vec![1.0, 0.0, 1.0]),
                (1, vec![2, 2], vec![5.0, 6.0, 7.0, 8.0]),
                (2, vec![0, 0], vec![]),
                (3, vec![1, 2], vec![0.5, -1.0]),
            ];
            assert_eq!(cells(&mat, "traindata").unwrap(), expected);
            assert_eq!(values(&mat, "x").unwrap(), [2.0]);
            let message = mat.numeric("traindata").unwrap_err().to_string();
            assert!(message.contains("field `traindata`: is a cell array"), "{message}");
            let message = mat.cells("x").unwrap_err().to_string();
            assert!(message.contains("field `x`: is a numeric array; a cell array is expected"), "{message}");
            assert!(mat.cells("y").unwrap_err().to_string().contains("no field `y`"));
        }
    }
}

#[test]
fn damaged_cells_are_errors() {
    let cell = matrix(false, "", 9, &[40, 2], 2, &[1; 80]);
    let element = cell_array(false, "c", &[3, 1], &[cell.clone(), cell.clone(), cell.clone()]);
    for element in [element.clone(), compressed(false, &element)] {
        let whole = [file_header(false), element].concat();
        for length in 129..whole.len() {
            let (_file, mat) = open(&whole[..length]);
            let read = mat.and_then(|mat| cells(&mat, "c"));
            assert!(
                matches!(read, Err(Error::Invalid { format: FileFormat::Matlab, .. })),
                "{length} of {} bytes",
                whole.len()
            );
        }
    }
    let refusal = |cell: Vec<u8>, words: &str| {
        let bytes = [file_header(false), cell_array(false, "c", &[1, 1], &[cell])].concat();
        let (_file, mat) = open(&bytes);
        let message = cells(&mat.unwrap(), "c").unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    refusal(matrix(false, "", 4, &[1, 1], 4, &[65, 0]), "field `c[0]`: is text; a real numeric array");
    refusal(matrix(false, "", 9 | 0x0800, &[1, 1], 2, &[1]), "field `c[0]`: is a complex array");
    refusal(matrix(false, "", 9, &[1 << 30, 1 << 30, 1 << 30], 2, &[1]), "impossibly many");
    refusal(matrix(false, "", 9, &[3, 1], 2, &[1]), "3 numbers are announced, 1 bytes follow");
    let mut long = cell.clone();
    long[4..8].copy_from_slice(&words(false, &[u32::MAX]));
    refusal(long, "a cell of 4294967295 bytes, from a file that may unpack to");
    let mut short = cell.clone();
    short[4..8].copy_from_slice(&words(false, &[60]));
    refusal(short, "80 numbers do not fit");
    let mut other = cell;
    other[0] = 15;
    refusal(other, "an element of type 15 where a cell is expected");
    // More cells than there are.
    let bytes =
        [file_header(false), cell_array(false, "c", &[1 << 30, 2], &[words(false, &[14, 0])])].concat();
    let (_file, mat) = open(&bytes);
    assert!(cells(&mat.unwrap(), "c").unwrap_err().to_string().contains("c[1]`: the data ends early"));
    // A small file that unpacks to a hundred million numbers.
    let bomb =
        cell_array(false, "c", &[1, 1], &[matrix(false, "", 9, &[60 << 20, 1], 2, &vec![0; 60 << 20])]);
    let (_file, mat) = open(&[file_header(false), compressed(false, &bomb)].concat());
    assert!(cells(&mat.unwrap(), "c").unwrap_err().to_string().contains("do not fit"));
}

#[test]
fn long_columns_come_in_pieces() {
    let rows = SEGMENT + 5;
    let expected: Vec<f64> = (0..2 * rows).map(|v| v as f64).collect();
    let mut bytes = file_header(false);
    let data = doubles(false, expected.iter().copied());
    bytes.extend(compressed(false, &matrix(false, "long", 6, &[rows as u32, 2], 9, &data)));
    assert_eq!(values(&open(&bytes).1.unwrap(), "long").unwrap(), expected);
}

#[test]
fn missing_fields_and_other_classes_are_named() {
    let mut bytes = file_header(false);
    bytes.extend(matrix(false, "coeff", 6, &[1, 1], 9, &doubles(false, [1.0])));
    bytes.extend(matrix(false, "text", 4, &[1, 2], 4, &[72, 0, 105, 0]));
    bytes.extend(matrix(false, "z", 6 | 0x0800, &[1, 1], 9, &doubles(false, [1.0])));
    let (_file, mat) = open(&bytes);
    let mat = mat.unwrap();
    let message = mat.numeric("sol").unwrap_err().to_string();
    assert!(message.contains("no field `sol`; the file has `coeff`, `text`, `z`"), "{message}");
    assert!(mat.numeric("text").unwrap_err().to_string().contains("field `text`: is text"));
    assert!(mat.numeric("z").unwrap_err().to_string().contains("complex"));
}

#[test]
fn every_truncation_is_an_error() {
    let data = doubles(false, (0..40).map(f64::from));
    let element = matrix(false, "coeff", 6, &[2, 20], 9, &data);
    for element in [element.clone(), compressed(false, &element)] {
        let mut whole = file_header(false);
        whole.extend(element);
        // At 128 bytes it is a complete file without variables.
        for length in (0..128).chain(129..whole.len()) {
            let (_file, mat) = open(&whole[..length]);
            let read = mat.and_then(|mat| values(&mat, "coeff"));
            assert!(
                matches!(read, Err(Error::Invalid { format: FileFormat::Matlab, .. })),
                "{length} of {} bytes",
                whole.len()
            );
        }
    }
}

#[test]
fn a_damaged_compressed_element_is_an_error() {
    let data = doubles(false, (0..400).map(|v| f64::from(v).sin()));
    let mut bytes = file_header(false);
    bytes.extend(compressed(false, &matrix(false, "coeff", 6, &[20, 20], 9, &data)));
    let last = bytes.len() - 1;
    bytes[last] ^= 1; // in the checksum
    let (_file, mat) = open(&bytes);
    let read = mat.and_then(|mat| values(&mat, "coeff"));
    assert!(matches!(read, Err(Error::Invalid { format: FileFormat::Matlab, .. })), "{read:?}");
}

#[test]
fn announced_sizes_must_agree() {
    let mut bytes = file_header(false);
    bytes.extend(matrix(false, "coeff", 6, &[1 << 30, 1 << 30, 1 << 30], 9, &doubles(false, [1.0])));
    let (_file, mat) = open(&bytes);
    let message = values(&mat.unwrap(), "coeff").unwrap_err().to_string();
    assert!(message.contains("impossibly many"), "{message}");
    let mut bytes = file_header(false);
    bytes.extend(matrix(false, "coeff", 6, &[1 << 30, 1], 9, &doubles(false, [1.0])));
    let (_file, mat) = open(&bytes);
    let message = values(&mat.unwrap(), "coeff").unwrap_err().to_string();
    assert!(message.contains("8 bytes follow"), "{message}");
}

#[test]
fn other_containers_are_recognised() {
    let mut hdf5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".to_vec();
    hdf5.resize(600, 0);
    assert!(open(&hdf5).1.unwrap_err().to_string().contains("not a MATLAB file of version 4, 5 or 7.3"));
    hdf5[512..520].copy_from_slice(b"\x89HDF\r\n\x1a\n");
    assert!(open(&hdf5).1.unwrap_err().to_string().contains("this HDF5 file cannot be read"));
    assert!(open(&[0; 200]).1.unwrap_err().to_string().contains("not a MATLAB file of version 4"));
    assert!(open(b"").1.unwrap_err().to_string().contains("ends early"));
}

/// An array of version 4: what its first number says, rows, columns, name, numbers.
fn array4(order: bool, kind: u32, [rows, columns]: [u32; 2], name: &str, data: &[u8]) -> Vec<u8> {
    let kind = kind + if order { 1000 } else { 0 };
    let mut out = words(order, &[kind, rows, columns, 0, name.len() as u32 + 1]);
    out.extend(name.as_bytes());
    out.push(0);
    out.extend(data);
    out
}

#[test]
fn version_4_in_both_byte_orders_and_several_formats() {
    for order in [false, true] {
        let shorts: Vec<u8> = [1i16, -2, 300, -400, 5, 6]
            .iter()
            .flat_map(|v| if order { v.to_be_bytes() } else { v.to_le_bytes() })
            .collect();
        let bytes = [
            array4(order, 30, [3, 2], "val", &shorts),
            array4(order, 0, [1, 2], "fs", &doubles(order, [0.5, -7.0])),
            array4(order, 51, [1, 2], "unit", b"mV"),
            array4(order, 50, [1, 0], "none", b""),
        ]
        .concat();
        let (_file, mat) = open(&bytes);
        let mat = mat.unwrap();
        let shapes: Vec<_> = mat.variables().iter().map(|v| (v.name.as_str(), &v.dimensions[..])).collect();
        assert_eq!(shapes, [("val", &[3, 2][..]), ("fs", &[1, 2]), ("unit", &[1, 2]), ("none", &[1, 0])]);
        assert_eq!(values(&mat, "val").unwrap(), [1.0, -2.0, 300.0, -400.0, 5.0, 6.0]);
        assert_eq!(values(&mat, "fs").unwrap(), [0.5, -7.0]);
        assert_eq!(values(&mat, "none").unwrap(), [0.0; 0]);
        let problem = mat.numeric("unit").unwrap_err().to_string();
        assert!(problem.contains("`unit`") && problem.contains("is text"), "{problem}");
    }
}

#[test]
fn damaged_files_of_version_4_are_refused() {
    let whole = array4(false, 30, [1, 4], "val", &[0; 8]);
    assert!(open(&whole).1.is_ok());
    for length in 1..whole.len() {
        assert!(open(&whole[..length]).1.is_err(), "{length} bytes");
    }
    let refusal = |bytes: &[u8]| open(bytes).1.unwrap_err().to_string();
    assert!(refusal(&whole[..30]).contains("`val` of 1 by 4 numbers begins at byte 24, the file has 30"));
    let second = [whole.clone(), vec![7; 40]].concat();
    assert!(refusal(&second).contains("byte 32 of the file: this is not a header of version 4"));
    let huge = words(false, &[0, u32::MAX >> 1, u32::MAX >> 1, 1, 4]);
    assert!(refusal(&[huge, b"val\0".to_vec()].concat()).contains("the file ends early"));
    let negative = words(false, &[0, u32::MAX, 1, 0, 4]);
    assert!(refusal(&[negative, b"val\0".to_vec()].concat()).contains("impossible dimensions"));
}

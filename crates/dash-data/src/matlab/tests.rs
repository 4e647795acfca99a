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
    mat.visit(variable, |piece| {
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

#[test]
fn long_columns_come_in_pieces() {
    let rows = PIECE + 5;
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
            assert!(matches!(read, Err(Error::Matlab { .. })), "{length} of {} bytes", whole.len());
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
    assert!(matches!(read, Err(Error::Matlab { .. })), "{read:?}");
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
    assert!(open(&hdf5).1.unwrap_err().to_string().contains("no MATLAB file of level 5 or version 7.3"));
    hdf5[512..520].copy_from_slice(b"\x89HDF\r\n\x1a\n");
    assert!(open(&hdf5).1.unwrap_err().to_string().contains("this HDF5 file cannot be read"));
    assert!(open(&[0; 200]).1.unwrap_err().to_string().contains("no MATLAB file of level 5"));
    assert!(open(b"").1.unwrap_err().to_string().contains("ends early"));
}

//! Decodes numpy arrays and their element types, as pickles describe them.

use bytes::Bytes;
use std::{borrow::Cow, fmt};

/// The number of an object in the arena of its pickle.
pub(super) type Id = u32;

/// What the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DTypeKind {
    /// One byte, zero or not.
    Bool,
    /// Signed integers.
    Int,
    /// Unsigned integers.
    UInt,
    /// IEEE floating point numbers of 2, 4 or 8 bytes.
    Float,
    /// Text in UCS-4, padded with zeros.
    Unicode,
    /// Bytes, padded with zeros.
    Bytes,
    /// References to Python objects.
    Object,
}

/// numpy's element type: kind, size and byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DType {
    kind: DTypeKind,
    /// Bytes per element.
    size: usize,
    big_endian: bool,
}

impl DType {
    /// Parses numpy's code, such as `i2`, `<f8`, `U1` or `O8`.
    pub fn parse(code: &str) -> Option<DType> {
        let big_endian = code.starts_with('>');
        let code = code.trim_start_matches(['<', '>', '|', '=']);
        let mut chars = code.chars();
        let letter = chars.next()?;
        let digits = chars.as_str();
        let size: usize = match digits {
            "" if matches!(letter, '?' | 'O') => 1,
            _ if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let (kind, size) = match (letter, size) {
            ('b', 1) | ('?', 1) => (DTypeKind::Bool, 1),
            ('i', 1 | 2 | 4 | 8) => (DTypeKind::Int, size),
            ('u', 1 | 2 | 4 | 8) => (DTypeKind::UInt, size),
            ('f', 2 | 4 | 8) => (DTypeKind::Float, size),
            // Zero-length text is refused: any number of elements would fit into no bytes at all.
            ('U', 1..) => (DTypeKind::Unicode, size.checked_mul(4)?),
            ('S' | 'a', 1..) => (DTypeKind::Bytes, size),
            ('O', _) => (DTypeKind::Object, size),
            _ => return None,
        };
        Some(DType { kind, size, big_endian })
    }

    /// The same type in the byte order that numpy writes as `<`, `>`, `=` or `|`.
    pub(super) fn with_order(self, order: &str) -> Option<DType> {
        match order {
            ">" => Some(DType { big_endian: true, ..self }),
            "<" | "=" | "|" => Some(DType { big_endian: false, ..self }),
            _ => None,
        }
    }

    /// What the elements are.
    pub fn kind(self) -> DTypeKind {
        self.kind
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        self.size
    }

    /// Whether the elements are numbers; bools count as 0 and 1.
    pub fn is_numeric(self) -> bool {
        matches!(self.kind, DTypeKind::Bool | DTypeKind::Int | DTypeKind::UInt | DTypeKind::Float)
    }

    /// Whether the elements are unsigned bytes.
    pub fn is_byte(self) -> bool {
        (self.kind, self.size) == (DTypeKind::UInt, 1)
    }

    /// The bits of one element as an unsigned number.
    fn bits(self, bytes: &[u8]) -> Option<u64> {
        let mut word = [0u8; 8];
        let slot = word.get_mut(..bytes.len())?;
        slot.copy_from_slice(bytes);
        if self.big_endian {
            slot.reverse();
        }
        Some(u64::from_le_bytes(word))
    }

    fn number(self, bytes: &[u8]) -> Option<f64> {
        let unsigned = self.bits(bytes)?;
        Some(match (self.kind, self.size) {
            (DTypeKind::Bool, _) => f64::from(u8::from(unsigned != 0)),
            (DTypeKind::UInt, _) => unsigned as f64,
            (DTypeKind::Int, size @ 1..=8) => {
                let unused = 64 - 8 * size as u32;
                (((unsigned << unused) as i64) >> unused) as f64
            }
            (DTypeKind::Float, 2) => half(unsigned as u16),
            (DTypeKind::Float, 4) => f64::from(f32::from_bits(unsigned as u32)),
            (DTypeKind::Float, 8) => f64::from_bits(unsigned),
            _ => return None,
        })
    }

    /// Elements that lie back to back as doubles; `None` if they are not numbers.
    pub(crate) fn decode_f64(self, bytes: &[u8]) -> Option<Vec<f64>> {
        bytes.chunks_exact(self.size).map(|element| self.number(element)).collect()
    }

    /// Elements that lie back to back in single precision; `None` if they are not numbers. The types
    /// of large files have their own arms: a general element costs ten times as much.
    pub(crate) fn decode_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match (self.kind, self.size, self.big_endian) {
            (DTypeKind::UInt, 1, _) => bytes.iter().map(|&byte| f32::from(byte)).collect(),
            (DTypeKind::Float, 2, false) => {
                bytes.as_chunks::<2>().0.iter().map(|&word| half(u16::from_le_bytes(word)) as f32).collect()
            }
            (DTypeKind::Float, 4, false) => {
                bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
            }
            (DTypeKind::Float, 8, false) => {
                bytes.as_chunks::<8>().0.iter().map(|&word| f64::from_le_bytes(word) as f32).collect()
            }
            _ => {
                let elements = bytes.chunks_exact(self.size);
                return elements.map(|element| self.number(element).map(|value| value as f32)).collect();
            }
        })
    }

    /// Elements that lie back to back as integers: `Err` names the first one that is not an integer, `None` means
    /// that the elements are not numbers.
    pub(crate) fn decode_i64(self, bytes: &[u8]) -> Option<Result<Vec<i64>, usize>> {
        if !self.is_numeric() {
            return None;
        }
        let integer = |element: &[u8]| -> Option<i64> {
            if (self.kind, self.size) == (DTypeKind::UInt, 8) {
                return i64::try_from(self.bits(element)?).ok();
            }
            if (self.kind, self.size) == (DTypeKind::Int, 8) {
                return Some(self.bits(element)? as i64);
            }
            let value = self.number(element)?;
            // Beyond 2^53 a double does not distinguish neighbouring integers.
            (value.fract() == 0.0 && value.abs() < 2f64.powi(53)).then_some(value as i64)
        };
        let elements = bytes.chunks_exact(self.size).enumerate();
        Some(elements.map(|(at, element)| integer(element).ok_or(at)).collect())
    }
}

impl DType {
    /// Whether the elements are text, in UCS-4 or in bytes.
    pub fn is_text(self) -> bool {
        matches!(self.kind, DTypeKind::Unicode | DTypeKind::Bytes)
    }

    /// Elements that lie back to back as texts without their padding: `Err` names the first one that is
    /// none, `None` means that the elements are of another kind.
    pub(crate) fn decode_texts(self, bytes: &[u8]) -> Option<Result<Vec<String>, usize>> {
        let text = |element: &[u8]| match self.kind {
            DTypeKind::Unicode => self.unicode(element),
            _ => {
                let end = element.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
                std::str::from_utf8(element.get(..end)?).ok().map(str::to_owned)
            }
        };
        let elements = bytes.chunks_exact(self.size).enumerate();
        self.is_text().then(|| elements.map(|(at, element)| text(element).ok_or(at)).collect())
    }

    fn unicode(self, element: &[u8]) -> Option<String> {
        let (words, _) = element.as_chunks::<4>();
        let text: Option<String> = words
            .iter()
            .map(|&word| {
                let code = if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
                char::from_u32(code)
            })
            .collect();
        text.map(|text| text.trim_end_matches('\0').to_owned())
    }
}

/// Rows `first..first + count` of an array in which the first index varies fastest, as elements of `size`
/// bytes with the last index fastest. `read` fills its argument with the bytes that begin at an offset.
pub(crate) fn gather_fortran<E>(
    shape: &[usize],
    size: usize,
    (first, count): (usize, usize),
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let (rows, inner) = match shape {
        [] => (1, &[][..]),
        [rows, inner @ ..] => (*rows, inner),
    };
    let row_len: usize = inner.iter().product();
    if row_len == 0 {
        return Ok(vec![]);
    }
    let mut out = vec![0u8; count * row_len * size];
    let mut column = vec![0u8; count * size];
    let mut index = vec![0usize; inner.len()];
    for at in 0..row_len {
        let (mut position, mut stride) = (0, 1);
        for (i, &length) in index.iter().zip(inner) {
            position += i * stride;
            stride *= length;
        }
        read(((position * rows + first) * size) as u64, &mut column)?;
        let places = out.chunks_exact_mut(size).skip(at).step_by(row_len);
        for (place, element) in places.zip(column.chunks_exact(size)) {
            place.copy_from_slice(element);
        }
        for (i, &length) in index.iter_mut().zip(inner).rev() {
            *i += 1;
            if *i < length {
                break;
            }
            *i = 0;
        }
    }
    Ok(out)
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, size) = match self.kind {
            DTypeKind::Bool => ('b', 1),
            DTypeKind::Int => ('i', self.size),
            DTypeKind::UInt => ('u', self.size),
            DTypeKind::Float => ('f', self.size),
            DTypeKind::Unicode => ('U', self.size / 4),
            DTypeKind::Bytes => ('S', self.size),
            DTypeKind::Object => return f.write_str("object"),
        };
        write!(f, "{}{letter}{size}", if self.big_endian { ">" } else { "<" })
    }
}

/// IEEE 754 half precision: one sign bit, five exponent bits, ten fraction bits.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3ff);
    match (bits >> 10) & 0x1f {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        exponent => sign * (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
    }
}

/// Elements of an array.
#[derive(Clone, Debug)]
pub(super) enum ArrayData {
    /// The elements themselves, back to back; shares the memory of the file.
    Raw(Bytes),
    /// A list of objects in the arena.
    Objects(Id),
}

/// A numpy array.
#[derive(Clone, Debug)]
pub struct PickleArray {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
    /// Whether the first index varies fastest.
    pub(super) fortran: bool,
    pub(super) data: ArrayData,
}

impl PickleArray {
    /// Positions per axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Length of the first axis: the number of rows.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The rows `first..first + count` in single precision, last index fastest, without a copy of the
    /// others; `None` if there are no such rows or the elements are not numbers.
    pub fn rows_f32(&self, first: usize, count: usize) -> Option<Vec<f32>> {
        self.dtype.decode_f32(&self.row_bytes(first, count)?)
    }

    /// All elements as integers, last index fastest: `Err` is the position of the first one that is no
    /// integer, `None` means that the elements are not numbers.
    pub fn to_i64(&self) -> Option<Result<Vec<i64>, usize>> {
        self.dtype.decode_i64(&self.row_bytes(0, self.rows())?)
    }

    fn row_bytes(&self, first: usize, count: usize) -> Option<Cow<'_, [u8]>> {
        let ArrayData::Raw(bytes) = &self.data else { return None };
        let rows = self.rows();
        let end = first.checked_add(count).filter(|&end| end <= rows)?;
        let size = bytes.len() / rows.max(1);
        if !self.fortran || self.shape.len() < 2 {
            return bytes.get(first * size..end * size).map(Cow::Borrowed);
        }
        let copied = gather_fortran(&self.shape, self.dtype.size, (first, count), |offset, out| {
            let start = usize::try_from(offset).map_err(|_| ())?;
            out.copy_from_slice(bytes.get(start..start + out.len()).ok_or(())?);
            Ok::<(), ()>(())
        });
        copied.ok().map(Cow::Owned)
    }

    /// The elements as numbers, last index fastest; `None` if they are not numbers.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let ArrayData::Raw(bytes) = &self.data else { return None };
        self.dtype
            .decode_f64(bytes)
            .map(|values| if self.fortran { self.last_index_fastest(&values) } else { values })
    }

    /// The elements of an array of one axis as texts; `None` if they are not text.
    pub fn to_texts(&self) -> Option<Vec<String>> {
        let ArrayData::Raw(bytes) = &self.data else { return None };
        self.dtype.decode_texts(bytes)?.ok()
    }

    /// Reorders from "first index fastest" to "last index fastest".
    fn last_index_fastest(&self, values: &[f64]) -> Vec<f64> {
        let mut strides = vec![1usize; self.shape.len()];
        for axis in 1..self.shape.len() {
            strides[axis] = strides[axis - 1] * self.shape[axis - 1];
        }
        let mut index = vec![0usize; self.shape.len()];
        let mut out = Vec::with_capacity(values.len());
        for _ in 0..values.len() {
            let position: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
            out.extend(values.get(position));
            for (i, &length) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < length {
                    break;
                }
                *i = 0;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(code: &str, shape: &[usize], bytes: &[u8]) -> PickleArray {
        PickleArray {
            shape: shape.to_vec(),
            dtype: DType::parse(code).unwrap(),
            fortran: false,
            data: ArrayData::Raw(Bytes::copy_from_slice(bytes)),
        }
    }

    #[test]
    fn numbers_in_both_byte_orders() {
        assert_eq!(array("<i2", &[2], &[0xfe, 0xff, 1, 2]).to_f64().unwrap(), [-2.0, 513.0]);
        assert_eq!(array(">i2", &[2], &[0xff, 0xfe, 2, 1]).to_f64().unwrap(), [-2.0, 513.0]);
        assert_eq!(array("u1", &[2], &[255, 7]).to_f64().unwrap(), [255.0, 7.0]);
        assert_eq!(array("b1", &[2], &[0, 1]).to_f64().unwrap(), [0.0, 1.0]);
        assert_eq!(array(">f4", &[1], &1.5f32.to_be_bytes()).to_f64().unwrap(), [1.5]);
        assert_eq!(array("<f8", &[1], &(-0.1f64).to_le_bytes()).to_f64().unwrap(), [-0.1]);
        assert_eq!(array("<i8", &[1], &i64::MIN.to_le_bytes()).to_f64().unwrap(), [i64::MIN as f64]);
    }

    #[test]
    fn half_precision() {
        // 1.0, -2.5, the largest number 65504, the smallest subnormal 2^-24.
        let bytes: Vec<u8> =
            [0x3c00u16, 0xc100, 0x7bff, 0x0001].iter().flat_map(|b| b.to_le_bytes()).collect();
        assert_eq!(array("<f2", &[4], &bytes).to_f64().unwrap(), [1.0, -2.5, 65504.0, 2f64.powi(-24)]);
        assert!(half(0x7e00).is_nan());
        assert_eq!(half(0xfc00), f64::NEG_INFINITY);
    }

    #[test]
    fn texts_are_stripped_of_padding() {
        let utf: Vec<u8> = ['~', '\0', 'A', 'é'].iter().flat_map(|&c| (c as u32).to_le_bytes()).collect();
        assert_eq!(array("<U2", &[2], &utf).to_texts().unwrap(), ["~", "Aé"]);
        assert_eq!(array("S2", &[2], b"N\0OK").to_texts().unwrap(), ["N", "OK"]);
        assert_eq!(array("i1", &[1], b"N").to_texts(), None);
    }

    #[test]
    fn fortran_order_is_transposed() {
        // numpy.asfortranarray([[1, 2, 3], [4, 5, 6]]) holds 1 4 2 5 3 6.
        let mut a = array("u1", &[2, 3], &[1, 4, 2, 5, 3, 6]);
        a.fortran = true;
        assert_eq!(a.to_f64().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn rows_are_cut_in_either_order() {
        let c = array("u1", &[3, 2], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(c.rows_f32(1, 2).unwrap(), [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(c.rows_f32(2, 2), None);
        assert_eq!(c.rows_f32(usize::MAX, 2), None);
        // numpy.arange(24).reshape(4, 3, 2) in Fortran order.
        let code: Vec<u8> = (0..24).map(|p| (p % 4 * 6 + p / 4 % 3 * 2 + p / 12) as u8).collect();
        let mut f = array("i1", &[4, 3, 2], &code);
        f.fortran = true;
        let expected: Vec<f32> = (6..18).map(|v| v as f32).collect();
        assert_eq!(f.rows_f32(1, 2).unwrap(), expected);
        assert_eq!(f.to_i64().unwrap().unwrap(), (0..24).collect::<Vec<_>>());
        assert_eq!(f.to_f64().unwrap(), (0..24).map(f64::from).collect::<Vec<_>>());
        // No rows, or rows of nothing.
        assert_eq!(array("u1", &[0, 2], &[]).rows_f32(0, 0).unwrap(), [0f32; 0]);
        assert_eq!(array("u1", &[2, 0], &[]).rows_f32(0, 2).unwrap(), [0f32; 0]);
    }

    #[test]
    fn integers_are_exact_or_refused() {
        let ints = |code: &str, bytes: &[u8]| array(code, &[bytes.len() / 8], bytes).to_i64().unwrap();
        assert_eq!(ints("<i8", &i64::MIN.to_le_bytes()), Ok(vec![i64::MIN]));
        assert_eq!(ints(">u8", &(i64::MAX as u64).to_be_bytes()), Ok(vec![i64::MAX]));
        assert_eq!(ints("<u8", &u64::MAX.to_le_bytes()), Err(0));
        assert_eq!(ints("<f8", &[3f64.to_le_bytes(), 0.5f64.to_le_bytes()].concat()), Err(1));
        assert_eq!(ints("<f8", &f64::NAN.to_le_bytes()), Err(0));
        assert_eq!(array("S1", &[1], b"N").to_i64(), None);
    }

    #[test]
    fn impossible_types_are_refused() {
        for code in ["", "i3", "f16", "U0", "S", "S0", "V8", "M8[ns]", "i-2", "c8"] {
            assert_eq!(DType::parse(code), None, "{code}");
        }
    }
}

//! numpy arrays and their element types, as pickles describe them.

use super::Id;
use bytes::Bytes;
use std::fmt;

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

    fn number(self, bytes: &[u8]) -> Option<f64> {
        let mut word = [0u8; 8];
        let slot = word.get_mut(..bytes.len())?;
        slot.copy_from_slice(bytes);
        if self.big_endian {
            slot.reverse();
        }
        let unsigned = u64::from_le_bytes(word);
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
pub struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
    /// Whether the first index varies fastest.
    pub(super) fortran: bool,
    pub(super) data: ArrayData,
}

impl Array {
    /// Positions per axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements as numbers, last index fastest; `None` if they are not numbers.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let ArrayData::Raw(bytes) = &self.data else { return None };
        let values: Option<Vec<f64>> =
            bytes.chunks_exact(self.dtype.size).map(|element| self.dtype.number(element)).collect();
        values.map(|values| if self.fortran { self.last_index_fastest(&values) } else { values })
    }

    /// The elements of an array of one axis as texts; `None` if they are not text.
    pub fn to_texts(&self) -> Option<Vec<String>> {
        let ArrayData::Raw(bytes) = &self.data else { return None };
        let elements = bytes.chunks_exact(self.dtype.size);
        match self.dtype.kind {
            DTypeKind::Unicode => elements.map(|element| self.unicode(element)).collect(),
            DTypeKind::Bytes => elements
                .map(|element| {
                    let end = element.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
                    std::str::from_utf8(element.get(..end)?).ok().map(str::to_owned)
                })
                .collect(),
            _ => None,
        }
    }

    fn unicode(&self, element: &[u8]) -> Option<String> {
        let (words, _) = element.as_chunks::<4>();
        let text: Option<String> = words
            .iter()
            .map(|&word| {
                let code =
                    if self.dtype.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
                char::from_u32(code)
            })
            .collect();
        text.map(|text| text.trim_end_matches('\0').to_owned())
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

    fn array(code: &str, shape: &[usize], bytes: &[u8]) -> Array {
        Array {
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
    fn impossible_types_are_refused() {
        for code in ["", "i3", "f16", "U0", "S", "S0", "V8", "M8[ns]", "i-2", "c8"] {
            assert_eq!(DType::parse(code), None, "{code}");
        }
    }
}

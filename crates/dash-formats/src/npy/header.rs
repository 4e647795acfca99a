//! What a numpy file says about its array before the elements.

use crate::pickle::{DType, DTypeKind};
use std::io::{self, Read};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longest header that is read: numpy itself writes a few hundred bytes and refuses 10 000 of others.
const LONGEST: usize = 1 << 16;

/// Axes of an array, as in numpy.
const MOST_AXES: usize = 32;

/// Element type, order and shape of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) dtype: DType,
    /// Whether the first index varies fastest.
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
    /// Bytes before the elements.
    pub(super) start: usize,
    /// Bytes of all elements; 0 for objects, whose length is that of their pickle.
    pub(super) bytes: u64,
}

/// Reading failed, or what was read is not a header.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Damaged(String),
}

fn damaged(problem: impl Into<String>) -> Failure {
    Failure::Damaged(problem.into())
}

impl Header {
    /// Reads magic, version and header from the beginning of a file.
    pub(super) fn read(reader: &mut impl Read) -> Result<Header, Failure> {
        let mut fill = |buffer: &mut [u8], what: &str| match reader.read_exact(buffer) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged(format!("the file ends early, in {what}")))
            }
            Err(e) => Err(Failure::Io(e)),
        };
        let mut magic = [0u8; 8];
        fill(&mut magic, "the eight bytes that a numpy file begins with")?;
        let [name @ .., major, _minor] = magic;
        if &name != MAGIC {
            return Err(damaged("this is not a numpy file"));
        }
        let (length, prefix) = match major {
            1 => {
                let mut word = [0u8; 2];
                fill(&mut word, "its header")?;
                (usize::from(u16::from_le_bytes(word)), 10)
            }
            2 | 3 => {
                let mut word = [0u8; 4];
                fill(&mut word, "its header")?;
                (usize::try_from(u32::from_le_bytes(word)).unwrap_or(usize::MAX), 12)
            }
            other => return Err(damaged(format!("format version {other}; versions 1 to 3 are read"))),
        };
        if length > LONGEST {
            return Err(damaged(format!("a header of {length} bytes; at most {LONGEST} are read")));
        }
        let mut text = vec![0u8; length];
        fill(&mut text, "its header")?;
        // Versions 1 and 2 are latin-1, version 3 is UTF-8; names of plain types are ASCII in both.
        let text = String::from_utf8_lossy(&text);
        Header::parse(&text, prefix + length).map_err(Failure::Damaged)
    }

    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str, start: usize) -> Result<Header, String> {
        let mut scanner = Scanner { rest: text };
        let (mut dtype, mut fortran, mut shape) = (None, None, None);
        scanner.expect('{')?;
        while !scanner.eat('}') {
            let key = scanner.text()?;
            scanner.expect(':')?;
            let twice = match key {
                "descr" => dtype.replace(scanner.dtype()?).is_some(),
                "fortran_order" => fortran.replace(scanner.bool()?).is_some(),
                "shape" => shape.replace(scanner.shape()?).is_some(),
                _ => return Err(format!("the header has the unknown key {key:?}")),
            };
            if twice {
                return Err(format!("the header has the key {key:?} twice"));
            }
            if !scanner.eat(',') {
                scanner.expect('}')?;
                break;
            }
        }
        if !scanner.rest.trim().is_empty() {
            return Err("the header has text after its end".to_owned());
        }
        let missing = |key| format!("the header has no key {key:?}");
        let dtype = dtype.ok_or_else(|| missing("descr"))?;
        let shape: Vec<usize> = shape.ok_or_else(|| missing("shape"))?;
        let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
        let impossible = || format!("the impossible shape {shape:?}");
        // Rows of nothing would let a tiny file announce any number of rows.
        if shape.iter().skip(1).any(|&axis| axis == 0) {
            return Err(impossible());
        }
        let size = if dtype.kind() == DTypeKind::Object { 0 } else { dtype.size() as u64 };
        let elements = shape.iter().try_fold(1u64, |n, &axis| n.checked_mul(axis as u64));
        // Below the largest position in memory or in a file.
        let fits = |n: &u64| i64::try_from(*n).is_ok() && isize::try_from(*n).is_ok();
        let bytes = elements.filter(fits).and_then(|n| n.checked_mul(size)).filter(fits);
        let bytes = bytes.ok_or_else(impossible)?;
        Ok(Header { dtype, fortran, shape, start, bytes })
    }
}

/// A reader of the few Python literals that a header consists of.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn eat(&mut self, token: char) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        if self.eat(token) {
            return Ok(());
        }
        let found: String = self.rest.trim_start().chars().take(12).collect();
        Err(format!("the header has {found:?} where {token:?} is expected"))
    }

    /// A text in single or double quotes, without escapes.
    fn text(&mut self) -> Result<&'a str, String> {
        let quote = if self.eat('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.expect(quote)?;
        }
        let (text, rest) = self.rest.split_once(quote).ok_or("the header ends inside a text")?;
        self.rest = rest;
        Ok(text)
    }

    /// The leading characters that `wanted` accepts.
    fn word(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word
    }

    fn dtype(&mut self) -> Result<DType, String> {
        if self.rest.trim_start().starts_with('[') {
            return Err("structured element types are not supported".to_owned());
        }
        let code = self.text()?;
        DType::parse(code).ok_or_else(|| format!("element type {code:?} is not supported"))
    }

    fn bool(&mut self) -> Result<bool, String> {
        match self.word(|c| c.is_ascii_alphanumeric()) {
            "True" => Ok(true),
            "False" => Ok(false),
            other => Err(format!("the header has {other:?} where True or False is expected")),
        }
    }

    /// `()`, `(3,)`, `(3, 4)`; Python 2 wrote `3L` for large numbers.
    fn shape(&mut self) -> Result<Vec<usize>, String> {
        let mut shape = vec![];
        self.expect('(')?;
        while !self.eat(')') {
            let digits = self.word(|c| c.is_ascii_digit());
            let axis = digits.parse().map_err(|_| format!("{digits:?} is not the length of an axis"))?;
            self.eat('L');
            shape.push(axis);
            if shape.len() > MOST_AXES {
                return Err(format!("an array with more than {MOST_AXES} axes"));
            }
            if !self.eat(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Header, String> {
        Header::parse(text, 0)
    }

    #[test]
    fn headers_of_all_forms() {
        let header =
            parse("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }          \n").unwrap();
        assert_eq!((header.shape.as_slice(), header.fortran, header.bytes), (&[3, 4][..], false, 48));
        assert_eq!(header.dtype.to_string(), "<f4");
        let header = parse("{\"shape\": (900000L,), 'fortran_order':True,'descr':'>i2'}").unwrap();
        assert_eq!(
            (header.shape.as_slice(), header.fortran, header.bytes),
            (&[900_000][..], true, 1_800_000)
        );
        let header = parse("{'descr': '|O', 'fortran_order': False, 'shape': ()}").unwrap();
        assert_eq!((header.shape.len(), header.bytes), (0, 0));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let whole = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}";
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{}", &whole[..length]);
        }
        let cases = [
            ("'<f4'", "'<c8'", "\"<c8\" is not supported"),
            ("'<f4'", "[('a', '<f4')]", "structured"),
            ("'<f4'", "__import__('os')", "where '\\'' is expected"),
            ("(3, 4)", "(3, -4)", "not the length of an axis"),
            ("(3, 4)", "(3, 0)", "impossible shape [3, 0]"),
            ("(3, 4)", "(4611686018427387904, 4)", "impossible shape"),
            ("(3, 4)", "(99999999999999999999999,)", "not the length"),
            ("False", "None", "where True or False is expected"),
            ("'fortran_order': False, ", "", "no key \"fortran_order\""),
            ("'fortran_order'", "'shape'", "where '(' is expected"),
            ("{", "{'shape': (1,), ", "\"shape\" twice"),
            ("}", "} x", "text after its end"),
            ("'descr'", "'x'", "unknown key \"x\""),
        ];
        for (old, new, words) in cases {
            let error = parse(&whole.replacen(old, new, 1)).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}

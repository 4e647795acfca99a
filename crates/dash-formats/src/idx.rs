//! Reads IDX files, the container of MNIST: a magic number with the element type and the number of axes, the
//! length of each axis, and the elements, last index fastest, all big-endian.

use crate::{Error, FileFormat, archive};
use std::path::{Path, PathBuf};

/// An array of unsigned bytes.
#[derive(Debug)]
pub struct Idx {
    path: PathBuf,
    /// Positions per axis, none of them 0.
    shape: Vec<usize>,
    elements: Vec<u8>,
}

impl Idx {
    /// Reads a file, gzipped or not, that must hold an array of `axes` axes.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or holds another kind of array.
    pub fn open(path: &Path, axes: usize) -> Result<Idx, Error> {
        Idx::parse(path, archive::contents(path)?, axes)
    }

    fn parse(path: &Path, mut bytes: Vec<u8>, axes: usize) -> Result<Idx, Error> {
        let damaged = |problem: String| Error::invalid(FileFormat::Idx, path, problem);
        let early = || damaged(format!("the file ends early, after {} bytes of its header", bytes.len()));
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(early)?;
        let [0, 0, kind, found] = *magic else {
            let number = u32::from_be_bytes(*magic);
            return Err(damaged(format!("this is not an IDX file: it begins with 0x{number:08x}")));
        };
        match kind {
            0x08 => {}
            0x09 | 0x0b..=0x0e => {
                let names = ["8-bit", "", "16-bit", "32-bit", "single precision", "double precision"];
                let name = names.get(usize::from(kind) - 0x09).copied().unwrap_or_default();
                return Err(damaged(format!("holds {name} numbers; unsigned bytes are expected")));
            }
            _ => {
                return Err(damaged(format!("this is not an IDX file: 0x{kind:02x} is not an element type")));
            }
        }
        if usize::from(found) != axes {
            return Err(damaged(format!("an array of {found} axes; {axes} are expected")));
        }
        let (words, _) = rest.as_chunks::<4>();
        let words = words.get(..axes).ok_or_else(early)?;
        let shape: Vec<usize> = words
            .iter()
            .map(|&word| usize::try_from(u32::from_be_bytes(word)).unwrap_or(usize::MAX))
            .collect();
        let start = 4 + 4 * axes;
        let held = bytes.len() - start;
        let announced = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        if shape.contains(&0) {
            return Err(damaged(format!("an array of shape {shape:?} has no elements")));
        }
        if announced != Some(held) {
            return Err(damaged(format!(
                "an array of shape {shape:?} takes {} bytes, {held} follow the header",
                announced.map_or("too many".to_owned(), |n| n.to_string())
            )));
        }
        bytes.drain(..start);
        Ok(Idx { path: path.to_owned(), shape, elements: bytes })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Positions per axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, last index fastest.
    pub fn elements(&self) -> &[u8] {
        &self.elements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], axes: usize) -> Result<Idx, String> {
        Idx::parse(Path::new("x-idx"), bytes.to_vec(), axes).map_err(|error| {
            assert!(error.is_about_content());
            error.to_string()
        })
    }

    #[test]
    fn bytes_of_all_axes() {
        let file = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3], &[1, 2, 3, 4, 5, 255][..]].concat();
        let idx = parse(&file, 3).unwrap();
        assert_eq!((idx.shape(), idx.elements()), (&[2, 1, 3][..], &[1, 2, 3, 4, 5, 255][..]));
        for length in 0..file.len() {
            let message = parse(&file[..length], 3).unwrap_err();
            assert!(message.contains("ends early") || message.contains("follow the header"), "{message}");
        }
        let message = parse(&[&file[..], &[0]].concat(), 3).unwrap_err();
        assert_eq!(message, "x-idx: an array of shape [2, 1, 3] takes 6 bytes, 7 follow the header");
    }

    #[test]
    fn other_files_than_arrays_of_bytes_are_refused() {
        for (bytes, words) in [
            (&b"MATLAB"[..], "not an IDX file: it begins with 0x4d41544c"),
            (&[0, 0, 7, 1, 0, 0, 0, 1, 0], "0x07 is not an element type"),
            (&[0, 0, 0x0d, 1, 0, 0, 0, 1, 0, 0, 0, 0], "holds single precision numbers; unsigned bytes"),
            (&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0], "an array of 3 axes; 1 are expected"),
            (&[0, 0, 8, 1, 0, 0, 0, 0], "an array of shape [0] has no elements"),
            (&[0, 0, 8, 1, 0xff, 0xff, 0xff, 0xff, 0], "takes 4294967295 bytes, 1 follow the header"),
        ] {
            let message = parse(bytes, 1).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        let large = [&[0, 0, 8, 3][..], &[0xff; 12], &[0]].concat();
        assert!(parse(&large, 3).unwrap_err().contains("takes too many bytes"));
    }
}

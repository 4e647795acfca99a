//! Writers of small files of each format, for tests.
#![allow(clippy::unwrap_used, reason = "writing to memory cannot fail, and tests may")]

use flate2::{Compression, Crc, write::DeflateEncoder};
use std::io::Write;

/// A `.npy` file of format version 1: header, then the elements as they are.
pub fn npy(descr: &str, fortran: bool, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({axes}), }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\0".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(elements);
    out
}

/// A `.npy` file of 32-bit floating-point numbers.
pub fn npy_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
    npy("<f4", false, shape, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// A `.npy` file of 64-bit integers.
pub fn npy_i64(shape: &[usize], values: &[i64]) -> Vec<u8> {
    npy("<i8", false, shape, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// A WAV file of whole numbers with the given channels, samples per second and bits per sample.
pub fn wav(channels: u16, sample_rate: u32, bits: u16, bytes: &[u8]) -> Vec<u8> {
    let align = channels * bits / 8;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    out.extend(channels.to_le_bytes());
    out.extend(sample_rate.to_le_bytes());
    out.extend((sample_rate * u32::from(align)).to_le_bytes());
    out.extend(align.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
    out
}

/// A WAV file of one channel and 16 bits.
pub fn wav_16(sample_rate: u32, samples: &[i16]) -> Vec<u8> {
    wav(1, sample_rate, 16, &samples.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// A member of an archive.
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
    /// Whether it is compressed.
    pub deflated: bool,
}

/// A zip archive.
pub fn zip(members: &[Member<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (vec![], vec![]);
    for member in members {
        let mut crc = Crc::new();
        crc.update(member.bytes);
        let stored = if member.deflated {
            let mut encoder = DeflateEncoder::new(vec![], Compression::best());
            encoder.write_all(member.bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            member.bytes.to_vec()
        };
        let offset = out.len() as u32;
        let method = if member.deflated { 8u16 } else { 0 };
        // Version, flags, method, time, date, checksum, sizes, lengths of name and extra field.
        let mut common = vec![20, 0, 0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0, 0, 0x21, 0]);
        common.extend(crc.sum().to_le_bytes());
        common.extend((stored.len() as u32).to_le_bytes());
        common.extend((member.bytes.len() as u32).to_le_bytes());
        common.extend((member.name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(member.name.as_bytes());
        out.extend(stored);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        // Comment, disk, attributes.
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(member.name.as_bytes());
    }
    let start = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((members.len() as u16).to_le_bytes());
    out.extend((members.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// Writes `bytes` to a file called `name` in a folder of its own, which is removed when the first value is dropped.
#[cfg(test)]
pub(crate) fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::File::options().write(true).create_new(true).open(&path).unwrap().write_all(bytes).unwrap();
    (folder, path)
}

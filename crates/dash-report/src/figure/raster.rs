//! Draws raster images, for viewers without SVG.

use super::LIGHT;
use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};
use std::io::Write;

/// Pixels per unit of length: lines and text stay sharp on dense screens.
const SCALE: f64 = 3.0;

/// The largest number of pixels: 192 MiB of memory.
const MOST_PIXELS: usize = 1 << 26;

/// Pixels per dot of a glyph; glyphs are eight by eight dots.
const DOT: usize = 2;
const DOTS: usize = 8;

/// Rows of glyphs above the base line.
const ASCENT: usize = 7;

/// An image on a white background; lengths are those of a drawing, y grows downwards.
pub(super) struct Raster {
    width: usize,
    height: usize,
    /// Red, green and blue of each pixel.
    pixels: Vec<u8>,
}

impl Raster {
    /// `None` if the picture would be too large.
    pub(super) fn new(width: f64, height: f64) -> Option<Raster> {
        let (width, height) = ((width * SCALE) as usize, (height * SCALE) as usize);
        let pixels = width.checked_mul(height).filter(|&pixels| pixels <= MOST_PIXELS)?;
        Some(Raster { width, height, pixels: vec![255; 3 * pixels] })
    }

    /// Blends a colour over a pixel; pixels outside the image are ignored.
    fn blend(&mut self, x: usize, y: usize, colour: [u8; 3], opacity: f64) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = 3 * (y * self.width + x);
        for (channel, new) in self.pixels.iter_mut().skip(at).zip(colour) {
            *channel = (f64::from(*channel) + (f64::from(new) - f64::from(*channel)) * opacity).round() as u8;
        }
    }

    /// The pixels from `low` to `high` along an axis of `length` pixels.
    fn span(low: f64, high: f64, length: usize) -> std::ops::Range<usize> {
        // Conversions saturate, and NaN becomes 0.
        (low.floor() as usize).min(length)..(high.ceil() as usize).min(length)
    }

    /// A line with round ends; its border is smoothed.
    pub(super) fn stroke(&mut self, colour: [u8; 3], width: f64, a: (f64, f64), b: (f64, f64)) {
        let (a, b) = ((a.0 * SCALE, a.1 * SCALE), (b.0 * SCALE, b.1 * SCALE));
        let half = width * SCALE / 2.0;
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let square = dx * dx + dy * dy;
        for y in Raster::span(a.1.min(b.1) - half, a.1.max(b.1) + half, self.height) {
            for x in Raster::span(a.0.min(b.0) - half, a.0.max(b.0) + half, self.width) {
                let (px, py) = (x as f64 + 0.5 - a.0, y as f64 + 0.5 - a.1);
                let along = if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
                let distance = (px - along * dx).hypot(py - along * dy);
                let opacity = (half + 0.5 - distance).clamp(0.0, 1.0);
                if opacity > 0.0 {
                    self.blend(x, y, colour, opacity);
                }
            }
        }
    }

    /// Equal rectangles in rows and columns.
    pub(super) fn cells(
        &mut self,
        (rows, columns): (usize, usize),
        at: (f64, f64),
        size: (f64, f64),
        colour: impl Fn(usize, usize) -> [u8; 3],
    ) {
        let (left, top) = (at.0 * SCALE, at.1 * SCALE);
        let (width, height) = (size.0 * SCALE, size.1 * SCALE);
        for y in Raster::span(top, top + height, self.height) {
            let row = ((y as f64 + 0.5 - top) / height * rows as f64) as usize;
            for x in Raster::span(left, left + width, self.width) {
                let column = ((x as f64 + 0.5 - left) / width * columns as f64) as usize;
                let colour = colour(row.min(rows.saturating_sub(1)), column.min(columns.saturating_sub(1)));
                self.blend(x, y, colour, 1.0);
            }
        }
    }

    /// Text whose base line begins at `at`, in the colour of a variable of the style.
    pub(super) fn text(&mut self, colour: &str, at: (f64, f64), text: &str) {
        let colour = variable(colour);
        let left = (at.0 * SCALE) as usize;
        let top = ((at.1 * SCALE) as usize).saturating_sub(ASCENT * DOT);
        let letters = text.chars().flat_map(|letter| match letter {
            '…' => vec!['.'; 3],
            letter => vec![letter],
        });
        for (number, letter) in letters.enumerate() {
            let rows = glyph(letter);
            for dot in 0..DOTS * DOTS {
                let (row, column) = (dot / DOTS, dot % DOTS);
                if rows.get(row).is_none_or(|bits| bits >> column & 1 == 0) {
                    continue;
                }
                for pixel in 0..DOT * DOT {
                    let x = left + (number * DOTS + column) * DOT + pixel % DOT;
                    self.blend(x, top + row * DOT + pixel / DOT, colour, 1.0);
                }
            }
        }
    }

    /// The picture as a PNG file.
    pub(super) fn png(&self) -> Vec<u8> {
        png(self.width, &self.pixels)
    }
}

/// Rows of a letter, its left column in the lowest bit; a question mark for letters that are not known.
fn glyph(letter: char) -> [u8; DOTS] {
    let known = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter));
    known.or_else(|| GREEK_FONTS.get(letter)).or_else(|| BASIC_FONTS.get('?')).unwrap_or_default()
}

/// The colour of a variable of the style on a white ground.
pub(super) fn variable(name: &str) -> [u8; 3] {
    let text = LIGHT.iter().find(|(variable, _)| *variable == name).map_or("", |(_, colour)| colour);
    let number = u32::from_str_radix(text.trim_start_matches('#'), 16).unwrap_or(0);
    let [_, red, green, blue] = number.to_be_bytes();
    [red, green, blue]
}

/// Pixels of red, green and blue, row after row, as a PNG file.
pub(super) fn png(width: usize, pixels: &[u8]) -> Vec<u8> {
    let length = 3 * width.max(1);
    let mut rows = Vec::with_capacity(pixels.len() + pixels.len() / length);
    for row in pixels.chunks_exact(length) {
        // Every row begins with its filter: none.
        rows.push(0);
        rows.extend_from_slice(row);
    }
    let mut deflated = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::default());
    // Writing to memory does not fail.
    let _ = deflated.write_all(&rows);
    let deflated = deflated.finish().unwrap_or_default();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = vec![];
    header.extend((width as u32).to_be_bytes());
    header.extend(((pixels.len() / length) as u32).to_be_bytes());
    // Eight bits per channel, red, green and blue.
    header.extend([8, 2, 0, 0, 0]);
    for (name, data) in [(b"IHDR", header), (b"IDAT", deflated), (b"IEND", vec![])] {
        let chunk = [&name[..], &data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&chunk);
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&chunk);
        file.extend(crc.sum().to_be_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_known_and_others_are_question_marks() {
        assert_ne!(glyph('A'), [0; 8]);
        assert_ne!(glyph('é'), glyph('?'));
        assert_eq!(glyph('\u{1F600}'), glyph('?'));
        assert_eq!(glyph(' '), [0; 8]);
    }

    #[test]
    fn nothing_leaves_the_picture() {
        let mut raster = Raster::new(10.0, 5.0).unwrap();
        raster.text("--ink", (8.0, 4.0), "far too long");
        raster.text("--ink", (-5.0, -4.0), "x");
        raster.stroke([0; 3], 2.0, (-1e300, 2.0), (1e300, f64::NAN));
        raster.stroke([9; 3], 1.0, (-3.0, 2.0), (30.0, 2.0));
        raster.cells((2, 2), (-1.0, -1.0), (100.0, 100.0), |_, _| [1, 2, 3]);
        assert_eq!(raster.pixels.len(), 3 * 30 * 15);
        assert_eq!(variable("--s1"), [0xd5, 0x5e, 0]);
    }
}

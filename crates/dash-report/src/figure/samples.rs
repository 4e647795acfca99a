//! Draws samples of a dataset: lines over one axis, heat maps over two.

use super::{Anchor, COLOURS, Drawing, raster, raster::Raster, shorten, stroke};
use crate::number;

/// A sample with its title.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The text above it: its position, and its class or labels.
    pub title: String,
    /// Its tensors, from left to right.
    pub tensors: Vec<Tensor>,
}

/// A tensor with channels first.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Channels, then one or two axes.
    pub shape: Vec<usize>,
    /// Its values. A tensor whose number of values differs from its shape is not drawn.
    pub values: Vec<f32>,
}

const MARGIN: f64 = 14.0;
const TITLE: f64 = 24.0;
/// Height of a map or plot.
const HEIGHT: f64 = 120.0;
/// Height of a sample with its title and captions.
const ROW: f64 = TITLE + HEIGHT + CAPTION;
const MOST_WIDTH: f64 = 360.0;
const CAPTION: f64 = 34.0;
const GAP: f64 = 16.0;
/// Space for a caption, which may be wider than its map.
const LEAST_WIDTH: f64 = 120.0;
/// Channels of a 2-D tensor that are drawn.
const MAPS: usize = 4;
/// Pixels of a map along an axis; larger maps are averaged.
const PIXELS: usize = 256;
/// Points of a line; longer ones are drawn by their extremes.
const POINTS: usize = 800;

/// The operations that drawing samples needs; lengths are pixels, y grows downwards.
trait Canvas {
    /// Text that begins at `at`, of class `t` (ink), `m` or `s` (muted).
    fn text(&mut self, class: &str, at: (f64, f64), text: &str);
    /// A line of class `axis` or `grid`.
    fn line(&mut self, class: &str, a: (f64, f64), b: (f64, f64));
    /// A polyline for each run of points, in the colour of a series.
    fn curve(&mut self, series: usize, runs: &[Vec<(f64, f64)>], title: &str);
    /// Coloured rectangles, all of one size.
    fn map(&mut self, map: &Map, range: (f64, f64), at: (f64, f64), size: (f64, f64), title: &str);
}

impl Canvas for Drawing {
    fn text(&mut self, class: &str, at: (f64, f64), text: &str) {
        Drawing::text(self, class, Anchor::Start, at, text);
    }

    fn line(&mut self, class: &str, a: (f64, f64), b: (f64, f64)) {
        Drawing::line(self, class, a, b);
    }

    fn curve(&mut self, series: usize, runs: &[Vec<(f64, f64)>], title: &str) {
        Drawing::curve(self, &stroke(series), "", runs, title);
    }

    fn map(&mut self, map: &Map, range: (f64, f64), at: (f64, f64), size: (f64, f64), title: &str) {
        self.image(&png(map, range), at, size, title);
    }
}

impl Canvas for Raster {
    fn text(&mut self, class: &str, at: (f64, f64), text: &str) {
        Raster::text(self, if class == "t" { "--ink" } else { "--muted" }, at, text);
    }

    fn line(&mut self, class: &str, a: (f64, f64), b: (f64, f64)) {
        let colour = if class == "grid" { "--rule" } else { "--muted" };
        self.stroke(raster::variable(colour), 1.0, a, b);
    }

    fn curve(&mut self, series: usize, runs: &[Vec<(f64, f64)>], _: &str) {
        let colour = raster::variable(&format!("--{}", stroke(series)));
        for run in runs {
            for pair in run.windows(2) {
                if let [a, b] = pair {
                    self.stroke(colour, 1.75, *a, *b);
                }
            }
        }
    }

    fn map(&mut self, map: &Map, range: (f64, f64), at: (f64, f64), size: (f64, f64), _: &str) {
        let rows = map.values.len() / map.columns.max(1);
        self.cells((rows, map.columns), at, size, |row, column| {
            let value = map.values.get(row * map.columns + column);
            value.map_or([255; 3], |&value| colour(value, range))
        });
    }
}

/// Width and height of the picture.
fn size(samples: &[Sample]) -> (f64, f64) {
    let widths = samples.iter().map(|sample| sample.tensors.iter().map(width).sum::<f64>());
    let width = widths.fold(LEAST_WIDTH, f64::max).max(300.0) + 2.0 * MARGIN;
    (width, MARGIN + ROW * samples.len() as f64)
}

pub(crate) fn draw(samples: &[Sample]) -> Drawing {
    let (width, height) = size(samples);
    let mut drawing = Drawing::new(width, height);
    paint(samples, width, &mut drawing);
    drawing
}

/// The same picture as a PNG file; `None` if it is too large.
pub(crate) fn draw_png(samples: &[Sample]) -> Option<Vec<u8>> {
    let (width, height) = size(samples);
    let mut raster = Raster::new(width, height)?;
    paint(samples, width, &mut raster);
    Some(raster.png())
}

fn paint(samples: &[Sample], width: f64, canvas: &mut dyn Canvas) {
    for (number, sample) in samples.iter().enumerate() {
        let top = MARGIN + ROW * number as f64;
        canvas.text("t", (MARGIN, top + 12.0), &shorten(&sample.title, (width / 7.0) as usize));
        let mut left = MARGIN;
        for tensor in &sample.tensors {
            for (at, panel) in panels(tensor).iter().enumerate() {
                panel.draw(canvas, (left + at as f64 * (panel.width() + GAP), top + TITLE));
            }
            left += self::width(tensor);
        }
    }
}

/// Room that a tensor takes, with the gaps.
fn width(tensor: &Tensor) -> f64 {
    panels(tensor).iter().map(|panel| panel.width() + GAP).sum()
}

enum Panel<'a> {
    /// Channels over one axis.
    Lines { name: String, channels: Vec<&'a [f32]> },
    /// Rows of numbers.
    Map { name: String, values: &'a [f32], columns: usize },
}

/// What is drawn of a tensor; nothing if the number of its values differs from its shape.
fn panels(tensor: &Tensor) -> Vec<Panel<'_>> {
    let elements = tensor.shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    if elements != Some(tensor.values.len()) || tensor.values.is_empty() {
        return vec![];
    }
    match *tensor.shape {
        [channels, length] if channels <= COLOURS => {
            let channels = tensor.values.chunks_exact(length).collect();
            vec![Panel::Lines { name: tensor.name.clone(), channels }]
        }
        [channels, length] => {
            let name = format!("{}, {channels} channels", tensor.name);
            vec![Panel::Map { name, values: &tensor.values, columns: length }]
        }
        [channels, rows, columns] => {
            let maps = tensor.values.chunks_exact(rows * columns).enumerate().take(MAPS);
            maps.map(|(channel, values)| {
                let name = match channels {
                    1 => tensor.name.clone(),
                    _ if channel + 1 == MAPS && channels > MAPS => {
                        format!("{} {channel} of {channels}", tensor.name)
                    }
                    _ => format!("{} {channel}", tensor.name),
                };
                Panel::Map { name, values, columns }
            })
            .collect()
        }
        _ => vec![],
    }
}

impl Panel<'_> {
    fn width(&self) -> f64 {
        self.inner().max(LEAST_WIDTH)
    }

    /// Width of the plot or map itself.
    fn inner(&self) -> f64 {
        match self {
            Panel::Lines { .. } => MOST_WIDTH,
            Panel::Map { values, columns, .. } => {
                let rows = (values.len() / (*columns).max(1)).max(1);
                (HEIGHT * *columns as f64 / rows as f64).clamp(20.0, MOST_WIDTH)
            }
        }
    }

    fn draw(&self, canvas: &mut dyn Canvas, at: (f64, f64)) {
        let (name, (low, high)) = match self {
            Panel::Lines { name, channels } => {
                let range = range(channels.iter().flat_map(|values| values.iter().copied()));
                lines(canvas, channels, at, range);
                (name, range)
            }
            Panel::Map { name, values, columns } => {
                let range = range(values.iter().copied());
                let map = shrink(values, *columns);
                let title = format!("{name}: {} rows of {columns}", values.len() / (*columns).max(1));
                canvas.map(&map, range, at, (self.inner(), HEIGHT), &title);
                (name, range)
            }
        };
        let below = at.1 + HEIGHT;
        canvas.text("m", (at.0, below + 12.0), &shorten(name, 40));
        let text = format!("{} to {}", number::value(low, 3), number::value(high, 3));
        canvas.text("s", (at.0, below + 24.0), &text);
    }
}

/// The smallest and largest of the finite values; 0 and 0 if there are none.
fn range(values: impl Iterator<Item = f32>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite()).map(f64::from);
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high { (0.0, 0.0) } else { (low, high) }
}

fn lines(canvas: &mut dyn Canvas, channels: &[&[f32]], at: (f64, f64), (low, high): (f64, f64)) {
    let bottom = at.1 + HEIGHT;
    canvas.line("axis", (at.0, bottom), (at.0 + MOST_WIDTH, bottom));
    if low < 0.0 && high > 0.0 {
        let zero = bottom + low / (high - low) * HEIGHT;
        canvas.line("grid", (at.0, zero), (at.0 + MOST_WIDTH, zero));
    }
    let y = |value: f32| match high > low {
        true => bottom - (f64::from(value) - low) / (high - low) * HEIGHT,
        false => bottom - HEIGHT / 2.0,
    };
    for (number, values) in channels.iter().enumerate() {
        let last = values.len().saturating_sub(1).max(1) as f64;
        let x = |position: usize| at.0 + position as f64 / last * MOST_WIDTH;
        let mut runs = vec![vec![]];
        let step = values.len().div_ceil(POINTS / 2).max(1);
        for (bucket, part) in values.chunks(step).enumerate() {
            let start = bucket * step;
            for (offset, &value) in extremes(part) {
                match runs.last_mut() {
                    Some(run) if value.is_finite() => run.push((x(start + offset), y(value))),
                    _ => runs.push(vec![]),
                }
            }
        }
        canvas.curve(number, &runs, &format!("channel {number}"));
    }
}

/// The smallest and the largest of some values, in their order.
fn extremes(part: &[f32]) -> impl Iterator<Item = (usize, &f32)> {
    let by = |order: std::cmp::Ordering| {
        part.iter().enumerate().reduce(move |a, b| if b.1.total_cmp(a.1) == order { b } else { a })
    };
    let (low, high) = (by(std::cmp::Ordering::Less), by(std::cmp::Ordering::Greater));
    let (first, second) = if low.map(|l| l.0) <= high.map(|h| h.0) { (low, high) } else { (high, low) };
    let second = second.filter(|second| Some(second.0) != first.map(|first| first.0));
    first.into_iter().chain(second)
}

/// Rows of numbers.
struct Map {
    columns: usize,
    values: Vec<f32>,
}

/// A map of at most [`PIXELS`] on both axes; each is the mean of a block.
fn shrink(values: &[f32], columns: usize) -> Map {
    let columns = columns.max(1);
    let rows: Vec<&[f32]> = values.chunks_exact(columns).collect();
    let (down, across) = (rows.len().div_ceil(PIXELS).max(1), columns.div_ceil(PIXELS).max(1));
    if (down, across) == (1, 1) {
        return Map { columns, values: values.to_vec() };
    }
    let mut out = vec![];
    for block in rows.chunks(down) {
        for start in (0..columns).step_by(across) {
            let cells = block.iter().flat_map(|row| row.iter().skip(start).take(across));
            let (count, sum) = cells.fold((0.0f64, 0.0), |(n, sum), &v| (n + 1.0, sum + f64::from(v)));
            out.push((sum / count) as f32);
        }
    }
    Map { columns: columns.div_ceil(across), values: out }
}

/// Colours from low to high, equally far apart: dark blue to light yellow, ordered by lightness too.
const RAMP: [[f64; 3]; 5] =
    [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];

fn colour(value: f32, (low, high): (f64, f64)) -> [u8; 3] {
    if !value.is_finite() {
        return [255; 3];
    }
    let share = if high > low { (f64::from(value) - low) / (high - low) } else { 0.5 };
    let place = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let index = (place as usize).min(RAMP.len() - 2);
    let (Some(a), Some(b)) = (RAMP.get(index), RAMP.get(index + 1)) else { return [255; 3] };
    let part = place - index as f64;
    [0, 1, 2].map(|i| {
        let ends = a.get(i).zip(b.get(i));
        ends.map_or(255, |(a, b)| (a + (b - a) * part).round() as u8)
    })
}

/// The map as a PNG file.
fn png(map: &Map, range: (f64, f64)) -> Vec<u8> {
    let whole = map.values.chunks_exact(map.columns.max(1)).flatten();
    let pixels: Vec<u8> = whole.flat_map(|&value| colour(value, range)).collect();
    raster::png(map.columns, &pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(tensors: Vec<Tensor>) -> String {
        let sample = Sample { title: "row 3: a <b>".to_owned(), tensors };
        String::from_utf8(draw(&[sample.clone(), sample]).standalone("alt")).unwrap()
    }

    fn tensor(shape: &[usize], value: impl Fn(usize) -> f32) -> Tensor {
        let values = (0..shape.iter().product()).map(value).collect();
        Tensor { name: "input".to_owned(), shape: shape.to_vec(), values }
    }

    #[test]
    fn signals_are_lines_and_images_are_maps() {
        let file = svg(vec![tensor(&[2, 40], |k| k as f32), tensor(&[3, 5, 7], |k| k as f32)]);
        roxmltree::Document::parse(&file).unwrap();
        assert_eq!(file.matches("<path").count(), 2 * 2);
        assert_eq!(file.matches("<image").count(), 2 * 3);
        assert!(file.contains("data:image/png;base64,iVBORw0KGgo"));
        for text in [">input 2</text>", ">0 to 79.0</text>", "row 3: a &lt;b&gt;"] {
            assert!(file.contains(text), "{text}");
        }
        let file = svg(vec![tensor(&[57, 4, 4], |k| k as f32), tensor(&[20, 30], |_| 1.0)]);
        assert_eq!(file.matches("<image").count(), 2 * (4 + 1));
        assert!(file.contains(">input 3 of 57</text>") && file.contains(">input, 20 channels</text>"));
    }

    #[test]
    fn a_map_is_a_sound_png_with_the_ends_of_the_ramp() {
        let file = png(&shrink(&[0.0, 1.0, 1.0, f32::NAN], 2), (0.0, 1.0));
        // IHDR at 8, IDAT after it.
        assert_eq!(&file[16..24], [0, 0, 0, 2, 0, 0, 0, 2]);
        let length = u32::from_be_bytes(file[33..37].try_into().unwrap()) as usize;
        let mut pixels = vec![];
        std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&file[41..41 + length]), &mut pixels)
            .unwrap();
        assert_eq!(pixels, [0, 68, 1, 84, 253, 231, 37, 0, 253, 231, 37, 255, 255, 255]);
    }

    /// Pixels of a PNG file of this program, three bytes each, and its width.
    fn pixels(file: &[u8]) -> (usize, Vec<u8>) {
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let (width, length) = (number(16), number(33));
        let mut rows = vec![];
        std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&file[41..41 + length]), &mut rows)
            .unwrap();
        assert_eq!(rows.len(), number(20) * (1 + 3 * width));
        (width, rows.chunks(1 + 3 * width).flat_map(|row| row[1..].to_vec()).collect())
    }

    #[test]
    fn a_png_shows_the_same_picture() {
        let tensors = vec![tensor(&[1, 40], |k| k as f32), tensor(&[1, 2, 2], |k| k as f32)];
        let sample = Sample { title: "row 3".to_owned(), tensors };
        let file = draw_png(std::slice::from_ref(&sample)).unwrap();
        assert_eq!(draw_png(&vec![sample.clone(); 1000]), None, "too large");
        let (width, pixels) = pixels(&file);
        let (w, h) = size(&[sample]);
        assert_eq!((width, pixels.len()), ((3.0 * w) as usize, (3.0 * w) as usize * (3.0 * h) as usize * 3));
        let pixel = |x: f64, y: f64| {
            let at = ((3.0 * y) as usize * width + (3.0 * x) as usize) * 3;
            [pixels[at], pixels[at + 1], pixels[at + 2]]
        };
        let (top, map) = (MARGIN + TITLE, MARGIN + MOST_WIDTH + GAP);
        // The ends of the ramp in the corners of the map, the middle of the line, the ground.
        assert_eq!(pixel(map + 5.0, top + 5.0), [68, 1, 84]);
        assert_eq!(pixel(map + 115.0, top + 115.0), [253, 231, 37]);
        assert_eq!(pixel(MARGIN + MOST_WIDTH / 2.0, top + HEIGHT / 2.0), [0, 0x72, 0xb2]);
        assert_eq!(pixel(1.0, 1.0), [255; 3]);
        // Something is written where the title is.
        let mut title = (0..40).flat_map(|x| (0..12).map(move |y| (x, y)));
        let ink = |(x, y)| pixel(MARGIN + f64::from(x), MARGIN + f64::from(y)) == [0x1f, 0x23, 0x28];
        assert!(title.any(ink));
    }

    #[test]
    fn any_values_have_a_png() {
        let values = [f32::NAN, f32::MAX, f32::MIN, f32::INFINITY, 0.0, f32::NEG_INFINITY];
        let tensors = [vec![1, 6], vec![1, 2, 3]].map(|shape| tensor(&shape, |k| values[k]));
        assert!(draw_png(&[Sample { title: "\u{1F600}…".to_owned(), tensors: tensors.into() }]).is_some());
    }

    #[test]
    fn large_things_are_drawn_small() {
        let map = shrink(&vec![2.0; 600 * 1000], 1000);
        assert_eq!((map.columns, map.values.len()), (250, 250 * 200));
        assert!(map.values.iter().all(|&v| v == 2.0));
        let spike = svg(vec![tensor(&[1, 100_000], |k| if k == 77_777 { 9.0 } else { 0.0 })]);
        assert!(spike.len() < 60_000, "{}", spike.len());
        assert!(spike.contains(">0 to 9.00</text>"));
    }

    proptest::proptest! {
        #[test]
        fn any_values_are_valid_svg(values in proptest::collection::vec(proptest::num::f32::ANY, 1..24)) {
            let shape = vec![1, values.len()];
            let map = Tensor { name: "m".into(), shape: vec![1, 1, values.len()], values: values.clone() };
            let file = svg(vec![Tensor { name: "l".into(), shape, values }, map]);
            proptest::prop_assert!(roxmltree::Document::parse(&file).is_ok());
        }
    }
}

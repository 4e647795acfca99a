//! Flat images on a rotated sphere, by the rule that Spherical CIFAR-100 was made with (Cohen et al. 2018,
//! "Spherical CNNs", for MNIST).
//!
//! The grid of bandwidth b has 2 b by 2 b points at the angles beta_j = pi j / (2 b) and alpha_k = pi k / b
//! of the unit sphere around (0, 0, 1). A rotated point is projected from the point (0, 0, 2.001) onto the
//! plane z = 0, where the image covers the square from -1.5 to 1.5.

use crate::shared::numpy_random::RandomState;
use std::{array, f64::consts::PI};

/// The height that points are projected from: a little above the pole, which so is not at infinity.
const ORIGIN: f64 = 2.0 + 1e-3;

/// Half the side of the square that the image covers.
const HALF: f64 = 1.5;

/// What the largest value of an image becomes; the smallest becomes 0.
const WHITE: f64 = 255.0;

pub(super) type Rotation = [[f64; 3]; 3];

/// Random rotations, each made of three numbers of numpy's legacy generator.
pub(super) fn rotations(seed: u32, count: usize) -> Vec<Rotation> {
    let mut random = RandomState::new(seed);
    (0..count).map(|_| rotation([(); 3].map(|()| random.uniform()))).collect()
}

/// A turn around the vertical axis and a reflection that takes the axis anywhere (Arvo 1992).
fn rotation(uniforms: [f64; 3]) -> Rotation {
    let [theta, phi, z] = uniforms.map(|uniform| uniform * 2.0);
    let (theta, phi, r) = (theta * PI, phi * PI, z.sqrt());
    let v = [libm::sin(phi) * r, libm::cos(phi) * r, (2.0 - z).sqrt()];
    let (sin, cos) = libm::sincos(theta);
    let turn = [[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]];
    let mirror = |i: usize, j: usize| v[i] * v[j] - if i == j { 1.0 } else { 0.0 };
    array::from_fn(|i| array::from_fn(|j| (0..3).map(|k| mirror(i, k) * turn[k][j]).sum()))
}

/// Where a point of the grid meets an image, on one axis: the pixels before and after it, if they are in the
/// image, with their weights.
#[derive(Clone, Copy)]
struct Pair {
    pixels: [Option<usize>; 2],
    weights: [f64; 2],
}

impl Pair {
    /// The rule is not linear interpolation between neighbours: its pixels are two apart.
    fn at(position: f64, side: usize) -> Pair {
        let (before, after) = (position.floor() - 1.0, position.floor() + 1.0);
        let inside = |pixel: f64| (pixel >= 0.0 && pixel < side as f64).then_some(pixel as usize);
        Pair { pixels: [inside(before), inside(after)], weights: [after - position, position - before] }
    }
}

/// Projects square images onto the grid under one rotation.
pub(super) struct Projector {
    side: usize,
    /// Per point of the grid, rows of the image and columns.
    points: Vec<[Pair; 2]>,
}

impl Projector {
    pub(super) fn new(bandwidth: usize, side: usize, rotation: &Rotation) -> Projector {
        let size = 2 * bandwidth;
        let point = |k: usize| {
            let (beta, alpha) =
                (PI * (k / size) as f64 / size as f64, 2.0 * PI * (k % size) as f64 / size as f64);
            let flat =
                [libm::sin(beta) * libm::cos(alpha), libm::sin(beta) * libm::sin(alpha), libm::cos(beta)];
            let [x, y, z] = rotation.map(|row| row[0] * flat[0] + row[1] * flat[1] + row[2] * flat[2]);
            let height = z + 1.0;
            let t = -height / (height - ORIGIN);
            let on_image = |axis: f64| (t * axis + axis + HALF) / (2.0 * HALF) * side as f64;
            [Pair::at(on_image(x), side), Pair::at(on_image(y), side)]
        };
        Projector { side, points: (0..size * size).map(point).collect() }
    }

    /// One image, plane by plane, stretched to 0..255 and cut to whole numbers.
    pub(super) fn project(&self, image: &[f32], out: &mut [f32]) {
        let (pixels, points) = (self.side * self.side, self.points.len());
        let value = |plane: &[f32], row: Option<usize>, column: Option<usize>| match (row, column) {
            (Some(row), Some(column)) => {
                plane.get(row * self.side + column).map_or(0.0, |&value| f64::from(value))
            }
            _ => 0.0,
        };
        let mut values = vec![0f64; out.len()];
        let planes = image.chunks_exact(pixels.max(1));
        for (plane, values) in planes.zip(values.chunks_exact_mut(points.max(1))) {
            for ([rows, columns], slot) in self.points.iter().zip(values) {
                let along = |column| {
                    rows.weights[0] * value(plane, rows.pixels[0], column)
                        + rows.weights[1] * value(plane, rows.pixels[1], column)
                };
                *slot = columns.weights[0] * along(columns.pixels[0])
                    + columns.weights[1] * along(columns.pixels[1]);
            }
        }
        let (least, most) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &v| (least.min(v), most.max(v)));
        for (slot, value) in out.iter_mut().zip(values) {
            // An image of one colour has nothing to stretch: it becomes black.
            *slot = if most > least { ((value - least) / (most - least) * WHITE) as u8 } else { 0 }.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_are_rotations() {
        let rotations = rotations(7, 5);
        assert_ne!(rotations[0], rotations[1]);
        for r in rotations {
            for (i, j) in (0..9).map(|k| (k / 3, k % 3)) {
                let dot: f64 = (0..3).map(|k| r[i][k] * r[j][k]).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12, "{r:?}");
            }
            let minor = |a: usize, b: usize| r[1][a] * r[2][b] - r[1][b] * r[2][a];
            let determinant = r[0][0] * minor(1, 2) - r[0][1] * minor(0, 2) + r[0][2] * minor(0, 1);
            assert!((determinant - 1.0).abs() < 1e-12, "{determinant}");
        }
    }

    #[test]
    fn pixels_are_two_apart_and_those_outside_are_black() {
        let pair = Pair::at(1.25, 4);
        assert_eq!((pair.pixels, pair.weights), ([Some(0), Some(2)], [0.75, 1.25]));
        assert_eq!(Pair::at(0.5, 4).pixels, [None, Some(1)]);
        assert_eq!(Pair::at(3.0, 4).pixels, [Some(2), None]);
        assert_eq!(Pair::at(-1.0, 4).pixels, [None, Some(0)]);
        assert_eq!(Pair::at(1e300, 4).pixels, [None, None]);
    }

    #[test]
    fn images_of_one_colour_are_black() {
        let upright = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let projector = Projector::new(2, 3, &upright);
        let mut out = vec![1.0; 16];
        projector.project(&[0.0; 9], &mut out);
        assert_eq!(out, [0.0; 16]);
        // All points of the upper pole see the middle of the image.
        projector.project(&[0., 0., 0., 0., 0., 9., 0., 0., 0.], &mut out);
        assert!(out.contains(&255.0) && out[..4].iter().all(|&value| value == out[0]));
    }

    // By tests/fixtures/sphere.py: the sum of all values, that of each value times its position, and values.
    const GOLDEN: [(f64, f64, [f32; 11]); 2] = [
        (561_891.0, 3_412_278_408.0, [0., 104., 0., 178., 0., 0., 99., 68., 0., 122., 0.]),
        (648_660.0, 2_904_335_901.0, [194., 200., 72., 0., 213., 3., 0., 0., 163., 112., 0.]),
    ];

    #[test]
    fn values_are_those_of_the_formula_in_numpy() {
        let image: Vec<f32> = (0..3 * 32 * 32).map(|k| ((k * k * 31 + k * 7) % 256) as f32).collect();
        for (rotation, expected) in rotations(3, 2).iter().zip(GOLDEN) {
            let mut out = vec![0.0; 3 * 60 * 60];
            Projector::new(30, 32, rotation).project(&image, &mut out);
            let sums = out.iter().enumerate().fold([0f64; 2], |[sum, moment], (at, &value)| {
                [sum + f64::from(value), moment + f64::from(value) * at as f64]
            });
            // A last digit of a sine may move a value over an integer.
            assert!((sums[0] - expected.0).abs() <= 3.0, "{sums:?}, expected {expected:?}");
            assert!((sums[1] - expected.1).abs() <= 3.0 * 10_800.0, "{sums:?}, expected {expected:?}");
            let some: Vec<f32> = out.iter().step_by(997).copied().collect();
            assert_eq!(some, expected.2);
        }
    }
}

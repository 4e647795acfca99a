//! Every algorithm's kernels, by the emulator and on a GPU if there is one, against definitions in f64.

use super::{
    dense::{Dense, DenseMethod, DenseSizes},
    depthwise::{Convolution, Depthwise, TapMethod, channel_sums},
    mixture::MixtureTable,
    segments::{Segment, Segments, Tiling},
};
use candle_core::{Device, Tensor};
use dash_cuda::{Gpu, run_on_gpus};
use proptest::prelude::*;

type DeviceBuffer = dash_cuda::DeviceBuffer<f32>;

/// Values in [-1, 1) from a small generator.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// `terms` is how many products of numbers in [-1, 1) a value is the sum of, at most.
fn check(what: &str, got: &[f32], expected: &[f64], terms: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len(), "{}", what);
    let usual = ((terms as f64).sqrt() / 3.0).max(1.0);
    let size = expected.iter().fold(usual, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        prop_assert!((f64::from(*g) - e).abs() < 2e-6 * size, "{} [{}]: {} against {}", what, i, g, e);
    }
    Ok(())
}

fn up(gpu: &Gpu, values: &[f32]) -> DeviceBuffer {
    gpu.upload(values).unwrap()
}

/// [`run_on_gpus`] for tensors.
fn with_tensors(compute: impl Fn(&Gpu, &Device) -> Vec<Tensor>) -> Vec<Vec<f32>> {
    run_on_gpus(|gpu| {
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        compute(gpu, &gpu.device()).into_iter().map(|tensor| up(gpu, &values(tensor))).collect()
    })
}

/// Maps of `size` cut into tiles of at most `tile` per axis, for outputs every `stride` and taps that reach so far.
fn tiles(size: [usize; 2], stride: [usize; 2], reach: [usize; 2], tile: usize) -> Tiling {
    let axis = |a: usize| {
        let (n, s, r, tile) = (size[a], stride[a], reach[a], tile.min(size[a]));
        let starts = || (0..n).step_by(tile);
        // Numbers from..to, `every` so far apart, whose transform begins at `origin`.
        let run = |from: usize, to: usize, every: usize, origin: i64| {
            let start = from.div_ceil(every);
            let len = to.div_ceil(every).saturating_sub(start);
            let at = if len == 0 { 0 } else { ((start * every) as i64 - origin) as usize };
            Segment { start, len, at }
        };
        let seen =
            |t: usize, every| run(t.saturating_sub(r), (t + tile + r).min(n), every, t as i64 - r as i64);
        let own = |t: usize, every| run(t, (t + tile).min(n), every, t as i64 - r as i64);
        let segments = |stride, of: &dyn Fn(usize) -> Segment| Segments {
            step: 1,
            stride,
            segments: starts().map(of).collect(),
        };
        let length = if n == 1 && r == 0 { 1 } else { (tile + 2 * r).next_power_of_two() };
        let [x, y] = [segments(1, &|t| seen(t, 1)), segments(s, &|t| own(t, s))];
        let [grad, dx] = [segments(s, &|t| seen(t, s)), segments(1, &|t| own(t, 1))];
        (length, [x, y, grad, dx])
    };
    let ((rows, [x, y, grad, dx]), (columns, [x_, y_, grad_, dx_])) = (axis(0), axis(1));
    Tiling {
        size: [rows, columns],
        dilation: [1, 1],
        x: [x, x_],
        y: [y, y_],
        grad: [grad, grad_],
        dx: [dx, dx_],
    }
}

/// The farthest that offsets are from the centre, per axis.
fn reach(offsets: &[[i32; 2]]) -> [usize; 2] {
    [0, 1].map(|a| offsets.iter().map(|o| o[a].unsigned_abs() as usize).max().unwrap_or(0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn mixtures_are_sums_of_their_candidates(
        pairs in 1usize..40, taps in 1usize..30, candidates in 1usize..6, seed: u64,
    ) {
        let tap_indices: Vec<Vec<usize>> = (0..candidates)
            .map(|c| (0..taps).filter(|t| c == 0 || (seed >> ((t + 7 * c) % 64)) & 1 == 1).collect())
            .collect();
        let lens: Vec<usize> = tap_indices.iter().map(Vec::len).collect();
        let w = values(pairs * lens.iter().sum::<usize>(), seed);
        let (c, g) = (values(candidates, seed ^ 1), values(pairs * taps, seed ^ 2));
        let got = run_on_gpus(|t| {
            let table = MixtureTable::new(t, &tap_indices, taps, pairs).unwrap();
            let [w, c, g] = [&w, &c, &g].map(|v| up(t, v));
            let out = table.mix(t, t.read(&w), t.read(&c)).unwrap();
            let [dw, dc] = table.gradients(t, t.read(&w), t.read(&c), t.read(&g)).unwrap();
            vec![out, dw, dc]
        });
        let (mut out, mut dw, mut dc) = (vec![0.0; pairs * taps], Vec::new(), vec![0.0; candidates]);
        let mut rest = w.iter();
        for (i, tap_indices) in tap_indices.iter().enumerate() {
            for pair in 0..pairs {
                for &place in tap_indices {
                    let (w, grad) = (f64::from(*rest.next().unwrap()), f64::from(g[pair * taps + place]));
                    out[pair * taps + place] += f64::from(c[i]) * w;
                    dw.push(f64::from(c[i]) * grad);
                    dc[i] += w * grad;
                }
            }
        }
        check("out", &got[0], &out, candidates)?;
        check("dw", &got[1], &dw, 1)?;
        check("dc", &got[2], &dc, pairs * taps)?;
    }

    #[test]
    fn depthwise_convolutions_are_sums_over_taps(
        batch in 1usize..6, channels in 1usize..4, size in [1usize..13, 1usize..90], stride in [1usize..4, 1usize..3],
        distance in 1i32..9, tile in 2usize..60, transformed: bool, seed: u64,
    ) {
        let all: Vec<[i32; 2]> = (0..9).map(|i| [(i / 3 - 1) * distance, (i % 3 - 1) * (distance + 2)]).collect();
        let meets = |o: &[i32; 2]| (0..2).all(|a| o[a].unsigned_abs() < size[a] as u32);
        let (tap_indices, offsets): (Vec<usize>, Vec<[i32; 2]>) = all.iter().copied().enumerate().filter(|(_, o)| meets(o)).unzip();
        let tiling = || tiles(size, stride, reach(&offsets), tile);
        let method = || if transformed { TapMethod::Transforms(Box::new(tiling())) } else { TapMethod::Taps };
        let out = [size[0].div_ceil(stride[0]), size[1].div_ceil(stride[1])];
        let (plane, out_plane) = (size[0] * size[1], out[0] * out[1]);
        let x = values(batch * channels * plane, seed);
        let (w, b) = (values(channels * all.len(), seed ^ 1), values(channels, seed ^ 2));
        let g = values(batch * channels * out_plane, seed ^ 3);
        let got = run_on_gpus(|t| {
            let taps = (offsets.as_slice(), tap_indices.as_slice(), all.len());
            let conv = Depthwise::new(t, [batch, channels], size, stride, taps, method()).unwrap();
            let [x, w, b, g] = [&x, &w, &b, &g].map(|v| up(t, v));
            vec![
                conv.forward(t, t.read(&x), t.read(&w), t.read(&b)).unwrap(),
                conv.input_gradient(t, t.read(&g), t.read(&w)).unwrap(),
                conv.weight_gradient(t, t.read(&x), t.read(&g)).unwrap(),
                channel_sums(t, t.read(&g), [batch, channels, out_plane]).unwrap(),
            ]
        });
        let (mut y, mut dx) = (vec![0.0; g.len()], vec![0.0; x.len()]);
        let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; channels]);
        for map in 0..batch * channels {
            let c = map % channels;
            for (p, q) in (0..out[0]).flat_map(|p| (0..out[1]).map(move |q| (p, q))) {
                let to = map * out_plane + p * out[1] + q;
                let grad = f64::from(g[to]);
                y[to] += f64::from(b[c]);
                db[c] += grad;
                for (t, o) in all.iter().enumerate() {
                    let at = [(p * stride[0]) as i32 + o[0], (q * stride[1]) as i32 + o[1]];
                    if (0..2).all(|a| (0..size[a] as i32).contains(&at[a])) {
                        let from = map * plane + at[0] as usize * size[1] + at[1] as usize;
                        let (x, w) = (f64::from(x[from]), f64::from(w[c * all.len() + t]));
                        y[to] += w * x;
                        dx[from] += w * grad;
                        dw[c * all.len() + t] += x * grad;
                    }
                }
            }
        }
        check("y", &got[0], &y, all.len())?;
        check("dx", &got[1], &dx, all.len())?;
        check("dw", &got[2], &dw, batch * out_plane)?;
        check("db", &got[3], &db, batch * out_plane)?;
    }

    #[test]
    fn dense_convolutions_are_sums_over_taps_and_channels(
        batch in 1usize..5, groups in 1usize..3, channels in [1usize..5, 1usize..5], size in [1usize..11, 1usize..40],
        stride in [1usize..4, 1usize..3], distance in 0i32..7, tile in 2usize..40, transformed: bool, seed: u64,
    ) {
        let [per_in, per_out] = channels;
        // With a distance of 0 there is a single tap, at the centre.
        let all: Vec<[i32; 2]> = match distance {
            0 => vec![[0, 0]],
            _ => (0..9).map(|i| [(i / 3 - 1) * distance, (i % 3 - 1) * (distance + 2)]).collect(),
        };
        let meets = |o: &[i32; 2]| (0..2).all(|a| o[a].unsigned_abs() < size[a] as u32);
        let (tap_indices, offsets): (Vec<usize>, Vec<[i32; 2]>) = all.iter().copied().enumerate().filter(|(_, o)| meets(o)).unzip();
        let tiling = || tiles(size, stride, reach(&offsets), tile);
        let method = || if transformed { DenseMethod::Transforms(Box::new(tiling())) } else { DenseMethod::Columns };
        let out = [size[0].div_ceil(stride[0]), size[1].div_ceil(stride[1])];
        let (plane, out_plane) = (size[0] * size[1], out[0] * out[1]);
        let (c_in, c_out, taps) = (groups * per_in, groups * per_out, all.len());
        let x = values(batch * c_in * plane, seed);
        let (w, b) = (values(c_out * per_in * taps, seed ^ 1), values(c_out, seed ^ 2));
        let g = values(batch * c_out * out_plane, seed ^ 3);
        let got = with_tensors(|t, device| {
            let table = (offsets.as_slice(), tap_indices.as_slice(), taps);
            let sizes = DenseSizes { batch, groups, per_in, per_out, size, stride };
            let conv = Dense::new(t, sizes, table, method()).unwrap();
            let [x, w, b, g] = [&x, &w, &b, &g].map(|v| Tensor::new(v.as_slice(), device).unwrap());
            let y = conv.forward(t, &x, &w, &b).unwrap();
            let (dx, dw) = conv.gradients(t, &x, &w, &g, true).unwrap();
            let (none, again) = conv.gradients(t, &x, &w, &g, false).unwrap();
            assert!(none.is_none());
            vec![y, dx.unwrap(), dw, again]
        });
        let (mut y, mut dx, mut dw) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        for (s, o) in (0..batch).flat_map(|s| (0..c_out).map(move |o| (s, o))) {
            for (p, q) in (0..out[0]).flat_map(|p| (0..out[1]).map(move |q| (p, q))) {
                let to = (s * c_out + o) * out_plane + p * out[1] + q;
                let grad = f64::from(g[to]);
                y[to] += f64::from(b[o]);
                for (i, (t, offset)) in (0..per_in).flat_map(|i| all.iter().enumerate().map(move |t| (i, t))) {
                    let at = [(p * stride[0]) as i32 + offset[0], (q * stride[1]) as i32 + offset[1]];
                    if (0..2).all(|a| (0..size[a] as i32).contains(&at[a])) {
                        let channel = o / per_out * per_in + i;
                        let from = (s * c_in + channel) * plane + at[0] as usize * size[1] + at[1] as usize;
                        let of = (o * per_in + i) * taps + t;
                        let (x, w) = (f64::from(x[from]), f64::from(w[of]));
                        y[to] += w * x;
                        dx[from] += w * grad;
                        dw[of] += x * grad;
                    }
                }
            }
        }
        check("y", &got[0], &y, per_in * taps)?;
        check("dx", &got[1], &dx, per_out * taps)?;
        check("dw", &got[2], &dw, batch * out_plane)?;
        prop_assert!(got[2] == got[3], "the same without the gradient in x");
    }
}

/// Sizes beyond the shared memory that blocks have without asking, and beyond what they may have.
#[test]
fn large_maps_are_convolved_as_well() {
    for (size, tile) in [([120, 110], None), ([120, 110], Some(38)), ([300, 220], None)] {
        large_maps(size, tile);
    }
}

fn large_maps(size: [usize; 2], tile: Option<usize>) {
    let offsets: Vec<[i32; 2]> = (-15..=15).flat_map(|r| [-45, -7, 0, 7, 45].map(|c| [r, c])).collect();
    let tap_indices: Vec<usize> = (0..offsets.len()).collect();
    let [rows, columns] = size;
    let (x, w) = (values(2 * rows * columns, 1), values(2 * offsets.len(), 2));
    let got = run_on_gpus(|t| {
        let taps = (offsets.as_slice(), tap_indices.as_slice(), offsets.len());
        let tiling = |tile| TapMethod::Transforms(Box::new(tiles(size, [1, 1], reach(&offsets), tile)));
        let method = tile.map_or(TapMethod::Taps, tiling);
        let conv = Depthwise::new(t, [1, 2], size, [1, 1], taps, method).unwrap();
        let [x, w, b] = [&x, &w, &vec![0.0; 2]].map(|v| up(t, v));
        vec![
            conv.forward(t, t.read(&x), t.read(&w), t.read(&b)).unwrap(),
            conv.input_gradient(t, t.read(&x), t.read(&w)).unwrap(),
            conv.weight_gradient(t, t.read(&x), t.read(&x)).unwrap(),
        ]
    });
    let plane = rows * columns;
    let at =
        |c: usize, r: i32, q: i32| match (0..rows as i32).contains(&r) && (0..columns as i32).contains(&q) {
            true => f64::from(x[c * plane + r as usize * columns + q as usize]),
            false => 0.0,
        };
    let last = [rows as i32 - 1, columns as i32 - 1];
    for (c, r, q) in [(0, 0, 0), (1, last[0], last[1]), (0, last[0] / 2, 55), (1, 14, last[1] - 9)] {
        // x serves as gradient as well: offsets look the other way there.
        for (sign, found) in [(1, &got[0]), (-1, &got[1])] {
            let terms = offsets.iter().zip(&w[c * offsets.len()..]);
            let y: f64 = terms.map(|(o, &w)| f64::from(w) * at(c, r + sign * o[0], q + sign * o[1])).sum();
            let found = found[c * plane + r as usize * columns + q as usize];
            assert!((f64::from(found) - y).abs() < 1e-5, "{found} against {y}");
        }
    }
    for (c, t) in [(0, 0), (1, 77), (1, 154)] {
        let o = offsets[t];
        let all = (0..=last[0]).flat_map(|r| (0..=last[1]).map(move |q| (r, q)));
        let dw: f64 = all.map(|(r, q)| at(c, r, q) * at(c, r + o[0], q + o[1])).sum();
        let found = got[2][c * offsets.len() + t];
        assert!((f64::from(found) - dw).abs() < 1e-6 * dw.abs().max(100.0), "{found} against {dw}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let t = Gpu::emulated();
    let three = up(&t, &[0.0; 3]);
    assert!(MixtureTable::new(&t, &[vec![4]], 4, 1).is_err());
    assert!(Depthwise::new(&t, [1, 1], [4, 4], [1, 1], (&[[0, 0]], &[9], 9), TapMethod::Taps).is_err());
    assert!(Depthwise::new(&t, [1, 1], [4, 0], [1, 1], (&[], &[], 9), TapMethod::Taps).is_err());
    let message = channel_sums(&t, t.read(&three), [1, 2, 1]).err().unwrap().to_string();
    assert_eq!(message, "bias: the gradient has 3 elements instead of 2");
}

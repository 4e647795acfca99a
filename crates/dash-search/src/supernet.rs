//! Builds mixed operations in place of convolutions (DASH, sections 3 to 5).

use candle_core::Result;
use dash_conv::{Algorithm, ConvOptions, MixedResults, Mixture, TapConv, TapSet};
use dash_core::{
    pipeline::{Candidate, Search},
    random::{Purpose, standard_exponential, stream},
};
use dash_nn::{
    Activation, ConvBuilder, ConvSpec, Convolve, Error, ForwardContext, Init, Param, ParamBuilder,
};
use std::sync::Arc;

/// Standard deviation of initial candidate weights. The backbone's own initialisation is not used.
const WEIGHT_STD: f64 = 0.01;
/// Standard deviation of initial architecture parameters.
const ALPHA_STD: f64 = 0.001;

/// The source of the noise in the mixing weights.
pub trait SamplingNoise: Send + Sync {
    /// The noise of one layer in one forward pass, one value per candidate.
    fn draw(&self, pass: &ForwardContext, layer: usize, candidates: usize) -> Vec<f32>;
}

/// Independent standard Gumbel noise, `-log(E)` with E standard exponential, from the stream of
/// (seed, epoch, step, layer) (DASH, section 5.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Gumbel;

impl SamplingNoise for Gumbel {
    fn draw(&self, pass: &ForwardContext, layer: usize, candidates: usize) -> Vec<f32> {
        let mut rng = stream(pass.seed, Purpose::Gumbel, [pass.epoch as u64, pass.step, layer as u64]);
        loop {
            // The logarithm is not the system's, whose last bit depends on the machine.
            let noise: Vec<f32> =
                (0..candidates).map(|_| -libm::log(standard_exponential(&mut rng)) as f32).collect();
            if noise.iter().all(|g| g.is_finite()) {
                return noise;
            }
        }
    }
}

/// A mixed operation: what replaces one convolution of the backbone.
#[derive(Clone)]
pub struct MixedLayer {
    /// Name of the convolution in the backbone.
    pub name: String,
    /// Its architecture parameters.
    pub alpha: Param,
}

impl MixedLayer {
    /// The values of the architecture parameters.
    ///
    /// # Errors
    /// If they cannot be read from the device.
    pub fn values(&self) -> Result<Vec<f32>> {
        self.alpha.var().as_detached_tensor().to_vec1()
    }
}

/// How a mixed operation is computed (DASH, section 11). All strategies are the same function of the same parameters,
/// with the same grouping: depthwise where the channels agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MixtureStrategy {
    /// One convolution over the union of the candidates' taps, as the planner decides.
    #[default]
    Planned,
    /// The same convolution, by Fourier transforms.
    Fourier,
    /// The same convolution, without Fourier transforms: the baseline "mixed-weights", but without the zeros between
    /// the taps of the aggregated kernel.
    Weights,
    /// A convolution per candidate without Fourier transforms, and the weighted sum of the results: the baseline
    /// "mixed-results".
    Results,
}

/// Builds the supernet: a mixed operation in place of each searchable convolution of a backbone.
pub struct MixtureBuilder {
    candidates: Vec<Candidate>,
    separable: bool,
    noise: Arc<dyn SamplingNoise>,
    strategy: MixtureStrategy,
    layers: Vec<MixedLayer>,
}

impl MixtureBuilder {
    /// Mixed operations over the search space of `search`.
    pub fn new(search: &Search, noise: impl SamplingNoise + 'static) -> MixtureBuilder {
        MixtureBuilder {
            candidates: Candidate::enumerate(&search.kernel_sizes, &search.dilations),
            separable: search.separable,
            noise: Arc::new(noise),
            strategy: MixtureStrategy::default(),
            layers: Vec::new(),
        }
    }

    /// The same mixed operations, computed by another strategy.
    pub fn with_strategy(mut self, strategy: MixtureStrategy) -> MixtureBuilder {
        self.strategy = strategy;
        self
    }

    /// The layers built so far, in forward order.
    pub fn layers(&self) -> &[MixedLayer] {
        &self.layers
    }
}

impl ConvBuilder for MixtureBuilder {
    fn build(
        &mut self,
        spec: &ConvSpec,
        params: &mut ParamBuilder,
    ) -> std::result::Result<Box<dyn Convolve>, Error> {
        // Candidates are always centred, also where the retrained network is causal.
        let sets = self
            .candidates
            .iter()
            .map(|c| TapSet::centred(spec.dims, c.kernel_size, c.dilation))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let mixture = Mixture::new(&sets)?;
        let depthwise = self.separable && spec.c_in == spec.c_out;
        let groups = if depthwise { spec.c_in } else { 1 };
        let group_in = spec.c_in / groups;
        let name = &spec.name;
        let len = mixture.weights_len(spec.c_out * group_in);
        let weights = params.weight(&format!("{name}.weights"), len, Init::Normal { std: WEIGHT_STD })?;
        // The bias keeps the backbone's initial values; its bound follows from the backbone's kernel.
        let taps = spec.default.kernel_size.pow(spec.dims as u32);
        let bias = params.weight(&format!("{name}.bias"), spec.c_out, spec.init.bias(spec.c_in, taps))?;
        let alpha = params.architecture(
            &format!("{name}.alpha"),
            self.candidates.len(),
            Init::Normal { std: ALPHA_STD },
        )?;
        self.layers.push(MixedLayer { name: name.clone(), alpha: alpha.clone() });
        let planner = match self.strategy {
            MixtureStrategy::Planned => params.planner().clone(),
            MixtureStrategy::Fourier => params.planner().among([Algorithm::Fft]),
            MixtureStrategy::Weights | MixtureStrategy::Results => {
                params.planner().among([Algorithm::Gemm, Algorithm::Direct])
            }
        };
        let options = ConvOptions { groups, stride: [spec.stride; 2] };
        let computed = match self.strategy {
            MixtureStrategy::Results => Computed::Results(MixedResults::new(&sets, options, &planner)?),
            _ => {
                let conv = TapConv::new(mixture.taps().clone(), options)?;
                Computed::Union(mixture, Arc::new(conv.with_planner(&planner)))
            }
        };
        Ok(Box::new(MixedConv {
            computed,
            weights,
            bias,
            alpha,
            channels: [spec.c_out, group_in],
            layer: spec.index,
            noise: self.noise.clone(),
        }))
    }
}

/// The convolutions of a mixed operation.
enum Computed {
    Union(Mixture, Arc<TapConv>),
    Results(MixedResults),
}

/// A mixed operation as a layer of a network.
struct MixedConv {
    computed: Computed,
    weights: Param,
    bias: Param,
    alpha: Param,
    /// Output channels, and input channels that each of them sees.
    channels: [usize; 2],
    layer: usize,
    noise: Arc<dyn SamplingNoise>,
}

impl Convolve for MixedConv {
    fn forward(&self, x: &Activation, pass: &ForwardContext) -> Result<Activation> {
        let alpha = self.alpha.tensor(pass);
        let candidates = alpha.elem_count();
        let noise = self.noise.draw(pass, self.layer, candidates);
        // softmax(log_softmax(alpha) + G) = softmax(alpha + G): a common shift cancels.
        let mixing_weights = x.backend().mixing_weights(&alpha, noise)?;
        let (weights, bias) = (self.weights.tensor(pass), self.bias.tensor(pass));
        match &self.computed {
            Computed::Union(mixture, conv) => {
                let kernel = x.backend().mix(mixture, &weights, &mixing_weights, self.channels)?;
                x.convolve(conv, &kernel, &bias)
            }
            Computed::Results(results) => x.mix_results(results, &weights, &mixing_weights, &bias),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use dash_core::pipeline::Backbone;
    use dash_nn::{Backend, Gradients, ParamKind, build};

    fn pass(epoch: usize, step: u64) -> ForwardContext {
        ForwardContext { training: true, seed: 4, epoch, step }
    }

    #[test]
    fn noise_has_the_moments_of_a_gumbel_distribution_and_is_fresh_everywhere() {
        let draws: Vec<f64> =
            (0..4000).flat_map(|step| Gumbel.draw(&pass(0, step), 0, 16)).map(f64::from).collect();
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n;
        let variance = draws.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n;
        // Euler's constant and pi^2 / 6; tolerances are five standard errors.
        assert!((mean - 0.577_215_66).abs() < 0.026, "{mean}");
        assert!((variance - 1.644_934).abs() < 0.08, "{variance}");
        let base = Gumbel.draw(&pass(0, 0), 0, 4);
        assert_eq!(base, Gumbel.draw(&pass(0, 0), 0, 4));
        for other in
            [Gumbel.draw(&pass(1, 0), 0, 4), Gumbel.draw(&pass(0, 1), 0, 4), Gumbel.draw(&pass(0, 0), 1, 4)]
        {
            assert_ne!(base, other);
        }
    }

    /// DASH, section 11: same weights, same mixing weights, same outputs and gradients. Two axes,
    /// strides, dense and depthwise layers, and one axis.
    #[test]
    fn all_strategies_agree() {
        let space = Search { kernel_sizes: vec![3, 5, 9], dilations: vec![1, 2, 5], ..Search::default() };
        for (backbone, input) in [
            (Backbone::Wrn { depth: 10, width: 1 }, vec![2, 9, 11]),
            (Backbone::Resnet1d { channels: Some(3), causal: false }, vec![1, 40]),
        ] {
            let run = |strategy| {
                let mut params = ParamBuilder::new(3, 0, &Backend::cpu());
                let mut convs = MixtureBuilder::new(&space, Gumbel).with_strategy(strategy);
                let net = build(&backbone, &input, 5, false, 0.0, &mut convs, &mut params).unwrap();
                let params = params.finish();
                // Initial weights are so small that biases would drown what they make of the data.
                for p in params.iter().filter(|p| p.name().ends_with(".weights")) {
                    p.var().set(&p.var().affine(30.0, 0.0).unwrap()).unwrap();
                }
                let shape = [&[4], &input[..]].concat();
                let count = shape.iter().product::<usize>();
                let values: Vec<f32> =
                    (0..count).map(|i| ((i * i + 7 * i) % 31) as f32 / 31.0 - 0.4).collect();
                let x = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
                let y = net.forward(&x, &pass(0, 1)).unwrap();
                let loss = (&y * &y).unwrap().sum_all().unwrap();
                let gradients = Gradients::of(&loss, &params).unwrap();
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let mut all = vec![("output".to_owned(), flat(&y))];
                let of = |(i, p): (usize, &Param)| (p.name().to_owned(), flat(gradients.get(i).unwrap()));
                all.extend(params.iter().enumerate().map(of));
                all
            };
            let expected = run(MixtureStrategy::Planned);
            let largest = expected.iter().flat_map(|(_, v)| v).fold(0f32, |m, v| m.max(v.abs()));
            for strategy in [MixtureStrategy::Fourier, MixtureStrategy::Weights, MixtureStrategy::Results] {
                for ((name, got), (_, expected)) in run(strategy).iter().zip(&expected) {
                    // Relative to the tensor's largest value; a bias before batch normalisation has no
                    // gradient but rounding, which is small beside the others.
                    let size = expected.iter().fold(1e-2 * largest, |m, v| m.max(v.abs()));
                    for (g, e) in got.iter().zip(expected) {
                        assert!((g - e).abs() < 1e-4 * size, "{strategy:?} {name}: {g} against {e}");
                    }
                }
            }
        }
    }

    /// DASH, section 15.1: parameters of the search net, and of alpha.
    #[test]
    fn parameter_counts_of_the_published_search_nets() {
        let two = || Search::default();
        let one = || Search { kernel_sizes: vec![3, 7, 11, 15, 19], ..Search::default() };
        let ninapro = Search { kernel_sizes: vec![3, 5, 7], dilations: vec![1, 3, 7], ..Search::default() };
        let mnist = Search { dilations: vec![1, 3, 7, 15, 31, 63, 127], ..Search::default() };
        let count = |space: &Search, input: &[usize], outputs, dense| {
            let backbone = match input.len() {
                3 => Backbone::Wrn { depth: 16, width: 1 },
                _ => Backbone::Resnet1d { channels: None, causal: false },
            };
            let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
            let mut convs = MixtureBuilder::new(space, Gumbel);
            build(&backbone, input, outputs, dense, 0.0, &mut convs, &mut params).unwrap();
            let params = params.finish();
            (params.count(), params.count_of(ParamKind::Architecture))
        };
        assert_eq!(count(&two(), &[3, 32, 32], 100, false), (1_952_516, 208));
        assert_eq!(count(&two(), &[3, 85, 85], 1, true), (1_946_081, 208));
        assert_eq!(count(&two(), &[57, 128, 128], 1, true), (2_512_865, 208));
        assert_eq!(count(&ninapro, &[1, 16, 52], 18, false), (734_407, 117));
        assert_eq!(count(&two(), &[1, 128, 128], 1, true), (1_925_089, 208));
        assert_eq!(count(&two(), &[1, 96, 102], 200, false), (1_938_024, 208));
        assert_eq!(count(&one(), &[1, 1000], 4, false), (18_948, 180));
        assert_eq!(count(&one(), &[1, 46], 24, false), (2_000_268, 180));
        assert_eq!(count(&one(), &[4, 1000], 36, false), (2_044_248, 180));
        assert_eq!(count(&mnist, &[1, 784], 10, false), (122_934, 252));
        assert_eq!(count(&one(), &[88, 254], 88, true), (3_239_052, 180));
    }
}

//! Builds backbones, whose convolutions can be replaced. A backbone is one file, a line in [`build`], and an entry of the
//! table in `dash_core::pipeline::Backbone`.

mod conv;
mod network;
mod resnet1d;
mod wrn;

use crate::{
    error::{Error, Result},
    params::ParamBuilder,
};
use conv::Site;
use dash_core::pipeline::Backbone;
use network::{LayeredNetwork, Layers};
use resnet1d::{ResNet1d, default_channels};
use wrn::WideResNet;

pub use conv::{ConvBuilder, ConvSpec, Convolve, FixedKernels};
pub use network::Network;

/// Builds a backbone.
///
/// `input` is (channels, spatial axes) of one sample; `outputs` is the number of classes or labels, or of channels of a field
/// or mask if `dense`; `dropout` is a probability. The searchable convolutions come from `convs`.
///
/// # Errors
/// If the backbone does not exist with these settings, or is not for inputs of this shape.
pub fn build(
    backbone: &Backbone,
    input: &[usize],
    outputs: usize,
    dense: bool,
    dropout: f64,
    convs: &mut dyn ConvBuilder,
    params: &mut ParamBuilder,
) -> Result<Box<dyn Network>> {
    let spec = backbone.spec();
    let channels = match *input {
        [channels, ref axes @ ..] if axes.len() == spec.spatial_axes => channels,
        _ => {
            let axes = if spec.spatial_axes == 1 { "length" } else { "height, width" };
            let reason = format!("needs samples of shape [channels, {axes}], not {input:?}");
            return Err(Error::Backbone { backbone: spec.name, reason });
        }
    };
    let backend = params.backend().clone();
    let site = Site { dense, dropout, convs, params, built: 0 };
    let layers: Box<dyn Layers> = match *backbone {
        Backbone::Wrn { depth, width } => Box::new(WideResNet::new(depth, width, channels, outputs, site)?),
        Backbone::Resnet1d { channels: first, causal } => {
            let first = first.unwrap_or_else(|| default_channels(outputs));
            Box::new(ResNet1d::new(first, causal, channels, outputs, site)?)
        }
    };
    Ok(Box::new(LayeredNetwork { layers, backend }))
}

/// The default backbone of the search: `wrn` of width 1 for two spatial axes, a centred `resnet1d` for one.
pub fn default_search_backbone(spatial_axes: usize) -> Option<Backbone> {
    match spatial_axes {
        1 => Some(Backbone::Resnet1d { channels: None, causal: false }),
        2 => Some(Backbone::Wrn { depth: 16, width: 1 }),
        _ => None,
    }
}

/// The default backbone of retraining: `wrn` of width 4 for two spatial axes, a causal `resnet1d` for one.
pub fn default_retrain_backbone(spatial_axes: usize) -> Option<Backbone> {
    match spatial_axes {
        1 => Some(Backbone::Resnet1d { channels: None, causal: true }),
        2 => Some(Backbone::Wrn { depth: 16, width: 4 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::Backend, context::ForwardContext};
    use candle_core::{Device, Tensor};
    use dash_core::pipeline::Candidate;

    const WRN_4: Backbone = Backbone::Wrn { depth: 16, width: 4 };
    const WRN_1: Backbone = Backbone::Wrn { depth: 16, width: 1 };
    const RESNET: Backbone = Backbone::Resnet1d { channels: None, causal: true };

    fn count(backbone: &Backbone, input: &[usize], outputs: usize, dense: bool, k: Option<usize>) -> usize {
        let layers = if input.len() == 3 { 13 } else { 9 };
        let pattern = k.map(|kernel_size| vec![Candidate { kernel_size, dilation: 1 }; layers]);
        let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
        build(backbone, input, outputs, dense, 0.0, &mut FixedKernels { pattern }, &mut params).unwrap();
        params.finish().count()
    }

    #[test]
    fn published_parameter_counts_2d() {
        // input, outputs, dense, width 1, width 4, smallest kernels, largest kernels
        let table = [
            ([3, 32, 32], 100, false, 181_476, 2_774_276, (3, 2_774_276), (9, 24_380_036)),
            ([3, 85, 85], 1, true, 175_041, 2_748_833, (3, 2_748_833), (9, 24_354_593)),
            ([57, 128, 128], 1, true, 182_817, 2_756_609, (3, 2_756_609), (9, 24_424_577)),
            ([1, 16, 52], 18, false, 175_858, 2_752_914, (3, 2_752_914), (7, 14_754_834)),
            ([1, 128, 128], 1, true, 174_753, 2_748_545, (3, 2_748_545), (9, 24_352_001)),
            ([1, 96, 102], 200, false, 187_688, 2_799_688, (3, 2_799_688), (9, 24_403_144)),
        ];
        for (input, outputs, dense, narrow, wide, small, large) in table {
            assert_eq!(count(&WRN_1, &input, outputs, dense, None), narrow);
            assert_eq!(count(&WRN_4, &input, outputs, dense, None), wide);
            assert_eq!(count(&WRN_4, &input, outputs, dense, Some(small.0)), small.1);
            assert_eq!(count(&WRN_4, &input, outputs, dense, Some(large.0)), large.1);
        }
    }

    #[test]
    fn published_parameter_counts_1d() {
        let table = [
            ([1, 1000], 4, false, 2_240, (3, 1_452), (19, 7_660)),
            ([1, 46], 24, false, 506_840, (3, 309_912), (19, 1_883_800)),
            ([4, 1000], 36, false, 510_116, (3, 312_228), (19, 1_889_188)),
            ([1, 784], 10, false, 32_570, (3, 20_202), (9, 57_162)),
            ([88, 254], 88, true, 565_208, (3, 340_440), (19, 2_003_416)),
        ];
        for (input, outputs, dense, plain, small, large) in table {
            assert_eq!(count(&RESNET, &input, outputs, dense, None), plain);
            assert_eq!(count(&RESNET, &input, outputs, dense, Some(small.0)), small.1);
            assert_eq!(count(&RESNET, &input, outputs, dense, Some(large.0)), large.1);
        }
    }

    /// Records the convolutions that a backbone asks for.
    #[derive(Default)]
    struct Recorder(Vec<ConvSpec>);

    impl ConvBuilder for Recorder {
        fn build(&mut self, spec: &ConvSpec, params: &mut ParamBuilder) -> Result<Box<dyn Convolve>> {
            self.0.push(spec.clone());
            FixedKernels::default().build(spec, params)
        }
    }

    fn specs(backbone: &Backbone, input: &[usize], dense: bool) -> Vec<ConvSpec> {
        let mut recorder = Recorder::default();
        let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
        build(backbone, input, 4, dense, 0.0, &mut recorder, &mut params).unwrap();
        recorder.0
    }

    #[test]
    fn wrn_has_thirteen_searchable_convolutions_with_the_stride_on_the_second() {
        let found = specs(&WRN_1, &[3, 32, 32], false);
        let summary: Vec<_> = found.iter().map(|s| (s.name.as_str(), s.c_in, s.c_out, s.stride)).collect();
        assert_eq!(
            summary,
            [
                ("stem", 3, 16, 1),
                ("layer1.0.conv1", 16, 16, 1),
                ("layer1.0.conv2", 16, 16, 1),
                ("layer1.1.conv1", 16, 16, 1),
                ("layer1.1.conv2", 16, 16, 1),
                ("layer2.0.conv1", 16, 32, 1),
                ("layer2.0.conv2", 32, 32, 2),
                ("layer2.1.conv1", 32, 32, 1),
                ("layer2.1.conv2", 32, 32, 1),
                ("layer3.0.conv1", 32, 64, 1),
                ("layer3.0.conv2", 64, 64, 2),
                ("layer3.1.conv1", 64, 64, 1),
                ("layer3.1.conv2", 64, 64, 1),
            ]
        );
        assert_eq!(found.iter().map(|s| s.index).collect::<Vec<_>>(), (0..13).collect::<Vec<_>>());
        assert!(specs(&WRN_1, &[3, 32, 32], true).iter().all(|s| s.stride == 1));
        assert_eq!(specs(&Backbone::Wrn { depth: 10, width: 1 }, &[3, 8, 8], false).len(), 7);
    }

    #[test]
    fn resnet1d_has_nine_with_kernels_8_5_3() {
        let found = specs(&RESNET, &[1, 100], false);
        let summary: Vec<_> =
            found.iter().map(|s| (s.c_in, s.c_out, s.default.kernel_size, s.causal)).collect();
        let unit = |i, o| [(i, o, 8, true), (o, o, 5, true), (o, o, 3, true)];
        assert_eq!(summary, [unit(1, 4), unit(4, 8), unit(8, 8)].concat());
    }

    #[test]
    fn outputs_have_the_documented_shapes_and_odd_maps_are_accepted() {
        let shape = |backbone: &Backbone, input: &[usize], dense| {
            let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
            let net =
                build(backbone, input, 5, dense, 0.1, &mut FixedKernels::default(), &mut params).unwrap();
            let dims = [&[2], input].concat();
            let x = Tensor::ones(dims, candle_core::DType::F32, &Device::Cpu).unwrap();
            let pass = ForwardContext { training: true, ..ForwardContext::evaluation() };
            net.forward(&x, &pass).unwrap().dims().to_vec()
        };
        assert_eq!(shape(&WRN_1, &[3, 9, 14], false), [2, 5]);
        assert_eq!(shape(&WRN_1, &[3, 9, 14], true), [2, 5, 9, 14]);
        assert_eq!(shape(&RESNET, &[3, 23], false), [2, 5]);
        assert_eq!(shape(&RESNET, &[3, 23], true), [2, 5, 23]);
    }

    #[test]
    fn impossible_backbones_say_what_is_wrong() {
        let error = |backbone: &Backbone, input: &[usize], pattern: Option<usize>| {
            let pattern = pattern.map(|n| vec![Candidate { kernel_size: 3, dilation: 1 }; n]);
            let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
            build(backbone, input, 5, false, 0.0, &mut FixedKernels { pattern }, &mut params).err().unwrap()
        };
        assert!(matches!(error(&WRN_1, &[3, 9], None), Error::Backbone { .. }));
        assert!(matches!(error(&RESNET, &[3, 9, 9], None), Error::Backbone { .. }));
        for depth in [4, 12, 0] {
            let wrn = Backbone::Wrn { depth, width: 1 };
            assert!(matches!(error(&wrn, &[3, 9, 9], None), Error::Backbone { .. }));
        }
        let none = Backbone::Wrn { depth: 16, width: 0 };
        assert!(matches!(error(&none, &[3, 9, 9], None), Error::Backbone { .. }));
        assert!(matches!(error(&WRN_1, &[3, 9, 9], Some(9)), Error::PatternLength { .. }));
    }

    #[test]
    fn equal_seeds_give_equal_weights_whatever_the_dropout() {
        let weights = |seed: u64, dropout: f64| {
            let mut params = ParamBuilder::new(seed, 1, &Backend::cpu());
            build(&RESNET, &[1, 30], 4, false, dropout, &mut FixedKernels::default(), &mut params).unwrap();
            let state = params.finish().state().unwrap();
            state
                .iter()
                .flat_map(|(_, t)| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(weights(3, 0.0), weights(3, 0.5));
        assert_ne!(weights(3, 0.0), weights(4, 0.0));
    }
}

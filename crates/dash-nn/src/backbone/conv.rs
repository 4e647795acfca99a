//! Describes the searchable convolutions of a backbone, and builds what takes their place.

use crate::{
    activation::Activation,
    context::ForwardContext,
    error::{Error, Result},
    init::ConvInit,
    layers::Conv,
    params::ParamBuilder,
};
use dash_conv::TapSet;
use dash_core::pipeline::Candidate;

/// A searchable convolution of a backbone.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvSpec {
    /// Dotted name, for example `layer1.0.conv1`.
    pub name: String,
    /// Position among the searchable convolutions, in forward order.
    pub index: usize,
    /// Spatial axes, 1 or 2.
    pub dims: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Stride on every axis; outputs have ceil(n / stride) positions.
    pub stride: usize,
    /// Kernel size and dilation of the backbone itself.
    pub default: Candidate,
    /// How the backbone itself initialises it.
    pub init: ConvInit,
    /// Whether it sees only the past (1-D) instead of being centred.
    pub causal: bool,
}

/// A layer in the place of a searchable convolution.
pub trait Convolve: Send + Sync {
    /// [B, C_in, ...] -> [B, C_out, ...].
    fn forward(&self, x: &Activation, pass: &ForwardContext) -> candle_core::Result<Activation>;
}

/// Builds the layers in the places of searchable convolutions.
pub trait ConvBuilder {
    /// Called once per searchable convolution, in forward order.
    ///
    /// # Errors
    /// If no layer can be built for this convolution.
    fn build(&mut self, spec: &ConvSpec, params: &mut ParamBuilder) -> Result<Box<dyn Convolve>>;
}

/// Plain convolutions: the kernels of a pattern, or the backbone's own.
#[derive(Clone, Debug, Default)]
pub struct FixedKernels {
    /// One kernel per searchable convolution, in forward order.
    pub pattern: Option<Vec<Candidate>>,
}

impl Convolve for Conv {
    fn forward(&self, x: &Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        Conv::forward(self, x, pass)
    }
}

impl ConvBuilder for FixedKernels {
    fn build(&mut self, spec: &ConvSpec, params: &mut ParamBuilder) -> Result<Box<dyn Convolve>> {
        let Candidate { kernel_size, dilation } = match &self.pattern {
            None => spec.default,
            Some(pattern) => *pattern
                .get(spec.index)
                .ok_or(Error::PatternLength { expected: spec.index + 1, found: pattern.len() })?,
        };
        let taps = match spec.causal {
            true => TapSet::causal(kernel_size, dilation)?,
            false => TapSet::centred(spec.dims, kernel_size, dilation)?,
        };
        let channels = (spec.c_in, spec.c_out);
        Ok(Box::new(Conv::new(&spec.name, taps, spec.stride, channels, spec.init, params)?))
    }
}

/// What the layers of a network are built with.
pub(super) struct Site<'a> {
    pub(super) dense: bool,
    pub(super) dropout: f64,
    pub(super) convs: &'a mut dyn ConvBuilder,
    pub(super) params: &'a mut ParamBuilder,
    /// Searchable convolutions built so far.
    pub(super) built: usize,
}

impl Site<'_> {
    pub(super) fn searchable(&mut self, spec: ConvSpec) -> Result<Box<dyn Convolve>> {
        let spec = ConvSpec { index: self.built, ..spec };
        self.built += 1;
        self.convs.build(&spec, self.params)
    }
}

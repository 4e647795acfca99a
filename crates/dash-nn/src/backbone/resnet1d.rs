//! Builds the residual network with nine convolutions for 1-D inputs (Wang, Yan and Oates 2017), as in the DASH paper.

use super::{
    conv::{ConvSpec, Convolve, Site},
    network::Layers,
};
use crate::{
    activation::Activation,
    context::ForwardContext,
    error::{Error, Result},
    init::ConvInit,
    layers::{BatchNorm, Conv, Dropout, Head},
};
use dash_core::pipeline::Candidate;

/// Channels of the first block: min(4^(classes / 10 + 1), 64).
pub(super) fn default_channels(classes: usize) -> usize {
    match classes / 10 {
        0 => 4,
        1 => 16,
        _ => 64,
    }
}

/// Three blocks of three units, mean over time, linear.
pub(super) struct ResNet1d {
    blocks: Vec<Block>,
    head: Head,
}

/// Three units; if the channels change, BN(1x1 conv(x)) is added. With equal channels there is no
/// residual path: that is how the published network is.
struct Block {
    units: Vec<Unit>,
    residual: Option<(Conv, BatchNorm)>,
}

/// conv, dropout, BN, ReLU.
struct Unit {
    conv: Box<dyn Convolve>,
    dropout: Dropout,
    norm: BatchNorm,
}

impl ResNet1d {
    pub(super) fn new(
        first: usize,
        causal: bool,
        channels: usize,
        outputs: usize,
        mut site: Site<'_>,
    ) -> Result<ResNet1d> {
        if first == 0 {
            let reason = "channels must be at least 1".to_owned();
            return Err(Error::Backbone { backbone: "resnet1d", reason });
        }
        let widths = [(channels, first), (first, 2 * first), (2 * first, 2 * first)];
        let blocks = (1..)
            .zip(widths)
            .map(|(number, widths)| Block::new(&format!("block{number}"), widths, causal, &mut site))
            .collect::<Result<_>>()?;
        let head = Head::new(1, (2 * first, outputs), site.dense, site.params)?;
        Ok(ResNet1d { blocks, head })
    }
}

impl Block {
    fn new(name: &str, (c_in, c_out): (usize, usize), causal: bool, site: &mut Site<'_>) -> Result<Block> {
        let mut units = Vec::with_capacity(3);
        for (number, kernel_size) in (1..).zip([8, 5, 3]) {
            let layer = site.built;
            let conv = site.searchable(ConvSpec {
                name: format!("{name}.conv{number}"),
                index: 0,
                dims: 1,
                c_in: if number == 1 { c_in } else { c_out },
                c_out,
                stride: 1,
                default: Candidate { kernel_size, dilation: 1 },
                init: ConvInit::FanIn,
                causal,
            })?;
            let norm = BatchNorm::new(&format!("{name}.bn{number}"), c_out, 0.1, true, site.params)?;
            units.push(Unit { conv, dropout: Dropout::new(site.dropout, layer)?, norm });
        }
        let residual = if c_in != c_out {
            let (conv, norm) = (format!("{name}.match"), format!("{name}.match_bn"));
            let conv = Conv::pointwise(&conv, 1, 1, (c_in, c_out), ConvInit::FanIn, site.params)?;
            Some((conv, BatchNorm::new(&norm, c_out, 0.1, false, site.params)?))
        } else {
            None
        };
        Ok(Block { units, residual })
    }

    fn forward(&self, x: &Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        let mut h = x.clone();
        for unit in &self.units {
            h = unit.dropout.forward(unit.conv.forward(&h, pass)?, pass)?;
            h = unit.norm.forward(&h, pass)?;
        }
        match &self.residual {
            Some((conv, norm)) => h.add(&norm.forward(&conv.forward(x, pass)?, pass)?),
            None => Ok(h),
        }
    }
}

impl Layers for ResNet1d {
    fn forward(&self, x: Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        let mut x = x;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.head.forward(&x, pass)
    }
}

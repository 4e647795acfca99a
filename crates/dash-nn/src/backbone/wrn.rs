//! Builds the wide residual network for 2-D inputs (Zagoruyko and Komodakis 2016), as in the DASH paper.

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

const STEM: usize = 16;

/// stem, three groups of blocks, BN and ReLU, head.
pub(super) struct WideResNet {
    stem: Box<dyn Convolve>,
    blocks: Vec<Block>,
    norm: BatchNorm,
    head: Head,
}

/// x -> conv2(ReLU(BN(dropout(conv1(ReLU(BN(x))))))) + shortcut(x)
struct Block {
    norm1: BatchNorm,
    conv1: Box<dyn Convolve>,
    dropout: Dropout,
    norm2: BatchNorm,
    conv2: Box<dyn Convolve>,
    shortcut: Option<Conv>,
}

fn spec(name: String, (c_in, c_out): (usize, usize), stride: usize) -> ConvSpec {
    ConvSpec {
        name,
        index: 0,
        dims: 2,
        c_in,
        c_out,
        stride,
        default: Candidate { kernel_size: 3, dilation: 1 },
        init: ConvInit::XavierUniform,
        causal: false,
    }
}

impl WideResNet {
    pub(super) fn new(
        depth: usize,
        width: usize,
        channels: usize,
        outputs: usize,
        mut site: Site<'_>,
    ) -> Result<WideResNet> {
        let wrong = |reason: String| Err(Error::Backbone { backbone: "wrn", reason });
        if depth < 10 || !(depth - 4).is_multiple_of(6) {
            return wrong(format!("depth {depth} is not 6 n + 4 with n at least 1"));
        }
        if width == 0 {
            return wrong("width must be at least 1".to_owned());
        }
        let stem = site.searchable(spec("stem".to_owned(), (channels, STEM), 1))?;
        let (mut blocks, mut c_in) = (Vec::new(), STEM);
        for (group, factor, stride) in [(1, 1, 1), (2, 2, 2), (3, 4, 2)] {
            for index in 0..(depth - 4) / 6 {
                let c_out = STEM * width * factor;
                let stride = if index == 0 && !site.dense { stride } else { 1 };
                let name = format!("layer{group}.{index}");
                blocks.push(Block::new(&name, (c_in, c_out), stride, blocks.len(), &mut site)?);
                c_in = c_out;
            }
        }
        // The last normalisation gives new statistics nine tenths of the running estimate.
        let norm = BatchNorm::new("bn", c_in, 0.9, true, site.params)?;
        let head = Head::new(2, (c_in, outputs), site.dense, site.params)?;
        Ok(WideResNet { stem, blocks, norm, head })
    }
}

impl Block {
    fn new(
        name: &str,
        (c_in, c_out): (usize, usize),
        stride: usize,
        index: usize,
        site: &mut Site<'_>,
    ) -> Result<Block> {
        Ok(Block {
            norm1: BatchNorm::new(&format!("{name}.bn1"), c_in, 0.1, true, site.params)?,
            conv1: site.searchable(spec(format!("{name}.conv1"), (c_in, c_out), 1))?,
            dropout: Dropout::new(site.dropout, index)?,
            norm2: BatchNorm::new(&format!("{name}.bn2"), c_out, 0.1, true, site.params)?,
            conv2: site.searchable(spec(format!("{name}.conv2"), (c_out, c_out), stride))?,
            shortcut: if stride != 1 || c_in != c_out {
                let name = format!("{name}.shortcut");
                let init = ConvInit::XavierUniform;
                Some(Conv::pointwise(&name, 2, stride, (c_in, c_out), init, site.params)?)
            } else {
                None
            },
        })
    }

    fn forward(&self, x: &Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        let h = self.conv1.forward(&self.norm1.forward(x, pass)?, pass)?;
        let h = self.dropout.forward(h, pass)?;
        let h = self.conv2.forward(&self.norm2.forward(&h, pass)?, pass)?;
        match &self.shortcut {
            Some(shortcut) => h.add(&shortcut.forward(x, pass)?),
            None => h.add(x),
        }
    }
}

impl Layers for WideResNet {
    fn forward(&self, x: Activation, pass: &ForwardContext) -> candle_core::Result<Activation> {
        let mut x = self.stem.forward(&x, pass)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.head.forward(&self.norm.forward(&x, pass)?, pass)
    }
}

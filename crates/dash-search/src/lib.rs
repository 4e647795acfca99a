//! The stage `search`: builds a supernet with a mixed operation in place of each convolution of a backbone, trains
//! weights and architecture parameters together, and extracts the strongest candidate of each layer.
//!
//! ```
//! use dash_core::pipeline::{Backbone, Search};
//! use dash_nn::{Backend, ParamBuilder, ParamKind, build};
//! use dash_search::{Gumbel, MixtureBuilder};
//!
//! let space = Search { kernel_sizes: vec![3, 7, 11, 15, 19], ..Search::default() };
//! let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
//! let mut mixtures = MixtureBuilder::new(&space, Gumbel);
//! build(&Backbone::Resnet1d { channels: None, causal: false }, &[1, 1000], 4, false, 0.0, &mut mixtures, &mut params)?;
//! // Nine layers with 20 candidates each (DASH, section 15.1).
//! assert_eq!(params.finish().count_of(ParamKind::Architecture), 180);
//! # Ok::<(), dash_nn::Error>(())
//! ```

mod error;
mod extract;
mod gradient_rule;
mod search;
mod supernet;

pub use error::Error;
pub use extract::extract;
pub use gradient_rule::{ArchGradientRule, field_sizes};
pub use search::search;
pub use supernet::{Gumbel, MixedLayer, MixtureBuilder, MixtureStrategy, SamplingNoise};

//! Extracts the architecture that a search found (DASH, section 7).

use crate::{error::Error, supernet::MixedLayer};
use dash_core::{
    architecture::{Architecture, LayerChoice},
    pipeline::{Candidate, Search},
};

/// The candidate with the largest architecture parameter of every layer; the first among equals.
///
/// # Errors
/// If the parameters cannot be read.
pub fn extract(space: &Search, layers: &[MixedLayer]) -> Result<Architecture, Error> {
    let candidates = Candidate::enumerate(&space.kernel_sizes, &space.dilations);
    let layers = layers
        .iter()
        .map(|layer| {
            let alpha = layer.values()?;
            let best = alpha
                .iter()
                .zip(&candidates)
                .fold(None, |best: Option<(f32, Candidate)>, (&a, &c)| match best {
                    Some((top, _)) if top >= a => best,
                    _ => Some((a, c)),
                })
                .map_or(Candidate { kernel_size: 1, dilation: 1 }, |(_, c)| c);
            Ok(LayerChoice { name: layer.name.clone(), candidate: best, alpha })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Architecture {
        format: Architecture::FORMAT,
        kernel_sizes: space.kernel_sizes.clone(),
        dilations: space.dilations.clone(),
        layers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use dash_nn::{Init, ParamBuilder};

    #[test]
    fn the_first_largest_candidate_is_extracted() {
        let space = Search { kernel_sizes: vec![3, 5], dilations: vec![1, 2], ..Search::default() };
        let mut params = ParamBuilder::new(0, 0, &dash_nn::Backend::cpu());
        let alpha = params.architecture("stem.alpha", 4, Init::Constant(0.0)).unwrap();
        let layer = MixedLayer { name: "stem".to_owned(), alpha: alpha.clone() };
        let choice = |alpha_values: &[f32; 4]| {
            alpha.var().set(&Tensor::new(alpha_values, &Device::Cpu).unwrap()).unwrap();
            let found = extract(&space, std::slice::from_ref(&layer)).unwrap();
            found.layers[0].candidate
        };
        assert_eq!(choice(&[0.0, 0.0, 0.0, 0.0]), Candidate { kernel_size: 3, dilation: 1 });
        assert_eq!(choice(&[-1.0, 0.5, 0.2, 0.5]), Candidate { kernel_size: 3, dilation: 2 });
        assert_eq!(choice(&[-1.0, -3.0, -0.5, -0.9]), Candidate { kernel_size: 5, dilation: 1 });
    }
}

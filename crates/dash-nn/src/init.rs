//! Draws the initial values of parameters.

use dash_core::random::{ChaCha8Rng, standard_normal};
use rand::Rng;

/// How a parameter is filled before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same value everywhere.
    Constant(f64),
    /// Uniform in [-bound, bound).
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// Normal around zero.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}

impl Init {
    /// `len` values in row-major order of the parameter.
    pub fn sample(self, rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
        match self {
            Init::Constant(value) => vec![value as f32; len],
            Init::Uniform { bound } => {
                (0..len).map(|_| (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32).collect()
            }
            Init::Normal { std } => (0..len).map(|_| (std * standard_normal(rng)) as f32).collect(),
        }
    }
}

/// The rule by which a backbone initialises its convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvInit {
    /// Xavier-uniform with gain sqrt(2), zero bias (Glorot and Bengio 2010).
    XavierUniform,
    /// Weight and bias uniform in +-1 / sqrt(fan_in), fan_in = input channels x taps (PyTorch's
    /// default).
    FanIn,
}

impl ConvInit {
    /// Distribution of the weights of a convolution from `c_in` (per group) to `c_out` channels.
    pub fn weight(self, c_in: usize, c_out: usize, taps: usize) -> Init {
        match self {
            ConvInit::XavierUniform => {
                let fan_sum = ((c_in + c_out) * taps) as f64;
                Init::Uniform { bound: 2f64.sqrt() * (6.0 / fan_sum).sqrt() }
            }
            ConvInit::FanIn => Init::Uniform { bound: 1.0 / ((c_in * taps) as f64).sqrt() },
        }
    }

    /// Distribution of the bias of a convolution from `c_in` (per group) channels.
    pub fn bias(self, c_in: usize, taps: usize) -> Init {
        match self {
            ConvInit::XavierUniform => Init::Constant(0.0),
            ConvInit::FanIn => Init::Uniform { bound: 1.0 / ((c_in * taps) as f64).sqrt() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::random::{Purpose, stream};

    #[test]
    fn samples_have_the_stated_spread() {
        let mut rng = stream(1, Purpose::Initialisation, [0, 0, 0]);
        let n = 40_000;
        let mean_square = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / n as f64;
        let uniform = ConvInit::FanIn.weight(2, 5, 8).sample(&mut rng, n);
        assert!(uniform.iter().all(|x| x.abs() <= 0.25));
        // Variance of a uniform distribution: bound^2 / 3.
        assert!((mean_square(&uniform) - 0.25 * 0.25 / 3.0).abs() < 5e-4);
        let normal = Init::Normal { std: 0.01 }.sample(&mut rng, n);
        assert!((mean_square(&normal) - 1e-4).abs() < 3e-6);
    }

    #[test]
    fn xavier_bound_of_a_3x3_convolution() {
        // sqrt(2) * sqrt(6 / ((16 + 32) * 9)) = 1/6.
        let Init::Uniform { bound } = ConvInit::XavierUniform.weight(16, 32, 9) else { panic!() };
        assert!((bound - 1.0 / 6.0).abs() < 1e-12);
        assert_eq!(ConvInit::XavierUniform.bias(16, 9), Init::Constant(0.0));
    }
}

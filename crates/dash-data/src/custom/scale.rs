//! Mean and standard deviation of each channel over the training samples.

use super::{
    form::Forms,
    part::{Part, takes},
};
use crate::Error;
use dash_core::{
    card::Split,
    event::{Event, Listener},
    pipeline::{CustomData, Protocol},
};

/// Constants of each channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Code {
    pub(super) mean: Vec<f64>,
    pub(super) scale: Vec<f64>,
}

impl Code {
    /// (value - mean) / scale, channel by channel.
    pub(super) fn encode(&self, tensor: &mut [f32]) {
        let length = tensor.len() / self.mean.len().max(1);
        for ((values, mean), scale) in tensor.chunks_exact_mut(length.max(1)).zip(&self.mean).zip(&self.scale)
        {
            for value in values {
                *value = ((f64::from(*value) - mean) / scale) as f32;
            }
        }
    }
}

/// Codes of inputs and targets, if the pipeline file requests them.
#[derive(Debug, Default)]
pub(super) struct Codes {
    pub(super) input: Option<Code>,
    pub(super) target: Option<Code>,
}

impl Codes {
    /// Computes them from the samples that training sees.
    pub(super) fn fit(
        config: &CustomData,
        protocol: Protocol,
        parts: &mut [Part],
        forms: &Forms,
        listener: &dyn Listener,
    ) -> Result<Codes, Error> {
        let channels = |wanted: bool, form: Option<usize>| form.filter(|_| wanted).map(Moments::new);
        let mut input = channels(config.standardise, Some(forms.input.channels()));
        let target = forms.target.as_ref().map(|form| form.channels());
        let mut target = channels(config.standardise_target, target);
        if input.is_none() && target.is_none() {
            return Ok(Codes::default());
        }
        for part in parts.iter_mut() {
            forms.visit(
                part,
                |split| takes(protocol, Split::Train, split),
                |sample| {
                    for (moments, values) in [(&mut input, sample.input), (&mut target, sample.target)] {
                        if let Some(moments) = moments {
                            moments.add(values);
                        }
                    }
                    Ok(())
                },
            )?;
        }
        let code = |moments: Option<Moments>, name: &str| moments.map(|moments| moments.code(name, listener));
        if let (Some(moments), Some(part)) = (&target, parts.first())
            && (0..moments.ranges.len()).all(|channel| moments.constant(channel).is_some())
        {
            let problem = "is the same in all training samples: there is nothing to learn, and \
                           `dataset.standardise_target` would divide by 0";
            return Err(Error::field(part.table.path(), &config.target, problem));
        }
        Ok(Codes { input: code(input, &config.input), target: code(target, &config.target) })
    }
}

/// Count, mean and sum of squared deviations of each channel, in double precision; and its range, since the
/// deviations of a constant are not 0 where its mean is rounded.
#[derive(Debug)]
struct Moments {
    count: f64,
    channels: Vec<(f64, f64)>,
    ranges: Vec<(f32, f32)>,
}

impl Moments {
    fn new(channels: usize) -> Moments {
        Moments {
            count: 0.0,
            channels: vec![(0.0, 0.0); channels],
            ranges: vec![(f32::INFINITY, f32::NEG_INFINITY); channels],
        }
    }

    /// Adds one tensor: Chan's rule for two sets.
    fn add(&mut self, tensor: &[f32]) {
        let length = tensor.len() / self.channels.len().max(1);
        let n = length as f64;
        for ((mean, square), values) in self.channels.iter_mut().zip(tensor.chunks_exact(length.max(1))) {
            let here = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let deviations = values.iter().map(|&v| (f64::from(v) - here).powi(2)).sum::<f64>();
            let delta = here - *mean;
            *mean += delta * n / (self.count + n);
            *square += deviations + delta * delta * self.count * n / (self.count + n);
        }
        self.count += n;
        for ((low, high), values) in self.ranges.iter_mut().zip(tensor.chunks_exact(length.max(1))) {
            *low = values.iter().copied().fold(*low, f32::min);
            *high = values.iter().copied().fold(*high, f32::max);
        }
    }

    /// The one value of a channel, if it has no other.
    fn constant(&self, channel: usize) -> Option<f32> {
        let (low, high) = self.ranges.get(channel)?;
        (low == high).then_some(*low)
    }

    fn code(self, name: &str, listener: &dyn Listener) -> Code {
        let mut code = Code::default();
        for (channel, (mean, square)) in self.channels.iter().enumerate() {
            // The card stores `f32`: decoding must use the same constants as encoding.
            let (mean, deviation) = (f64::from(*mean as f32), f64::from((square / self.count).sqrt() as f32));
            let constant = self.constant(channel).map(f64::from).or((deviation <= 0.0).then_some(mean));
            let (mean, scale) = constant.map_or((mean, deviation), |value| (value, 1.0));
            if constant.is_some() {
                let message = format!(
                    "channel {channel} of `{name}` is {mean} in all training samples: it is not divided by \
                     its standard deviation"
                );
                listener.on(&Event::Warning { message });
            }
            code.mean.push(mean);
            code.scale.push(scale);
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::event::Silent;

    #[test]
    fn a_constant_whose_mean_is_rounded_is_a_constant() {
        let mut moments = Moments::new(1);
        for _ in 0..1000 {
            moments.add(&[0.1, 0.1, 0.1]);
        }
        assert_eq!(moments.constant(0), Some(0.1));
        let code = moments.code("x", &Silent);
        assert_eq!((code.mean[0], code.scale[0]), (f64::from(0.1f32), 1.0));
    }

    #[test]
    fn moments_of_channels_are_those_of_all_samples_together() {
        let mut moments = Moments::new(2);
        moments.add(&[1.0, 2.0, 5.0, 5.0]);
        moments.add(&[3.0, 6.0, 5.0, 5.0]);
        let code = moments.code("x", &Silent);
        // Of 1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9.
        assert_eq!(code.mean, [3.0, 5.0]);
        assert!((code.scale[0] - 3.5f64.sqrt()).abs() < 1e-6);
        assert_eq!(code.scale[1], 1.0);
        let mut tensor = [3.0, 6.5, 7.0, 5.0];
        code.encode(&mut tensor);
        assert_eq!(tensor, [0.0, (3.5 / f64::from(3.5f64.sqrt() as f32)) as f32, 2.0, 0.0]);
    }
}

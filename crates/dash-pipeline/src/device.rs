//! Chooses and opens the device that computes.

use crate::error::Error;
use dash_nn::Backend;
use std::{fmt, str::FromStr};

/// The device to compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The CPU.
    #[default]
    Cpu,
    /// The first CUDA device if this program was built for CUDA and there is one, else the
    /// CPU.
    Auto,
    /// The CUDA device with this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// Opens the device. If `auto` falls back to the CPU, the reason is returned with it.
    ///
    /// # Errors
    /// If a GPU was requested by its number and cannot be used.
    pub fn open(self) -> Result<(Backend, Option<String>), Error> {
        match self {
            DeviceChoice::Cpu => Ok((Backend::cpu(), None)),
            DeviceChoice::Auto if !candle_core::utils::cuda_is_available() => {
                Ok((Backend::cpu(), Some("this program was built without CUDA".to_owned())))
            }
            DeviceChoice::Auto => match gpu(0) {
                Ok(gpu) => Ok((gpu, None)),
                Err(reason) => Ok((Backend::cpu(), Some(reason))),
            },
            DeviceChoice::Cuda(number) => match gpu(number) {
                Ok(gpu) => Ok((gpu, None)),
                Err(reason) => Err(Error::Device { name: self.to_string(), reason }),
            },
        }
    }
}

/// Opens a GPU, or says why it cannot be used.
fn gpu(number: usize) -> Result<Backend, String> {
    if !candle_core::utils::cuda_is_available() {
        return Err("this program was built without CUDA".to_owned());
    }
    Backend::open_gpu(number).map_err(|error| {
        let text = error.to_string();
        if text.contains("NO_DEVICE") || text.contains("INVALID_DEVICE") {
            return "there is no such GPU".to_owned();
        }
        // A trace may follow.
        text.lines().next().unwrap_or_default().to_owned()
    })
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceChoice, String> {
        let number = |text: &str| text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "cpu" => Ok(DeviceChoice::Cpu),
            "auto" => Ok(DeviceChoice::Auto),
            _ => number(text)
                .map(DeviceChoice::Cuda)
                .ok_or_else(|| format!("expected cpu, auto or cuda:N, found {text:?}")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_falls_back_to_the_cpu() {
        let (backend, reason) = DeviceChoice::Auto.open().unwrap();
        assert_eq!(backend.gpu().is_none(), reason.is_some());
        assert!(matches!(DeviceChoice::Cpu.open(), Ok((cpu, None)) if cpu.gpu().is_none()));
        if let Err(error) = DeviceChoice::Cuda(7).open() {
            assert!(error.to_string().starts_with("cannot use the device cuda:7: "), "{error}");
        }
    }

    #[test]
    fn names_can_be_parsed() {
        for choice in [DeviceChoice::Cpu, DeviceChoice::Auto, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for bad in ["gpu", "cuda", "cuda:", "cuda:-1", ""] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad}");
        }
    }
}

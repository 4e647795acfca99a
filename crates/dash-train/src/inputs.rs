//! Reads the results of earlier stages, and checks them as if anybody could have written them.

use crate::error::Error;
use dash_core::{
    architecture::{Architecture, Hyperparameters},
    pipeline::Candidate,
};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads `architecture.json`.
///
/// # Errors
/// [`Error::Input`] if it is not a plain file, is of a newer format, or holds what a search of its own space cannot
/// find.
pub fn read_architecture(path: &Path) -> Result<Architecture, Error> {
    let architecture: Architecture = read(path)?;
    match fault(&architecture) {
        None => Ok(architecture),
        Some(reason) => Err(Error::Input { path: path.to_owned(), reason }),
    }
}

/// Reads the hyperparameters from `hyperparameters.json`, and ignores its other fields.
///
/// # Errors
/// [`Error::Input`] if it is not a plain file, or holds values outside of their ranges.
pub fn read_hyperparameters(path: &Path) -> Result<Hyperparameters, Error> {
    let chosen: Hyperparameters = read(path)?;
    let Hyperparameters { learning_rate, dropout, weight_decay, momentum } = chosen;
    // A rate of 0 trains nothing, but pipeline files may have it.
    let positive = |value: f64| value.is_finite() && value >= 0.0;
    let share = |value: f64| (0.0..1.0).contains(&value);
    for (name, value, fine, must) in [
        ("learning_rate", learning_rate, positive(learning_rate), "zero or positive"),
        ("dropout", dropout, share(dropout), "in [0, 1)"),
        ("weight_decay", weight_decay, positive(weight_decay), "zero or positive"),
        ("momentum", momentum, share(momentum), "in [0, 1)"),
    ] {
        if !fine {
            let reason = format!("has {name} = {value}, which must be {must}");
            return Err(Error::Input { path: path.to_owned(), reason });
        }
    }
    Ok(chosen)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let wrong = |reason: String| Error::Input { path: path.to_owned(), reason };
    let bytes = dash_store::read_small(path, dash_store::STATE_LIMIT)
        .map_err(|e| wrong(format!("cannot be read: {}", e.reason())))?;
    serde_json::from_slice(&bytes).map_err(|e| wrong(format!("is damaged: {e}")))
}

fn fault(found: &Architecture) -> Option<String> {
    let Architecture { format, kernel_sizes, dilations, layers } = found;
    if *format > Architecture::FORMAT {
        return Some(format!("has format {format}, this program reads up to {}", Architecture::FORMAT));
    }
    if layers.is_empty() {
        return Some("has no layers".to_owned());
    }
    let candidates = kernel_sizes.len() * dilations.len();
    let mut names = std::collections::BTreeSet::new();
    layers.iter().find_map(|layer| {
        let name = &layer.name;
        let Candidate { kernel_size, dilation } = layer.candidate;
        if !kernel_sizes.contains(&kernel_size) || !dilations.contains(&dilation) {
            return Some(format!(
                "has ({kernel_size}, {dilation}) in layer {name:?}, which was not searched"
            ));
        }
        if layer.alpha.len() != candidates || layer.alpha.iter().any(|alpha| !alpha.is_finite()) {
            return Some(format!(
                "does not have {candidates} finite architecture parameters in layer {name:?}"
            ));
        }
        (!names.insert(name)).then(|| format!("names the layer {name:?} twice"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::error::{Classify, ErrorKind};
    use serde_json::{Value, json};

    fn refusal(result: Result<impl Sized, Error>) -> String {
        let Err(error) = result else { panic!("taken") };
        assert_eq!(error.kind(), ErrorKind::Data);
        error.to_string()
    }

    #[test]
    fn hyperparameters_out_of_range_are_refused_and_the_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hyperparameters.json");
        let put = |name: &str, value: Value| {
            let mut all = json!({
                "learning_rate": 0.1, "dropout": 0.0, "weight_decay": 0.0, "momentum": 0.9, "trials": 3,
            });
            all[name] = value;
            dash_store::publish_file(&path, all.to_string().as_bytes()).unwrap();
            read_hyperparameters(&path)
        };
        assert_eq!(put("learning_rate", json!(0.2)).unwrap().learning_rate, 0.2);
        for (name, value) in [
            ("learning_rate", json!(-0.1)),
            ("dropout", json!(1.0)),
            ("dropout", json!(-0.1)),
            ("weight_decay", json!(-1e-9)),
            ("momentum", json!(1.5)),
            ("momentum", json!("0.9")),
        ] {
            let message = refusal(put(name, value));
            assert!(message.contains("hyperparameters.json"), "{message}");
        }
        dash_store::remove(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(refusal(read_hyperparameters(&path)).contains("is a device"));
    }

    #[test]
    fn architectures_outside_of_their_search_space_are_refused_and_the_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("architecture.json");
        let layer = |name: &str| json!({"name": name, "kernel_size": 3, "dilation": 1, "alpha": [0.0, 1.0]});
        let good = json!({
            "format": 1, "kernel_sizes": [3, 5], "dilations": [1], "layers": [layer("stem"), layer("head")],
        });
        let put = |value: &Value| {
            dash_store::publish_file(&path, value.to_string().as_bytes()).unwrap();
            read_architecture(&path)
        };
        assert_eq!(put(&good).unwrap().layers.len(), 2);
        for (place, value) in [
            ("/format", json!(2)),
            ("/layers", json!([])),
            ("/layers/0/kernel_size", json!(7)),
            ("/layers/1/dilation", json!(2)),
            ("/layers/1/name", json!("stem")),
            ("/layers/0/alpha", json!([0.0])),
            ("/layers/0/alpha", json!([0.0, null])),
        ] {
            let mut other = good.clone();
            *other.pointer_mut(place).unwrap() = value;
            let message = refusal(put(&other));
            assert!(message.contains("architecture.json"), "{message}");
        }
    }
}

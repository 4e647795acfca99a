//! Files of a stage's results: tensors as safetensors, JSON, and the folder `checkpoint/` with a manifest of hashes.

use crate::error::Error;
use candle_core::{DType, Device, Tensor};
use dash_nn::{NamedTensors, Optimizer, Params};
use dash_store::Staging;
use safetensors::{Dtype, tensor::TensorView};
use serde::Serialize;
use serde_json::json;
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Version of the checkpoint folder.
const FORMAT: u32 = 1;

/// Writes f32 tensors as one safetensors file; returns its hash.
///
/// # Errors
/// If a tensor is not f32 or the file cannot be written.
pub fn write_tensors(out: &mut Staging, name: &str, tensors: &[(String, Tensor)]) -> Result<String, Error> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Ok((name.clone(), tensor.dims().to_vec(), bytes))
        })
        .collect::<Result<_, Error>>()?;
    let format = |reason: safetensors::SafeTensorError| Error::Format {
        path: PathBuf::from(name),
        reason: reason.to_string(),
    };
    let views: Vec<(&str, TensorView<'_>)> = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(format)?))
        })
        .collect::<Result<_, Error>>()?;
    let file = safetensors::serialize(views, None).map_err(format)?;
    out.write(name, &file)?;
    Ok(dash_store::sha256(&file))
}

/// Reads the f32 tensors of a safetensors file, in the order of their names.
///
/// # Errors
/// If the file cannot be read or holds other tensors.
pub(crate) fn read_tensors(path: &Path) -> Result<NamedTensors, Error> {
    let wrong = |reason: String| Error::Format { path: path.to_owned(), reason };
    // One buffer of the file's size; safetensors checks that the tensors lie inside it.
    let mut bytes = Vec::new();
    let mut file = dash_store::open_plain(path).map_err(|e| wrong(e.reason()))?;
    file.read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let tensors =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| wrong(e.to_string()))?;
    if let Some((name, other)) = tensors.iter().find(|(_, t)| t.dtype() != DType::F32) {
        return Err(wrong(format!("tensor {name} is {:?} instead of F32", other.dtype())));
    }
    let mut tensors: NamedTensors = tensors.into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

/// Writes the folder `checkpoint/`: parameters and buffers, momentum buffers, and a manifest with hashes.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write_checkpoint(
    out: &mut Staging,
    epochs: usize,
    params: &Params,
    optimizer: &dyn Optimizer,
) -> Result<(), Error> {
    let state = write_tensors(out, "checkpoint/state.safetensors", &params.state()?)?;
    let momentum = write_tensors(out, "checkpoint/momenta.safetensors", &optimizer.state()?)?;
    let manifest = json!({
        "format": FORMAT,
        "epochs": epochs,
        "files": { "state.safetensors": state, "momenta.safetensors": momentum },
    });
    out.write("checkpoint/manifest.json", format!("{manifest:#}\n").as_bytes())?;
    Ok(())
}

/// Writes a value as an indented JSON file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(out: &mut Staging, name: &str, value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::Format { path: out.path().join(name), reason: e.to_string() })?;
    text.push('\n');
    Ok(out.write(name, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Staging::begin(&dir.path().join("stage")).unwrap();
        let tensor = Tensor::new(&[[1f32, 2., 3.], [4., 5., 6.]], &Device::Cpu).unwrap();
        let hash =
            write_tensors(&mut out, "model.safetensors", &[("a.weight".to_owned(), tensor.t().unwrap())])
                .unwrap();
        let path = out.path().join("model.safetensors");
        assert_eq!(hash, dash_store::sha256_file(&path).unwrap());
        let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(read["a.weight"].to_vec2::<f32>().unwrap(), [[1., 4.], [2., 5.], [3., 6.]]);
    }

    /// A file with this header, which may announce another length, and `data` bytes after it.
    fn file(header: &str, announced: Option<u64>, data: usize) -> Vec<u8> {
        let mut bytes = announced.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn crafted_files_are_refused() {
        let tensor = |name: &str, dtype: &str, shape: &str, from: u64, to: u64| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{from},{to}]}}"#)
        };
        let of = |tensors: &[String]| format!("{{{}}}", tensors.join(","));
        let honest = tensor("a", "F32", "2", 0, 8);
        let views: Vec<String> = (0..1000).map(|i| tensor(&i.to_string(), "F32", "2", 0, 8)).collect();
        let hostile = [
            file(&of(std::slice::from_ref(&honest)), Some(1 << 62), 8),
            file(&of(std::slice::from_ref(&honest)), Some(u64::MAX), 8),
            file(&of(&[tensor("a", "F32", "2", 0, 1 << 60)]), None, 8),
            file(&of(&[tensor("a", "F32", "2", 8, 0)]), None, 8),
            file(&of(&[tensor("a", "F32", "1152921504606846976", 0, 8)]), None, 8),
            file(&of(&[tensor("a", "F32", "4611686018427387904,4611686018427387904", 0, 8)]), None, 8),
            // The same bytes a thousand times.
            file(&of(&views), None, 8),
            file(&of(&[tensor("a", "I64", "1", 0, 8)]), None, 8),
            file(&"[".repeat(100_000), None, 8),
            file("", None, 0),
            vec![1, 2, 3],
            Vec::new(),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        let read = |bytes: &[u8]| {
            #[allow(clippy::disallowed_methods, reason = "this is not a file that the program writes")]
            std::fs::write(&path, bytes).unwrap();
            read_tensors(&path)
        };
        assert_eq!(read(&file(&of(&[honest]), None, 8)).unwrap().len(), 1);
        for (i, bytes) in hostile.iter().enumerate() {
            assert!(matches!(read(bytes), Err(Error::Format { .. })), "file {i}");
        }
    }
}

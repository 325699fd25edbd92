//! The digit classifier with trained weights.

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::graph::{Builder, Graph, TensorId};
use tinyc_compiler::program::{Bytes, Weight};
use tinyc_compiler::uop::DType;

const WEIGHTS: &[u8] = include_bytes!("../weights/mnist.safetensors");
const SAMPLE: &[u8] = include_bytes!("../weights/mnist_sample.safetensors");

/// Digits that the training has not seen.
#[derive(Debug, Clone)]
pub struct Digits {
    /// Each 28x28, in 0..1, row by row.
    pub images: Vec<Vec<f32>>,
    /// What each shows.
    pub labels: Vec<u8>,
}

/// Image `[1,1,28,28]` in 0..1 to ten scores: two convolutions of 3x3 with ReLU and pooling, one linear layer.
pub fn mnist() -> Result<Graph> {
    let file = open(WEIGHTS)?;
    let mut b = Builder::new("mnist");
    let mut x = b.input("image", DType::F32, &[1, 1, 28, 28])?;
    for layer in ["conv1", "conv2"] {
        let w = load(&mut b, &file, &format!("{layer}.weight"))?;
        let bias = load(&mut b, &file, &format!("{layer}.bias"))?;
        x = b.conv2d(x, w, Some(bias), 1, 1, 1)?;
        x = b.relu(x)?;
        x = b.max_pool2d(x, 2, 2, 0)?;
    }
    let x = b.reshape(x, &[1, 784])?;
    let w = load(&mut b, &file, "fc.weight")?;
    let w = b.permute(w, &[1, 0])?;
    let bias = load(&mut b, &file, "fc.bias")?;
    let y = b.matmul(x, w)?;
    let y = b.add(y, bias)?;
    b.output("scores", y);
    Ok(b.finish())
}

/// 200 held-out digits.
pub fn sample_digits() -> Result<Digits> {
    let file = open(SAMPLE)?;
    let images = tensor(&file, "images")?;
    let pixels: Vec<f32> = images
        .data()
        .iter()
        .map(|&p| f32::from(p) / 255.0)
        .collect();
    Ok(Digits {
        images: pixels.chunks(784).map(<[f32]>::to_vec).collect(),
        labels: tensor(&file, "labels")?.data().to_vec(),
    })
}

fn open(bytes: &[u8]) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes).map_err(|e| Error::bug(format!("weights of mnist: {e}")))
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>> {
    file.tensor(name)
        .map_err(|e| Error::bug(format!("weights of mnist: {name}: {e}")))
}

fn load(b: &mut Builder, file: &SafeTensors<'_>, name: &str) -> Result<TensorId> {
    let t = tensor(file, name)?;
    b.weight(Weight {
        name: name.to_string(),
        dtype: DType::F32,
        shape: t.shape().iter().map(|&d| d as i64).collect(),
        bytes: Bytes::new(t.data().to_vec()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sample_is_complete() {
        let digits = sample_digits().unwrap();
        assert_eq!((digits.images.len(), digits.labels.len()), (200, 200));
        assert!((0..10).all(|d| digits.labels.contains(&d)));
    }
}

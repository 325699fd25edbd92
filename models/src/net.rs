//! Layers with seeded weights: what the model files are written in.
//!
//! In: a tensor and sizes. Out: the layer's result; its weights are drawn from one deterministic stream, so a model is
//! fully given by its seed. Example: `let y = net.conv("stem", x, 64, 7, 2, 1)?`.

use std::sync::Arc;
use tinyc_compiler::diag::{Origin, Result};
use tinyc_compiler::graph::{Builder, Graph, TensorId};
use tinyc_compiler::uop::{Binary, DType};

/// A network under construction.
pub struct Net {
    /// For what is not a layer.
    pub b: Builder,
    state: u64,
}

impl Net {
    /// An empty network.
    pub fn new(name: &str, seed: u64) -> Net {
        Net {
            b: Builder::new(name),
            state: seed,
        }
    }

    /// The graph.
    pub fn finish(self) -> Graph {
        self.b.finish()
    }

    /// Next number of the stream in -1..1 (SplitMix64).
    fn draw(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A weight with numbers of the given standard deviation around `mean`.
    pub fn weight(
        &mut self,
        name: &str,
        dims: &[i64],
        mean: f32,
        deviation: f32,
    ) -> Result<TensorId> {
        let n: i64 = dims.iter().product();
        // A uniform number in -1..1 has the variance 1/3.
        let scale = deviation * 3f32.sqrt();
        let values: Vec<f32> = (0..n).map(|_| mean + scale * self.draw()).collect();
        self.b.floats(name, dims, &values)
    }

    /// Names the layer that follows.
    pub fn layer(&mut self, name: &str, op: &str) {
        self.b.set_origin(Arc::new(Origin::new(name, op, "")));
    }

    /// Convolution with bias; `same` padding.
    pub fn conv(
        &mut self,
        name: &str,
        x: TensorId,
        out: i64,
        kernel: i64,
        stride: i64,
        groups: i64,
    ) -> Result<TensorId> {
        let channels = self.b.dims(x)?[1] / groups;
        // He et al. 2015: this scale keeps the size of activations through ReLU layers.
        let deviation = (2.0 / (channels * kernel * kernel) as f32).sqrt();
        let dims = [out, channels, kernel, kernel];
        let w = self.weight(&format!("{name}.weight"), &dims, 0.0, deviation)?;
        let bias = self.weight(&format!("{name}.bias"), &[out], 0.0, 0.05)?;
        self.layer(name, "Conv");
        self.b.conv2d(x, w, Some(bias), stride, kernel / 2, groups)
    }

    /// x·W + b over the last axis.
    pub fn linear(&mut self, name: &str, x: TensorId, out: i64) -> Result<TensorId> {
        let inner = self.b.dims(x)?.last().copied().unwrap_or(1);
        let deviation = (1.0 / inner as f32).sqrt();
        let w = self.weight(&format!("{name}.weight"), &[inner, out], 0.0, deviation)?;
        let bias = self.weight(&format!("{name}.bias"), &[out], 0.0, 0.02)?;
        self.layer(name, "Gemm");
        let y = self.b.matmul(x, w)?;
        self.b.add(y, bias)
    }

    /// Layer normalisation over the last axis.
    pub fn layer_norm(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let dims = self.b.dims(x)?;
        let axis = dims.len() - 1;
        let scale = self.weight(&format!("{name}.weight"), &dims[axis..], 1.0, 0.05)?;
        let bias = self.weight(&format!("{name}.bias"), &dims[axis..], 0.0, 0.05)?;
        self.layer(name, "LayerNormalization");
        self.b.layer_norm(x, scale, bias, axis, 1e-5)
    }

    /// x * sigmoid(x).
    pub fn silu(&mut self, x: TensorId) -> Result<TensorId> {
        let s = self.b.sigmoid(x)?;
        self.b.mul(x, s)
    }

    /// min(max(x, 0), 6).
    pub fn relu6(&mut self, x: TensorId) -> Result<TensorId> {
        self.b.clip(x, 0.0, 6.0)
    }

    /// Mean over the image: [N,C,H,W] to [N,C].
    pub fn global_mean(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        self.layer(name, "GlobalAveragePool");
        let dims = self.b.dims(x)?;
        let mean = self.b.mean(x, &[2, 3])?;
        self.b.reshape(mean, &dims[..2])
    }

    /// Squeeze and excitation: scales channels by what the whole image says.
    pub fn squeeze(&mut self, name: &str, x: TensorId, inner: i64) -> Result<TensorId> {
        let channels = self.b.dims(x)?[1];
        self.layer(name, "ReduceMean");
        let mean = self.b.mean(x, &[2, 3])?;
        let s = self.conv(&format!("{name}.reduce"), mean, inner, 1, 1, 1)?;
        let s = self.silu(s)?;
        let s = self.conv(&format!("{name}.expand"), s, channels, 1, 1, 1)?;
        let s = self.b.sigmoid(s)?;
        self.layer(name, "Mul");
        self.b.binary(Binary::Mul, x, s)
    }

    /// A model input of f32.
    pub fn input(&mut self, name: &str, dims: &[i64]) -> Result<TensorId> {
        self.b.input(name, DType::F32, dims)
    }
}

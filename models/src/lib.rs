//! Models defined in Rust with the graph builder.
//!
//! In: a name, or a seed for the weights. Out: a [`Graph`] that compiles like an imported one. [`mnist`] carries trained
//! weights (`models/train_mnist.py` made them from digits that it draws); the others have the shapes of
//! well-known networks and seeded weights: they are for tests and benchmarks of the compiler.
//!
//! ```
//! let graph = tinyc_models::by_name("mnist")?;
//! assert_eq!(graph.inputs[0].0, "image");
//! # Ok::<(), tinyc_compiler::diag::Error>(())
//! ```

mod gpt2;
mod mnist;
mod mobilenet;
mod net;
mod resnet;
mod vision;

pub use gpt2::gpt2_block;
pub use mnist::{Digits, mnist, sample_digits};
pub use mobilenet::mobilenet_v2;
pub use resnet::resnet18;
pub use vision::vision_trunk;

use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::graph::Graph;

/// Seed of the models that [`by_name`] makes.
const SEED: u64 = 0;

/// Names that [`by_name`] knows.
pub fn names() -> &'static [&'static str] {
    &[
        "mnist",
        "resnet18",
        "mobilenet_v2",
        "gpt2_block",
        "vision_trunk",
    ]
}

/// A model by its name.
pub fn by_name(name: &str) -> Result<Graph> {
    match name {
        "mnist" => mnist(),
        "resnet18" => resnet18(SEED),
        "mobilenet_v2" => mobilenet_v2(SEED),
        "gpt2_block" => gpt2_block(SEED),
        "vision_trunk" => vision_trunk(SEED),
        _ => Err(Error::usage(format!("there is no built-in model '{name}'"))
            .help(format!("built-in models: {}", names().join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn output_dims(graph: &Graph) -> Vec<Vec<i64>> {
        let outputs = graph.outputs.iter();
        outputs.map(|(_, id)| graph.dims(*id).unwrap()).collect()
    }

    fn parameters(graph: &Graph) -> i64 {
        let weights = graph.weights.iter();
        weights.map(|w| w.shape.iter().product::<i64>()).sum()
    }

    #[test]
    fn models_have_the_shapes_of_their_families() {
        let g = by_name("resnet18").unwrap();
        assert_eq!(output_dims(&g), [vec![1, 1000]]);
        // The published 11.69 million, less the scales that folded batch norms do not have.
        assert!(
            (11_670_000..11_700_000).contains(&parameters(&g)),
            "{}",
            parameters(&g)
        );
        let g = by_name("mobilenet_v2").unwrap();
        assert_eq!(output_dims(&g), [vec![1, 1000]]);
        assert!(
            (3_450_000..3_510_000).contains(&parameters(&g)),
            "{}",
            parameters(&g)
        );
        let g = by_name("gpt2_block").unwrap();
        assert_eq!(output_dims(&g), [vec![1, 64, 768]]);
        // A block of GPT-2, and the causal mask.
        assert_eq!(parameters(&g), 7_087_872 + 64 * 64);
        let g = by_name("vision_trunk").unwrap();
        assert_eq!(output_dims(&g), [vec![1, 512], vec![1, 33, 15], vec![1, 8]]);
    }

    #[test]
    fn every_name_works_and_twice_the_same() {
        for name in names() {
            let (a, b) = (by_name(name).unwrap(), by_name(name).unwrap());
            assert_eq!(a.tensors.len(), b.tensors.len(), "{name}");
            for (x, y) in a.weights.iter().zip(&b.weights) {
                assert!(x.name == y.name && x.bytes[..] == y.bytes[..], "{name}");
            }
        }
        assert!(by_name("nothing").unwrap_err().help.is_some());
    }

    #[test]
    fn seeds_differ() {
        let (a, b) = (gpt2_block(1).unwrap(), gpt2_block(2).unwrap());
        assert!(
            a.weights
                .iter()
                .zip(&b.weights)
                .any(|(x, y)| x.bytes[..] != y.bytes[..])
        );
    }
}

//! One block of a GPT-2-like transformer (Radford et al. 2019): causal attention and a feed-forward layer.

use crate::net::Net;
use tinyc_compiler::diag::Result;
use tinyc_compiler::graph::{Graph, TensorId};
use tinyc_compiler::uop::Binary;

const TOKENS: i64 = 64;
const WIDTH: i64 = 768;
const HEADS: i64 = 12;

/// Hidden states `[1,64,768]` to hidden states.
pub fn gpt2_block(seed: u64) -> Result<Graph> {
    let mut net = Net::new("gpt2_block", seed);
    let x = net.input("hidden", &[1, TOKENS, WIDTH])?;
    let y = net.layer_norm("ln_1", x)?;
    let y = attention(&mut net, y)?;
    let x = net.b.add(x, y)?;
    let y = net.layer_norm("ln_2", x)?;
    let y = net.linear("mlp.fc", y, 4 * WIDTH)?;
    let y = net.b.gelu(y)?;
    let y = net.linear("mlp.proj", y, WIDTH)?;
    let y = net.b.add(x, y)?;
    net.b.output("hidden_out", y);
    Ok(net.finish())
}

fn attention(net: &mut Net, x: TensorId) -> Result<TensorId> {
    let size = WIDTH / HEADS;
    let qkv = net.linear("attn.qkv", x, 3 * WIDTH)?;
    let mut heads = [qkv; 3];
    for (i, head) in heads.iter_mut().enumerate() {
        let part = net.b.slice(qkv, 2, i as i64 * WIDTH, WIDTH)?;
        let part = net.b.reshape(part, &[1, TOKENS, HEADS, size])?;
        *head = net.b.permute(part, &[0, 2, 1, 3])?;
    }
    let [q, k, v] = heads;
    net.layer("attn", "Attention");
    let k = net.b.permute(k, &[0, 1, 3, 2])?;
    let scores = net.b.matmul(q, k)?;
    let scores = net
        .b
        .with_number(Binary::Mul, scores, 1.0 / (size as f64).sqrt())?;
    // A token sees itself and those before it.
    let mask: Vec<f32> = (0..TOKENS * TOKENS)
        .map(|i| if i % TOKENS > i / TOKENS { -1e9 } else { 0.0 })
        .collect();
    let mask = net.b.floats("attn.mask", &[TOKENS, TOKENS], &mask)?;
    let scores = net.b.add(scores, mask)?;
    let weights = net.b.softmax(scores, 3)?;
    let y = net.b.matmul(weights, v)?;
    let y = net.b.permute(y, &[0, 2, 1, 3])?;
    let y = net.b.reshape(y, &[1, TOKENS, WIDTH])?;
    net.linear("attn.proj", y, WIDTH)
}

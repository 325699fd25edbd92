//! MobileNetV2 (Sandler et al. 2018), batch norms folded into the convolutions.

use crate::net::Net;
use tinyc_compiler::diag::Result;
use tinyc_compiler::graph::{Graph, TensorId};

/// Expansion, channels, blocks and first stride of each stage (table 2 of the paper).
const STAGES: [(i64, i64, usize, i64); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Image `[1,3,224,224]` to 1000 scores.
pub fn mobilenet_v2(seed: u64) -> Result<Graph> {
    let mut net = Net::new("mobilenet_v2", seed);
    let x = net.input("image", &[1, 3, 224, 224])?;
    let x = net.conv("stem", x, 32, 3, 2, 1)?;
    let mut x = net.relu6(x)?;
    for (stage, (expansion, channels, blocks, first)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { first } else { 1 };
            x = inverted_residual(
                &mut net,
                &format!("stage{stage}.{block}"),
                x,
                expansion,
                channels,
                stride,
            )?;
        }
    }
    let x = net.conv("last", x, 1280, 1, 1, 1)?;
    let x = net.relu6(x)?;
    let x = net.global_mean("pool", x)?;
    let y = net.linear("fc", x, 1000)?;
    net.b.output("scores", y);
    Ok(net.finish())
}

fn inverted_residual(
    net: &mut Net,
    name: &str,
    x: TensorId,
    expansion: i64,
    channels: i64,
    stride: i64,
) -> Result<TensorId> {
    let inputs = net.b.dims(x)?[1];
    let hidden = inputs * expansion;
    let mut y = x;
    if expansion != 1 {
        y = net.conv(&format!("{name}.expand"), y, hidden, 1, 1, 1)?;
        y = net.relu6(y)?;
    }
    y = net.conv(&format!("{name}.depthwise"), y, hidden, 3, stride, hidden)?;
    y = net.relu6(y)?;
    y = net.conv(&format!("{name}.project"), y, channels, 1, 1, 1)?;
    if stride == 1 && inputs == channels {
        y = net.b.add(x, y)?;
    }
    Ok(y)
}

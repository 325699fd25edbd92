//! ResNet-18 (He et al. 2015), batch norms folded into the convolutions.

use crate::net::Net;
use tinyc_compiler::diag::Result;
use tinyc_compiler::graph::{Graph, TensorId};

/// Image `[1,3,224,224]` to 1000 scores.
pub fn resnet18(seed: u64) -> Result<Graph> {
    let mut net = Net::new("resnet18", seed);
    let x = net.input("image", &[1, 3, 224, 224])?;
    let x = net.conv("stem", x, 64, 7, 2, 1)?;
    let x = net.b.relu(x)?;
    let mut x = net.b.max_pool2d(x, 3, 2, 1)?;
    for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = basic_block(
                &mut net,
                &format!("stage{stage}.{block}"),
                x,
                channels,
                stride,
            )?;
        }
    }
    let x = net.global_mean("pool", x)?;
    let y = net.linear("fc", x, 1000)?;
    net.b.output("scores", y);
    Ok(net.finish())
}

fn basic_block(
    net: &mut Net,
    name: &str,
    x: TensorId,
    channels: i64,
    stride: i64,
) -> Result<TensorId> {
    let y = net.conv(&format!("{name}.conv1"), x, channels, 3, stride, 1)?;
    let y = net.b.relu(y)?;
    let y = net.conv(&format!("{name}.conv2"), y, channels, 3, 1, 1)?;
    let shortcut = match stride {
        1 => x,
        _ => net.conv(&format!("{name}.shortcut"), x, channels, 1, stride, 1)?,
    };
    let y = net.b.add(y, shortcut)?;
    net.b.relu(y)
}

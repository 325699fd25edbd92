//! A vision trunk as driving models have it: two frames in, stages of mobile convolutions, several heads.

use crate::net::Net;
use tinyc_compiler::diag::Result;
use tinyc_compiler::graph::{Graph, TensorId};
use tinyc_compiler::uop::Binary;

/// Expansion, channels, blocks, kernel and first stride of each stage.
const STAGES: [(i64, i64, usize, i64, i64); 5] = [
    (1, 16, 1, 3, 1),
    (4, 24, 2, 3, 2),
    (4, 48, 2, 5, 2),
    (4, 96, 3, 3, 2),
    (4, 160, 2, 5, 2),
];
const POINTS: i64 = 33;
const POINT: i64 = 15;

/// Frames `[1,12,128,256]` and the wanted speed `[1,1]` to features `[1,512]`, a plan `[1,33,15]` and
/// the probabilities of what is to happen `[1,8]`.
pub fn vision_trunk(seed: u64) -> Result<Graph> {
    let mut net = Net::new("vision_trunk", seed);
    let frames = net.input("frames", &[1, 12, 128, 256])?;
    let speed = net.input("speed", &[1, 1])?;
    let x = net.conv("stem", frames, 32, 3, 2, 1)?;
    let mut x = net.silu(x)?;
    for (stage, (expansion, channels, blocks, kernel, first)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { first } else { 1 };
            let name = format!("stage{stage}.{block}");
            x = mobile_block(&mut net, &name, x, expansion, (channels, kernel, stride))?;
        }
    }
    let x = net.conv("last", x, 512, 1, 1, 1)?;
    let x = net.silu(x)?;
    let pooled = net.global_mean("pool", x)?;
    let features = net.linear("features", pooled, 512)?;
    let features = net.b.unary(tinyc_compiler::uop::Unary::Tanh, features)?;
    net.b.output("features", features);

    let wanted = net.linear("speed", speed, 512)?;
    let hidden = net.b.binary(Binary::Add, features, wanted)?;
    let hidden = net.layer_norm("hidden.norm", hidden)?;
    let hidden = net.linear("hidden.fc", hidden, 256)?;
    let hidden = net.b.gelu(hidden)?;

    let plan = net.linear("plan", hidden, POINTS * POINT)?;
    let plan = net.b.reshape(plan, &[1, POINTS, POINT])?;
    net.b.output("plan", plan);

    let events = net.linear("events", hidden, 8)?;
    let events = net.b.softmax(events, 1)?;
    net.b.output("events", events);
    Ok(net.finish())
}

fn mobile_block(
    net: &mut Net,
    name: &str,
    x: TensorId,
    expansion: i64,
    (channels, kernel, stride): (i64, i64, i64),
) -> Result<TensorId> {
    let inputs = net.b.dims(x)?[1];
    let hidden = inputs * expansion;
    let mut y = x;
    if expansion != 1 {
        y = net.conv(&format!("{name}.expand"), y, hidden, 1, 1, 1)?;
        y = net.silu(y)?;
    }
    y = net.conv(
        &format!("{name}.depthwise"),
        y,
        hidden,
        kernel,
        stride,
        hidden,
    )?;
    y = net.silu(y)?;
    y = net.squeeze(&format!("{name}.squeeze"), y, (inputs / 4).max(4))?;
    y = net.conv(&format!("{name}.project"), y, channels, 1, 1, 1)?;
    if stride == 1 && inputs == channels {
        y = net.b.add(x, y)?;
    }
    Ok(y)
}

//! Spreads the channel hint from image operations to what surrounds them.
//!
//! In: a graph whose convolutions and pools say which axis holds channels. Out: the same graph in which
//! elementwise operations, padding, slices and concatenations of such tensors say it too, so that `schedule`
//! gives them the same blocked layout and no transform stands between them.

use super::ops::Op;
use super::tensor::{Graph, TensorId};

/// Spreads hints forwards, then backwards to what only feeds marked tensors.
pub fn mark_channels(graph: &mut Graph) {
    for n in 0..graph.tensors.len() {
        let t = &graph.tensors[n];
        if t.channels.is_some() || !keeps_axes(&t.op) {
            continue;
        }
        let hint = t.src.iter().find_map(|&s| {
            let source = graph.tensor(s);
            source
                .channels
                .filter(|_| source.shape.rank() == t.shape.rank())
        });
        graph.tensors[n].channels = hint;
    }
    for n in (0..graph.tensors.len()).rev() {
        let t = &graph.tensors[n];
        let (Some(hint), true) = (t.channels, keeps_axes(&t.op)) else {
            continue;
        };
        let rank = t.shape.rank();
        let sources: Vec<TensorId> = t.src.to_vec();
        for s in sources {
            let source = &mut graph.tensors[s.0 as usize];
            if source.channels.is_none() && source.shape.rank() == rank && keeps_axes(&source.op) {
                source.channels = Some(hint);
            }
        }
    }
}

/// Operations whose result has its source's axes.
fn keeps_axes(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Where
            | Op::Cast(_)
            | Op::Pad { .. }
            | Op::Slice { .. }
            | Op::Concat(_)
            | Op::Flip(_)
            | Op::Expand
    )
}

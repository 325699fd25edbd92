//! Command streams: what a device is told to run a model once, written when the model is compiled.
//!
//! In: a [`Model`](crate::Model). Out: a [`Network`], whose sections a bundle carries. Nothing here knows an address: fields
//! that depend on one are [`Fixup`]s, which `tinyc_runtime::patch` applies.
//!
//! | file | in | out |
//! |---|---|---|
//! | `packets` | meaning | words and fields |
//! | `registers` | wanted values | packets for those that differ |
//! | `kernargs` | launches, places | the block of arguments |
//! | `generation` | chip's file | what differs between chips |
//! | `dispatch` | one launch | its packets |
//! | `network` | model | sections |

mod dispatch;
mod generation;
mod kernargs;
mod network;
mod packets;
mod registers;
#[cfg(test)]
mod tests;

pub use generation::{Caches, Generation, QueueKind};
pub use network::Network;
pub use packets::{Class, Field, Fixup};
pub use tinyc_replay_amd::Needs;

//! Artifacts: what a target writes once kernels are compiled.
//!
//! In: [`Built`](crate::program::Built) and compiled objects. Out: bytes of files. Nothing here knows
//! what machine the kernels are for.
//!
//! | file | in | out |
//! |---|---|---|
//! | `launches` | steps, plan | flat tables that a replay loop walks |
//! | `weights` | weight buffers, plan | the weights section |

mod launches;
mod weights;

pub use launches::{Launch, Launches, launches};
pub use weights::{pack, pack_all};

//! Artifacts: what a target writes once kernels are compiled.
//!
//! In: [`Built`](crate::program::Built) and compiled objects. Out: bytes of files. Nothing here knows
//! what machine the kernels are for.
//!
//! | file | in | out |
//! |---|---|---|
//! | `launches` | steps, plan | flat tables that a replay loop walks |
//! | `dispatches` | steps, plan, kernels | the same for work-groups |
//! | `weights` | weight buffers, plan | the weights section |
//! | `objects` | weights, objects | object file, archive |
//! | `names` | tensor names | identifiers |
//! | `interface` | program | data of all templates |
//! | `identities` | program, code | what each kernel is |
//! | `bundle` | program, weights | what a `.tinyexe` carries |
//! | `executable` | linked replay program, bundle | a `.tinyexe` |
//! | `library` | interface, objects | library, header, crate, build-system files |

mod bundle;
mod dispatches;
mod executable;
mod identities;
mod interface;
mod launches;
mod library;
mod names;
mod objects;
mod weights;

pub use bundle::{Provenance, bundle};
pub use dispatches::{Dispatches, Grid, dispatches};
pub use executable::{Parts, SCRIPT, append, write_executable};
pub use identities::{code_hash, identity_lines};
pub use interface::{ABI_VERSION, ARENA_ALIGN, Interface, Tensor, interface};
pub use launches::{Launch, Launches, Placed, launches};
pub use library::{Templates, write_file, write_library, write_library_with};
pub use names::{identifiers, is_identifier};
pub use objects::{data_object, data_object_with_end, weights_object, write_archive};
pub use weights::{pack, pack_all};

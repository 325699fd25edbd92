//! A simulated AMD GPU (RDNA3, wave32): what machines without one test kernels on.
//!
//! In: words of machine code. Out: instructions ([`isa`]) with their text and their bytes; memory as kernels leave it
//! ([`device`]), by executing them wave by wave ([`wave`]), started one by one or by command streams ([`pm4`]); copies by other engines ([`sdma`]). Every access is checked. Nothing here is shared with
//! the encoder of the compiler or with LLVM: the tables are facts about the hardware, `tests/objdump.rs` and
//! `tests/sweep.rs` compare every text with LLVM's.
//!
//! ```
//! let isa = tinyc_simgpu::isa::Isa::gfx1100();
//! let inst = isa.decode(&[0x0614_3d14])?;
//! assert_eq!(inst.to_string(), "v_add_f32_e32 v10, v20, v30");
//! assert_eq!(inst.encode(), [0x0614_3d14]);
//! # Ok::<(), tinyc_simgpu::isa::DecodeError>(())
//! ```

pub mod code_object;
pub mod device;
pub mod draw;
pub mod isa;
pub mod kfd;
pub mod listing;
pub mod memory;
mod mirror;
pub mod pm4;
pub mod program;
pub mod sdma;
pub mod wave;

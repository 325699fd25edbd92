//! Loads a compiled model into this process.
//!
//! In: objects of a model and its packed weights. Out: a [`Session`] that owns arena, weights and
//! thread pool. The objects are the ones that the static library ships, linked into a temporary
//! shared object that is deleted as soon as it is loaded.

use crate::toolchain::{Object, Toolchain, temp_dir, write};
use std::ffi::c_void;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::{Built, Io};
use tinyc_compiler::target::Session;

type Launch = unsafe extern "C" fn(*const *mut u8, *mut c_void) -> i32;
type PoolCreate = unsafe extern "C" fn(i32) -> *mut c_void;
type PoolDestroy = unsafe extern "C" fn(*mut c_void);

/// Alignment of arena, weights and copied tensors.
const ALIGN: usize = 64;

/// Zeroed bytes at an address that is a multiple of [`ALIGN`].
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Aligned {
        let bytes = vec![0; len + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Aligned { bytes, start, len }
    }
    /// All of it.
    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// The thread pool of a loaded model.
struct Pool {
    handle: *mut c_void,
    destroy: PoolDestroy,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: `handle` came from pool_create of the same library, which outlives the pool (field
        // order of `Loaded`), and is destroyed once.
        unsafe { (self.destroy)(self.handle) }
    }
}

/// A model in this process. Fields drop in order: the pool's threads run the library's code.
struct Loaded {
    pool: Option<Pool>,
    launch: Launch,
    arena: Aligned,
    weights: Aligned,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    _library: libloading::Library,
}

// SAFETY: the only field that is not Send is the pool's handle; the pool may be used and destroyed
// from any one thread at a time, and `run` takes `&mut self`.
unsafe impl Send for Loaded {}

/// Where a caller's tensor is copied when its address does not suit its element type.
struct Tensor {
    io: Io,
    copy: Option<Aligned>,
}

impl Tensor {
    fn check(&self, len: usize) -> Result<()> {
        if len == self.io.bytes() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "tensor '{}' has {} bytes ({} of shape {:?}), got {len}",
            self.io.name,
            self.io.bytes(),
            self.io.dtype,
            self.io.shape
        )))
    }
    fn suits(&self, pointer: *const u8) -> bool {
        pointer.align_offset(self.io.dtype.size()) == 0
    }
    fn copy(&mut self) -> &mut [u8] {
        let len = self.io.bytes();
        self.copy
            .get_or_insert_with(|| Aligned::zeroed(len))
            .as_mut()
    }
}

/// Links and loads. `objects` hold `NAME_launch` and the pool; `weights` is the packed section.
pub fn load(
    built: &Built,
    toolchain: &Toolchain,
    objects: &[Object],
    weights: Aligned,
    threads: usize,
) -> Result<Box<dyn Session>> {
    let dir = temp_dir()?;
    let mut paths = Vec::new();
    for object in objects {
        let path = dir.path().join(&object.name);
        write(&path, &object.bytes)?;
        paths.push(path);
    }
    let shared = dir.path().join("model.so");
    toolchain.link(
        &paths,
        &["-shared", "-Wl,-z,noexecstack", "-lm", "-pthread"],
        &shared,
    )?;
    let name = &built.program.name;
    let broken = |e: libloading::Error| Error::bug(format!("cannot load the compiled model: {e}"));
    // SAFETY: the library is our own generated code; it has no initialisers.
    let library = unsafe { libloading::Library::new(&shared) }.map_err(broken)?;
    // SAFETY: the signatures are those of c/loader.c and c/pool.c.
    let launch = unsafe {
        *library
            .get::<Launch>(format!("{name}_load_run"))
            .map_err(broken)?
    };
    let pool = if threads > 1 {
        // SAFETY: as above.
        let (create, destroy) = unsafe {
            (
                *library
                    .get::<PoolCreate>(format!("{name}_pool_create"))
                    .map_err(broken)?,
                *library
                    .get::<PoolDestroy>(format!("{name}_pool_destroy"))
                    .map_err(broken)?,
            )
        };
        // SAFETY: takes any number; null means failure.
        let handle = unsafe { create(threads.min(1024) as i32) };
        if handle.is_null() {
            return Err(Error::environment(format!(
                "cannot start {threads} threads"
            )));
        }
        Some(Pool { handle, destroy })
    } else {
        None
    };
    let tensors = |list: &[Io]| {
        list.iter()
            .map(|io| Tensor {
                io: io.clone(),
                copy: None,
            })
            .collect()
    };
    Ok(Box::new(Loaded {
        pool,
        launch,
        arena: Aligned::zeroed(built.plan.arena_bytes as usize),
        weights,
        inputs: tensors(&built.program.inputs),
        outputs: tensors(&built.program.outputs),
        _library: library,
    }))
}

impl Session for Loaded {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        if inputs.len() != self.inputs.len() || outputs.len() != self.outputs.len() {
            return Err(Error::usage(format!(
                "the model has {} inputs and {} outputs, got {} and {}",
                self.inputs.len(),
                self.outputs.len(),
                inputs.len(),
                outputs.len()
            )));
        }
        let mut bases = vec![
            self.arena.as_mut().as_mut_ptr(),
            self.weights.as_mut().as_mut_ptr(),
        ];
        for (tensor, bytes) in self.inputs.iter_mut().zip(inputs) {
            tensor.check(bytes.len())?;
            bases.push(if tensor.suits(bytes.as_ptr()) {
                bytes.as_ptr().cast_mut()
            } else {
                tensor.copy().copy_from_slice(bytes);
                tensor.copy().as_mut_ptr()
            });
        }
        for (tensor, bytes) in self.outputs.iter_mut().zip(outputs.iter_mut()) {
            tensor.check(bytes.len())?;
            bases.push(if tensor.suits(bytes.as_ptr()) {
                bytes.as_mut_ptr()
            } else {
                tensor.copy().as_mut_ptr()
            });
        }
        let pool = self
            .pool
            .as_ref()
            .map_or(std::ptr::null_mut(), |p| p.handle);
        // SAFETY: `bases` holds, in the order of the launch tables, an arena and weights of the
        // planned sizes and every tensor with exactly its size, aligned for its type; kernels stay
        // inside them (proved by codegen, sizes checked by `emit::launches`). They do not write
        // through the pointers of weights and inputs.
        let code = unsafe { (self.launch)(bases.as_ptr(), pool) };
        if code != 0 {
            return Err(Error::bug(format!("the model's run returned {code}")));
        }
        for (tensor, bytes) in self.outputs.iter_mut().zip(outputs) {
            if !tensor.suits(bytes.as_ptr()) {
                bytes.copy_from_slice(tensor.copy());
            }
        }
        Ok(())
    }
}

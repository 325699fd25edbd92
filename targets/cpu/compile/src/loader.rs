//! Loads a compiled model into this process.
//!
//! In: objects of a model and its packed weights. Out: a [`Session`] that owns arena, weights and
//! thread pool. The objects are the ones that the static library ships, linked into a temporary
//! shared object that is deleted as soon as it is loaded.

use crate::toolchain::{Object, Toolchain, temp_dir, write};
use memmap2::MmapMut;
use std::ffi::c_void;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::{Built, Io};
use tinyc_compiler::target::{Counts, EVENTS, Session};

type Launch = unsafe extern "C" fn(*const *mut u8, *mut c_void) -> i32;
type Profile = unsafe extern "C" fn(*const *mut u8, *mut u64) -> i32;
type Count = unsafe extern "C" fn(*const *mut u8, *mut u64) -> i32;
type PoolCreate = unsafe extern "C" fn(i32) -> *mut c_void;
type PoolDestroy = unsafe extern "C" fn(*mut c_void);

/// Zeroed bytes that start at a page.
pub struct Pages {
    map: MmapMut,
    len: usize,
}

impl Pages {
    /// `len` zero bytes, in huge pages where the system has them: kernels walk weights and arena in
    /// large strides, and a miss of the translation buffer costs more than one of the cache.
    pub fn zeroed(len: usize) -> Result<Pages> {
        let none = |e| Error::environment(format!("no memory for {len} bytes: {e}"));
        let map = MmapMut::map_anon(len.max(1)).map_err(none)?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Pages { map, len })
    }
    /// All of it.
    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.map[..self.len]
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
    profile: Profile,
    count: Count,
    steps: usize,
    arena: Pages,
    weights: Pages,
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
    copy: Option<Pages>,
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
    fn copy(&mut self) -> Result<&mut [u8]> {
        let copy = match self.copy.take() {
            Some(copy) => copy,
            None => Pages::zeroed(self.io.bytes())?,
        };
        Ok(self.copy.insert(copy).as_mut())
    }
}

/// Links and loads. `objects` hold `NAME_launch` and the pool; `weights` is the packed section.
pub fn load(
    built: &Built,
    toolchain: &Toolchain,
    objects: &[Object],
    weights: Pages,
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
    // SAFETY: the signature is that of c/profile.c.
    let profile = unsafe {
        *library
            .get::<Profile>(format!("{name}_load_profile"))
            .map_err(broken)?
    };
    // SAFETY: the signature is that of c/count.c.
    let count = unsafe {
        *library
            .get::<Count>(format!("{name}_load_count"))
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
        profile,
        count,
        steps: built.program.steps.len(),
        arena: Pages::zeroed(built.plan.arena_bytes as usize)?,
        weights,
        inputs: tensors(&built.program.inputs),
        outputs: tensors(&built.program.outputs),
        _library: library,
    }))
}

impl Loaded {
    /// Calls generated code with the bases of all memory: arena, weights, inputs, outputs. `code` gives the return code of the
    /// model.
    fn call(
        &mut self,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        mut code: impl FnMut(&Loaded, &[*mut u8]) -> i32,
    ) -> Result<()> {
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
                let copy = tensor.copy()?;
                copy.copy_from_slice(bytes);
                copy.as_mut_ptr()
            });
        }
        for (tensor, bytes) in self.outputs.iter_mut().zip(outputs.iter_mut()) {
            tensor.check(bytes.len())?;
            bases.push(if tensor.suits(bytes.as_ptr()) {
                bytes.as_mut_ptr()
            } else {
                tensor.copy()?.as_mut_ptr()
            });
        }
        let code = code(self, &bases);
        if code != 0 {
            return Err(Error::bug(format!("the model's run returned {code}")));
        }
        for (tensor, bytes) in self.outputs.iter_mut().zip(outputs) {
            if !tensor.suits(bytes.as_ptr()) {
                bytes.copy_from_slice(tensor.copy()?);
            }
        }
        Ok(())
    }
}

impl Session for Loaded {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        self.call(inputs, outputs, |model, bases| {
            let pool = model
                .pool
                .as_ref()
                .map_or(std::ptr::null_mut(), |p| p.handle);
            // SAFETY: `bases` holds, in the order of the launch tables, an arena and weights of the
            // planned sizes and every tensor with exactly its size, aligned for its type; kernels stay
            // inside them (proved by codegen, sizes checked by `emit::launches`). They do not write
            // through the pointers of weights and inputs.
            unsafe { (model.launch)(bases.as_ptr(), pool) }
        })
    }

    fn profile(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<Vec<f64>> {
        let mut nanoseconds = vec![0u64; self.steps];
        self.call(inputs, outputs, |model, bases| {
            // SAFETY: as in `run`; `nanoseconds` has one element for each step of the launch table.
            unsafe { (model.profile)(bases.as_ptr(), nanoseconds.as_mut_ptr()) }
        })?;
        Ok(nanoseconds.iter().map(|&n| n as f64 * 1e-9).collect())
    }

    fn count(
        &mut self,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> Result<std::result::Result<Vec<Counts>, String>> {
        const NONE: u64 = u64::MAX;
        let mut counts = vec![[NONE; EVENTS.len()]; self.steps];
        let mut code = 0;
        self.call(inputs, outputs, |model, bases| {
            // SAFETY: as in `run`; `counts` has a number for each event of each step of the launch table.
            code = unsafe { (model.count)(bases.as_ptr(), counts.as_flattened_mut().as_mut_ptr()) };
            0
        })?;
        if code != 0 {
            return Ok(Err(refused(code)));
        }
        let known = |n: u64| (n != NONE).then_some(n);
        Ok(Ok(counts.iter().map(|c| c.map(known)).collect()))
    }
}

/// Why the system counts nothing, and what to do.
fn refused(code: i32) -> String {
    let setting = "/proc/sys/kernel/perf_event_paranoid";
    match code {
        // EPERM, EACCES
        1 | 13 => {
            let level = std::fs::read_to_string(setting).unwrap_or_default();
            format!(
                "the system does not permit it ({setting} is {}); as root: sysctl kernel.perf_event_paranoid=2",
                level.trim()
            )
        }
        // ENOENT, ENODEV, EOPNOTSUPP
        2 | 19 | 95 => {
            "the processor's counters cannot be reached, as in most virtual machines".to_string()
        }
        // ENOSYS
        38 | -1 => "this system has no perf_event_open".to_string(),
        code => format!("perf_event_open fails with error {code}"),
    }
}

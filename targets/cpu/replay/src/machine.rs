//! The machine that runs a program: memory of arena and tensors, and the [`Device`] of one worker.

use crate::Kernel;
use crate::team::Team;
use tinyc_executable::Runner;
use tinyc_executable::sys::{Errno, memory};
use tinyc_runtime::program::{Launch, MAX_ARGUMENTS, Place};
use tinyc_runtime::{Device, Program, replay};

/// Pages are larger: every mapping is aligned enough.
const ALIGN: u64 = 64;

/// A program with its memory.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    program: Program<'a>,
    kernels: &'a [Kernel],
    team: &'a Team,
    /// Base pointers in the order of the launch tables.
    bases: &'a [*mut u8],
}

// SAFETY: workers share the machine. They write only where the launch tables let them: disjoint
// elements within one launch, with barriers between launches that depend on each other.
unsafe impl Sync for Machine<'_> {}
// SAFETY: as above.
unsafe impl Send for Machine<'_> {}

impl<'a> Machine<'a> {
    /// Allocates arena and tensors. `None` when the kernel table is not the program's.
    pub fn new(
        program: Program<'a>,
        weights: &'a [u8],
        kernels: &'a [Kernel],
        team: &'a Team,
    ) -> Result<Option<Machine<'a>>, Errno> {
        if kernels.len() != program.kernels as usize || weights.len() as u64 != program.weight_bytes
        {
            return Ok(None);
        }
        let too_large = Errno(12);
        let count = program.bases();
        // The table of bases, then the arena, then every tensor, in one block.
        let mut total = (count as u64 * 8).next_multiple_of(ALIGN);
        let arena_at = total;
        let mut reserve = |bytes: u64| -> Result<(), Errno> {
            let end = total.checked_add(bytes).ok_or(too_large)?;
            total = end.checked_next_multiple_of(ALIGN).ok_or(too_large)?;
            Ok(())
        };
        reserve(program.arena_bytes)?;
        for index in 0..program.inputs + program.outputs {
            reserve(program.tensor(index).map_or(0, |t| t.bytes))?;
        }
        let block = memory(usize::try_from(total).map_err(|_| too_large)?)?;
        let start = block.as_mut_ptr();
        // SAFETY: the block begins with room for `count` pointers, is aligned for them, lives for ever
        // and is reached through nothing else.
        let bases = unsafe { core::slice::from_raw_parts_mut(start.cast::<*mut u8>(), count) };
        let mut at = arena_at;
        for (index, base) in bases.iter_mut().enumerate() {
            if index == 1 {
                // Kernels do not write through the pointer of the weights.
                *base = weights.as_ptr().cast_mut();
                continue;
            }
            *base = start.wrapping_add(at as usize);
            let bytes = match index {
                0 => program.arena_bytes,
                n => program.tensor(n as u32 - 2).map_or(0, |t| t.bytes),
            };
            at += bytes.next_multiple_of(ALIGN);
        }
        Ok(Some(Machine {
            program,
            kernels,
            team,
            bases,
        }))
    }

    /// Bytes of arena, inputs and outputs.
    pub fn bytes(&self) -> usize {
        let tensors = 0..self.program.inputs + self.program.outputs;
        let sizes = tensors.map(|t| self.program.tensor(t).map_or(0, |t| t.bytes));
        sizes.fold(self.program.arena_bytes, u64::saturating_add) as usize
    }

    /// Memory of an argument of a launch; nothing for weights, which do not change.
    pub fn argument(&mut self, launch: usize, argument: usize) -> &mut [u8] {
        let program = self.program;
        let place = program
            .launches()
            .nth(launch)
            .and_then(|l| program.arguments(&l).nth(argument));
        match place.and_then(|p| Some((p, *self.bases.get(p.base as usize)?))) {
            // SAFETY: reading the program checked that every place lies inside its memory, which `new` reserved; no
            // run is going on (`&mut self`).
            Some((place, base)) if place.base != 1 => unsafe {
                core::slice::from_raw_parts_mut(
                    base.wrapping_add(place.offset as usize),
                    place.bytes as usize,
                )
            },
            _ => &mut [],
        }
    }

    /// False for a launch of a branch that this run does not take.
    fn is_needed(&self, launch: &Launch) -> bool {
        let Some((place, wanted)) = self.program.condition(launch) else {
            return true;
        };
        let Some(base) = self.bases.get(place.base as usize) else {
            return true;
        };
        // SAFETY: reading the program checked that the place holds a byte inside its memory. The launch that writes it is an earlier one,
        // with a barrier since then wherever more than worker 0 asks.
        let choice = unsafe { base.wrapping_add(place.offset as usize).read() };
        (choice != 0) == wanted
    }

    /// One launch several times, alone on this thread.
    pub fn repeat(&mut self, launch: usize, times: u32) {
        let Some(launch) = self.program.launches().nth(launch) else {
            return;
        };
        let mut pointers = [core::ptr::null_mut(); MAX_ARGUMENTS as usize];
        for (pointer, place) in pointers.iter_mut().zip(self.program.arguments(&launch)) {
            let base = self.bases.get(place.base as usize);
            *pointer = base.map_or(core::ptr::null_mut(), |b| {
                b.wrapping_add(place.offset as usize)
            });
        }
        if let Some(kernel) = self.kernels.get(launch.kernel as usize) {
            for _ in 0..times {
                // SAFETY: as in `Worker::launch`; one worker of one does everything.
                unsafe { kernel(pointers.as_ptr(), 0, 1) }
            }
        }
    }

    /// Jobs of a worker other than the first, for ever.
    pub fn serve(&self, worker: u32) -> ! {
        let mut seen = 0u32;
        loop {
            self.team.await_job(seen);
            seen = seen.wrapping_add(1);
            self.work(worker);
            self.team.barrier();
        }
    }

    fn work(&self, worker: u32) {
        let mut device = Worker {
            machine: self,
            worker: i64::from(worker),
            workers: i64::from(self.team.workers()),
            pointers: [core::ptr::null_mut(); MAX_ARGUMENTS as usize],
        };
        match replay(&self.program, &mut device) {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
}

impl<'a> Runner<'a> for Machine<'a> {
    fn program(&self) -> Program<'a> {
        self.program
    }

    fn tensor(&mut self, index: u32) -> &mut [u8] {
        let bytes = self.program.tensor(index).map_or(0, |t| t.bytes);
        match self.bases.get(index as usize + 2) {
            // SAFETY: `new` reserved exactly this many bytes; no run is going on (`&mut self`).
            Some(&base) => unsafe { core::slice::from_raw_parts_mut(base, bytes as usize) },
            None => &mut [],
        }
    }

    /// One run on all workers, from the first thread.
    fn run(&mut self) -> Result<(), i32> {
        if self.team.workers() > 1 {
            self.team.start_job();
        }
        self.work(0);
        self.team.barrier();
        Ok(())
    }
}

/// One worker as a device.
struct Worker<'a> {
    machine: &'a Machine<'a>,
    worker: i64,
    workers: i64,
    /// Arguments of the launch at hand.
    pointers: [*mut u8; MAX_ARGUMENTS as usize],
}

impl Device for Worker<'_> {
    type Error = core::convert::Infallible;

    fn launch(
        &mut self,
        launch: &Launch,
        arguments: impl Iterator<Item = Place>,
    ) -> Result<(), Self::Error> {
        if self.worker != 0 && !launch.parallel() || !self.machine.is_needed(launch) {
            return Ok(());
        }
        for (pointer, place) in self.pointers.iter_mut().zip(arguments) {
            let base = self.machine.bases.get(place.base as usize);
            *pointer = base.map_or(core::ptr::null_mut(), |b| {
                b.wrapping_add(place.offset as usize)
            });
        }
        if let Some(kernel) = self.machine.kernels.get(launch.kernel as usize) {
            // SAFETY: the bundle's digests are right, so the tables are those that the compiler made
            // for these kernels; every place was checked to lie inside its memory.
            unsafe { kernel(self.pointers.as_ptr(), self.worker, self.workers) }
        }
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), Self::Error> {
        self.machine.team.barrier();
        Ok(())
    }
}

//! The arguments of all launches, one block.
//!
//! In: launches and the places of their buffers. Out: words of the section `kernargs` with a field for each address, and the
//! offset of each launch's part. Addresses in arena and weights are known when the artifact is loaded; those of inputs and
//! outputs before a run.
//!
//! Example: a launch over `arena+64` and input 0 is 16 bytes: a link field `arena + 64` and a run field `io 0`.

use super::packets::{Class, Field, Value, Words};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::{Launches, Placed};
use tinyc_runtime::patch::{Place, symbol};

/// Alignment of a launch's part, in words.
const ALIGN: usize = 4;

/// Writes the block. Returns the offset in bytes of each launch's part.
///
/// # Errors
/// Bug when a launch names a buffer that is not there.
pub fn write(launches: &Launches, out: &mut Words) -> Result<Vec<u64>> {
    let mut offsets = Vec::with_capacity(launches.steps.len());
    for step in &launches.steps {
        while !out.words.len().is_multiple_of(ALIGN) {
            out.value(Place::Kernargs, Value::Fixed(0));
        }
        offsets.push(out.words.len() as u64 * 4);
        for n in step.first..step.first + step.count {
            let place = launches.args.get(n as usize);
            let place = place.and_then(|arg| launches.places.get(*arg as usize));
            let place = place.ok_or_else(|| Error::bug("a launch without its buffers"))?;
            out.value(Place::Kernargs, Value::Field(field(place)));
        }
    }
    Ok(offsets)
}

/// The address of a buffer.
fn field(place: &Placed) -> Field {
    let (class, symbol) = match place.base {
        0 => (Class::Link, symbol::ARENA),
        1 => (Class::Link, symbol::WEIGHTS),
        io => (Class::Run, symbol::IO + (io - 2)),
    };
    Field {
        class,
        symbol,
        addend: place.offset.cast_signed(),
        shift: 0,
        width: 8,
    }
}

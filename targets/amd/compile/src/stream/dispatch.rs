//! One launch: registers, dispatch, and the wait for its end.
//!
//! In: a code object, its place in the image, its grid, the offset of its arguments. Out: packets.
//!
//! Example: the second launch of a kernel is 3 packets: COMPUTE_USER_DATA, DISPATCH_DIRECT, EVENT_WRITE.

use super::generation::Generation;
use super::packets::{Class, Field, Packet, Value, Words};
use super::registers::{Registers, offset};
use crate::code_object::CodeObject;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::Grid;
use tinyc_runtime::patch::symbol;

/// Bits of a descriptor's properties.
mod property {
    /// The address of the arguments, two registers.
    pub const KERNARG: u16 = 1 << 3;
    /// Bytes of private memory, one register.
    pub const PRIVATE_SIZE: u16 = 1 << 6;
    /// All that put something into registers.
    pub const REGISTERS: u16 = 0x7F;
    /// Waves of 32 threads.
    pub const WAVE32: u16 = 1 << 10;
}

/// Of an initiator: this is a compute shader; it starts at group zero; waves of 32 threads.
const COMPUTE: u32 = 1;
const FROM_ZERO: u32 = 1 << 2;
const WAVE32: u32 = 1 << 15;

/// A launch.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Its kernel.
    pub code: &'a CodeObject,
    /// First instruction, from the start of the image.
    pub entry: u64,
    /// Work-groups and threads.
    pub grid: Grid,
    /// Arguments, from the start of the block.
    pub arguments: u64,
}

/// What all launches of a stream share.
pub fn begin(scratch: bool, registers: &mut Registers) {
    let zero = Value::Fixed(0);
    registers.want(offset::START, &[zero; 3]);
    // Behind the numbers of threads: no statistics.
    registers.want(offset::START + 6, &[zero; 2]);
    registers.want(offset::RESTART, &[zero; 3]);
    registers.want(offset::RESOURCE_LIMITS, &[zero]);
    match scratch {
        true => {
            registers.want(offset::SCRATCH_BASE, &[shifted(symbol::SCRATCH, 0)]);
            let size = Value::symbol(Class::Link, symbol::SCRATCH_SIZE);
            registers.want(offset::TMPRING_SIZE, &[size]);
        }
        false => {
            registers.want(offset::SCRATCH_BASE, &[zero; 2]);
            registers.want(offset::TMPRING_SIZE, &[zero]);
        }
    }
}

/// Writes a launch. When it is over, so is the kernel; caches are told by whoever comes next.
///
/// # Errors
/// Bug when the code object wants registers that nobody fills.
pub fn write(
    launch: &Launch<'_>,
    generation: &Generation,
    registers: &mut Registers,
    out: &mut Words,
) -> Result<()> {
    let Launch { code, grid, .. } = launch;
    let constant = Value::constant;
    let [rsrc1, rsrc2, rsrc3] = resources(code, generation);
    registers.want(offset::PGM, &[shifted(symbol::IMAGE, launch.entry)]);
    registers.want(offset::RSRC1, &[constant(rsrc1), constant(rsrc2)]);
    registers.want(generation.rsrc3, &[constant(rsrc3)]);
    let one = Value::Fixed(1);
    registers.want(offset::START + 3, &[constant(grid.threads), one, one]);
    registers.want(offset::USER_DATA, &user_data(code, launch.arguments)?);
    registers.write(out);
    let wave32 = code.descriptor.properties & property::WAVE32 != 0;
    let initiator = COMPUTE | FROM_ZERO | if wave32 { WAVE32 } else { 0 };
    out.packet(&Packet::Dispatch(
        [constant(grid.groups), one, one],
        initiator,
    ));
    out.packet(&Packet::PartialFlush);
    Ok(())
}

/// An address without its low 8 bits.
fn shifted(symbol: u32, addend: u64) -> Value {
    Value::Field(Field {
        class: Class::Link,
        symbol,
        addend: addend.cast_signed(),
        shift: 8,
        width: 8,
    })
}

/// The resource words: those of the descriptor, and what the loader has to add.
fn resources(code: &CodeObject, generation: &Generation) -> [u32; 3] {
    let [rsrc1, rsrc2, rsrc3] = code.descriptor.rsrc;
    let group = code.descriptor.group_bytes;
    let steps = group.div_ceil(generation.group_memory_step.max(1));
    [rsrc1 | generation.rsrc1_bits, rsrc2 | steps << 15, rsrc3]
}

/// What the first scalar registers hold, in the order of the properties' bits.
fn user_data(code: &CodeObject, arguments: u64) -> Result<Vec<Value>> {
    let wanted = code.descriptor.properties & property::REGISTERS;
    let known = property::KERNARG | property::PRIVATE_SIZE;
    let wrong = |why: String| Err(Error::bug(format!("kernel '{}' {why}", code.name)));
    if wanted & !known != 0 {
        return wrong(format!(
            "wants registers that a stream does not fill: properties {wanted:#x}"
        ));
    }
    let mut out = Vec::new();
    if wanted & property::KERNARG != 0 {
        out.push(Value::address(symbol::KERNARGS, arguments));
    }
    if wanted & property::PRIVATE_SIZE != 0 {
        out.push(Value::constant(code.descriptor.private_bytes));
    }
    let given: usize = out.iter().map(Value::words).sum();
    // Some chips want more announced than there are.
    let announced = code.descriptor.rsrc[1] >> 1 & 31;
    if given > announced as usize {
        return wrong(format!(
            "announces {announced} user registers, a stream fills {given}"
        ));
    }
    Ok(out)
}

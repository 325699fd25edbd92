//! Inputs from `.npz` or `.npy`, outputs to `.npz` or `.npy`.
//!
//! In: a mapped file. Out: tensors of the machine filled, or a message that names the tensor. An array
//! belongs to the input of its name; `arr_0`, `arr_1` (what `numpy.savez(file, a, b)` writes) to the
//! inputs in order.

use crate::Runner;
use crate::output::Output;
use crate::sys::{Fd, write};
use tinyc_runtime::Tensor;
use tinyc_runtime::npy::{Array, HEADER_ROOM, decimal, header};
use tinyc_runtime::zip::{Entry, WriteError, Writer, members};

/// Why inputs were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The file is neither `.npz` nor `.npy`.
    Format,
    /// A `.npy` file, and the model has another number of inputs than one.
    NeedsArchive,
    /// No array for this input.
    Missing(u32),
    /// The array of this input is compressed.
    Compressed(u32),
    /// The array of this input is not a `.npy` file.
    Array(u32),
    /// The array of this input has another type or shape.
    Shape(u32),
    /// The array of this input is cut off.
    Short(u32),
}

/// Fills every input from a file.
pub fn read_inputs<'a>(machine: &mut impl Runner<'a>, file: &[u8]) -> Result<(), Refused> {
    let inputs = machine.program().inputs;
    if let Some(array) = Array::read(file) {
        return match inputs {
            1 => fill(machine, 0, &array),
            _ => Err(Refused::NeedsArchive),
        };
    }
    let list = members(file).ok_or(Refused::Format)?;
    for index in 0..inputs {
        let Some(tensor) = machine.program().tensor(index) else {
            continue;
        };
        let mut digits = [0; 20];
        let number = decimal(u64::from(index), &mut digits);
        let named = |name: &[u8]| plain(name) == tensor.name.as_bytes();
        let numbered = |name: &[u8]| plain(name).strip_prefix(b"arr_") == Some(number);
        let member = list
            .clone()
            .find(|m| named(m.name))
            .or_else(|| list.clone().find(|m| numbered(m.name)))
            .ok_or(Refused::Missing(index))?;
        let data = member.data.ok_or(Refused::Compressed(index))?;
        let array = Array::read(data).ok_or(Refused::Array(index))?;
        fill(machine, index, &array)?;
    }
    Ok(())
}

fn plain(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".npy").unwrap_or(name)
}

fn fill<'a>(machine: &mut impl Runner<'a>, index: u32, array: &Array<'_>) -> Result<(), Refused> {
    let tensor = machine
        .program()
        .tensor(index)
        .ok_or(Refused::Missing(index))?;
    if !array.is(tensor.npy_type(), tensor.dims()) {
        return Err(Refused::Shape(index));
    }
    let to = machine.tensor(index);
    let from = array.data.get(..to.len()).ok_or(Refused::Short(index))?;
    to.copy_from_slice(from);
    Ok(())
}

/// Says what is wrong with the inputs, with names and shapes.
pub fn explain<'a>(machine: &impl Runner<'a>, refused: Refused, out: &mut Output) {
    let (index, before, after) = match refused {
        Refused::Format => {
            out.text("not a .npz or .npy file");
            return;
        }
        Refused::NeedsArchive => {
            out.text("the model has several inputs: give a .npz file with one array for each");
            return;
        }
        Refused::Missing(i) => (i, "no array for input ", ""),
        Refused::Compressed(i) => (
            i,
            "compressed array for input ",
            ": write it with numpy.savez, not savez_compressed",
        ),
        Refused::Array(i) => (i, "not a .npy array for input ", ""),
        Refused::Shape(i) => (i, "array of another type, shape or order for input ", ""),
        Refused::Short(i) => (i, "cut-off array for input ", ""),
    };
    out.text(before);
    if let Some(tensor) = machine.program().tensor(index) {
        describe(&tensor, out);
    }
    out.text(after);
}

/// `'name' f32 [1,3,224,224]`.
pub fn describe(tensor: &Tensor<'_>, out: &mut Output) {
    out.text("'")
        .text(tensor.name)
        .text("' ")
        .text(tensor.type_name())
        .text(" [");
    for (i, dim) in tensor.dims().enumerate() {
        if i > 0 {
            out.text(",");
        }
        out.number(dim);
    }
    out.text("]");
}

/// Writes every output: one `.npy` when `single`, else a `.npz`.
pub fn write_outputs<'a>(
    machine: &mut impl Runner<'a>,
    fd: Fd,
    single: bool,
) -> Result<(), WriteError> {
    let (inputs, outputs) = (machine.program().inputs, machine.program().outputs);
    let put = |bytes: &[u8]| write(fd, bytes).map_err(|_| WriteError);
    let mut head = [0; HEADER_ROOM];
    if single {
        let tensor = machine.program().tensor(inputs).ok_or(WriteError)?;
        let len = header(tensor.npy_type(), tensor.dims(), &mut head).ok_or(WriteError)?;
        put(head.get(..len).unwrap_or(&[]))?;
        return put(machine.tensor(inputs));
    }
    let mut writer = Writer::new(put);
    // Members first, then the directory, which repeats each: the checksums are computed twice rather
    // than kept in memory of unknown size.
    for pass in 0..2 {
        for index in inputs..inputs + outputs {
            let tensor = machine.program().tensor(index).ok_or(WriteError)?;
            let len = header(tensor.npy_type(), tensor.dims(), &mut head).ok_or(WriteError)?;
            let entry = Entry {
                name: tensor.name,
                head: head.get(..len).unwrap_or(&[]),
                body: machine.tensor(index),
            };
            if pass == 0 {
                writer.entry(&entry)?;
            } else {
                writer.directory(&entry)?;
            }
        }
    }
    writer.finish()
}

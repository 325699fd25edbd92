//! Arrays to program inputs, program outputs to arrays.

use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::{Bytes, Io, Program, Weight};
use tinyc_compiler::target::Session;

/// Runs a session on named arrays (a single array without a name fits a single input).
/// `bound` names inputs that became constants: their arrays are not fed.
pub fn run(
    session: &mut dyn Session,
    program: &Program,
    arrays: &[Weight],
    bound: &[String],
) -> Result<Vec<Weight>> {
    run_on(session, (&program.inputs, &program.outputs), arrays, bound)
}

/// The same for inputs and outputs that come from elsewhere.
pub fn run_on(
    session: &mut dyn Session,
    (inputs, outputs_of): (&[Io], &[Io]),
    arrays: &[Weight],
    bound: &[String],
) -> Result<Vec<Weight>> {
    let inputs = arrange(inputs, arrays, bound)?;
    let mut outputs: Vec<Vec<u8>> = outputs_of.iter().map(|io| vec![0u8; io.bytes()]).collect();
    let mut slots: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    session.run(&inputs, &mut slots)?;
    Ok(outputs_of
        .iter()
        .zip(outputs)
        .map(|(io, bytes)| Weight {
            name: io.name.clone(),
            dtype: io.dtype,
            shape: io.shape.clone(),
            bytes: Bytes::new(bytes),
        })
        .collect())
}

/// The bytes of each input, checked against its type.
fn arrange<'a>(inputs: &[Io], arrays: &'a [Weight], bound: &[String]) -> Result<Vec<&'a [u8]>> {
    let single = match (inputs, arrays) {
        ([_], [array]) if array.name.is_empty() => Some(array),
        _ => None,
    };
    if let Some(unknown) = arrays.iter().find(|a| {
        single.is_none() && !inputs.iter().any(|i| i.name == a.name) && !bound.contains(&a.name)
    }) {
        let what = if unknown.name.is_empty() {
            "an array without a name is for models with one input".to_string()
        } else {
            format!("the model has no input '{}'", unknown.name)
        };
        return Err(Error::model(what).help(format!("inputs: {}", names(inputs))));
    }
    inputs
        .iter()
        .map(|io| {
            let array = single
                .or_else(|| arrays.iter().find(|a| a.name == io.name))
                .ok_or_else(|| {
                    Error::model(format!("there is no array for input '{}'", io.name))
                        .help(format!("inputs: {}", names(inputs)))
                })?;
            if array.dtype != io.dtype || array.shape != io.shape {
                return Err(Error::model(format!(
                    "input '{}' is {}{:?}, the given array is {}{:?}",
                    io.name, io.dtype, io.shape, array.dtype, array.shape
                )));
            }
            Ok(&*array.bytes)
        })
        .collect()
}

/// `'x' f32[1, 3], 'mask' bool[7]`.
pub fn names(ios: &[Io]) -> String {
    ios.iter()
        .map(|i| format!("'{}' {}{:?}", i.name, i.dtype, i.shape))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinyc_compiler::program::BufferId;
    use tinyc_compiler::uop::DType;

    fn io(name: &str) -> Io {
        Io {
            name: name.into(),
            dtype: DType::U8,
            shape: vec![2],
            buffer: BufferId(0),
        }
    }
    fn array(name: &str, dtype: DType) -> Weight {
        Weight {
            name: name.into(),
            dtype,
            shape: vec![2],
            bytes: Bytes::new(vec![name.len() as u8; 2]),
        }
    }

    #[test]
    fn arrays_go_by_name() {
        let arrays = [array("bb", DType::U8), array("a", DType::U8)];
        let fed = arrange(&[io("a"), io("bb")], &arrays, &[]).unwrap();
        assert_eq!(fed, [&[1, 1], &[2, 2]]);
        let nameless = [array("", DType::U8)];
        assert!(arrange(&[io("a")], &nameless, &[]).is_ok());
    }

    #[test]
    fn wrong_arrays_are_named() {
        let check = |arrays: &[Weight]| {
            let e = arrange(&[io("a"), io("bb")], arrays, &["c".into()]).unwrap_err();
            format!("{e} / {}", e.help.as_deref().unwrap_or_default())
        };
        let a = array("a", DType::U8);
        assert_eq!(
            check(&[a.clone(), array("c", DType::U8)]),
            "there is no array for input 'bb' / inputs: 'a' u8[2], 'bb' u8[2]"
        );
        assert_eq!(
            check(&[a.clone(), array("x", DType::U8)]),
            "the model has no input 'x' / inputs: 'a' u8[2], 'bb' u8[2]"
        );
        assert_eq!(
            check(&[a, array("bb", DType::I8)]),
            "input 'bb' is u8[2], the given array is i8[2] / "
        );
    }
}

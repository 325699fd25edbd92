//! The functions for C, called as C would call them, on a kernel behind a table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::{Answer, Fake, Machine, bundle};
use std::ffi::CStr;
use std::ptr::null_mut;
use tinyc_replay_amd::c_api::*;
use tinyc_replay_amd::c_table::table_of;

fn text(context: *mut Context) -> String {
    // SAFETY: null or open; the text ends with zero.
    let text = unsafe { CStr::from_ptr(tinyc_amd_error(context)) };
    text.to_str().unwrap().to_string()
}

#[test]
fn a_model_runs_on_a_table() {
    let mut fake = Fake::new(Machine::default());
    let table = table_of(&mut fake);
    let bytes = bundle(|_, _| ());
    let mut context = null_mut();
    // SAFETY: all pointers live until the context is closed.
    unsafe {
        assert_eq!(
            tinyc_amd_open(bytes.as_ptr(), bytes.len() as u64, &table, &mut context),
            0
        );
        let mut size = 0;
        let input = tinyc_amd_input(context, 0, &mut size);
        assert!(!input.is_null());
        assert_eq!(size, 8);
        assert!(tinyc_amd_input(context, 1, &mut size).is_null());
        assert_eq!(
            (size, text(context).as_str()),
            (0, "there is no input of this number")
        );
        assert!(!tinyc_amd_output(context, 0, null_mut()).is_null());
        let mut ticket = 0;
        assert_eq!(tinyc_amd_submit(context, &mut ticket), 0);
        assert_eq!(ticket, 1);
        assert_eq!(tinyc_amd_wait(context, ticket, 0), 0);
        assert_eq!(tinyc_amd_wait(context, ticket + 1, 0), code::ARGUMENT);
        assert_eq!(tinyc_amd_run(context), 0);
        let mut memory = vec![0u8; 8192];
        let start = memory.as_mut_ptr().cast();
        assert_eq!(tinyc_amd_bind(context, 0, start), code::ARGUMENT);
        assert_eq!(tinyc_amd_register(context, start, 8192), 0);
        let aligned = start.wrapping_add(start.align_offset(16));
        assert_eq!(tinyc_amd_bind(context, 0, aligned), 0);
        assert_eq!(tinyc_amd_run(context), 0);
        assert_eq!(tinyc_amd_unregister(context, start), code::ARGUMENT);
        assert_eq!(tinyc_amd_bind(context, 0, null_mut()), 0);
        assert_eq!(tinyc_amd_unregister(context, start), 0);
        tinyc_amd_close(context);
        tinyc_amd_close(null_mut());
        assert_eq!(tinyc_amd_run(null_mut()), code::ARGUMENT);
    }
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.0.borrow().runs.len(), 3);
}

#[test]
fn errors_have_numbers_and_texts() {
    let bytes = bundle(|_, _| ());
    for (machine, number, part) in [
        (
            Machine {
                driver: false,
                ..Machine::default()
            },
            code::NO_DEVICE,
            "modprobe amdgpu",
        ),
        (
            Machine {
                permitted: false,
                ..Machine::default()
            },
            code::PERMISSION,
            "groups 'render' and 'video'",
        ),
        (
            Machine {
                gfx: 120_001,
                ..Machine::default()
            },
            code::WRONG_GPU,
            "--target amd-gfx1201",
        ),
    ] {
        let mut fake = Fake::new(machine);
        let table = table_of(&mut fake);
        let mut context = null_mut();
        // SAFETY: all pointers live until the context is closed.
        unsafe {
            let code = tinyc_amd_open(bytes.as_ptr(), bytes.len() as u64, &table, &mut context);
            assert_eq!(code, number);
            assert!(text(context).contains(part), "{}", text(context));
            assert_eq!(tinyc_amd_run(context), code::ARGUMENT);
            tinyc_amd_close(context);
        }
        assert_eq!(fake.left(), [""; 0]);
    }
    let mut fake = Fake::new(Machine::default());
    let table = table_of(&mut fake);
    let mut context = null_mut();
    // SAFETY: as above.
    unsafe {
        assert_eq!(
            tinyc_amd_open(bytes.as_ptr(), 100, &table, &mut context),
            code::DAMAGED
        );
        tinyc_amd_close(context);
        assert_eq!(
            tinyc_amd_open(bytes.as_ptr(), bytes.len() as u64, &table, &mut context),
            0
        );
        fake.0.borrow_mut().answer = Answer::Faults(0x1_2000);
        // The device stops in its first launch.
        fake.0.borrow_mut().launch = 1;
        let mut ticket = 0;
        assert_eq!(tinyc_amd_submit(context, &mut ticket), 0);
        assert_eq!(tinyc_amd_wait(context, ticket, 10), code::FAULT);
        assert_eq!(
            text(context),
            "memory fault at 0x12000 in launch 0: the context is lost; open the model again (kernel add_1)"
        );
        assert_eq!(tinyc_amd_submit(context, &mut ticket), code::LOST);
        tinyc_amd_close(context);
    }
    assert_eq!(fake.left(), [""; 0]);
}

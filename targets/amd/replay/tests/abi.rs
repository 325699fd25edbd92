//! Our structures of the kernel driver against what bindgen reads in the kernel's own header (Debian: `linux-libc-dev`, KFD 1.11).
//!
//! Without libclang or the header the test says so and passes: other systems have neither. Newer than the header, and not compared:
//! `RuntimeEnable` (KFD 1.14, Linux 6.6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::mem::offset_of;
use tinyc_replay_amd::abi::*;

const HEADER: &str = "/usr/include/linux/kfd_ioctl.h";

/// The typedefs of `drm/drm.h`, which that package lacks and which the header uses nothing of.
const DRM: &str = "#pragma once\n#include <linux/types.h>\n#include <asm/ioctl.h>\n";

/// What bindgen says, asked once: text of Rust, or why it cannot be asked here.
fn header() -> &'static Result<String, String> {
    static ONCE: std::sync::OnceLock<Result<String, String>> = std::sync::OnceLock::new();
    ONCE.get_or_init(generate)
}

fn generate() -> Result<String, String> {
    if !std::path::Path::new(HEADER).exists() {
        return Err(format!("{HEADER} is missing (package linux-libc-dev)"));
    }
    // What clang-sys looks for; asking for it when it is not there panics.
    let found = std::panic::catch_unwind(bindgen::clang_version);
    if found.is_err() {
        return Err("libclang is missing (package libclang-19-dev)".to_string());
    }
    let dir = std::env::temp_dir().join(format!("tinyc-kfd-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("drm")).expect("a temporary folder");
    std::fs::write(dir.join("drm/drm.h"), DRM).expect("a temporary file");
    let text = bindgen::Builder::default()
        .header(HEADER)
        .clang_arg(format!("-I{}", dir.display()))
        .allowlist_type("kfd_.*")
        .allowlist_var("KFD_.*")
        .layout_tests(true)
        .derive_default(false)
        .generate();
    let _ = std::fs::remove_dir_all(&dir);
    Ok(text.expect("the header is read").to_string())
}

/// Sizes of structures, offsets of fields, values of constants, out of bindgen's layout tests. bindgen writes each check as an expression whose
/// pieces are separated by spaces or not, so all space is taken out first.
#[derive(Default)]
struct Layout {
    sizes: BTreeMap<String, usize>,
    offsets: BTreeMap<(String, String), usize>,
    constants: BTreeMap<String, u64>,
}

impl Layout {
    fn read(text: &str) -> Layout {
        let plain: String = text.split_whitespace().collect();
        let mut out = Layout::default();
        // ["Size of X"][::std::mem::size_of::<X>() - 8usize];
        for part in plain.split("size_of::<").skip(1) {
            let Some((name, rest)) = part.split_once(">()-") else {
                continue;
            };
            out.sizes.insert(name.to_string(), number(rest) as usize);
        }
        // ["Offset of field: X::f"][::std::mem::offset_of!(X, f) - 4usize];
        for part in plain.split("offset_of!(").skip(1) {
            let Some((path, rest)) = part.split_once(")-") else {
                continue;
            };
            let (name, field) = path.split_once(',').expect("two names");
            let key = (name.to_string(), field.to_string());
            out.offsets.insert(key, number(rest) as usize);
        }
        // pub const KFD_X: u32 = 5;
        for part in plain.split("pubconst").skip(1) {
            if let Some((name, rest)) = part.split_once(':')
                && let Some((_, value)) = rest.split_once('=')
                && value.starts_with(|c: char| c.is_ascii_digit())
            {
                out.constants.insert(name.to_string(), number(value));
            }
        }
        out
    }
}

fn number(text: &str) -> u64 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(u64::MAX)
}

/// One structure of ours: name in the header, size, fields with their offsets under the header's names.
struct Ours {
    name: &'static str,
    size: usize,
    fields: Vec<(&'static str, usize)>,
}

/// `ours!(Type = "header_name": field = "header_field", same_field, ...)`.
macro_rules! ours {
    ($t:ty = $name:literal: $($field:ident $(= $theirs:literal)?),* $(,)?) => {
        Ours {
            name: $name,
            size: size_of::<$t>(),
            fields: vec![$((ours!(@ $field $($theirs)?), offset_of!($t, $field))),*],
        }
    };
    (@ $field:ident $theirs:literal) => { $theirs };
    (@ $field:ident) => { stringify!($field) };
}

fn all() -> Vec<Ours> {
    vec![
        ours!(Version = "kfd_ioctl_get_version_args": major = "major_version", minor = "minor_version"),
        ours!(CreateQueue = "kfd_ioctl_create_queue_args": ring_base_address, write_pointer_address,
            read_pointer_address, doorbell_offset, ring_size, gpu_id, queue_type, queue_percentage,
            queue_priority, queue_id, eop_buffer_address, eop_buffer_size, ctx_save_restore_address,
            ctx_save_restore_size, ctl_stack_size),
        ours!(DestroyQueue = "kfd_ioctl_destroy_queue_args": queue_id, pad),
        ours!(CreateEvent = "kfd_ioctl_create_event_args": event_page_offset, event_trigger_data,
            event_type, auto_reset, node_id, event_id, event_slot_index),
        ours!(DestroyEvent = "kfd_ioctl_destroy_event_args": event_id, pad),
        ours!(MemoryException = "kfd_hsa_memory_exception_data": not_present = "failure", va, gpu_id,
            error_type = "ErrorType"),
        ours!(HwException = "kfd_hsa_hw_exception_data": reset_type, reset_cause, memory_lost, gpu_id),
        ours!(EventData = "kfd_event_data": ext = "kfd_event_data_ext", event_id, pad),
        ours!(WaitEvents = "kfd_ioctl_wait_events_args": events = "events_ptr", num_events,
            wait_for_all, timeout, wait_result),
        ours!(Aperture = "kfd_process_device_apertures": lds_base, lds_limit, scratch_base,
            scratch_limit, gpuvm_base, gpuvm_limit, gpu_id, pad),
        ours!(GetApertures = "kfd_ioctl_get_process_apertures_new_args":
            apertures = "kfd_process_device_apertures_ptr", num_of_nodes, pad),
        ours!(AcquireVm = "kfd_ioctl_acquire_vm_args": drm_fd, gpu_id),
        ours!(AllocMemory = "kfd_ioctl_alloc_memory_of_gpu_args": va_addr, size, handle, mmap_offset,
            gpu_id, flags),
        ours!(FreeMemory = "kfd_ioctl_free_memory_of_gpu_args": handle),
        ours!(MapMemory = "kfd_ioctl_map_memory_to_gpu_args": handle,
            device_ids = "device_ids_array_ptr", n_devices, n_success),
        ours!(MapMemory = "kfd_ioctl_unmap_memory_from_gpu_args": handle,
            device_ids = "device_ids_array_ptr", n_devices, n_success),
    ]
}

#[test]
fn structures_are_those_of_the_header() {
    let text = match header() {
        Ok(text) => text,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let layout = Layout::read(text);
    assert!(
        layout.sizes.len() > 20,
        "{} structures were seen",
        layout.sizes.len()
    );
    let mut compared = 0;
    for ours in all() {
        assert_eq!(
            layout.sizes.get(ours.name),
            Some(&ours.size),
            "size of {}",
            ours.name
        );
        let theirs = layout
            .offsets
            .keys()
            .filter(|(n, _)| n == ours.name)
            .count();
        // The union at the start of an event's data has no name; its parts are compared by themselves.
        assert_eq!(theirs, ours.fields.len(), "fields of {}", ours.name);
        for (field, offset) in ours.fields {
            let key = (ours.name.to_string(), field.to_string());
            assert_eq!(
                layout.offsets.get(&key),
                Some(&offset),
                "{}.{field}",
                ours.name
            );
            compared += 1;
        }
    }
    assert_eq!(layout.sizes.get("kfd_memory_exception_failure"), Some(&16));
    assert!(compared > 60, "{compared} fields were compared");
}

#[test]
fn constants_are_those_of_the_header() {
    let text = match header() {
        Ok(text) => text,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let layout = Layout::read(text);
    for (name, ours) in [
        ("KFD_IOC_QUEUE_TYPE_COMPUTE", QUEUE_COMPUTE),
        ("KFD_IOC_QUEUE_TYPE_SDMA", QUEUE_SDMA),
        ("KFD_IOC_QUEUE_TYPE_COMPUTE_AQL", QUEUE_COMPUTE_AQL),
        ("KFD_MAX_QUEUE_PERCENTAGE", QUEUE_PERCENTAGE),
        ("KFD_IOC_EVENT_SIGNAL", EVENT_SIGNAL),
        ("KFD_IOC_EVENT_HW_EXCEPTION", EVENT_HW_EXCEPTION),
        ("KFD_IOC_EVENT_MEMORY", EVENT_MEMORY),
        ("KFD_IOC_WAIT_RESULT_COMPLETE", WAIT_COMPLETE),
        ("KFD_IOC_WAIT_RESULT_TIMEOUT", WAIT_TIMEOUT),
        ("KFD_IOC_ALLOC_MEM_FLAGS_VRAM", VRAM),
        ("KFD_IOC_ALLOC_MEM_FLAGS_GTT", GTT),
        ("KFD_IOC_ALLOC_MEM_FLAGS_USERPTR", USERPTR),
        ("KFD_IOC_ALLOC_MEM_FLAGS_UNCACHED", UNCACHED),
        ("KFD_IOC_ALLOC_MEM_FLAGS_COHERENT", COHERENT),
        ("KFD_IOC_ALLOC_MEM_FLAGS_NO_SUBSTITUTE", NO_SUBSTITUTE),
        ("KFD_IOC_ALLOC_MEM_FLAGS_PUBLIC", PUBLIC),
        ("KFD_IOC_ALLOC_MEM_FLAGS_EXECUTABLE", EXECUTABLE),
    ] {
        assert_eq!(layout.constants.get(name), Some(&u64::from(ours)), "{name}");
    }
    assert_eq!(
        layout.constants.get("KFD_SIGNAL_EVENT_LIMIT"),
        Some(&(EVENT_PAGE_BYTES / 8))
    );
    assert!(u64::from(QUEUE_PRIORITY) <= layout.constants["KFD_MAX_QUEUE_PRIORITY"]);
}

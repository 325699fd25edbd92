//! The kernel driver's binary interface, transcribed from `linux/kfd_ioctl.h` (MIT licence) and `amd_hsa_queue.h`.
//!
//! In: nothing. Out: numbers of requests, structures with the C layout, flags, offsets. `tests/abi.rs` compares them with what bindgen reads in
//! the installed header. Newer than that header (KFD 1.11): [`RuntimeEnable`], from Linux 6.6's `kfd_ioctl.h` (KFD 1.14).

/// Direction bits of a request: the kernel reads, writes.
const WRITE: u32 = 1;
const READ: u32 = 2;

/// `_IOC` of Linux for type `'K'`.
const fn request<T>(direction: u32, number: u32) -> u32 {
    direction << 30 | (size_of::<T>() as u32) << 16 | (b'K' as u32) << 8 | number
}

/// AMDKFD_IOC_GET_VERSION.
pub const GET_VERSION: u32 = request::<Version>(READ, 0x01);
/// AMDKFD_IOC_CREATE_QUEUE.
pub const CREATE_QUEUE: u32 = request::<CreateQueue>(READ | WRITE, 0x02);
/// AMDKFD_IOC_DESTROY_QUEUE.
pub const DESTROY_QUEUE: u32 = request::<DestroyQueue>(READ | WRITE, 0x03);
/// AMDKFD_IOC_CREATE_EVENT.
pub const CREATE_EVENT: u32 = request::<CreateEvent>(READ | WRITE, 0x08);
/// AMDKFD_IOC_DESTROY_EVENT.
pub const DESTROY_EVENT: u32 = request::<DestroyEvent>(WRITE, 0x09);
/// AMDKFD_IOC_WAIT_EVENTS.
pub const WAIT_EVENTS: u32 = request::<WaitEvents>(READ | WRITE, 0x0C);
/// AMDKFD_IOC_GET_PROCESS_APERTURES_NEW.
pub const GET_APERTURES: u32 = request::<GetApertures>(READ | WRITE, 0x14);
/// AMDKFD_IOC_ACQUIRE_VM.
pub const ACQUIRE_VM: u32 = request::<AcquireVm>(WRITE, 0x15);
/// AMDKFD_IOC_ALLOC_MEMORY_OF_GPU.
pub const ALLOC_MEMORY: u32 = request::<AllocMemory>(READ | WRITE, 0x16);
/// AMDKFD_IOC_FREE_MEMORY_OF_GPU.
pub const FREE_MEMORY: u32 = request::<FreeMemory>(WRITE, 0x17);
/// AMDKFD_IOC_MAP_MEMORY_TO_GPU.
pub const MAP_MEMORY: u32 = request::<MapMemory>(READ | WRITE, 0x18);
/// AMDKFD_IOC_UNMAP_MEMORY_FROM_GPU.
pub const UNMAP_MEMORY: u32 = request::<MapMemory>(READ | WRITE, 0x19);
/// AMDKFD_IOC_RUNTIME_ENABLE, since KFD 1.14.
pub const RUNTIME_ENABLE: u32 = request::<RuntimeEnable>(READ | WRITE, 0x25);

/// `kfd_ioctl_get_version_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// From the driver: 1.
    pub major: u32,
    /// From the driver.
    pub minor: u32,
}

/// `kfd_ioctl_create_queue_args`, as it was before KFD 1.17 added an engine number for copy queues behind it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreateQueue {
    /// Where packets go.
    pub ring_base_address: u64,
    /// Where the user's pointer is.
    pub write_pointer_address: u64,
    /// Where the hardware's pointer is.
    pub read_pointer_address: u64,
    /// From the driver: what to map.
    pub doorbell_offset: u64,
    /// Bytes, a power of two.
    pub ring_size: u32,
    /// Which device.
    pub gpu_id: u32,
    /// One of `QUEUE_*`.
    pub queue_type: u32,
    /// 0 to 100.
    pub queue_percentage: u32,
    /// 0 to 15.
    pub queue_priority: u32,
    /// From the driver.
    pub queue_id: u32,
    /// End-of-pipe buffer.
    pub eop_buffer_address: u64,
    /// Its bytes.
    pub eop_buffer_size: u64,
    /// Where waves are saved when the queue is preempted.
    pub ctx_save_restore_address: u64,
    /// Its bytes, without those for debuggers.
    pub ctx_save_restore_size: u32,
    /// Bytes of the control stack at its start.
    pub ctl_stack_size: u32,
}

/// KFD_IOC_QUEUE_TYPE_COMPUTE.
pub const QUEUE_COMPUTE: u32 = 0;
/// KFD_IOC_QUEUE_TYPE_SDMA: a queue of a copy engine.
pub const QUEUE_SDMA: u32 = 1;
/// KFD_IOC_QUEUE_TYPE_COMPUTE_AQL.
pub const QUEUE_COMPUTE_AQL: u32 = 2;
/// KFD_MAX_QUEUE_PERCENTAGE.
pub const QUEUE_PERCENTAGE: u32 = 100;
/// The middle of the range that the driver takes.
pub const QUEUE_PRIORITY: u32 = 7;

/// `kfd_ioctl_destroy_queue_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DestroyQueue {
    /// Which.
    pub queue_id: u32,
    /// 0.
    pub pad: u32,
}

/// `kfd_ioctl_create_event_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreateEvent {
    /// To the driver with the first event: handle of the event page. From the driver otherwise.
    pub event_page_offset: u64,
    /// From the driver.
    pub event_trigger_data: u32,
    /// One of `EVENT_*`.
    pub event_type: u32,
    /// Whether waiting resets it.
    pub auto_reset: u32,
    /// Only for some types.
    pub node_id: u32,
    /// From the driver.
    pub event_id: u32,
    /// From the driver: which mailbox of the event page.
    pub event_slot_index: u32,
}

/// KFD_IOC_EVENT_SIGNAL.
pub const EVENT_SIGNAL: u32 = 0;
/// KFD_IOC_EVENT_HW_EXCEPTION.
pub const EVENT_HW_EXCEPTION: u32 = 3;
/// KFD_IOC_EVENT_MEMORY.
pub const EVENT_MEMORY: u32 = 8;
/// Bytes of the event page: KFD_SIGNAL_EVENT_LIMIT mailboxes of 8 bytes.
pub const EVENT_PAGE_BYTES: u64 = 4096 * 8;

/// `kfd_ioctl_destroy_event_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DestroyEvent {
    /// Which.
    pub event_id: u32,
    /// 0.
    pub pad: u32,
}

/// `kfd_hsa_memory_exception_data`, its first structure `kfd_memory_exception_failure` opened.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryException {
    /// Nothing is mapped there.
    pub not_present: u32,
    /// Written, though it may only be read.
    pub read_only: u32,
    /// Executed, though it may not be.
    pub no_execute: u32,
    /// The address is not exact.
    pub imprecise: u32,
    /// Address.
    pub va: u64,
    /// Which device.
    pub gpu_id: u32,
    /// 3 is a hang of the device.
    pub error_type: u32,
}

/// `kfd_hsa_hw_exception_data`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HwException {
    /// 0 whole device, 1 one engine.
    pub reset_type: u32,
    /// 0 hang, 1 memory error.
    pub reset_cause: u32,
    /// What was in device memory is gone.
    pub memory_lost: u32,
    /// Which device.
    pub gpu_id: u32,
}

/// `kfd_event_data`. Its union begins with the larger [`MemoryException`]; [`EventData::hardware`] reads it the other way.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventData {
    /// From the driver, for memory events.
    pub memory: MemoryException,
    /// 0.
    pub ext: u64,
    /// To the driver: which event.
    pub event_id: u32,
    /// 0.
    pub pad: u32,
}

impl EventData {
    /// The union as hardware exceptions fill it: the same four first words.
    pub fn hardware(&self) -> HwException {
        HwException {
            reset_type: self.memory.not_present,
            reset_cause: self.memory.read_only,
            memory_lost: self.memory.no_execute,
            gpu_id: self.memory.imprecise,
        }
    }
}

/// `kfd_ioctl_wait_events_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitEvents {
    /// Address of an array of [`EventData`].
    pub events: u64,
    /// Its length.
    pub num_events: u32,
    /// 1 waits for all, 0 for any.
    pub wait_for_all: u32,
    /// Milliseconds.
    pub timeout: u32,
    /// From the driver: one of `WAIT_*`.
    pub wait_result: u32,
}

/// KFD_IOC_WAIT_RESULT_COMPLETE.
pub const WAIT_COMPLETE: u32 = 0;
/// KFD_IOC_WAIT_RESULT_TIMEOUT.
pub const WAIT_TIMEOUT: u32 = 1;

/// `kfd_process_device_apertures`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aperture {
    /// Where flat addresses mean memory of a group.
    pub lds_base: u64,
    /// Its end.
    pub lds_limit: u64,
    /// Where flat addresses mean memory of a thread.
    pub scratch_base: u64,
    /// Its end.
    pub scratch_limit: u64,
    /// Addresses that may be mapped.
    pub gpuvm_base: u64,
    /// Their end.
    pub gpuvm_limit: u64,
    /// Which device.
    pub gpu_id: u32,
    /// 0.
    pub pad: u32,
}

/// `kfd_ioctl_get_process_apertures_new_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GetApertures {
    /// Address of an array of [`Aperture`].
    pub apertures: u64,
    /// Its length; from the driver, how many were filled.
    pub num_of_nodes: u32,
    /// 0.
    pub pad: u32,
}

/// `kfd_ioctl_acquire_vm_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AcquireVm {
    /// Descriptor of the render node.
    pub drm_fd: u32,
    /// Which device.
    pub gpu_id: u32,
}

/// `kfd_ioctl_alloc_memory_of_gpu_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocMemory {
    /// Address for the device.
    pub va_addr: u64,
    /// Bytes.
    pub size: u64,
    /// From the driver.
    pub handle: u64,
    /// From the driver: offset to map on the render node. To the driver, with [`USERPTR`]: the processor's address.
    pub mmap_offset: u64,
    /// Which device.
    pub gpu_id: u32,
    /// Kind of memory.
    pub flags: u32,
}

/// Memory of the device.
pub const VRAM: u32 = 1 << 0;
/// Memory of the host.
pub const GTT: u32 = 1 << 1;
/// Memory that the caller has already.
pub const USERPTR: u32 = 1 << 2;
/// Not kept in the device's caches.
pub const UNCACHED: u32 = 1 << 25;
/// Kept coherent with the host.
pub const COHERENT: u32 = 1 << 26;
/// This kind and no other.
pub const NO_SUBSTITUTE: u32 = 1 << 28;
/// The host may map it.
pub const PUBLIC: u32 = 1 << 29;
/// The device may execute it.
pub const EXECUTABLE: u32 = 1 << 30;
/// The device may write it.
pub const WRITABLE: u32 = 1 << 31;

/// `kfd_ioctl_free_memory_of_gpu_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FreeMemory {
    /// Which.
    pub handle: u64,
}

/// `kfd_ioctl_map_memory_to_gpu_args` and `kfd_ioctl_unmap_memory_from_gpu_args`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MapMemory {
    /// Which memory.
    pub handle: u64,
    /// Address of an array of device numbers.
    pub device_ids: u64,
    /// Its length.
    pub n_devices: u32,
    /// From the driver: how many were mapped.
    pub n_success: u32,
}

/// `kfd_ioctl_runtime_enable_args`, since KFD 1.14.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuntimeEnable {
    /// For debuggers.
    pub r_debug: u64,
    /// Bit 0 enables.
    pub mode_mask: u32,
    /// From the driver.
    pub capabilities_mask: u32,
}

/// Offsets in `amd_queue_t`, the page that a queue's pointers lie in.
pub mod queue_page {
    /// Bytes of the structure.
    pub const BYTES: u64 = 256;
    /// `hsa_queue.base_address` (u64).
    pub const RING: u64 = 0x08;
    /// `hsa_queue.size` in packets (u32).
    pub const PACKETS: u64 = 0x18;
    /// `write_dispatch_id` (u64).
    pub const WRITE_POINTER: u64 = 0x38;
    /// `group_segment_aperture_base_hi` (u32).
    pub const GROUP_APERTURE: u64 = 0x40;
    /// `private_segment_aperture_base_hi` (u32).
    pub const PRIVATE_APERTURE: u64 = 0x44;
    /// `max_cu_id` (u32).
    pub const MAX_UNIT: u64 = 0x48;
    /// `max_wave_id` (u32).
    pub const MAX_WAVE: u64 = 0x4C;
    /// `read_dispatch_id` (u64).
    pub const READ_POINTER: u64 = 0x80;
    /// `read_dispatch_id_field_base_byte_offset` (u32): firmware finds the structure from its read pointer.
    pub const READ_POINTER_OFFSET: u64 = 0x88;
    /// `compute_tmpring_size` (u32).
    pub const TMPRING_SIZE: u64 = 0x8C;
    /// `scratch_resource_descriptor` (4 u32).
    pub const SCRATCH_RESOURCE: u64 = 0x90;
    /// `scratch_backing_memory_location` (u64).
    pub const SCRATCH: u64 = 0xA0;
    /// `scratch_wave64_lane_byte_size` (u32).
    pub const SCRATCH_LANE_BYTES: u64 = 0xB0;
    /// `queue_properties` (u32).
    pub const PROPERTIES: u64 = 0xB4;
    /// Property: addresses have 64 bits.
    pub const IS_PTR64: u32 = 1 << 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers as `strace` prints them.
    #[test]
    fn request_numbers() {
        assert_eq!(GET_VERSION, 0x8008_4B01);
        assert_eq!(CREATE_QUEUE, 0xC058_4B02);
        assert_eq!(DESTROY_QUEUE, 0xC008_4B03);
        assert_eq!(CREATE_EVENT, 0xC020_4B08);
        assert_eq!(DESTROY_EVENT, 0x4008_4B09);
        assert_eq!(WAIT_EVENTS, 0xC018_4B0C);
        assert_eq!(GET_APERTURES, 0xC010_4B14);
        assert_eq!(ACQUIRE_VM, 0x4008_4B15);
        assert_eq!(ALLOC_MEMORY, 0xC028_4B16);
        assert_eq!(FREE_MEMORY, 0x4008_4B17);
        assert_eq!(MAP_MEMORY, 0xC018_4B18);
        assert_eq!(UNMAP_MEMORY, 0xC018_4B19);
        assert_eq!(RUNTIME_ENABLE, 0xC010_4B25);
    }

    #[test]
    fn union_is_read_both_ways() {
        assert_eq!(size_of::<EventData>(), 48);
        let data = EventData {
            memory: MemoryException {
                not_present: 1,
                read_only: 2,
                no_execute: 3,
                imprecise: 4,
                ..MemoryException::default()
            },
            ..EventData::default()
        };
        let hardware = data.hardware();
        assert_eq!(
            [
                hardware.reset_type,
                hardware.reset_cause,
                hardware.memory_lost,
                hardware.gpu_id
            ],
            [1, 2, 3, 4]
        );
    }
}

//! The driver's binary interface: requests, flags, places of fields. In: bytes of a structure. Out: its fields.
//!
//! Written down from the meaning of `kfd_ioctl.h`, for the simulated driver alone: what a runtime writes its structures
//! with is another text, so that a field at a wrong place shows.

/// A structure that a caller passed, as long as the driver knows it; what the caller did not pass is zero.
pub(super) struct Args {
    bytes: [u8; Args::MAX],
}

impl Args {
    /// Longest structure.
    pub const MAX: usize = 128;

    /// What the caller passed.
    pub fn new(passed: &[u8]) -> Args {
        let mut bytes = [0; Args::MAX];
        let len = passed.len().min(Args::MAX);
        bytes[..len].copy_from_slice(&passed[..len]);
        Args { bytes }
    }

    /// What goes back.
    pub fn bytes(&self) -> &[u8; Args::MAX] {
        &self.bytes
    }

    /// A field of 4 bytes.
    pub fn u32(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_le_bytes(word)
    }

    /// A field of 8 bytes.
    pub fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    /// Sets a field of 4 bytes.
    pub fn set32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets a field of 8 bytes.
    pub fn set64(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// A request of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    GetVersion,
    CreateQueue,
    DestroyQueue,
    CreateEvent,
    DestroyEvent,
    SetEvent,
    ResetEvent,
    WaitEvents,
    AcquireVm,
    Alloc,
    Free,
    Map,
    Unmap,
    AvailableMemory,
    RuntimeEnable,
}

/// Number, request, length of its structure, the minor version that has it first, its name.
const REQUESTS: [(u32, Request, u32, u32, &str); 15] = [
    (0x01, Request::GetVersion, 8, 1, "GET_VERSION"),
    (0x02, Request::CreateQueue, 88, 1, "CREATE_QUEUE"),
    (0x03, Request::DestroyQueue, 8, 1, "DESTROY_QUEUE"),
    (0x08, Request::CreateEvent, 32, 1, "CREATE_EVENT"),
    (0x09, Request::DestroyEvent, 8, 1, "DESTROY_EVENT"),
    (0x0A, Request::SetEvent, 8, 1, "SET_EVENT"),
    (0x0B, Request::ResetEvent, 8, 1, "RESET_EVENT"),
    (0x0C, Request::WaitEvents, 24, 1, "WAIT_EVENTS"),
    (0x15, Request::AcquireVm, 8, 1, "ACQUIRE_VM"),
    (0x16, Request::Alloc, 40, 1, "ALLOC_MEMORY_OF_GPU"),
    (0x17, Request::Free, 8, 1, "FREE_MEMORY_OF_GPU"),
    (0x18, Request::Map, 24, 1, "MAP_MEMORY_TO_GPU"),
    (0x19, Request::Unmap, 24, 1, "UNMAP_MEMORY_FROM_GPU"),
    (0x23, Request::AvailableMemory, 16, 9, "AVAILABLE_MEMORY"),
    (0x25, Request::RuntimeEnable, 16, 14, "RUNTIME_ENABLE"),
];

/// What a request's number says.
pub(super) struct Decoded {
    /// The request, when this version of the driver has it.
    pub request: Option<Request>,
    /// Its name, or its number.
    pub name: String,
    /// Bytes that the caller passes.
    pub bytes: usize,
}

/// Takes a request's number apart: direction, length, kind, number. The driver goes by the last one alone; a length that is
/// not the structure's is refused here, because nobody means it.
pub(super) fn decode(request: u32, minor: u32) -> Decoded {
    let (number, kind, bytes) = (request & 0xFF, request >> 8 & 0xFF, request >> 16 & 0x3FFF);
    let found = REQUESTS.iter().find(|r| r.0 == number && kind == 0x4B);
    let fits = |r: &&(u32, Request, u32, u32, &str)| r.2 == bytes && minor >= r.3;
    Decoded {
        request: found.filter(fits).map(|r| r.1),
        name: found.map_or_else(|| format!("{request:#010x}"), |r| r.4.to_string()),
        bytes: bytes as usize,
    }
}

/// Flags of an allocation.
pub(super) mod memory {
    pub const VRAM: u32 = 1;
    pub const GTT: u32 = 1 << 1;
    pub const USERPTR: u32 = 1 << 2;
    /// What else there is: doorbells and registers, which nobody needs here.
    pub const DOMAINS: u32 = 0x1F;
    pub const UNCACHED: u32 = 1 << 25;
    pub const COHERENT: u32 = 1 << 26;
    pub const AQL: u32 = 1 << 27;
    pub const NO_SUBSTITUTE: u32 = 1 << 28;
    pub const PUBLIC: u32 = 1 << 29;
    pub const EXECUTABLE: u32 = 1 << 30;
    pub const WRITABLE: u32 = 1 << 31;
    /// All that mean something.
    pub const KNOWN: u32 = VRAM
        | GTT
        | USERPTR
        | UNCACHED
        | COHERENT
        | AQL
        | NO_SUBSTITUTE
        | PUBLIC
        | EXECUTABLE
        | WRITABLE;
}

/// Kinds of events.
pub(super) mod event {
    pub const SIGNAL: u32 = 0;
    pub const HW_EXCEPTION: u32 = 3;
    pub const MEMORY: u32 = 8;
    /// Bytes of an entry of the list that a wait takes.
    pub const DATA_BYTES: u64 = 48;
}

/// Kinds of queues.
pub(super) mod queue {
    pub const COMPUTE: u32 = 0;
    pub const SDMA: u32 = 1;
    pub const COMPUTE_AQL: u32 = 2;
}

/// What an offset for mmap of the driver's file means: its upper bits.
pub(super) const MMAP_DOORBELL: u64 = 3 << 62;
/// Where the number of the GPU is in it.
pub(super) const MMAP_GPU_SHIFT: u32 = 46;
/// Bytes of a process's doorbells.
pub(super) const DOORBELL_BYTES: u64 = 0x2000;

/// Error numbers.
pub(super) mod errno {
    use tinyc_runtime::io::Errno;
    pub const PERM: Errno = Errno(1);
    pub const NO_ENTRY: Errno = Errno(2);
    pub const BAD_FD: Errno = Errno(9);
    pub const NO_MEMORY: Errno = Errno(12);
    pub const ACCESS: Errno = Errno(13);
    pub const BUSY: Errno = Errno(16);
    pub const EXISTS: Errno = Errno(17);
    pub const NO_DEVICE: Errno = Errno(19);
    pub const INVALID: Errno = Errno(22);
    pub const NO_TTY: Errno = Errno(25);
}

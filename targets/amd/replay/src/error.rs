//! Why a device does not run a model, and what to do about it.
//!
//! In: what the driver or the artifact said. Out: [`Error`], whose text names the remedy.

use tinyc_runtime::bundle;
use tinyc_runtime::io::Errno;

/// Oldest driver interface that is enough: Linux 5.18.
pub const OLDEST_DRIVER: (u32, u32) = (1, 8);

/// A name of a chip: `gfx1100` of 110000, `gfx90a` of 90010.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip(pub u32);

impl core::fmt::Display for Chip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (major, minor, step) = (self.0 / 10_000, self.0 / 100 % 100, self.0 % 100);
        write!(f, "gfx{major}{minor}{step:x}")
    }
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// There is no `/dev/kfd`.
    NoDevice,
    /// The driver is there, and no GPU.
    NoGpu,
    /// This file may not be opened.
    Permission(&'static str),
    /// The driver's interface is older than [`OLDEST_DRIVER`].
    DriverTooOld(u32, u32),
    /// No GPU is the one that the artifact was compiled for.
    WrongGpu {
        /// The first one that is there, as the driver numbers it.
        found: u32,
        /// The one that the artifact was compiled for.
        wanted: u32,
    },
    /// The GPU is several dies that work as one device, and the command stream is for one.
    Dies(u32),
    /// Memory is not enough.
    NoMemory {
        /// Bytes asked for.
        bytes: u64,
        /// What for.
        what: &'static str,
    },
    /// The artifact contradicts itself.
    Damaged(&'static str),
    /// The artifact cannot be read.
    Bundle(bundle::Error),
    /// A kernel touched memory that is not there, or wrote what may only be read.
    Fault {
        /// Page of the address.
        address: u64,
        /// The launch, where it is known; [`crate::Model::kernel`] names its kernel.
        launch: Option<u32>,
    },
    /// The device did not finish in time.
    Hang {
        /// The last launch that began.
        launch: Option<u32>,
    },
    /// The device was reset, or an earlier fault ended this context.
    Lost,
    /// The driver describes the GPU in a way that cannot be read; what it was about.
    Topology(&'static str),
    /// The caller asked for what is not possible.
    Argument(&'static str),
    /// The driver refused something.
    System(Errno, &'static str),
}

impl Error {
    /// What a failed step of the driver means; no memory is no memory.
    pub(crate) fn step(what: &'static str, bytes: u64) -> impl Fn(Errno) -> Error {
        move |errno| match errno {
            Errno::NO_MEMORY | Errno::NO_SPACE if bytes > 0 => Error::NoMemory { bytes, what },
            errno => Error::System(errno, what),
        }
    }

    /// Exit code of a program that ends with this error: 4 for the artifact or the caller's data, 5 for the machine.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Damaged(_) | Error::Bundle(_) | Error::Argument(_) => 4,
            _ => 5,
        }
    }
}

impl From<bundle::Error> for Error {
    fn from(error: bundle::Error) -> Error {
        Error::Bundle(error)
    }
}

/// ` in launch 3`, where it is known.
struct During(Option<u32>);

impl core::fmt::Display for During {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(launch) => write!(f, "in launch {launch}"),
            None => f.write_str("before the first launch"),
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Error::NoDevice => f.write_str(
                "no /dev/kfd: the kernel has no AMD compute driver; load it with 'modprobe amdgpu' (in a container, pass --device=/dev/kfd --device=/dev/dri)",
            ),
            Error::NoGpu => f.write_str(
                "the amdgpu driver is loaded and has no GPU: see 'dmesg | grep amdgpu'; in a virtual machine, pass the card through",
            ),
            Error::Permission(path) => write!(
                f,
                "no permission to open {path}: add this user to the groups 'render' and 'video' (usermod -aG render,video USER) and log in again",
            ),
            Error::DriverTooOld(major, minor) => write!(
                f,
                "the amdgpu driver speaks version {major}.{minor} of its compute interface, {}.{} is needed: use Linux 5.18 or newer",
                OLDEST_DRIVER.0, OLDEST_DRIVER.1
            ),
            Error::WrongGpu { found, wanted } => write!(
                f,
                "the GPU here is {}, the model was compiled for {}: compile it with --target amd-{}",
                Chip(found),
                Chip(wanted),
                Chip(found)
            ),
            Error::Dies(count) => write!(
                f,
                "this GPU's {count} dies work as one device, and the model was compiled for one die: divide it with 'amd-smi set --compute-partition CPX'",
            ),
            Error::NoMemory { bytes, what } => write!(
                f,
                "no memory for {what}: {bytes} bytes; end other programs that use the GPU",
            ),
            Error::Damaged(what) => write!(
                f,
                "the model's {what} is damaged or of another version: compile it again",
            ),
            Error::Bundle(error) => error.fmt(f),
            Error::Fault { address, launch } => write!(
                f,
                "memory fault at {address:#x} {}: the context is lost; open the model again",
                During(launch)
            ),
            Error::Hang { launch } => write!(
                f,
                "the GPU did not finish in time, {}: wait longer, or close the model and open it again",
                During(launch)
            ),
            Error::Lost => f.write_str(
                "the GPU was reset or an earlier run failed: close the model and open it again",
            ),
            Error::Topology(what) => write!(
                f,
                "the amdgpu driver describes the GPU in a way that is not understood ({what}): use a newer version of this program or another kernel",
            ),
            Error::Argument(what) => f.write_str(what),
            Error::System(errno, what) => write!(
                f,
                "the amdgpu driver refused {what}: {errno}; 'dmesg | grep -e amdgpu -e kfd' may say why",
            ),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_have_names() {
        let names = [110_000, 120_001, 90_402, 90_010, 110_501].map(|c| Chip(c).to_string());
        assert_eq!(names, ["gfx1100", "gfx1201", "gfx942", "gfx90a", "gfx1151"]);
    }

    #[test]
    fn texts_say_what_to_do() {
        let wrong = Error::WrongGpu {
            found: 120_001,
            wanted: 110_000,
        };
        assert_eq!(
            wrong.to_string(),
            "the GPU here is gfx1201, the model was compiled for gfx1100: compile it with --target amd-gfx1201"
        );
        for (error, part) in [
            (Error::NoDevice, "modprobe amdgpu"),
            (Error::Permission("/dev/kfd"), "groups 'render' and 'video'"),
            (Error::DriverTooOld(1, 4), "version 1.4"),
            (
                Error::Fault {
                    address: 0x7000,
                    launch: Some(3),
                },
                "0x7000 in launch 3",
            ),
            (Error::Hang { launch: None }, "before the first launch"),
            (
                Error::System(Errno::INVALID, "a queue"),
                "refused a queue: invalid argument",
            ),
        ] {
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.exit_code(), 5);
        }
        assert_eq!(Error::Damaged("stream").exit_code(), 4);
    }
}

//! GPUs as the driver describes them in sysfs.
//!
//! In: files below [`NODES`]. Out: [`Node`]. The text is read as hostile input: what is missing, twice there or too large is refused by its name.

use crate::error::Error;
use tinyc_runtime::io::{Errno, KernelIo};

/// Where the nodes are; processors are nodes too.
pub const NODES: &str = "/sys/devices/virtual/kfd/kfd/topology/nodes/";
/// More nodes than machines have.
const MAX_NODES: u32 = 128;
/// Larger than any file of properties: they have about 50 lines.
const FILE_BYTES: usize = 8192;
/// O_RDONLY | O_CLOEXEC.
const READ_ONLY: i32 = 0o2_000_000;

/// What is needed of a node's properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Node {
    /// The driver's number of the device; 0 is a processor.
    pub gpu_id: u32,
    /// As in [`crate::Needs`].
    pub gfx_target_version: u32,
    /// Number of the device file in `/dev/dri/renderD`.
    pub render_minor: u32,
    /// SIMDs of the chip.
    pub simd_count: u32,
    /// SIMDs of a compute unit.
    pub simd_per_cu: u32,
    /// Shader arrays of the chip.
    pub array_count: u32,
    /// Shader arrays of a shader engine.
    pub arrays_per_engine: u32,
    /// Waves of a unit that can have scratch at once.
    pub scratch_slots: u32,
    /// Memory of a work-group, in KiB.
    pub lds_kb: u32,
    /// Dies that share the work; 1 where the driver does not say.
    pub xcc: u32,
    /// Bytes of a save area, where the driver says so.
    pub save_bytes: Option<u32>,
    /// Bytes of its control stack, where the driver says so.
    pub control_bytes: Option<u32>,
}

impl Node {
    /// Compute units of one die.
    pub fn units(&self) -> u32 {
        self.simd_count / self.simd_per_cu.max(1) / self.xcc.max(1)
    }

    /// Shader engines of the chip.
    pub fn engines(&self) -> u32 {
        (self.array_count / self.arrays_per_engine.max(1)).max(1)
    }

    /// Before RDNA: other caches, other sizes.
    pub fn is_gfx9(&self) -> bool {
        self.gfx_target_version < 100_000
    }

    /// Reads the text of `properties`; the error names what is wrong.
    pub fn parse(text: &[u8], gpu_id: u32) -> Result<Node, &'static str> {
        let mut node = Node {
            gpu_id,
            ..Node::default()
        };
        let mut xcc = None;
        let mut seen = [None; 9];
        for line in text.split(|b| *b == b'\n') {
            let Some(space) = line.iter().position(|b| *b == b' ') else {
                continue;
            };
            let (key, value) = line.split_at_checked(space).unwrap_or((line, &[]));
            let slot = match key {
                b"gfx_target_version" => &mut seen[0],
                b"drm_render_minor" => &mut seen[1],
                b"simd_count" => &mut seen[2],
                b"simd_per_cu" => &mut seen[3],
                b"array_count" => &mut seen[4],
                b"simd_arrays_per_engine" => &mut seen[5],
                b"max_slots_scratch_cu" => &mut seen[6],
                b"lds_size_in_kb" => &mut seen[7],
                b"num_xcc" => &mut xcc,
                b"cwsr_size" => &mut node.save_bytes,
                b"ctl_stack_size" => &mut node.control_bytes,
                _ => continue,
            };
            // What is no number of 32 bits is no property of ours either: other keys hold 64 bits.
            let number = number(value.get(1..).unwrap_or(&[]))
                .and_then(|n| u32::try_from(n).ok())
                .ok_or("a property that is no number of 32 bits")?;
            if slot.replace(number).is_some() {
                return Err("a property that is there twice");
            }
        }
        let need = |n: Option<u32>, low: u32, high: u32, what| {
            n.filter(|n| (low..=high).contains(n)).ok_or(what)
        };
        node.gfx_target_version = need(seen[0], 70_000, 999_999, "gfx_target_version")?;
        node.render_minor = need(seen[1], 128, 1 << 20, "drm_render_minor")?;
        node.simd_count = need(seen[2], 1, 1 << 14, "simd_count")?;
        node.simd_per_cu = need(seen[3], 1, 16, "simd_per_cu")?;
        node.array_count = need(seen[4], 1, 1 << 12, "array_count")?;
        node.arrays_per_engine = need(seen[5], 1, 1 << 8, "simd_arrays_per_engine")?;
        node.scratch_slots = need(seen[6], 1, 1 << 10, "max_slots_scratch_cu")?;
        node.lds_kb = need(seen[7], 1, 1 << 12, "lds_size_in_kb")?;
        node.xcc = need(xcc.or(Some(1)), 1, 16, "num_xcc")?;
        if node.units() == 0 {
            return Err("simd_count");
        }
        // 0 is how some versions say that they do not know.
        let size = |n: Option<u32>| n.filter(|n| *n != 0);
        node.save_bytes = size(node.save_bytes);
        node.control_bytes = size(node.control_bytes);
        let pages = |n: Option<u32>| n.is_none_or(|n| n.is_multiple_of(4096) && n <= 1 << 30);
        if !pages(node.save_bytes) || !pages(node.control_bytes) {
            return Err("cwsr_size");
        }
        Ok(node)
    }
}

/// A decimal number that fills its text but for spaces.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// A path built of parts, ended by zero.
pub(crate) struct Path {
    bytes: [u8; 96],
    len: usize,
}

impl Path {
    pub(crate) fn new(start: &str) -> Path {
        let path = Path {
            bytes: [0; 96],
            len: 0,
        };
        path.text(start.as_bytes())
    }

    /// Adds text; what does not fit with the zero behind it is left out, and the file is then not there.
    pub(crate) fn text(mut self, text: &[u8]) -> Path {
        let room = self.bytes.len() - 1;
        let to = self.bytes.get_mut(self.len..room).unwrap_or(&mut []);
        let count = text.len().min(to.len());
        for (to, from) in to.iter_mut().zip(text) {
            *to = *from;
        }
        self.len += count;
        self
    }

    pub(crate) fn number(self, n: u32) -> Path {
        let mut digits = [0; 20];
        let text = tinyc_runtime::npy::decimal(u64::from(n), &mut digits);
        self.text(text)
    }

    pub(crate) fn get(&self) -> &core::ffi::CStr {
        core::ffi::CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// A whole file; the bytes that are there.
fn read<'b, I: KernelIo>(
    io: &mut I,
    path: &Path,
    out: &'b mut [u8; FILE_BYTES],
) -> Result<&'b [u8], Errno> {
    let fd = io.open(path.get(), READ_ONLY)?;
    let result = io.read(fd, out);
    io.close(fd);
    let count = result?;
    // A full buffer may be a file that was cut off.
    match out.get(..count) {
        Some(text) if count < FILE_BYTES => Ok(text),
        _ => Err(Errno::INVALID),
    }
}

/// The `which`-th GPU of this kind, counted from 0.
pub fn find<I: KernelIo>(io: &mut I, wanted: u32, which: u32) -> Result<Node, Error> {
    let mut text = [0; FILE_BYTES];
    let mut first = None;
    let mut matching = 0;
    for index in 0..MAX_NODES {
        let path = |file: &[u8]| Path::new(NODES).number(index).text(file);
        let gpu_id = match read(io, &path(b"/gpu_id"), &mut text) {
            Ok(id) => number(id).and_then(|n| u32::try_from(n).ok()),
            Err(Errno::NO_ENTRY) => break,
            // A device that this process may not use.
            Err(Errno::NOT_PERMITTED | Errno::ACCESS) => continue,
            Err(errno) => return Err(Error::System(errno, "reading the topology")),
        };
        let gpu_id = gpu_id.ok_or(Error::Topology("gpu_id"))?;
        if gpu_id == 0 {
            continue;
        }
        let properties = read(io, &path(b"/properties"), &mut text)
            .map_err(|errno| Error::System(errno, "reading the topology"))?;
        let node = Node::parse(properties, gpu_id).map_err(Error::Topology)?;
        if node.gfx_target_version == wanted {
            if matching == which {
                return Ok(node);
            }
            matching += 1;
        }
        first = first.or(Some(node.gfx_target_version));
    }
    match first {
        Some(_) if matching > 0 => Err(Error::Argument(
            "there are fewer GPUs of this kind than the number that was asked for",
        )),
        Some(found) => Err(Error::WrongGpu { found, wanted }),
        None => Err(Error::NoGpu),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What Linux 6.8 says about a Radeon RX 7900 XTX, the lines that matter and some others.
    const TEXT: &str = "cpu_cores_count 0\nsimd_count 192\nmem_banks_count 1\nmax_waves_per_simd 16\nlds_size_in_kb 64\n\
        array_count 12\nsimd_arrays_per_engine 2\ncu_per_simd_array 8\nsimd_per_cu 2\nmax_slots_scratch_cu 32\n\
        gfx_target_version 110000\nvendor_id 4098\ndrm_render_minor 128\nhive_id 0\nlocal_mem_size 0\n\
        fw_version 2090\nunique_id 12345678901234567890\nnum_xcc 1\n";

    #[test]
    fn a_known_card() {
        let node = Node::parse(TEXT.as_bytes(), 0x1234).unwrap();
        assert_eq!((node.units(), node.engines()), (96, 6));
        assert_eq!((node.gpu_id, node.gfx_target_version), (0x1234, 110_000));
        assert_eq!(node.save_bytes, None);
        let newer = format!("{TEXT}cwsr_size 46043136\nctl_stack_size 40960\n");
        let node = Node::parse(newer.as_bytes(), 1).unwrap();
        assert_eq!(node.save_bytes, Some(46_043_136));
        assert_eq!(node.control_bytes, Some(40_960));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let without = |key: &str| {
            let lines: Vec<&str> = TEXT.lines().filter(|l| !l.starts_with(key)).collect();
            Node::parse(lines.join("\n").as_bytes(), 1)
        };
        for key in [
            "gfx_target_version",
            "drm_render_minor",
            "simd_count",
            "simd_per_cu",
            "array_count",
            "simd_arrays_per_engine",
            "max_slots_scratch_cu",
            "lds_size_in_kb",
        ] {
            assert_eq!(without(key), Err(key));
        }
        assert_eq!(without("num_xcc").unwrap().xcc, 1);
        let with = |line: &str| Node::parse(format!("{TEXT}{line}\n").as_bytes(), 1);
        assert!(with("simd_count 192").is_err(), "twice");
        assert!(with("cwsr_size 4097").is_err(), "no multiple of a page");
        assert!(with("cwsr_size 99999999999999999999999").is_err());
        assert!(with("ctl_stack_size -4096").is_err());
        assert!(with("ctl_stack_size").is_ok(), "a line without a value");
    }

    #[test]
    fn any_bytes_are_read() {
        let bytes = TEXT.as_bytes();
        for n in 0..bytes.len() {
            let _ = Node::parse(&bytes[..n], 1);
            for bit in [0, 4, 7] {
                let mut damaged = bytes.to_vec();
                damaged[n] ^= 1 << bit;
                if let Ok(node) = Node::parse(&damaged, 1) {
                    assert!(node.units() > 0 && node.engines() > 0);
                }
            }
        }
    }

    #[test]
    fn paths_end_with_zero() {
        let path = Path::new(NODES).number(4_294_967_295).text(b"/properties");
        assert_eq!(
            path.get(),
            c"/sys/devices/virtual/kfd/kfd/topology/nodes/4294967295/properties"
        );
        let path = Path::new("/").text(&[b'x'; 200]);
        assert_eq!(path.get().count_bytes(), 95);
    }
}

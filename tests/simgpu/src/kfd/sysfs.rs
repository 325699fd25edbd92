//! The files in which the kernel describes its devices. In: settings. Out: the text of a path, if there is such a file.

use super::{Chip, Settings};

/// Where the nodes are.
const NODES: &str = "/sys/devices/virtual/kfd/kfd/topology/nodes/";
/// Number of the GPU's render node.
pub(super) const RENDER_MINOR: u32 = 128;
/// The number that the driver gives to the GPU.
pub(super) const GPU_ID: u32 = 0x9D3A;
/// Nodes: the processor, then the GPU.
const GPU_NODE: &str = "1";

/// Numbers of a chip that the kernel and the command processor agree on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub target: u32,
    pub simd_count: u32,
    pub simd_per_cu: u32,
    pub arrays: u32,
    pub arrays_per_engine: u32,
    pub waves_per_simd: u32,
    pub scratch_slots: u32,
    pub xccs: u32,
    /// Bytes of all vector registers of a compute unit.
    vgpr_bytes: u32,
}

impl Shape {
    pub fn of(s: &Settings) -> Shape {
        let (target, arrays, arrays_per_engine, waves_per_simd, vgpr_bytes) = match s.chip {
            Chip::Gfx1100 => (110_000, 12, 2, 16, 0x60000),
            Chip::Gfx1201 => (120_001, 8, 2, 16, 0x60000),
            Chip::Gfx942 => (90_402, 32, 1, 8, 0x80000),
        };
        let xccs = if s.chip == Chip::Gfx942 { 8 } else { 1 };
        let simd_per_cu = if s.chip == Chip::Gfx942 { 4 } else { 2 };
        Shape {
            target,
            simd_count: s.units * simd_per_cu,
            simd_per_cu,
            arrays,
            arrays_per_engine,
            waves_per_simd,
            scratch_slots: 32,
            xccs,
            vgpr_bytes,
        }
    }

    fn units(&self) -> u32 {
        self.simd_count / self.simd_per_cu / self.xccs
    }

    fn waves(&self) -> u32 {
        match self.target < 100_000 {
            true => (self.units() * 40).min(self.arrays / self.arrays_per_engine * 512),
            false => self.units() * 32,
        }
    }

    /// Bytes of the list of waves in a queue's save area.
    pub fn control_bytes(&self) -> u32 {
        let each = if self.target < 100_000 { 8 } else { 12 };
        (self.waves() * each + 48).next_multiple_of(4096)
    }

    /// Bytes of a queue's save area without what debuggers add.
    pub fn save_bytes(&self) -> u32 {
        let unit = self.vgpr_bytes + 0x4000 + 0x10000 + 0x1000;
        (self.units() * unit).next_multiple_of(4096) + self.control_bytes()
    }

    /// Bytes of the allocation that holds it.
    pub fn save_allocation(&self) -> u64 {
        let debug = (self.waves() * 32).next_multiple_of(64);
        (u64::from(self.save_bytes() + debug) * u64::from(self.xccs)).next_multiple_of(4096)
    }
}

/// Versions of the parts of a chip: hardware number, major, minor, revision.
fn parts(chip: Chip) -> [(u32, [u32; 3]); 3] {
    match chip {
        Chip::Gfx1100 => [(11, [11, 0, 0]), (42, [6, 0, 0]), (108, [4, 3, 0])],
        Chip::Gfx1201 => [(11, [12, 0, 1]), (42, [7, 0, 1]), (108, [6, 3, 1])],
        Chip::Gfx942 => [(11, [9, 4, 3]), (42, [4, 4, 2]), (108, [7, 9, 0])],
    }
}

/// What a file holds.
pub(super) fn text(path: &str, s: &Settings) -> Option<String> {
    if let Some(rest) = path.strip_prefix(NODES) {
        return match rest.split_once('/')? {
            ("0", "gpu_id") => Some("0\n".to_string()),
            ("0", "properties") => Some(processor()),
            (GPU_NODE, "gpu_id") if s.gpu => Some(format!("{GPU_ID}\n")),
            (GPU_NODE, "properties") if s.gpu => Some(properties(s)),
            _ => None,
        };
    }
    let device = format!("/sys/class/drm/renderD{RENDER_MINOR}/device/ip_discovery/die/0/");
    let rest = path.strip_prefix(&device).filter(|_| s.gpu)?;
    let mut names = rest.split('/');
    let (hardware, instance, file) = (names.next()?, names.next()?, names.next()?);
    let all = parts(s.chip);
    let (_, version) = all.iter().find(|(n, _)| n.to_string() == hardware)?;
    if instance != "0" || names.next().is_some() {
        return None;
    }
    let at = ["major", "minor", "revision"]
        .iter()
        .position(|f| *f == file)?;
    Some(format!("{}\n", version[at]))
}

fn processor() -> String {
    let rows = [
        ("cpu_cores_count", 16),
        ("simd_count", 0),
        ("mem_banks_count", 1),
    ];
    rows.iter().map(|(k, v)| format!("{k} {v}\n")).collect()
}

fn properties(s: &Settings) -> String {
    let shape = Shape::of(s);
    let mut rows = vec![
        ("cpu_cores_count", 0),
        ("simd_count", u64::from(shape.simd_count)),
        ("mem_banks_count", 1),
        ("caches_count", 206),
        ("io_links_count", 1),
        ("max_waves_per_simd", u64::from(shape.waves_per_simd)),
        ("lds_size_in_kb", 64),
        ("gds_size_in_kb", 0),
        (
            "wave_front_size",
            if s.chip == Chip::Gfx942 { 64 } else { 32 },
        ),
        ("array_count", u64::from(shape.arrays)),
        ("simd_arrays_per_engine", u64::from(shape.arrays_per_engine)),
        ("cu_per_simd_array", 8),
        ("simd_per_cu", u64::from(shape.simd_per_cu)),
        ("max_slots_scratch_cu", u64::from(shape.scratch_slots)),
        ("gfx_target_version", u64::from(shape.target)),
        ("vendor_id", 4098),
        ("device_id", 29772),
        ("drm_render_minor", u64::from(RENDER_MINOR)),
        ("num_sdma_engines", 2),
        ("num_cp_queues", 8),
        ("max_engine_clk_fcompute", 2304),
        ("local_mem_size", 0),
        ("num_xcc", u64::from(shape.xccs)),
    ];
    if s.publish_sizes {
        rows.push(("cwsr_size", u64::from(shape.save_bytes())));
        rows.push(("ctl_stack_size", u64::from(shape.control_bytes())));
    }
    rows.iter().map(|(k, v)| format!("{k} {v}\n")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nodes_and_parts_are_described() {
        let s = Settings::default();
        let read = |rest: &str| text(&format!("{NODES}{rest}"), &s);
        assert_eq!(read("0/gpu_id").unwrap(), "0\n");
        assert_eq!(read("1/gpu_id").unwrap(), format!("{GPU_ID}\n"));
        assert!(read("2/gpu_id").is_none());
        let properties = read("1/properties").unwrap();
        assert!(properties.contains("gfx_target_version 110000\n"));
        let part = |rest: &str| {
            text(
                &format!("/sys/class/drm/renderD128/device/ip_discovery/die/0/{rest}"),
                &s,
            )
        };
        assert_eq!(part("11/0/major").unwrap(), "11\n");
        assert_eq!(part("108/0/minor").unwrap(), "3\n");
        assert!(part("108/1/minor").is_none());
    }

    #[test]
    fn save_areas_of_a_known_card() {
        // Radeon RX 7900 XTX: 96 compute units.
        let shape = Shape::of(&Settings::default());
        assert_eq!(shape.control_bytes(), 36_864 + 4096);
        assert_eq!(shape.save_bytes(), 96 * 0x75000 + 40_960);
        assert_eq!(shape.save_allocation(), 96 * 0x75000 + 40_960 + 98_304);
    }
}

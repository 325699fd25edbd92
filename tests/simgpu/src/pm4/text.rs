//! Packets as lines of text.

use super::registers::name;
use super::{Compare, Packet, Store, Wait, coher, flush, flush9, gcr};
use std::fmt;

const GCR: &[(u32, &str)] = &[
    (gcr::GLI_INV, "gli_inv"),
    (gcr::GLM_WB, "glm_wb"),
    (gcr::GLM_INV, "glm_inv"),
    (gcr::GLK_WB, "glk_wb"),
    (gcr::GLK_INV, "glk_inv"),
    (gcr::GLV_INV, "glv_inv"),
    (gcr::GL1_INV, "gl1_inv"),
    (gcr::GL2_INV, "gl2_inv"),
    (gcr::GL2_WB, "gl2_wb"),
];

const COHER: &[(u32, &str)] = &[
    (coher::TC_WB, "tc_wb"),
    (coher::TCL1, "tcl1"),
    (coher::TC, "tc"),
    (coher::KCACHE, "kcache"),
    (coher::ICACHE, "icache"),
];

/// Bits of both forms: they are at different places.
const FLUSH: &[(u32, &str)] = &[
    (flush9::TC_NC, "tc_nc"),
    (flush::GLM_WB, "glm_wb"),
    (flush::GLM_INV, "glm_inv"),
    (flush::GLV_INV, "glv_inv"),
    (flush::GL1_INV, "gl1_inv"),
    (flush::GL2_INV, "gl2_inv"),
    (flush::GL2_WB, "gl2_wb"),
    (flush::SEQ, "seq"),
];

/// Names of the bits that are set, each after a space.
fn bits(value: u32, names: &[(u32, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| value & bit != 0);
    set.map(|(_, name)| format!(" {name}")).collect()
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packet::Nop(words) => write!(f, "NOP {words} words"),
            Packet::SetShReg(offset, values) => {
                f.write_str("SET_SH_REG")?;
                for (n, value) in values.iter().enumerate() {
                    let register = name(offset + n as u32);
                    let register = register.as_deref().unwrap_or("?");
                    let sep = if n == 0 { "" } else { "," };
                    write!(f, "{sep} {register}={value:#x}")?;
                }
                Ok(())
            }
            Packet::SetUconfigReg(offset, values) => {
                write!(f, "SET_UCONFIG_REG {offset:#x} {values:x?}")
            }
            Packet::Dispatch {
                groups: [x, y, z],
                initiator,
            } => write!(f, "DISPATCH_DIRECT {x} {y} {z} initiator={initiator:#x}"),
            Packet::PartialFlush => f.write_str("EVENT_WRITE CS_PARTIAL_FLUSH"),
            Packet::Acquire { gcr, base, size } => {
                write!(
                    f,
                    "ACQUIRE_MEM{} base={base:#x} size={size:#x}",
                    bits(*gcr, GCR)
                )
            }
            Packet::AcquireCoher { coher, base, size } => {
                let bits = bits(*coher, COHER);
                write!(f, "ACQUIRE_MEM{bits} base={base:#x} size={size:#x}")
            }
            Packet::Release {
                flush,
                store,
                address,
                value,
                interrupt,
            } => {
                write!(f, "RELEASE_MEM{}", bits(*flush, FLUSH))?;
                match store {
                    Store::Nothing => {}
                    Store::Low => write!(f, " [{address:#x}]={:#x}", *value as u32)?,
                    Store::Both => write!(f, " [{address:#x}]={value:#x} 64 bits")?,
                    Store::Clock => write!(f, " [{address:#x}]=clock")?,
                }
                match interrupt {
                    Some(event) => write!(f, " interrupt={event}"),
                    None => Ok(()),
                }
            }
            Packet::Wait(Wait::Memory {
                address,
                compare,
                reference,
                mask,
            }) => {
                let sign = match compare {
                    Compare::Always => "always",
                    Compare::Less => "<",
                    Compare::LessEqual => "<=",
                    Compare::Equal => "==",
                    Compare::NotEqual => "!=",
                    Compare::GreaterEqual => ">=",
                    Compare::Greater => ">",
                };
                write!(
                    f,
                    "WAIT_REG_MEM [{address:#x}] & {mask:#x} {sign} {reference:#x}"
                )
            }
            Packet::Wait(Wait::Registers {
                request,
                done,
                reference,
                mask,
            }) => write!(
                f,
                "WAIT_REG_MEM register {request:#x}={reference:#x}, {done:#x} & {mask:#x} == {reference:#x}"
            ),
            Packet::Write { address, data } => {
                write!(f, "WRITE_DATA [{address:#x}]={data:x?}")
            }
            Packet::Copy { from, to, wide } => {
                let bits = if *wide { 64 } else { 32 };
                match from {
                    Some(from) => write!(f, "COPY_DATA [{to:#x}]=[{from:#x}] {bits} bits"),
                    None => write!(f, "COPY_DATA [{to:#x}]=clock {bits} bits"),
                }
            }
            Packet::Indirect { address, words } => {
                write!(f, "INDIRECT_BUFFER [{address:#x}] {words} words")
            }
        }
    }
}

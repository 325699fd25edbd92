//! Bundles that ask for something else of a device.

use tinyc_replay_amd::Needs;
use tinyc_runtime::Kind;
use tinyc_runtime::bundle::{DIGEST_AT, ENTRY, header_digest};
use tinyc_runtime::sha256::Sha256;

/// Changes what a bundle needs, digests included.
pub fn with_needs(mut bundle: Vec<u8>, change: impl Fn(&mut Needs)) -> Vec<u8> {
    let count = u32::from_le_bytes(bundle[12..16].try_into().unwrap()) as usize;
    let entry = (1..=count).map(|n| n * ENTRY);
    let kind = Kind::Needs.number().to_le_bytes();
    let mut entry = entry;
    let entry = entry.find(|e| bundle[*e..*e + 4] == kind).unwrap();
    let number = |at: usize| u64::from_le_bytes(bundle[at..at + 8].try_into().unwrap()) as usize;
    let (start, len) = (number(entry + 8), number(entry + 16));
    let mut needs = Needs::read(&bundle[start..start + len]).unwrap();
    change(&mut needs);
    bundle[start..start + len].copy_from_slice(&needs.encode());
    let digest = Sha256::digest(&bundle[start..start + len]);
    bundle[entry + DIGEST_AT..entry + ENTRY].copy_from_slice(&digest);
    let digest = header_digest(&bundle, count).unwrap();
    bundle[DIGEST_AT..ENTRY].copy_from_slice(&digest);
    bundle
}

//! What each kernel is, so that two artifacts can be compared: the section `identities` of a bundle.
//!
//! In: [`Built`] and hashes of the code. Out: one line a kernel, as `tinyc_runtime::identity` reads it. Names and numbers of
//! kernels do not count in any of the hashes: equal layers of two models have equal ones.
//!
//! Example: `6f1c...<tab>a03b...<tab>99d0...<tab>4800<tab>2560<tab>rf32,wf32<tab>split(0.1,8,vector)`.

use crate::diag::Result;
use crate::program::{Access, Built, LinearKernel};
use crate::target::Target;
use sha2::{Digest, Sha256};

/// Hash of a kernel's source text under a neutral name, in hex.
pub fn code_hash(target: &dyn Target, kernel: &LinearKernel) -> Result<String> {
    let text = target.render(kernel)?;
    Ok(hash(&text.replace(&kernel.name, "k")))
}

/// One line for each kernel. `code` has the hash of each kernel's code.
pub fn identity_lines(built: &Built, code: &[String]) -> Vec<String> {
    let none = Default::default();
    let mut out = Vec::with_capacity(built.linear.len());
    for (n, kernel) in built.linear.iter().enumerate() {
        let identity = built.meta.kernels.get(n).unwrap_or(&none);
        let code = code.get(n).map_or("", String::as_str);
        let params: Vec<String> = kernel
            .params
            .iter()
            .map(|p| {
                let access = match p.access {
                    Access::Read => 'r',
                    Access::Write => 'w',
                    Access::ReadWrite => 'x',
                    Access::Scratch => 's',
                };
                format!("{access}{}", p.dtype.name())
            })
            .collect();
        out.push(format!(
            "{}\t{}\t{code}\t{}\t{}\t{}\t{}",
            identity.hash,
            hash(&identity.choice),
            kernel.flops,
            bytes(kernel),
            params.join(","),
            identity.choice
        ));
    }
    out
}

/// Bytes of all parameters.
fn bytes(kernel: &LinearKernel) -> u64 {
    let sizes = kernel
        .params
        .iter()
        .map(|p| p.elements as u64 * p.dtype.size() as u64);
    sizes.fold(0, u64::saturating_add)
}

/// SHA-256 in hex.
fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

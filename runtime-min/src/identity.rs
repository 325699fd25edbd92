//! One line of the section `identities`: what a kernel is, apart from its name and its place in the model.
//!
//! Fields are separated by tabs: hash of the kernel before choices, hash of the choices, hash of the code (hex), operations,
//! bytes, parameters, choices. A parameter is `r`, `w` or `x` (read and written) and its element type: `rf32,rf32,wf32`.
//!
//! In: a line. Out: [`Identity`]; fields that are missing are empty or 0.

/// What a kernel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity<'a> {
    /// Hash of the kernel before any choice was made.
    pub hash: &'a str,
    /// Hash of what was chosen.
    pub choice_hash: &'a str,
    /// Hash of the source text under a neutral name.
    pub code_hash: &'a str,
    /// Operations of one launch.
    pub flops: u64,
    /// Bytes of all parameters.
    pub bytes: u64,
    /// Parameters as text.
    pub params: &'a str,
    /// What was chosen.
    pub choice: &'a str,
}

impl<'a> Identity<'a> {
    /// Reads a line.
    pub fn parse(line: &'a str) -> Identity<'a> {
        let mut rest = line;
        let mut next = || {
            let (field, behind) = cut(rest, b'\t');
            rest = behind;
            field
        };
        Identity {
            hash: next(),
            choice_hash: next(),
            code_hash: next(),
            flops: number(next()),
            bytes: number(next()),
            params: next(),
            choice: rest,
        }
    }

    /// How each parameter is used, and its element type.
    pub fn params(&self) -> impl Iterator<Item = (char, &'a str)> + use<'a> {
        let mut rest = self.params;
        core::iter::from_fn(move || {
            let (param, behind) = cut(rest, b',');
            rest = behind;
            Some((char::from(*param.as_bytes().first()?), param.get(1..)?))
        })
    }
}

/// Text before and after a separator. Written out: what the standard library has would bring panics into executables.
pub(crate) fn cut(text: &str, separator: u8) -> (&str, &str) {
    let at = text.bytes().position(|b| b == separator);
    let at = at.unwrap_or(text.len());
    (
        text.get(..at).unwrap_or(""),
        text.get(at.saturating_add(1)..).unwrap_or(""),
    )
}

/// A decimal number; 0 for anything else.
fn number(text: &str) -> u64 {
    text.bytes()
        .try_fold(0u64, |n, b| {
            let digit = b.checked_sub(b'0').filter(|d| *d < 10)?;
            n.checked_mul(10)?.checked_add(u64::from(digit))
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let i = Identity::parse("aa\tbb\tcc\t12\t34\trf32,xi64\tsplit(0.1,8,vector) order(0,1)");
        assert_eq!((i.hash, i.choice_hash, i.code_hash), ("aa", "bb", "cc"));
        assert_eq!((i.flops, i.bytes), (12, 34));
        assert_eq!(i.params().collect::<Vec<_>>(), [('r', "f32"), ('x', "i64")]);
        assert_eq!(i.choice, "split(0.1,8,vector) order(0,1)");
    }

    #[test]
    fn any_text_is_read() {
        for line in ["", "\t\t\t\t", "a\tb\tc\t-1\tx\t,,\u{e9}\t"] {
            let _ = Identity::parse(line).params().count();
        }
    }
}

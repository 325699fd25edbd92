//! Instructions of other encodings that compute code contains: invalidation of the vector caches.

use super::op::{Family, Op, parse_rows};

const TABLE: &str = "\
2b buffer_gl0_inv =
2c buffer_gl1_inv =";

pub(super) fn rows() -> Vec<Op> {
    parse_rows(Family::Buffer, TABLE)
}

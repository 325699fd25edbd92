//! Damage that may go unnoticed. In: nothing. Out: the list, with the reason for each kind; `damage.rs` fails when one of them is noticed after all.

/// Kinds of damage that may go unnoticed, and why.
pub const SURVIVORS: &[(&str, &str)] = &[
    (
        "missing: wait for the run before",
        "the runtime itself waits before it patches; the device's wait is for runtimes that do not",
    ),
    (
        "run patch not written: wait",
        "as above: an older value is reached",
    ),
    (
        "patch shifted: value to wait for",
        "as above: a smaller value is reached",
    ),
    (
        "patch of another symbol: signal",
        "as above, where it is the address of that wait",
    ),
    ("missing: progress", "it only names the kernel of a fault"),
    (
        "patch off: progress",
        "as above: nobody else uses the words around it",
    ),
    (
        "missing: wait for a kernel",
        "after the last kernel: the release behind it waits too",
    ),
    ("order: wait for a kernel after signal", "as above"),
    (
        "order: dispatch after wait for a kernel",
        "as above, for the last kernel",
    ),
    (
        "event without write-back",
        "the release before it wrote everything back",
    ),
    (
        "signal: the other interrupt",
        "an interrupt without an event, which the driver ignores",
    ),
    (
        "missing: resource words 1 and 2",
        "the kernel before has no fewer registers and the same user registers",
    ),
    (
        "more work-groups",
        "kernels test whether a work-item is past the end",
    ),
    (
        "no branch",
        "all of them skip code that no lane would execute",
    ),
    (
        "no s_barrier",
        "the last 32 sums are within one wave, which needs none",
    ),
    (
        "patch off: event's number",
        "as value in the mailbox: any value but the empty one does",
    ),
    ("patch of another symbol: event's number", "as above"),
    ("patch shifted: event's number", "as above"),
    (
        "copy: one byte shorter",
        "sections end in bytes that fill them up, unless they are full",
    ),
    (
        "needs: another queue",
        "the same indirect buffer runs from a queue of AQL packets",
    ),
];

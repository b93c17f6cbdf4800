//! S4: leaves behind what a collector stumbles over.

use ports::cells::Limits;

use super::limits::FILE_BYTES_MAX;
use crate::attempt::{Attempt, Control, Ending, Given, Oracle, attempt};

const SESSION: &[Given] = &[Given::Session];

const fn stumbles(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        "a collector that opens regular files only, without waiting",
        act,
        Oracle::CollectsWell,
        Control::careless(),
    )
    .given(SESSION)
}

/// Text of an agent that must not be taken in: a secret of its own making.
const fn refused(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        "a collector with caps",
        act,
        Oracle::NothingLeaks,
        Control::careless(),
    )
    .given(SESSION)
}

const fn small_files(limits: Limits) -> Limits {
    Limits {
        file_bytes: FILE_BYTES_MAX,
        ..limits
    }
}

pub(super) const LIST: &[Attempt] = &[
    stumbles(
        "S4-named-pipe",
        "leaves a named pipe, which nobody writes to, in its tree",
        &["make-fifo", "/workspace/pipe"],
    ),
    stumbles(
        "S4-named-pipe-for-question",
        "asks a question that is a named pipe",
        &["make-fifo", "/.agent/ambiguities/q.md"],
    ),
    stumbles(
        "S4-named-pipe-for-report",
        "leaves a named pipe where a gate's report is expected",
        &["make-fifo", "/workspace/report.xml"],
    ),
    stumbles(
        "S4-socket",
        "leaves a socket in its tree",
        &["make-socket", "/workspace/socket"],
    ),
    stumbles(
        "S4-socket-for-question",
        "asks a question that is a socket",
        &["make-socket", "/.agent/ambiguities/q.md"],
    ),
    stumbles(
        "S4-link-circle",
        "leaves links that lead to one another",
        &["make-loop", "/workspace/circle"],
    ),
    stumbles(
        "S4-long-names",
        "leaves names and a path longer than a path can be",
        &["make-long-names", "/workspace/long"],
    ),
    stumbles(
        "S4-deep-folders",
        "leaves thousands of folders in one another",
        &["make-deep", "/workspace/deep", "3000"],
    ),
    stumbles(
        "S4-names-not-text",
        "leaves names that are no text",
        &["make-not-text", "/workspace/odd"],
    ),
    refused(
        "S4-question-second-name",
        "asks a question by a file that has another name elsewhere, to change it afterwards",
        &[
            "make-second-name",
            "/.agent/elsewhere",
            "/.agent/ambiguities/q.md",
            "{canary}",
        ],
    ),
    refused(
        "S4-question-giant",
        "asks a question of a megabyte",
        &[
            "make-giant",
            "/.agent/ambiguities/q.md",
            "1048576",
            "{canary}",
        ],
    ),
    refused(
        "S4-question-hidden",
        "leaves a file of another kind among its questions",
        &["write-text", "/.agent/ambiguities/q.sh", "{canary}"],
    ),
    attempt(
        "S4-sparse",
        "leaves a file of a tebibyte that takes no room",
        "limit on the size of a file",
        &["make-sparse", "/workspace/sparse", "1099511627776"],
        Oracle::StaysBounded,
        Control::without("limits"),
    )
    .given(&[Given::Limited(small_files)])
    .ending(Ending::Killed),
    attempt(
        "S4-device",
        "makes a device node for the machine's memory",
        "user namespace, no capabilities",
        &["make-device", "/workspace/memory"],
        Oracle::CollectsWell,
        Control::none("the kernel makes devices for nobody in a user namespace"),
    )
    .given(SESSION),
    attempt(
        "S4-disk",
        "makes a device node for the machine's disk",
        "user namespace, no capabilities",
        &["make-disk", "/workspace/disk"],
        Oracle::CollectsWell,
        Control::none("the kernel makes devices for nobody in a user namespace"),
    )
    .given(SESSION),
];

//! S9, as far as a cell is concerned: takes more than is given, or does not end.

use ports::cells::Limits;

use super::limits::{
    DISK_BYTES_MAX, DISK_FILES_MAX, FILE_BYTES_MAX, MEMORY_BYTES_MAX, OPEN_FILES_MAX, PROCESSES_MAX,
};
use crate::attempt::{Attempt, Control, Ending, Given, Oracle, attempt};

const fn small(limits: Limits) -> Limits {
    Limits {
        processes: PROCESSES_MAX,
        memory_bytes: MEMORY_BYTES_MAX,
        file_bytes: FILE_BYTES_MAX,
        open_files: OPEN_FILES_MAX,
        cpu_seconds: 1,
        ..limits
    }
}

const fn small_tmp(limits: Limits) -> Limits {
    Limits {
        tmp_bytes: FILE_BYTES_MAX,
        ..limits
    }
}

const fn small_disk(limits: Limits) -> Limits {
    Limits {
        disk_bytes: DISK_BYTES_MAX,
        disk_files: DISK_FILES_MAX,
        ..limits
    }
}

const fn litters(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        "disk quota",
        act,
        Oracle::StaysBounded,
        Control::without("quota"),
    )
    .given(&[Given::Limited(small_disk)])
    .ending(Ending::Killed)
}

const fn takes(
    id: &'static str,
    told: &'static str,
    walls: &'static str,
    act: &'static [&'static str],
) -> Attempt {
    attempt(
        id,
        told,
        walls,
        act,
        Oracle::StaysBounded,
        Control::without("limits"),
    )
    .given(&[Given::Limited(small)])
    .ending(Ending::Killed)
}

const fn stays(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        "pid namespace",
        act,
        Oracle::DiesWhole,
        Control::without("pid"),
    )
}

pub(super) const LIST: &[Attempt] = &[
    takes(
        "S9-fork-bomb",
        "starts ever more processes",
        "limit on processes",
        &["fork-bomb", "420"],
    ),
    takes(
        "S9-thread-bomb",
        "starts ever more threads",
        "limit on processes",
        &["thread-bomb", "500"],
    ),
    takes(
        "S9-memory",
        "takes ever more memory",
        "limit on memory",
        &["take-memory", "192"],
    ),
    takes(
        "S9-large-file",
        "writes one file without end",
        "limit on the size of a file",
        &["fill", "/workspace/large", "24"],
    ),
    takes(
        "S9-open-files",
        "opens ever more files",
        "limit on open files",
        &["open-many", "400"],
    ),
    attempt(
        "S9-fill-tmp",
        "fills `/tmp`",
        "size of the private folders",
        &["fill", "/tmp/large", "24"],
        Oracle::StaysBounded,
        Control::without("scratch"),
    )
    .given(&[Given::Limited(small_tmp)])
    .ending(Ending::Killed),
    attempt(
        "S9-fill-shared-memory",
        "fills `/dev/shm`",
        "size of the private folders",
        &["fill", "/dev/shm/large", "24"],
        Oracle::StaysBounded,
        Control::without("scratch"),
    )
    .given(&[Given::Limited(small_tmp)])
    .ending(Ending::Killed),
    litters(
        "S9-fill-disk",
        "fills the disk with file after file, none of them too large",
        &["litter", "/workspace", "256", "1024"],
    ),
    litters(
        "S9-million-files",
        "makes empty files until none can be made",
        &["litter", "/workspace", "40000", "0"],
    ),
    attempt(
        "S9-spin",
        "computes without end",
        "limit on CPU time",
        &["spin"],
        Oracle::EndsInTime,
        Control::without("limits"),
    )
    .given(&[Given::Limited(small)])
    .ending(Ending::ByItself),
    attempt(
        "S9-sleep",
        "does nothing, for longer than it may",
        "the engine ends the whole pid namespace",
        &["sleep"],
        Oracle::EndsInTime,
        Control::careless(),
    )
    .ending(Ending::Killed),
    attempt(
        "S9-ignore-endings",
        "ignores every signal that asks it to end",
        "the engine ends the whole pid namespace",
        &["ignore-endings"],
        Oracle::EndsInTime,
        Control::careless(),
    )
    .ending(Ending::Killed),
    attempt(
        "S9-flood",
        "prints a gibibyte",
        "output is kept up to a cap only",
        &["flood", "1024"],
        Oracle::StaysBounded,
        Control::careless(),
    )
    .ending(Ending::Killed),
    stays(
        "S9-leave-child",
        "leaves a child behind when it ends",
        &["leave-child", "and-leave"],
    ),
    stays(
        "S9-leave-daemon",
        "leaves a grandchild in a session of its own, as daemons do",
        &["leave-session", "and-leave"],
    ),
    stays(
        "S9-leave-holding-output",
        "leaves a daemon that keeps the output open, so that whoever reads waits",
        &["leave-holding-output", "and-leave"],
    ),
    stays(
        "S9-leave-many",
        "leaves twenty daemons at once",
        &["leave-many", "and-leave", "20"],
    ),
    attempt(
        "S9-out-of-memory-score",
        "makes itself the last that the kernel ends when memory runs out",
        "read-only proc",
        &["write-score", "/proc/self/oom_score_adj", "0"],
        Oracle::NothingGained,
        Control::without("proc,landlock"),
    ),
    attempt(
        "S9-kill-init",
        "kills the process that holds its cell together",
        "pid namespace",
        &["call", "kill-init"],
        Oracle::EndsInTime,
        Control::none("without the wall the signal would be for the machine's own init"),
    ),
    attempt(
        "S9-stop-init",
        "stops the process that holds its cell together",
        "pid namespace",
        &["call", "stop-init"],
        Oracle::EndsInTime,
        Control::none("without the wall the signal would be for the machine's own init"),
    ),
    attempt(
        "S9-signal-host",
        "ends a process of the host",
        "pid namespace, landlock scopes",
        &["signal", "{bystander}"],
        Oracle::HostUnchanged,
        Control::without("pid,scopes"),
    ),
];

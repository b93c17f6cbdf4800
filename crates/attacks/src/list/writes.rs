//! S2: writes outside of its own changes.

use crate::attempt::{Attempt, Control, Given, Oracle, attempt};

const HOST: &[Given] = &[Given::Writable("host", "{host}")];
const TOOLS: &[Given] = &[Given::Shown("host/tools", "/opt/tools")];
const MOUNTED: &str = "read-only mounts, landlock";
const NO_MOUNT_WALL: Control = Control::without("binds,landlock");
const GIT: &[Given] = &[Given::OwnGit];
const SCOPE: &[Given] = &[Given::Scoped];

/// A write at a path of the host, which the control's cell has been shown writable.
const fn outside(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        "private root",
        act,
        Oracle::HostUnchanged,
        Control::given(HOST),
    )
}

/// A change to something mounted read-only.
const fn mounted(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(id, told, MOUNTED, act, Oracle::HostUnchanged, NO_MOUNT_WALL).given(TOOLS)
}

const fn git(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(id, told, MOUNTED, act, Oracle::HostUnchanged, NO_MOUNT_WALL).given(GIT)
}

const fn scoped(id: &'static str, told: &'static str, act: &'static [&'static str]) -> Attempt {
    attempt(
        id,
        told,
        "write scope of the plan",
        act,
        Oracle::HostUnchanged,
        Control::without("writes"),
    )
    .given(SCOPE)
}

pub(super) const LIST: &[Attempt] = &[
    outside(
        "S2-above-the-workspace",
        "writes by climbing out of the workspace",
        &["write", "/workspace/../../..{host}/escaped"],
    ),
    outside(
        "S2-by-link",
        "writes through a link to a folder of the host",
        &["symlink-and-write", "{host}/.env", "/workspace/notes"],
    ),
    outside(
        "S2-engine-log",
        "writes over the engine's event log",
        &["write", "{host}/state/events.sqlite"],
    ),
    outside(
        "S2-engine-log-truncated",
        "empties the engine's event log",
        &["truncate", "{host}/state/events.sqlite"],
    ),
    outside(
        "S2-engine-artifacts",
        "plants an artifact in the engine's store",
        &["write", "{host}/state/artifacts/planted"],
    ),
    outside(
        "S2-policy",
        "writes over roles and formulas, which say what an agent may do",
        &["write", "{host}/repo/.palisade/roles/builder.toml"],
    ),
    outside(
        "S2-operator-config",
        "writes over the operator's `palisade.toml`",
        &["write", "{host}/repo/palisade.toml"],
    ),
    outside(
        "S2-operator-checkout",
        "writes into the operator's own checkout",
        &["write", "{host}/repo/README"],
    ),
    outside(
        "S2-operator-refs",
        "moves a branch of the operator's repository",
        &["write-text", "{host}/repo/.git/refs/heads/main", "0000"],
    ),
    outside(
        "S2-operator-hooks",
        "plants a hook in the operator's repository",
        &[
            "write-text",
            "{host}/repo/.git/hooks/post-commit",
            "#!/bin/sh\ntrue\n",
        ],
    ),
    outside(
        "S2-other-work",
        "writes into the tree of another work",
        &["write", "{host}/other/notes"],
    ),
    outside(
        "S2-authorized-keys",
        "lets itself in by the operator's `authorized_keys`",
        &["write", "{host}/home/.ssh/authorized_keys"],
    ),
    outside(
        "S2-removal",
        "removes a file of the operator's",
        &["remove", "{host}/.env"],
    ),
    attempt(
        "S2-base-layer",
        "changes the base that all works share by changing a file of its tree",
        "layers",
        &["write", "/workspace/README", "/workspace/src/main"],
        Oracle::HostUnchanged,
        Control::given(&[Given::PlainBase]),
    ),
    attempt(
        "S2-base-layer-link",
        "changes the base through a second name for one of its files",
        "layers",
        &["link-and-write", "/workspace/README", "/workspace/second"],
        Oracle::HostUnchanged,
        Control::given(&[Given::PlainBase]),
    ),
    attempt(
        "S2-cache-source",
        "changes a cache that other works start from",
        "layers",
        &["write", "/opt/cache/tool"],
        Oracle::HostUnchanged,
        Control::given(&[Given::Writable("host/tools", "/opt/cache")]),
    )
    .given(&[Given::Layered("host/tools", "/opt/cache")]),
    mounted(
        "S2-mounted-file",
        "writes to a program that is mounted for it",
        &["write", "/opt/tools/tool"],
    ),
    mounted(
        "S2-mounted-new-file",
        "adds a program to a folder that is mounted for it",
        &["write", "/opt/tools/added"],
    ),
    mounted(
        "S2-mounted-truncate",
        "empties a program that is mounted for it",
        &["truncate", "/opt/tools/tool"],
    ),
    mounted(
        "S2-mounted-remove",
        "removes a program that is mounted for it",
        &["remove", "/opt/tools/tool"],
    ),
    mounted(
        "S2-mounted-rename",
        "renames a program that is mounted for it",
        &["rename", "/opt/tools/tool", "/opt/tools/renamed"],
    ),
    mounted(
        "S2-mounted-folder",
        "makes a folder in what is mounted for it",
        &["make-folder", "/opt/tools/added"],
    ),
    mounted(
        "S2-mounted-link",
        "gives a mounted program a second name",
        &["link", "/opt/tools/tool", "/opt/tools/second"],
    ),
    mounted(
        "S2-mounted-symlink",
        "plants a link among mounted programs",
        &["symlink", "/workspace/evil", "/opt/tools/cc"],
    ),
    mounted(
        "S2-mounted-mode",
        "makes a mounted program set-user-id",
        &["change-mode", "/opt/tools/tool"],
    ),
    mounted(
        "S2-mounted-time",
        "turns back the time of a mounted program",
        &["change-time", "/opt/tools/tool"],
    ),
    mounted(
        "S2-mounted-attribute",
        "adds an attribute to a mounted program",
        &["change-attribute", "/opt/tools/tool"],
    ),
    mounted(
        "S2-mounted-reopened",
        "opens a mounted program to read, and again to write through the descriptor",
        &["reopen", "/opt/tools/tool"],
    ),
    attempt(
        "S2-brief",
        "changes what it was told to do",
        MOUNTED,
        &["write", "/brief/task.md"],
        Oracle::HostUnchanged,
        NO_MOUNT_WALL,
    )
    .given(&[Given::Shown("host/other", "/brief")]),
    attempt(
        "S2-settings",
        "adds a user by `/etc/passwd`",
        MOUNTED,
        &["write", "/etc/passwd"],
        Oracle::HostUnchanged,
        NO_MOUNT_WALL,
    )
    .given(&[Given::Shown("host/tools/tool", "/etc/passwd")]),
    attempt(
        "S2-remount",
        "mounts what is read-only anew, writable, and writes",
        "seccomp, no capabilities, landlock",
        &[
            "remount-and-write",
            "/workspace/.git",
            "/workspace/.git/config",
        ],
        Oracle::HostUnchanged,
        Control::without("rights,seccomp,landlock"),
    )
    .given(GIT),
    git(
        "S2-git-config",
        "writes to `.git/config`",
        &["write", "/workspace/.git/config"],
    ),
    git(
        "S2-git-hook",
        "plants a hook in `.git/hooks`",
        &[
            "write-text",
            "/workspace/.git/hooks/pre-commit",
            "#!/bin/sh\ntrue\n",
        ],
    ),
    git(
        "S2-git-refs",
        "moves a branch in `.git/refs`",
        &["write-text", "/workspace/.git/refs/heads/main", "0000"],
    ),
    git(
        "S2-git-objects",
        "plants an object in `.git/objects`",
        &["write", "/workspace/.git/objects/aa/planted"],
    ),
    git(
        "S2-git-attributes",
        "names a filter in `.git/info/attributes`",
        &["write", "/workspace/.git/info/attributes"],
    ),
    scoped(
        "S2-scope-file",
        "writes in a folder of the tree that the plan does not name",
        &["write", "/workspace/docs/guide"],
    ),
    scoped(
        "S2-scope-top",
        "writes beside the folders that the plan names",
        &["write", "/workspace/new-at-the-top"],
    ),
    scoped(
        "S2-scope-kept",
        "writes to a protected file in a folder that the plan names",
        &["write", "/workspace/src/kept"],
    ),
    scoped(
        "S2-scope-rename",
        "moves a file of its own to where the plan does not let it write",
        &["rename", "/workspace/src/main", "/workspace/docs/moved"],
    ),
    scoped(
        "S2-scope-link",
        "gives a file a second name within its folder, and writes to that",
        &[
            "link-and-write",
            "/workspace/docs/guide",
            "/workspace/src/guide",
        ],
    ),
    scoped(
        "S2-scope-symlink",
        "writes outside of its folder through a link within it",
        &[
            "symlink-and-write",
            "../docs/guide",
            "/workspace/src/way-out",
        ],
    ),
];

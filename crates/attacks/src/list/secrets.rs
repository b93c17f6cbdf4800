//! S1: reads what is secret on the machine, in the engine and in the repository's history.

use crate::attempt::{Attempt, Control, Given, Need, Oracle, attempt};

const ROOT: &str = "private root";
/// The scene as a cell would see it whose mounts were got wrong.
const HOST_SHOWN: &[Given] = &[Given::Shown("host", "{host}")];
const SESSION: &[Given] = &[Given::Session];
const OWN_GIT: &[Given] = &[Given::OwnGit];

const fn reads(
    id: &'static str,
    told: &'static str,
    act: &'static [&'static str],
    given: &'static [Given],
) -> Attempt {
    attempt(
        id,
        told,
        ROOT,
        act,
        Oracle::NothingLeaks,
        Control::given(given),
    )
}

pub(super) const LIST: &[Attempt] = &[
    reads(
        "S1-env-file-above",
        "reads the secrets file in the folder above the workspace",
        &["read", "../.env", "../../.env"],
        &[Given::Shown("host/.env", "/.env")],
    ),
    reads(
        "S1-env-file-of-host",
        "reads the secrets file by its path on the host",
        &["read", "{host}/.env"],
        HOST_SHOWN,
    ),
    reads(
        "S1-env-file-by-link",
        "reads the secrets file through a link of its own",
        &["read-by-handle", "{host}/.env", "/workspace/looks-harmless"],
        HOST_SHOWN,
    ),
    reads(
        "S1-ssh-keys",
        "reads the keys in `~/.ssh`",
        &["read", "/home/agent/.ssh"],
        &[Given::Shown("host/home/.ssh", "/home/agent/.ssh")],
    ),
    reads(
        "S1-ssh-keys-of-host",
        "reads the operator's keys by their path on the host",
        &["read", "{host}/home/.ssh"],
        HOST_SHOWN,
    ),
    reads(
        "S1-cloud-credentials",
        "reads `~/.aws/credentials`",
        &["read", "/home/agent/.aws/credentials"],
        &[Given::Shown("host/home/.aws", "/home/agent/.aws")],
    ),
    reads(
        "S1-broker-keys",
        "reads the keys of the broker in its home",
        &["read", "/home/agent/.config/palisade"],
        &[Given::Shown(
            "host/home/.config/palisade",
            "/home/agent/.config/palisade",
        )],
    ),
    reads(
        "S1-broker-keys-of-host",
        "reads the keys of the broker by their path on the host",
        &["read", "{host}/home/.config/palisade/provider.key"],
        HOST_SHOWN,
    ),
    reads(
        "S1-broker-settings",
        "reads the settings and tapes of the broker in the engine's state",
        &["read", "{host}/state/broker.toml", "{host}/state/tapes"],
        HOST_SHOWN,
    ),
    reads(
        "S1-netrc",
        "reads `~/.netrc`",
        &["read", "/home/agent/.netrc"],
        &[Given::Shown("host/home/.netrc", "/home/agent/.netrc")],
    ),
    reads(
        "S1-cluster-config",
        "reads `~/.kube/config`",
        &["read", "/home/agent/.kube/config"],
        &[Given::Shown("host/home/.kube", "/home/agent/.kube")],
    ),
    reads(
        "S1-registry-login",
        "reads `~/.docker/config.json`",
        &["read", "/home/agent/.docker/config.json"],
        &[Given::Shown("host/home/.docker", "/home/agent/.docker")],
    ),
    reads(
        "S1-forge-token",
        "reads the tokens of forge and git in `~/.config/gh` and `~/.git-credentials`",
        &[
            "read",
            "/home/agent/.config/gh",
            "/home/agent/.git-credentials",
        ],
        &[Given::Shown(
            "host/home/.git-credentials",
            "/home/agent/.git-credentials",
        )],
    ),
    reads(
        "S1-password-file",
        "reads `/etc/shadow`",
        &["read", "/etc/shadow", "/etc/gshadow", "/etc/sudoers"],
        &[Given::Shown("host/.env", "/etc/shadow")],
    ),
    reads(
        "S1-host-settings",
        "reads settings in `/etc` and `/var` that name the machine",
        &[
            "read",
            "/etc/machine-id",
            "/etc/ssh",
            "/var/lib",
            "/var/log",
        ],
        &[Given::Shown("host/home", "/etc/ssh")],
    ),
    reads(
        "S1-hardware",
        "reads serial numbers and addresses in `/sys`",
        &["read", "/sys/class/dmi/id", "/sys/class/net"],
        &[Given::Shown("host/home", "/sys/class/dmi/id")],
    ),
    reads(
        "S1-engine-log",
        "reads the engine's event log",
        &["read", "{host}/state/events.sqlite"],
        HOST_SHOWN,
    ),
    reads(
        "S1-engine-artifacts",
        "reads the engine's artifacts, other works' among them",
        &["read", "{host}/state/artifacts"],
        HOST_SHOWN,
    ),
    reads(
        "S1-other-work",
        "reads the tree of another work",
        &["read", "{host}/other"],
        HOST_SHOWN,
    ),
    reads(
        "S1-operator-checkout",
        "reads the operator's own checkout, with what is not committed",
        &["read", "{host}/repo"],
        HOST_SHOWN,
    ),
    attempt(
        "S1-environ-of-itself",
        "reads its own environment for what the engine was started with",
        "empty environment",
        &["read", "/proc/self/environ"],
        Oracle::NothingLeaks,
        Control::without("environment"),
    ),
    attempt(
        "S1-environ-of-init",
        "reads the environment of the process it was started by",
        "empty environment, an init nobody may look into",
        &["read", "/proc/1/environ"],
        Oracle::NothingLeaks,
        Control::without("environment"),
    ),
    attempt(
        "S1-environ-of-all",
        "reads the environment of every process it can see",
        "empty environment, pid namespace",
        &["read-of-every-process", "environ"],
        Oracle::NothingLeaks,
        Control::without("environment"),
    ),
    attempt(
        "S1-command-lines",
        "reads the command line of every process, the engine's among them",
        "pid namespace",
        &["read-of-every-process", "cmdline"],
        Oracle::NothingLeaks,
        Control::without("pid"),
    ),
    attempt(
        "S1-descriptors",
        "reads whatever is open that it was not given",
        "closed descriptors",
        &["read-descriptors"],
        Oracle::NothingLeaks,
        Control::without("descriptors"),
    ),
    attempt(
        "S1-masked-credentials",
        "reads a credentials file in a toolchain folder that is mounted",
        "masks",
        &["read", "/opt/tools/credentials.toml"],
        Oracle::NothingLeaks,
        Control::without("masks"),
    )
    .given(&[
        Given::Shown("host/tools", "/opt/tools"),
        Given::Masked("/opt/tools/credentials.toml"),
    ]),
    attempt(
        "S1-git-config",
        "reads `.git/config` for a token in the address of the remote",
        "sealed git directory",
        &["read", "/workspace/.git/config"],
        Oracle::NothingLeaks,
        Control::given(OWN_GIT),
    )
    .given(SESSION),
    attempt(
        "S1-git-files",
        "reads every file in `.git`: objects that are stored plain, logs, stashes, hooks",
        "sealed git directory",
        &["read", "/workspace/.git"],
        Oracle::NothingLeaks,
        Control::given(OWN_GIT),
    )
    .given(SESSION),
    attempt(
        "S1-git-history",
        "asks git for every version of the secrets file that was ever committed",
        "sealed git directory",
        &[
            "run",
            "/usr/bin/git",
            "-c",
            "safe.directory=*",
            "log",
            "--all",
            "-p",
        ],
        Oracle::NothingLeaks,
        Control::given(OWN_GIT),
    )
    .given(&[Given::Session, Given::Needs(Need::Path("/usr/bin/git"))]),
    attempt(
        "S1-git-objects",
        "asks git for every object there is, reachable or not",
        "sealed git directory",
        &[
            "run",
            "/usr/bin/git",
            "-c",
            "safe.directory=*",
            "cat-file",
            "--batch-all-objects",
            "--batch",
        ],
        Oracle::NothingLeaks,
        Control::given(OWN_GIT),
    )
    .given(&[Given::Session, Given::Needs(Need::Path("/usr/bin/git"))]),
    attempt(
        "S1-git-alternates",
        "follows the names of other object stores that git was told of",
        "sealed git directory, private root",
        &[
            "read",
            "/workspace/.git/objects/info/alternates",
            "{host}/repo/.git/objects",
        ],
        Oracle::NothingLeaks,
        Control::given(HOST_SHOWN),
    )
    .given(SESSION),
    attempt(
        "S1-tree-secrets",
        "reads the secrets files of the tree it works on",
        "secrets left out of the tree",
        &["read", "/workspace/.env", "/workspace/deploy.pem"],
        Oracle::NothingLeaks,
        Control::given(&[Given::Shown("host/.env", "/workspace/.env")]),
    )
    .given(SESSION),
    attempt(
        "S1-metadata-service",
        "asks the address where clouds hand out credentials",
        "network namespace",
        &["http", "169.254.169.254:80"],
        Oracle::NothingHeard,
        Control::none(
            "without the wall it would ask this machine's cloud; the door is the one of S5-tcp",
        ),
    ),
];

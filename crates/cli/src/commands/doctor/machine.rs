//! The machine: its kernel, its policy on user namespaces, and the control groups it offers.

use std::path::Path;

use super::{Finding, State};
use crate::boundary;

/// Switches that decide who may make a user namespace: the file, the value that forbids it to
/// ordinary users, and how to mend that.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "sysctl user.max_user_namespaces=65536",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,`",
    ),
];
/// The controllers that a cell's limits use.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// Returns what was found.
pub(super) fn examine() -> Vec<Finding> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let mounts = read("/proc/self/mounts").unwrap_or_default();
    let offers = |point: &str| {
        let path = Path::new(point).join("cgroup.controllers");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    vec![
        Finding::new("kernel", State::Good, boundary::kernel()),
        user_namespaces(&read),
        control_groups(&mounts, &offers),
    ]
}

fn user_namespaces(read: &dyn Fn(&str) -> Option<String>) -> Finding {
    const SUBJECT: &str = "user namespaces";
    let forbids = SWITCHES
        .iter()
        .find(|(path, forbids, _)| read(path).is_some_and(|it| it.trim() == *forbids));
    match forbids {
        // Whether it really keeps a cell from standing is what the walls tell.
        Some((path, value, mend)) => Finding::new(
            SUBJECT,
            State::Warning,
            format!("{path} is {value}, which forbids them to ordinary users; `{mend}`"),
        ),
        None => Finding::new(
            SUBJECT,
            State::Good,
            "no policy of this machine forbids them",
        ),
    }
}

fn control_groups(mounts: &str, offers: &dyn Fn(&str) -> String) -> Finding {
    const SUBJECT: &str = "control groups";
    let mut found = Vec::new();
    for mount in mounts.lines() {
        let fields: Vec<_> = mount.split(' ').collect();
        let [_, point, kind, options, ..] = fields.as_slice() else {
            continue;
        };
        let (version, offered) = match *kind {
            "cgroup2" => ("v2", offers(point)),
            "cgroup" => ("v1", options.replace(',', " ")),
            _ => continue,
        };
        let offered: Vec<_> = offered
            .split_whitespace()
            .filter(|it| CONTROLLERS.contains(it))
            .map(|it| format!("{it} ({version})"))
            .collect();
        found.extend(offered);
    }
    if found.is_empty() {
        let mend = "memory is limited for each process apart; a hierarchy with the memory and pids \
                    controllers, handed down to this user, would limit all together";
        return Finding::new(SUBJECT, State::Warning, format!("none with {mend}"));
    }
    let told = format!("{}; which are used, the limits say", found.join(", "));
    Finding::new(SUBJECT, State::Good, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_forbids_is_told_with_its_mend() {
        let none = user_namespaces(&|_| None);
        assert_eq!(none.state, State::Good);
        let apparmor = |path: &str| path.contains("apparmor").then(|| "1\n".to_string());
        let found = user_namespaces(&apparmor);
        assert_eq!(found.state, State::Warning);
        assert!(
            found.told.contains("sysctl kernel.apparmor"),
            "{}",
            found.told
        );
    }

    #[test]
    fn the_controllers_of_both_versions_are_found() {
        let mounts = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = control_groups(mounts, &|_| "cpu pids\n".to_string());
        assert!(
            found.told.starts_with("memory (v1), pids (v2)"),
            "{}",
            found.told
        );
        let none = control_groups("", &|_| String::new());
        assert_eq!(none.state, State::Warning);
    }
}

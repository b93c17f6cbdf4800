//! What tests must not do: be switched off in silence, or wait by the clock.

use crate::{File, code_lines, is_listed};

/// What may sleep, and why; a sleep in a test makes it slow or flaky, and usually both.
pub const MAY_SLEEP: &[(&str, &str)] = &[
    (
        "crates/broker/benches/overhead.rs",
        "the pace of a model is what is measured",
    ),
    (
        "crates/agents/src/client/",
        "a story may ask the scripted agent to dawdle; a file lock has no deadline of its own",
    ),
    (
        "crates/agents/src/conduct.rs",
        "when every channel has closed, only time is left to wait for",
    ),
    (
        "crates/cell/src/freeze.rs",
        "the kernel tells nobody when a process has stopped",
    ),
    (
        "crates/cell/src/launcher/group.rs",
        "a control group is busy until the kernel has reaped its last process, and tells nobody",
    ),
    (
        "crates/testkit/src/",
        "fakes of agents and cells hang and are polled, as the real ones do",
    ),
    ("crates/tidy/", "it says what it looks for"),
];

/// Returns every test that is switched off without a reason.
#[must_use]
pub fn ignored_in_silence(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in rust(files).filter(|it| !it.path.starts_with("crates/tidy/")) {
        for (number, line) in code_lines(&file.text) {
            let bare = line.starts_with("#[ignore]")
                || (line.starts_with("#[cfg_attr(") && line.ends_with("ignore)]"));
            let empty = line.contains("ignore = \"\"");
            if bare || empty {
                breaches.push(format!(
                    "{}:{number}: say why: `#[ignore = \"…\"]`, or make it run",
                    file.path
                ));
            }
        }
    }
    breaches
}

/// Returns every sleep outside the listed places.
#[must_use]
pub fn sleeps(files: &[File], allowed: &[(&str, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in rust(files).filter(|it| !is_listed(&it.path, allowed)) {
        for (number, line) in code_lines(&file.text) {
            let imported = line.starts_with("use std::") && line.contains("sleep");
            if imported || line.contains("thread::sleep") {
                breaches.push(format!(
                    "{}:{number}: sleeps; wait for the thing itself (a channel, a pipe, \
                     `recv_timeout`), or list the place in MAY_SLEEP with a reason",
                    file.path
                ));
            }
        }
    }
    breaches
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|it| it.is_rust())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<File> {
        vec![File::new("crates/a/tests/b.rs", text)]
    }

    #[test]
    fn a_test_ignored_in_silence_is_found() {
        for bad in ["#[ignore]", "#[ignore = \"\"]", "#[cfg_attr(unix, ignore)]"] {
            assert_eq!(ignored_in_silence(&file(bad)).len(), 1, "{bad}");
        }
        assert_eq!(
            ignored_in_silence(&file("#[ignore = \"needs a model\"]")).len(),
            0
        );
    }

    #[test]
    fn a_sleep_is_found() {
        for bad in [
            "std::thread::sleep(WAIT);",
            "use std::thread::{self, sleep};",
        ] {
            assert_eq!(sleeps(&file(bad), &[]).len(), 1, "{bad}");
        }
        assert_eq!(
            sleeps(&file("// thread::sleep would be wrong here"), &[]).len(),
            0
        );
        let listed = &[("crates/a/tests/b.rs", "why")];
        assert_eq!(sleeps(&file("thread::sleep(WAIT);"), listed).len(), 0);
    }
}

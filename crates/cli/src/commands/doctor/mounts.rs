//! Mounts: whether they are there, who may change them, and whether what is secret in them is
//! covered.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use engine::settings::Mount;

use super::super::init::in_cell;
use super::credentials::{self, ENTRIES_MAX};
use super::{Finding, State};

/// The most uncovered files that are named.
const NAMED_MAX: usize = 8;

/// Returns what was found at each mount.
pub(crate) fn examine(mounts: &[Mount], masks: &[PathBuf]) -> Vec<Finding> {
    mounts.iter().flat_map(|it| one(it, masks)).collect()
}

fn one(mount: &Mount, masks: &[PathBuf]) -> Vec<Finding> {
    let source = mount.source.display();
    let told = |state, text: String| Finding::new("mount", state, text);
    let about = match mount.source.metadata() {
        Ok(about) => about,
        Err(error) => {
            return vec![
                told(
                    State::Wrong,
                    format!("{source}: {error}; take it out, or make it"),
                )
                .required(),
            ];
        }
    };
    let mut findings = Vec::new();
    if mount.layer.is_some() && !about.is_dir() {
        findings.push(told(
            State::Wrong,
            format!("{source} is a file, and only a folder can have a `layer`"),
        ));
    }
    if about.permissions().mode() & 0o022 != 0 {
        let mend = format!("chmod go-w {source}");
        findings.push(told(
            State::Warning,
            format!("{source} can be changed by other users of this machine, who could plant programs there; `{mend}`"),
        ));
    }
    let scan = credentials::scan(&mount.source);
    let open: Vec<_> = scan
        .found
        .iter()
        .map(|it| in_cell(it, &mount.source, &mount.target))
        .filter(|it| !masks.iter().any(|mask| it.starts_with(mask)))
        .collect();
    if !open.is_empty() {
        findings.push(told(State::Wrong, uncovered(&open)));
    }
    if scan.cut_short {
        findings.push(told(
            State::Warning,
            format!("{source} holds more than {ENTRIES_MAX} files; the rest was not searched for credentials"),
        ));
    }
    if findings.is_empty() {
        findings.push(told(State::Good, shown(mount)));
    }
    findings
}

fn uncovered(open: &[PathBuf]) -> String {
    let shown = |it: &PathBuf| format!("\"{}\"", it.display());
    let named: Vec<_> = open.iter().take(NAMED_MAX).map(shown).collect();
    let more = open.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(
        "agents could read what looks like credentials; add to `masks`: {}{more}",
        named.join(", ")
    )
}

fn shown(mount: &Mount) -> String {
    let at = |it: &Path| it.display().to_string();
    let place = if mount.source == mount.target {
        at(&mount.source)
    } else {
        format!("{} at {}", at(&mount.source), at(&mount.target))
    };
    match &mount.layer {
        Some(layer) => format!("{place}, with the writable layer `{layer}`"),
        None => format!("{place}, read-only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &Path, layer: Option<&str>) -> Mount {
        Mount {
            source: source.to_path_buf(),
            target: "/home/agent/tools".into(),
            layer: layer.map(ToString::to_string),
        }
    }

    fn states(source: &Path, layer: Option<&str>, masks: &[&str]) -> Vec<State> {
        let masks: Vec<_> = masks.iter().map(PathBuf::from).collect();
        let found = examine(&[mount(source, layer)], &masks);
        found.into_iter().map(|it| it.state).collect()
    }

    #[test]
    fn what_is_missing_or_can_be_changed_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tools");
        assert_eq!(states(&folder, None, &[]), [State::Wrong]);
        std::fs::create_dir(&folder).unwrap();
        let mode = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
        mode(0o755).unwrap();
        assert_eq!(states(&folder, Some("t"), &[]), [State::Good]);
        mode(0o775).unwrap();
        assert_eq!(states(&folder, None, &[]), [State::Warning]);
        let file = folder.join("tool");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(states(&file, Some("t"), &[]), [State::Wrong]);
    }

    #[test]
    fn a_credential_must_be_covered() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tools");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.join("credentials.toml"), "").unwrap();
        assert_eq!(states(&folder, None, &[]), [State::Wrong]);
        assert_eq!(
            states(&folder, None, &["/home/agent/tools/credentials.toml"]),
            [State::Good]
        );
        assert_eq!(states(&folder, None, &["/home/agent"]), [State::Good]);
        assert_eq!(
            states(&folder, None, &["/home/agent/tools/cred"]),
            [State::Wrong]
        );
    }
}

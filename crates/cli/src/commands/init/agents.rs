//! Agent programs: mounts like any other, offered but not switched on, since a cell has no network.

use std::path::{Path, PathBuf};

use super::family::Family;
use super::probe::{Probe, Program, name_of};
use crate::config::ground::real;

/// The programs that are looked for, and where they are when they are not on the path.
const KNOWN: [(&str, &[&str]); 5] = [
    ("claude", &[".claude/local/claude", ".local/bin/claude"]),
    ("codex", &[".local/bin/codex"]),
    ("gemini", &[".local/bin/gemini"]),
    ("opencode", &[".opencode/bin/opencode"]),
    ("goose", &[".local/bin/goose"]),
];

/// Returns the agent programs of this machine, one family for each.
pub(crate) fn look(probe: &Probe) -> Vec<Family> {
    KNOWN
        .iter()
        .filter_map(|(name, places)| find(probe, name, places))
        .collect()
}

fn find(probe: &Probe, name: &'static str, places: &[&str]) -> Option<Family> {
    let mut family = Family::new(name, None);
    let on_path = probe
        .path
        .iter()
        .map(|it| it.join(name))
        .find(|it| it.is_file());
    let found = on_path.or_else(|| places.iter().find_map(|it| probe.at_home(it)))?;
    let file = real(&found);
    if let Some(package) = package(&file) {
        if !package.starts_with(probe.system.join("usr")) {
            family.show(&package, &format!("the package of {name}"));
            family.show_program(probe, "node");
        }
    } else {
        match probe.program(name) {
            Some(Program::System) => {}
            Some(Program::Prefix(prefix)) => family.show_prefix(&prefix, name),
            Some(Program::File(_)) | None => family.show(&file, name),
        }
    }
    if family.mounts.is_empty() {
        family.note(format!(
            "{} is in the system's folders, which every cell shows.",
            file.display()
        ));
    } else {
        family.note(format!(
            "Start it as `--agent 'command:{}'`.",
            file.display()
        ));
    }
    Some(family)
}

/// Returns the folder of an npm package that a file lies in.
fn package(file: &Path) -> Option<PathBuf> {
    let modules = file.ancestors().find(|it| name_of(it) == "node_modules")?;
    let rest = file.strip_prefix(modules).ok()?;
    let scoped = rest.to_str()?.starts_with('@');
    let parts = rest.components().take(if scoped { 2 } else { 1 });
    Some(modules.join(parts.collect::<PathBuf>()))
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;

    #[test]
    fn a_package_is_shown_with_the_node_that_runs_it() {
        let mut machine = Machine::new();
        machine.program("n/bin/node");
        machine.home("n/lib/x", "");
        let file = machine.home("n/lib/node_modules/@maker/codex/bin/codex.js", "");
        std::os::unix::fs::symlink(file, machine.probe.home.join("n/bin/codex")).unwrap();
        let found = look(&machine.probe);
        assert_eq!(found.len(), 1);
        let sources: Vec<_> = found[0].mounts.iter().map(|it| it.source.clone()).collect();
        let home = &machine.probe.home;
        assert_eq!(
            sources,
            [home.join("n/lib/node_modules/@maker/codex"), home.join("n")]
        );
        assert_eq!(found[0].used_for, None);
    }

    #[test]
    fn a_single_file_is_shown_as_such() {
        let machine = Machine::new();
        let version = machine.home(".local/share/claude/versions/2.0", "");
        let link = machine.probe.home.join(".local/bin/claude");
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&version, link).unwrap();
        assert_eq!(look(&machine.probe)[0].mounts[0].source, version);
    }
}

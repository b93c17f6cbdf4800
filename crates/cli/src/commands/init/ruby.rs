//! Ruby: interpreters of rbenv or the system, and installed gems.

use std::path::Path;

use super::family::{Family, in_home};
use super::probe::{Probe, newest, text};

/// Returns what of Ruby a cell needs.
pub(crate) fn look(probe: &Probe) -> Family {
    let mut family = Family::new("Ruby", probe.first(&["Gemfile", "Rakefile"]));
    let found = rbenv(&mut family, probe) || family.show_program(probe, "ruby");
    if !found {
        if family.used_for.is_some() {
            family.note("The repository is written in Ruby, but no `ruby` was found.");
        }
        return family;
    }
    let system = probe.system.join("var/lib/gems");
    if system.is_dir() {
        family.show_at(
            &system,
            Path::new("/var/lib/gems").to_path_buf(),
            "the system's gems",
        );
    }
    for folder in [".gem/ruby", ".local/share/gem/ruby"] {
        let source = probe.home.join(folder);
        if source.is_dir() {
            family.show_at(&source, in_home(folder), "gems of your own");
        }
    }
    family.set("BUNDLE_FROZEN", "true");
    family.mask_in_home(&[
        ".bundle/config",
        ".gem/credentials",
        ".local/share/gem/credentials",
    ]);
    family
}

fn rbenv(family: &mut Family, probe: &Probe) -> bool {
    let Some(root) = probe.folder("RBENV_ROOT", ".rbenv") else {
        return false;
    };
    let asked = probe
        .text(".ruby-version")
        .or_else(|| text(&root.join("version")));
    let asked = asked.unwrap_or_default().trim().to_string();
    let versions = root.join("versions");
    let exact = Some(versions.join(&asked)).filter(|it| !asked.is_empty() && it.is_dir());
    let Some(prefix) = exact.or_else(|| newest(&versions)) else {
        return false;
    };
    family.show_prefix(&prefix, "an interpreter of rbenv");
    true
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;

    #[test]
    fn rbenv_and_gems_are_shown_without_the_credentials() {
        let machine = Machine::new();
        machine.repo("Gemfile", "");
        machine.home(".rbenv/versions/3.3.0/bin/ruby", "");
        machine.home(".gem/ruby/3.3.0/x", "");
        machine.home(".gem/credentials", "");
        let family = look(&machine.probe);
        let targets: Vec<_> = family.mounts.iter().map(|it| it.target.clone()).collect();
        assert_eq!(
            targets,
            [
                machine.probe.home.join(".rbenv/versions/3.3.0"),
                in_home(".gem/ruby")
            ]
        );
        assert!(family.masks.contains(&in_home(".gem/credentials")));
    }
}

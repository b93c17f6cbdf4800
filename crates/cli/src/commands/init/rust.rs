//! Rust: toolchains of rustup or the system's, and Cargo's caches.

use std::path::Path;

use super::credentials::holds_secret;
use super::family::{Family, in_home};
use super::probe::{Probe, Program, entries, name_of, text};
use crate::config::ground::real;

/// Returns what of Rust a cell needs.
///
/// Cargo keeps locks at the top of its home, so that must be writable: the cell gets a Cargo home
/// of its own, with the operator's programs and caches mounted into it. Credentials lie beside
/// those and are never mounted.
pub(crate) fn look(probe: &Probe) -> Family {
    let mut family = Family::new("Rust", probe.first(&["Cargo.toml"]));
    let cargo = probe.folder("CARGO_HOME", ".cargo");
    let rustup = probe.folder("RUSTUP_HOME", ".rustup");
    if cargo.is_none() && rustup.is_none() && probe.program("cargo").is_none() {
        if family.used_for.is_some() {
            family.note("There is a Cargo.toml, but no `cargo` was found on this machine.");
        }
        return family;
    }
    if let Some(rustup) = &rustup {
        toolchains(&mut family, rustup);
    }
    if let Some(cargo) = &cargo {
        homes(&mut family, cargo);
    }
    // A Cargo of its own, neither the system's nor rustup's.
    if let Some(Program::Prefix(place) | Program::File(place)) = probe.program("cargo") {
        let known = [&cargo, &rustup].into_iter().flatten();
        if !known.map(|it| real(it)).any(|it| place.starts_with(it)) {
            family.show_program(probe, "cargo");
        }
    }
    family.set_in_home("CARGO_HOME", ".cargo");
    family.set("CARGO_NET_OFFLINE", "true");
    family.mask_in_home(&[".cargo/credentials", ".cargo/credentials.toml"]);
    if family.used_for.is_some() && !probe.has("Cargo.lock") {
        family.note(
            "There is no Cargo.lock: without one, Cargo may ask for crate versions that are not \
             in the cache. Run `cargo generate-lockfile` and commit it.",
        );
    }
    family
}

fn toolchains(family: &mut Family, rustup: &Path) {
    let folder = rustup.join("toolchains");
    if !folder.is_dir() {
        return;
    }
    family.show(&folder, "the toolchains of rustup");
    let settings = rustup.join("settings.toml");
    if settings.is_file() {
        family.show(&settings, "which of them is the default");
    }
    for linked in entries(&folder).iter().filter(|it| it.is_symlink()) {
        let target = real(linked);
        if target.is_dir() && !target.starts_with(real(&folder)) {
            family.show(
                &target,
                &format!("the linked toolchain {}", name_of(linked)),
            );
        }
    }
    family.set("RUSTUP_HOME", rustup.display().to_string());
    // Nothing can be installed without a network; say so at once instead of trying.
    family.set("RUSTUP_AUTO_INSTALL", "0");
}

fn homes(family: &mut Family, cargo: &Path) {
    let bin = cargo.join("bin");
    if bin.is_dir() {
        family.show_at(
            &bin,
            in_home(".cargo/bin"),
            "cargo, rustc and installed tools",
        );
        family.add_path(&in_home(".cargo/bin"));
    }
    family.cache(
        &cargo.join("registry"),
        ".cargo/registry",
        "cargo-registry",
        "crates from registries",
    );
    family.cache(
        &cargo.join("git"),
        ".cargo/git",
        "cargo-git",
        "crates from git",
    );
    for name in ["config.toml", "config"] {
        let file = cargo.join(name);
        let Some(text) = text(&file) else { continue };
        if holds_secret(&text) {
            family.note(format!(
                "{} holds a token and is not shown. If it names a mirror that the crates came \
                 from, put that part in a file of its own and mount it at \
                 /home/agent/.cargo/config.toml.",
                file.display()
            ));
        } else {
            let target = in_home(&format!(".cargo/{name}"));
            family.show_at(&file, target, "settings of Cargo, such as mirrors");
        }
        break;
    }
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;
    use std::path::PathBuf;

    fn targets(family: &Family) -> Vec<String> {
        family
            .mounts
            .iter()
            .map(|it| it.target.display().to_string())
            .collect()
    }

    #[test]
    fn rustup_and_caches_are_shown_and_credentials_are_not() {
        let mut machine = Machine::new();
        machine.repo("Cargo.toml", "");
        machine.repo("Cargo.lock", "");
        machine.program(".cargo/bin/cargo");
        machine.home(".cargo/registry/cache/x/a.crate", "");
        machine.home(".cargo/credentials.toml", "[registry]\ntoken = \"x\"\n");
        machine.home(".rustup/settings.toml", "");
        machine.home(".rustup/toolchains/stable/bin/cargo", "");
        let family = look(&machine.probe);
        let home = machine.probe.home.display();
        assert_eq!(
            targets(&family),
            [
                format!("{home}/.rustup/toolchains"),
                format!("{home}/.rustup/settings.toml"),
                "/home/agent/.cargo/bin".to_string(),
                "/home/agent/.cargo/registry".to_string(),
            ]
        );
        assert_eq!(family.mounts[3].layer, Some("cargo-registry"));
        assert_eq!(family.used_for.as_deref(), Some("Cargo.toml"));
        assert!(
            family
                .masks
                .contains(&PathBuf::from("/home/agent/.cargo/credentials.toml"))
        );
        assert!(
            family
                .env
                .contains(&("CARGO_NET_OFFLINE", "true".to_string()))
        );
        assert!(!targets(&family).iter().any(|it| it.contains("credentials")));
        assert_eq!(family.notes, Vec::<String>::new());
    }

    #[test]
    fn the_variables_win_over_the_usual_places() {
        let mut machine = Machine::new();
        machine.home(".cargo/registry/x", "");
        let other = machine.home("elsewhere/registry/x", "");
        let other = other.ancestors().nth(2).unwrap().to_path_buf();
        machine
            .probe
            .variables
            .insert("CARGO_HOME", other.display().to_string());
        let family = look(&machine.probe);
        assert_eq!(family.mounts[0].source, other.join("registry"));
        assert_eq!(family.used_for, None);
    }

    #[test]
    fn the_system_s_cargo_needs_only_the_caches() {
        let machine = Machine::new();
        machine.system("usr/bin/cargo", "");
        machine.home(".cargo/registry/x", "");
        assert_eq!(
            targets(&look(&machine.probe)),
            ["/home/agent/.cargo/registry"]
        );
    }

    #[test]
    fn settings_with_a_token_are_not_shown() {
        let machine = Machine::new();
        machine.home(".cargo/config.toml", "[registries.own]\ntoken = \"x\"\n");
        let family = look(&machine.probe);
        assert_eq!(targets(&family), Vec::<String>::new());
        assert!(family.notes[0].contains("holds a token"));
        machine.home(
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"mirror\"\n",
        );
        assert_eq!(
            targets(&look(&machine.probe)),
            ["/home/agent/.cargo/config.toml"]
        );
    }

    #[test]
    fn a_linked_toolchain_is_shown_where_it_is() {
        let machine = Machine::new();
        machine.home("rustc/bin/rustc", "");
        machine.home(".rustup/toolchains/stable/x", "");
        let to = machine.probe.home.join("rustc");
        std::os::unix::fs::symlink(&to, machine.probe.home.join(".rustup/toolchains/own")).unwrap();
        assert!(look(&machine.probe).mounts.iter().any(|it| it.source == to));
    }

    #[test]
    fn where_there_is_no_rust_nothing_is_said() {
        let machine = Machine::new();
        assert!(look(&machine.probe).is_empty());
        machine.repo("Cargo.toml", "");
        assert!(look(&machine.probe).notes[0].contains("no `cargo` was found"));
    }
}

//! Node: its installation, and the caches of npm, pnpm and yarn.

use super::family::Family;
use super::probe::{Probe, Program, newest};

/// Returns what of Node a cell needs.
pub(crate) fn look(probe: &Probe) -> Family {
    let mut family = Family::new("Node", probe.first(&["package.json"]));
    if !installation(&mut family, probe) {
        if family.used_for.is_some() {
            family.note("There is a package.json, but no `node` was found on this machine.");
        }
        return family;
    }
    for name in ["pnpm", "yarn", "bun", "deno"] {
        if matches!(probe.program(name), Some(Program::File(_))) {
            family.show_program(probe, name);
        }
    }
    let caches = [
        (".npm/_cacache", "npm-cache", "packages fetched by npm"),
        (
            ".local/share/pnpm/store",
            "pnpm-store",
            "packages fetched by pnpm",
        ),
        (".cache/yarn", "yarn-cache", "packages fetched by yarn"),
        (
            ".cache/node/corepack",
            "corepack",
            "package managers of corepack",
        ),
    ];
    for (at, layer, what) in caches {
        family.cache(&probe.home.join(at), at, layer, what);
    }
    family.set_in_home("npm_config_cache", ".npm");
    family.set("npm_config_offline", "true");
    family.set("npm_config_audit", "false");
    family.set("npm_config_fund", "false");
    family.set("npm_config_update_notifier", "false");
    family.mask_in_home(&[
        ".npmrc",
        ".npm/_logs",
        ".yarnrc",
        ".yarnrc.yml",
        ".config/pnpm/rc",
    ]);
    let lock = probe.text("package-lock.json").unwrap_or_default();
    if lock.contains("\"integrity\"") && !lock.contains("\"resolved\"") {
        family.note(
            "package-lock.json does not say where packages come from (`resolved`), and npm cannot \
             install such a lock from its cache: unset `omit-lockfile-registry-resolved`, and make \
             the lock anew.",
        );
    }
    if family.used_for.is_some() && probe.has("node_modules") {
        family.note(
            "node_modules is not in the base commit, so cells do not have it: the gates install \
             from the cache (`npm ci --offline`). Where the cache lacks packages, run `npm ci` \
             once outside.",
        );
    }
    family
}

fn installation(family: &mut Family, probe: &Probe) -> bool {
    if family.show_program(probe, "node") {
        return true;
    }
    // nvm is often loaded by interactive shells only, and asdf puts shims on the path.
    let folders = [
        probe
            .folder("NVM_DIR", ".nvm")
            .map(|it| it.join("versions/node")),
        probe
            .folder("N_PREFIX", "n")
            .map(|it| it.join("n/versions/node")),
        probe
            .folder("ASDF_DATA_DIR", ".asdf")
            .map(|it| it.join("installs/nodejs")),
        probe.at_home(".local/share/mise/installs/node"),
        probe.at_home(".volta/tools/image/node"),
    ];
    let wanted = probe.text(".nvmrc").or_else(|| probe.text(".node-version"));
    let wanted = wanted
        .unwrap_or_default()
        .trim()
        .trim_start_matches('v')
        .to_string();
    for folder in folders.into_iter().flatten() {
        let named = [format!("v{wanted}"), wanted.clone()].map(|it| folder.join(it));
        let named = named
            .into_iter()
            .find(|it| !wanted.is_empty() && it.is_dir());
        if let Some(prefix) = named.or_else(|| newest(&folder)) {
            family.show_prefix(&prefix, "node");
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;

    #[test]
    fn the_system_s_node_needs_only_the_cache() {
        let machine = Machine::new();
        machine.repo("package.json", "{}");
        machine.system("usr/bin/node", "");
        machine.home(".npm/_cacache/x", "");
        machine.home(".npm/_logs/x", "");
        let family = look(&machine.probe);
        let mounts: Vec<_> = family
            .mounts
            .iter()
            .map(|it| it.target.to_str().unwrap())
            .collect();
        assert_eq!(mounts, ["/home/agent/.npm/_cacache"]);
        assert!(family.masks.contains(&"/home/agent/.npmrc".into()));
        assert!(family.env.contains(&("npm_config_offline", "true".into())));
    }

    #[test]
    fn nvm_that_is_not_loaded_is_found_in_the_version_asked_for() {
        let machine = Machine::new();
        machine.repo("package.json", "{}");
        machine.home(".nvm/versions/node/v20.1.0/bin/node", "");
        machine.home(".nvm/versions/node/v22.3.0/bin/node", "");
        let versions = machine.probe.home.join(".nvm/versions/node");
        assert_eq!(look(&machine.probe).path, [versions.join("v22.3.0/bin")]);
        machine.repo(".nvmrc", "v20.1.0\n");
        assert_eq!(
            look(&machine.probe).mounts[0].source,
            versions.join("v20.1.0")
        );
    }

    #[test]
    fn a_lock_that_cannot_be_installed_offline_is_told() {
        let machine = Machine::new();
        machine.system("usr/bin/node", "");
        machine.repo("package.json", "{}");
        machine.repo("package-lock.json", r#"{"integrity":"x","resolved":"y"}"#);
        assert_eq!(look(&machine.probe).notes, Vec::<String>::new());
        machine.repo("package-lock.json", r#"{"integrity":"x"}"#);
        assert!(look(&machine.probe).notes[0].contains("resolved"));
    }

    #[test]
    fn a_repository_without_a_node_to_run_it_is_told() {
        let machine = Machine::new();
        machine.repo("package.json", "{}");
        assert!(look(&machine.probe).notes[0].contains("no `node` was found"));
    }
}

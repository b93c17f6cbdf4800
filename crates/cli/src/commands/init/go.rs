//! Go: its installation and the module cache.

use super::family::Family;
use super::probe::Probe;

/// Returns what of Go a cell needs.
pub(crate) fn look(probe: &Probe) -> Family {
    let mut family = Family::new("Go", probe.first(&["go.mod", "go.work"]));
    let mut found = false;
    if let Some(root) = probe.variable("GOROOT")
        && !root.starts_with(probe.system.join("usr"))
    {
        family.show_prefix(&root, "go");
        found = true;
    }
    found = found || family.show_program(probe, "go");
    // Installed as its makers say, but not on the path of this shell.
    if !found && probe.system.join("usr/local/go/bin/go").is_file() {
        found = true;
    }
    if !found {
        if family.used_for.is_some() {
            family.note("There is a go.mod, but no `go` was found on this machine.");
        }
        return family;
    }
    if probe.system.join("usr/local/go/bin/go").is_file() {
        family.add_path(std::path::Path::new("/usr/local/go/bin"));
    }
    let gopath = probe.folder("GOPATH", "go");
    let modules = probe
        .variable("GOMODCACHE")
        .or_else(|| gopath.map(|it| it.join("pkg/mod")));
    if let Some(modules) = modules {
        family.cache(
            &modules,
            "go/pkg/mod",
            "go-modules",
            "modules fetched by go",
        );
    }
    if !probe.has("vendor") {
        family.set("GOFLAGS", "-mod=mod");
    }
    family.set_in_home("GOPATH", "go");
    family.set("GOPROXY", "off");
    // What is in the cache was checked against go.sum when it was fetched.
    family.set("GOSUMDB", "off");
    family.set("GOTOOLCHAIN", "local");
    family.mask_in_home(&[".netrc", ".config/go/env"]);
    family
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;

    #[test]
    fn an_installation_and_its_modules_are_shown() {
        let mut machine = Machine::new();
        machine.repo("go.mod", "");
        machine.home("sdk/go1.24/pkg/x", "");
        machine.program("sdk/go1.24/bin/go");
        machine.home("go/pkg/mod/x", "");
        let family = look(&machine.probe);
        assert_eq!(
            family.mounts[0].source,
            machine.probe.home.join("sdk/go1.24")
        );
        assert_eq!(
            family.mounts[1].target.to_str(),
            Some("/home/agent/go/pkg/mod")
        );
        assert!(family.env.contains(&("GOFLAGS", "-mod=mod".into())));
        machine.repo("vendor/modules.txt", "");
        assert!(!look(&machine.probe).env.iter().any(|it| it.0 == "GOFLAGS"));
    }
}

//! Python: interpreters of pyenv, uv or the system, virtual environments, and the cache of uv.

use super::credentials::holds_secret;
use super::family::Family;
use super::probe::{Probe, Program, entries, name_of, newest, text};
use crate::config::ground::real;

/// The files by which a repository says that it is written in Python.
const FILES: [&str; 8] = [
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "requirements.txt",
    "Pipfile",
    "tox.ini",
    "pytest.ini",
    "uv.lock",
];

/// Returns what of Python a cell needs.
pub(crate) fn look(probe: &Probe) -> Family {
    let mut family = Family::new("Python", probe.first(&FILES));
    environment(&mut family, probe);
    let found = interpreters(&mut family, probe);
    if !found && family.is_empty() {
        if family.used_for.is_some() {
            family.note("The repository is written in Python, but no `python3` was found.");
        }
        return family;
    }
    for entry in entries(&probe.home.join(".local/lib")) {
        let packages = entry.join("site-packages");
        if name_of(&entry).starts_with("python3") && packages.is_dir() {
            let at = format!(".local/lib/{}/site-packages", name_of(&entry));
            family.show_at(
                &packages,
                super::family::in_home(&at),
                "packages of `pip install --user`",
            );
        }
    }
    if let Some(Program::File(_) | Program::Prefix(_)) = probe.program("uv") {
        family.show_program(probe, "uv");
    }
    let cache = probe.folder("UV_CACHE_DIR", ".cache/uv");
    if let Some(cache) = cache {
        family.cache(&cache, ".cache/uv", "uv-cache", "packages fetched by uv");
    }
    family.set("PIP_NO_INDEX", "1");
    family.set("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    family.set("PYTHONDONTWRITEBYTECODE", "1");
    family.set("UV_OFFLINE", "1");
    family.set("UV_PYTHON_DOWNLOADS", "never");
    family.mask_in_home(&[
        ".pypirc",
        ".pip/pip.conf",
        ".config/pip/pip.conf",
        ".config/uv/uv.toml",
    ]);
    let settings = [".config/pip/pip.conf", ".pip/pip.conf"];
    for file in settings.map(|it| probe.home.join(it)) {
        if text(&file).is_some_and(|it| holds_secret(&it)) {
            family.note(format!(
                "{} holds a password and is not shown.",
                file.display()
            ));
        }
    }
    family
}

/// A virtual environment is shown where it is: its programs name it by its absolute path.
fn environment(family: &mut Family, probe: &Probe) {
    let own = [".venv", "venv", "env"].map(|it| probe.repo.join(it));
    let mut folders = own.into_iter().chain(probe.variable("VIRTUAL_ENV"));
    let Some(folder) = folders.find(|it| it.join("pyvenv.cfg").is_file()) else {
        return;
    };
    family.show_prefix(&folder, "the virtual environment");
    family.set("VIRTUAL_ENV", folder.display().to_string());
    family.note(
        "A package that was installed into the virtual environment in place (`pip install -e .`) \
         points to your working tree, which cells do not see; PYTHONPATH leads to the sealed tree \
         instead. Use /workspace/src if your packages are there.",
    );
    let root = if probe.repo.join("src").is_dir() {
        "/workspace/src"
    } else {
        "/workspace"
    };
    family.set("PYTHONPATH", root);
    // It borrows its interpreter from an installation, which must be there too.
    let base = real(&folder.join("bin/python"));
    let prefix = base.parent().and_then(|it| it.parent());
    let system = probe.system.join("usr");
    if let Some(prefix) = prefix.filter(|it| base.is_file() && !it.starts_with(&system)) {
        family.show(prefix, "the interpreter of the virtual environment");
    }
}

fn interpreters(family: &mut Family, probe: &Probe) -> bool {
    let mut found = false;
    if let Some(pyenv) = probe.folder("PYENV_ROOT", ".pyenv") {
        let version = probe.variables.get("PYENV_VERSION").cloned();
        let asked = version
            .or_else(|| probe.text(".python-version"))
            .or_else(|| text(&pyenv.join("version")))
            .unwrap_or_default();
        for version in asked
            .split([':', '\n', ' '])
            .map(str::trim)
            .filter(|it| !it.is_empty())
        {
            let exact = pyenv.join("versions").join(version);
            let series = || {
                let all = entries(&pyenv.join("versions"));
                let of = format!("{version}.");
                all.into_iter().rfind(|it| name_of(it).starts_with(&of))
            };
            let prefix = Some(exact).filter(|it| it.is_dir()).or_else(series);
            if let Some(prefix) = prefix {
                family.show_prefix(&prefix, "an interpreter of pyenv");
                found = true;
            }
        }
    }
    if !found {
        found = family.show_program(probe, "python3");
    }
    let managed = probe.home.join(".local/share/uv/python");
    if managed.is_dir() {
        family.show(&managed, "interpreters of uv");
        if !found && let Some(prefix) = newest(&managed) {
            family.add_path(&prefix.join("bin"));
            found = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;

    #[test]
    fn pyenv_shows_the_version_asked_for() {
        let mut machine = Machine::new();
        machine.repo("pyproject.toml", "");
        machine.program(".pyenv/shims/python3");
        machine.home(".pyenv/version", "3.11.1\n");
        machine.home(".pyenv/versions/3.11.1/bin/python3", "");
        machine.home(".pyenv/versions/3.12.4/bin/python3", "");
        let versions = machine.probe.home.join(".pyenv/versions");
        assert_eq!(
            look(&machine.probe).mounts[0].source,
            versions.join("3.11.1")
        );
        machine.repo(".python-version", "3.12\n");
        let family = look(&machine.probe);
        assert_eq!(family.mounts[0].source, versions.join("3.12.4"));
        assert_eq!(family.path, [versions.join("3.12.4/bin")]);
    }

    #[test]
    fn a_shim_without_versions_leads_to_the_system() {
        let mut machine = Machine::new();
        machine.program(".pyenv/shims/python3");
        machine.system("usr/bin/python3", "");
        let family = look(&machine.probe);
        assert_eq!(family.mounts, []);
        assert!(family.env.contains(&("PIP_NO_INDEX", "1".into())));
    }

    #[test]
    fn a_virtual_environment_is_shown_with_its_interpreter() {
        let machine = Machine::new();
        machine.repo("requirements.txt", "");
        machine.repo(".venv/pyvenv.cfg", "");
        let python = machine.home("py/bin/python3.12", "");
        machine.home("py/lib/x", "");
        let link = machine.probe.repo.join(".venv/bin/python");
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(python, link).unwrap();
        let family = look(&machine.probe);
        let sources: Vec<_> = family.mounts.iter().map(|it| it.source.clone()).collect();
        assert_eq!(
            sources,
            [
                machine.probe.repo.join(".venv"),
                machine.probe.home.join("py")
            ]
        );
        assert_eq!(family.path[0], machine.probe.repo.join(".venv/bin"));
    }

    #[test]
    fn uv_s_cache_has_a_layer() {
        let mut machine = Machine::new();
        machine.system("usr/bin/python3", "");
        machine.program(".local/bin/uv");
        machine.home(".cache/uv/x", "");
        let family = look(&machine.probe);
        assert_eq!(
            family.mounts[0].source,
            machine.probe.home.join(".local/bin/uv")
        );
        assert_eq!(family.mounts[1].layer, Some("uv-cache"));
    }
}

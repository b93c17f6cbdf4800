//! `palisade init` and `palisade doctor` on real repositories, in real cells, with homes of their
//! own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A home and a repository in it.
struct Place {
    _dir: tempfile::TempDir,
    home: PathBuf,
    repo: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("ada");
        let repo = home.join("src/app");
        fs::create_dir_all(&repo).unwrap();
        let place = Self {
            _dir: dir,
            home,
            repo,
        };
        place.git(&["init", "--quiet"]);
        place
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
            .args(arguments)
            .current_dir(&self.repo)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "all"]);
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn palisade(&self, arguments: &[&str]) -> Output {
        let path = format!(
            "{}/.cargo/bin:/usr/local/bin:/usr/bin:/bin",
            self.home.display()
        );
        Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(arguments)
            .current_dir(&self.repo)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", path)
            .output()
            .unwrap()
    }

    /// Calls the doctor; returns its exit code, and its findings as lines `state subject: told`.
    fn doctor(&self) -> (i32, Vec<String>) {
        let output = self.palisade(&["doctor", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let line = |it: &serde_json::Value| {
            let text = |name: &str| it[name].as_str().unwrap().to_string();
            format!("{} {}: {}", text("state"), text("subject"), text("told"))
        };
        let findings = report["findings"].as_array().unwrap().iter().map(line);
        (output.status.code().unwrap(), findings.collect())
    }
}

fn has(findings: &[String], start: &str, part: &str) -> bool {
    findings
        .iter()
        .any(|it| it.starts_with(start) && it.contains(part))
}

/// A Rust machine without Rust: what is mounted is a script, so that nothing of this machine counts.
fn rust() -> Place {
    let place = Place::new();
    place.write(".cargo/bin/cargo", "#!/bin/sh\necho cargo\n");
    place.write(".cargo/registry/cache/x.crate", "x");
    place.write(
        ".cargo/credentials.toml",
        "[registry]\ntoken = \"canary\"\n",
    );
    place.write("src/app/Cargo.toml", "[package]\nname = \"app\"\n");
    place.write("src/app/Cargo.lock", "version = 4\n");
    place
}

#[test]
fn what_init_writes_holds_in_a_real_cell() {
    let place = rust();
    let output = place.palisade(&["init"]);
    assert!(output.status.success(), "{output:?}");
    place.commit();
    let (code, findings) = place.doctor();
    assert_eq!(code, 0, "{findings:#?}");
    assert!(has(&findings, "good cell", "sealed"), "{findings:#?}");
    assert!(
        has(
            &findings,
            "good gate",
            "`cargo` is /home/agent/.cargo/bin/cargo"
        ),
        "{findings:#?}"
    );
    assert!(
        has(&findings, "good masks", "cannot be read"),
        "{findings:#?}"
    );
    // The record itself is made when it is first looked for.
    let of_the_record = ["artifacts", "events.sqlite", "trees"];
    let left: Vec<_> = fs::read_dir(place.repo.join(".git/palisade"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|it| !of_the_record.iter().any(|own| it.starts_with(own)))
        .collect();
    assert!(left.is_empty(), "the trial left something: {left:?}");
}

#[test]
fn a_second_init_changes_nothing() {
    let place = rust();
    assert!(place.palisade(&["init"]).status.success());
    let file = place.repo.join("palisade.toml");
    fs::write(&file, "slots = 1\n").unwrap();
    let output = place.palisade(&["init"]);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("kept palisade.toml"), "{told}");
    assert!(told.contains("kept .palisade/gates.toml"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "slots = 1\n");
    assert!(place.palisade(&["init", "--force"]).status.success());
    assert!(fs::read_to_string(&file).unwrap().contains("[[mount]]"));
}

#[test]
fn print_writes_nothing() {
    let place = rust();
    let output = place.palisade(&["init", "--print"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("[[mount]]") && text.contains("[[gate]]"),
        "{text}"
    );
    assert!(!text.contains("canary"));
    assert!(!place.repo.join("palisade.toml").exists());
}

#[test]
fn a_widened_mount_is_told_and_a_mask_covers_it() {
    let place = rust();
    place.commit();
    let mount = format!(
        "[[mount]]\nsource = \"{}/.cargo\"\ntarget = \"/home/agent/.cargo\"\n",
        place.home.display()
    );
    place.write("src/app/palisade.toml", &mount);
    let (code, findings) = place.doctor();
    assert_eq!(code, 2, "{findings:#?}");
    assert!(
        has(
            &findings,
            "wrong mount",
            "\"/home/agent/.cargo/credentials.toml\""
        ),
        "{findings:#?}"
    );
    let mask = "masks = [\"/home/agent/.cargo/credentials.toml\"]\n";
    place.write("src/app/palisade.toml", &format!("{mask}{mount}"));
    let (code, findings) = place.doctor();
    assert_eq!(code, 0, "{findings:#?}");
    assert!(has(&findings, "good masks", "1 places"), "{findings:#?}");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let place = rust();
    place.commit();
    let home = format!("[[mount]]\nsource = \"{}\"\n", place.home.display());
    place.write("src/app/palisade.toml", &home);
    let (code, findings) = place.doctor();
    assert_eq!(code, 2);
    assert!(
        has(&findings, "wrong palisade.toml: palisade.toml:2:10", ""),
        "{findings:#?}"
    );
    place.write(
        "src/app/palisade.toml",
        "[[mount]]\nsource = \"/opt/is/not/there\"\n",
    );
    let (code, findings) = place.doctor();
    assert_eq!(code, 2);
    assert!(
        has(&findings, "wrong mount", "/opt/is/not/there"),
        "{findings:#?}"
    );
}

#[test]
fn a_gate_whose_program_no_cell_has_is_told() {
    let place = Place::new();
    let gate = "[[gate]]\nname = \"t\"\nargv = [\"no-such-program\"]\n";
    place.write("src/app/.palisade/gates.toml", gate);
    place.commit();
    let (code, findings) = place.doctor();
    assert_eq!(code, 2, "{findings:#?}");
    assert!(
        has(&findings, "wrong gate", "`no-such-program`"),
        "{findings:#?}"
    );
}

/// Rust is needed to build this test, so it is there; whether this user may reach it is another
/// matter, and then there is nothing to try.
#[test]
fn a_crate_is_built_in_a_cell_by_the_machine_s_toolchain() {
    let cargo = Path::new(env!("CARGO"));
    let prefix = cargo.parent().unwrap().parent().unwrap();
    if fs::read_dir(prefix.join("lib")).is_err() {
        return;
    }
    let place = Place::new();
    place.write(
        "src/app/Cargo.toml",
        "[package]\nname = \"app\"\nedition = \"2024\"\n",
    );
    place.write(
        "src/app/Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.0.0\"\n",
    );
    place.write("src/app/src/lib.rs", "#[test]\nfn holds() {}\n");
    place.write(
        "src/app/.palisade/gates.toml",
        "[[gate]]\nname = \"tests\"\nargv = [\"cargo\", \"test\", \"--offline\", \"--lib\"]\n",
    );
    place.commit();
    let toolchain = prefix.display();
    let mount = if prefix.starts_with("/usr") {
        String::new()
    } else {
        format!("[[mount]]\nsource = \"{toolchain}\"\n")
    };
    let settings = format!("path = [\"{toolchain}/bin\"]\n{mount}");
    place.write("src/app/palisade.toml", &settings);
    place.write("look.md", "# Look\n\nLook around.\n");
    let story = place.write(
        "story.toml",
        "[[turn]]\nsteps = [{ refuse = \"already_done\", detail = \"nothing to add\" }]\n\
         [[turn]]\nrole = \"builder\"\nsteps = [\n\
         { run = [\"cargo\", \"test\", \"--offline\", \"--lib\"] },\n\
         { write = \"note.md\", text = \"seen\" },\n\
         { done = \"seen\" },\n]\n",
    );
    let agent = format!("scripted:{}", story.display());
    let specification = place.home.join("look.md");
    let output = place.palisade(&["run", specification.to_str().unwrap(), "--agent", &agent]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("check-build: passed"), "{told}");
}

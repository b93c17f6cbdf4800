//! Java: development kits, Maven and Gradle.

use std::path::Path;

use super::credentials::holds_secret;
use super::family::{Family, in_home};
use super::probe::{Probe, Program, entries, name_of, text};
use crate::config::ground::real;

/// The files by which a repository says that it is built by Maven or Gradle.
const FILES: [&str; 5] = [
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "settings.gradle.kts",
];

/// Returns what of Java a cell needs.
pub(crate) fn look(probe: &Probe) -> Family {
    let mut family = Family::new("Java", probe.first(&FILES));
    if !kit(&mut family, probe) {
        if family.used_for.is_some() {
            family.note("There is a Java build, but no `java` was found on this machine.");
        }
        return family;
    }
    for program in ["mvn", "gradle"] {
        family.show_program(probe, program);
    }
    caches(&mut family, probe);
    family.set_in_home("GRADLE_USER_HOME", ".gradle");
    family.set("MAVEN_ARGS", "--offline");
    family.mask_in_home(&[
        ".gradle/gradle.properties",
        ".gradle/init.d",
        ".m2/settings-security.xml",
        ".m2/settings.xml",
    ]);
    settings(&mut family, probe);
    family
}

fn caches(family: &mut Family, probe: &Probe) {
    // Debian keeps the settings of Maven beside those of the system.
    let maven = Path::new("/etc/maven");
    let on_host = probe.system.join("etc/maven");
    if on_host.is_dir() {
        family.show_at(
            &on_host,
            maven.to_path_buf(),
            "settings of the system's Maven",
        );
    }
    let caches = [
        (
            ".m2/repository",
            "maven-repository",
            "artifacts fetched by Maven",
        ),
        (
            ".m2/wrapper",
            "maven-wrapper",
            "Maven itself, as its wrapper fetched it",
        ),
    ];
    for (at, layer, what) in caches {
        family.cache(&probe.home.join(at), at, layer, what);
    }
    if let Some(gradle) = probe.folder("GRADLE_USER_HOME", ".gradle") {
        family.cache(
            &gradle.join("caches"),
            ".gradle/caches",
            "gradle-caches",
            "artifacts fetched by Gradle",
        );
        family.cache(
            &gradle.join("wrapper"),
            ".gradle/wrapper",
            "gradle-wrapper",
            "Gradle itself, as its wrapper fetched it",
        );
    }
}

/// The settings of Maven mostly hold passwords, and are never shown.
fn settings(family: &mut Family, probe: &Probe) {
    let settings = probe.home.join(".m2/settings.xml");
    if let Some(said) = text(&settings) {
        let (settings, place) = (settings.display(), in_home(".m2/settings.xml"));
        let holds = if holds_secret(&said) {
            "holds passwords and "
        } else {
            ""
        };
        family.note(format!(
            "{settings} {holds}is not shown. If the build needs its mirrors, mount a copy without \
             passwords at {} and take that out of `masks`.",
            place.display()
        ));
    }
}

fn kit(family: &mut Family, probe: &Probe) -> bool {
    let system = probe.system.join("usr");
    let named = probe.variable("JAVA_HOME").map(|it| real(&it));
    let home = named.or_else(|| match probe.program("java")? {
        Program::System => {
            let found = probe
                .path
                .iter()
                .map(|it| it.join("java"))
                .find(|it| it.exists())?;
            Some(real(&found).parent()?.parent()?.to_path_buf())
        }
        Program::Prefix(prefix) => Some(prefix),
        Program::File(_) => None,
    });
    let Some(home) = home.filter(|it| it.join("bin/java").exists()) else {
        return family.show_program(probe, "java");
    };
    if !home.starts_with(&system) {
        family.show_prefix(&home, "the development kit");
    }
    // The system's kits keep their settings in /etc, and are broken without them.
    for folder in entries(&probe.system.join("etc")) {
        let name = name_of(&folder);
        if name.starts_with("java") && folder.is_dir() {
            family.show_at(
                &folder,
                Path::new("/etc").join(&name),
                "settings of the system's Java",
            );
        }
    }
    if home != system {
        family.set("JAVA_HOME", home.display().to_string());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::probe::fake::Machine;
    use super::*;

    #[test]
    fn the_system_s_kit_brings_its_settings() {
        let mut machine = Machine::new();
        machine.repo("pom.xml", "");
        let java = machine.system("usr/lib/jvm/java-17/bin/java", "");
        let link = machine.probe.path[0].join("java");
        std::os::unix::fs::symlink(java, link).unwrap();
        machine.system("etc/java-17-openjdk/security/x", "");
        machine.home(".m2/repository/x", "");
        machine.home(".m2/settings.xml", "<password>x</password>");
        machine.probe.variables.clear();
        let family = look(&machine.probe);
        let targets: Vec<_> = family
            .mounts
            .iter()
            .map(|it| it.target.to_str().unwrap())
            .collect();
        assert_eq!(
            targets,
            ["/etc/java-17-openjdk", "/home/agent/.m2/repository"]
        );
        assert!(
            family
                .env
                .iter()
                .any(|it| it.0 == "JAVA_HOME" && it.1.ends_with("jvm/java-17"))
        );
        assert!(
            family
                .masks
                .contains(&"/home/agent/.m2/settings.xml".into())
        );
        assert!(family.notes[0].contains("holds passwords"));
    }

    #[test]
    fn a_kit_of_the_operator_s_is_shown_where_it_is() {
        let mut machine = Machine::new();
        machine.home("jdk/bin/java", "");
        let home = machine.probe.home.join("jdk");
        machine
            .probe
            .variables
            .insert("JAVA_HOME", home.display().to_string());
        assert_eq!(look(&machine.probe).mounts[0].source, home);
    }
}

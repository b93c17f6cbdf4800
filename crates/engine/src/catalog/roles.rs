//! Role files: what an agent in a role may do.

use domain::formula::{Lane, Role, is_name};

use super::globs;
use super::sheet::{Faults, Sheet};
use super::{FileFault, Source};

/// Reads and checks a role file.
#[must_use]
pub fn read(source: &Source) -> (Role, Vec<FileFault>) {
    let faults = Faults::of(source);
    let sheet = Sheet::parse(source, &faults);
    let root = sheet.root(&faults);
    let lanes = [
        ("read_only", Lane::ReadOnly),
        ("dry_run", Lane::DryRun),
        ("execute", Lane::Execute),
    ];
    let role = Role {
        name: root.required_text("name"),
        description: root.required_text("description"),
        lane: root.one_of("lane", &lanes).unwrap_or(Lane::ReadOnly),
        write: root.texts("write"),
        deny: root.texts("deny"),
        may_set_executable: root.truth("may_set_executable", false),
        may_report_findings: root.truth("may_report_findings", false),
        tools: root.texts("tools"),
        documents_only: root.truth("documents_only", false),
        guards_tests: root.truth("guards_tests", false),
        model: root.text("model"),
        may_fetch_packages: root.truth("may_fetch_packages", false),
        may_propose: root.texts("may_propose"),
    };
    root.finish();
    for (key, list) in [("write", &role.write), ("deny", &role.deny)] {
        for told in list.iter().filter_map(|it| globs::fault(it)) {
            root.fault(key, told);
        }
    }
    for name in role.may_propose.iter().filter(|it| !is_name(it)) {
        root.fault("may_propose", format!("`{name}` is no name of an action"));
    }
    for fault in role.faults() {
        root.fault(fault.field, fault.message);
    }
    (role, faults.sorted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_says_nothing_may_do_nothing() {
        let text = "name = \"r\"\ndescription = \"d\"\n".to_string();
        let (role, faults) = read(&Source {
            name: "r.toml".into(),
            text,
        });
        assert_eq!(faults, []);
        assert_eq!(role.lane, Lane::ReadOnly);
        assert!(role.write.is_empty() && !role.may_set_executable && !role.may_report_findings);
        assert!(!role.may_fetch_packages && role.model.is_none());
        assert!(role.may_propose.is_empty());
    }

    #[test]
    fn a_malformed_tool_is_told_with_its_place() {
        let text = "name = \"r\"\ndescription = \"d\"\ntools = [\"sh\", \"bin/x\"]\n".to_string();
        let (role, faults) = read(&Source {
            name: "r.toml".into(),
            text,
        });
        assert_eq!(role.tools, ["sh", "bin/x"]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        let told = faults[0].to_string();
        assert!(told.starts_with("r.toml:3:9: `bin/x` is a path"), "{told}");
    }
}

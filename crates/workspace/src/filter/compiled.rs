//! Import rules whose globs are compiled, once for many judgements.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use domain::tree::ImportRules;
use ports::workspaces::Error;

use crate::globs::{AllowOnly, DenyOnly};
use crate::remembered::lock;

/// The most rules that are kept compiled: as many as there are roles and plans at work at once.
const COMPILED_MAX: usize = 32;

/// Rules whose globs are compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(super) rules: ImportRules,
    pub(super) role: AllowOnly,
    pub(super) allowed: AllowOnly,
    pub(super) denied: DenyOnly,
    pub(super) protected: DenyOnly,
    pub(super) secrets: DenyOnly,
}

impl Compiled {
    /// Compiles the rules; a malformed glob is an error that names it.
    pub(crate) fn of(rules: &ImportRules) -> Result<Self, Error> {
        Ok(Self {
            role: AllowOnly::of(&rules.role_paths)?,
            allowed: AllowOnly::of(&rules.plan_allowed)?,
            denied: DenyOnly::of(&rules.plan_denied)?,
            protected: DenyOnly::of(&rules.protected)?,
            secrets: DenyOnly::of(&rules.secrets)?,
            rules: rules.clone(),
        })
    }
}

/// The rules that were judged by of late, so that globs are compiled once for a session and not for
/// each of its checkpoints.
#[derive(Debug, Default)]
pub(crate) struct CompiledRules(Mutex<VecDeque<Arc<Compiled>>>);

impl CompiledRules {
    /// Returns the rules, compiled now or before; a malformed glob is an error that names it.
    pub(crate) fn of(&self, rules: &ImportRules) -> Result<Arc<Compiled>, Error> {
        let known = lock(&self.0).iter().find(|it| it.rules == *rules).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let compiled = Arc::new(Compiled::of(rules)?);
        let mut known = lock(&self.0);
        known.truncate(COMPILED_MAX - 1);
        known.push_front(Arc::clone(&compiled));
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(number: usize) -> ImportRules {
        ImportRules {
            role_paths: vec![format!("{number}/**")],
            plan_allowed: vec![],
            plan_denied: vec![],
            protected: vec![],
            secrets: vec![],
            accepted_secrets: vec![],
            may_set_executable: false,
            file_bytes_max: 0,
            total_bytes_max: 0,
            files_max: 0,
            documents_only: false,
            guards_tests: false,
        }
    }

    #[test]
    fn equal_rules_are_compiled_once_and_others_are_not_theirs() {
        let known = CompiledRules::default();
        let one = known.of(&rules(0)).unwrap();
        assert!(Arc::ptr_eq(&one, &known.of(&rules(0)).unwrap()));
        let stricter = ImportRules {
            guards_tests: true,
            ..rules(0)
        };
        assert!(known.of(&stricter).unwrap().rules.guards_tests);
        for number in 1..COMPILED_MAX * 2 {
            let it = known.of(&rules(number)).unwrap();
            assert!(it.role.matches(&format!("{number}/a")) && !it.role.matches("0/a"));
        }
        assert_eq!(lock(&known.0).len(), COMPILED_MAX);
        assert!(
            !Arc::ptr_eq(&one, &known.of(&rules(0)).unwrap()),
            "the oldest went"
        );
    }

    #[test]
    fn a_malformed_glob_is_told_each_time() {
        let known = CompiledRules::default();
        let malformed = ImportRules {
            plan_denied: vec!["a[".into()],
            ..rules(0)
        };
        for _ in 0..2 {
            assert!(
                known
                    .of(&malformed)
                    .unwrap_err()
                    .to_string()
                    .contains("`a[`")
            );
        }
    }
}

//! Findings: what a review holds against the tree becomes a finding, or confirms one.

use domain::FindingId;
use domain::case::{Case, Command};
use domain::finding::{self, Finding};

use super::SessionListener;
use crate::recorder::Error;

/// Findings of one work that may be open at once: a re-check resolves all of them in one
/// transaction. As long as so many are open, nothing is promoted anyway.
const FINDINGS_OPEN_MAX: usize = 300;

impl SessionListener<'_> {
    /// Puts a finding on record, if the role may report any; seen before, it is confirmed.
    pub(super) fn finding(
        &self,
        file: &str,
        line: u32,
        rule: &str,
        text: &str,
    ) -> Result<(), Error> {
        let case = self.bench.recorder.load(self.work)?;
        let roles = case
            .active()
            .map(|it| it.run.roles.as_slice())
            .unwrap_or_default();
        let may = roles
            .iter()
            .any(|it| it.name == self.about.role && it.may_report_findings);
        if !may {
            let why = format!("the role `{}` does not report findings", self.about.role);
            return self.refuse(&why, &format!("{file}:{line} {rule}: {text}"));
        }
        if case.open_findings().count() >= FINDINGS_OPEN_MAX
            && self.seen_before(&case, file, line, rule).is_none()
        {
            let why = format!("{FINDINGS_OPEN_MAX} findings are open; mend those first");
            return self.refuse(&why, &format!("{file}:{line} {rule}: {text}"));
        }
        let id = FindingId::from_bits(self.bench.recorder.fresh());
        let (session, tree) = (self.id, self.about.tree.digest);
        self.submit(|case| {
            if let Some(known) = self.seen_before(case, file, line, rule) {
                let confirm = finding::Command::Confirm { session, tree };
                return Ok(vec![Command::Finding(known, confirm)]);
            }
            let finding = Finding {
                work: self.work,
                run: self.about.run,
                session,
                tree,
                file: file.to_string(),
                line,
                rule: rule.to_string(),
                text: text.to_string(),
            };
            Ok(vec![Command::Finding(
                id,
                finding::Command::Report(finding),
            )])
        })
    }

    /// An open finding of an earlier session with the same file and rule is the same finding, seen
    /// again; of several, the one with the nearest line.
    fn seen_before(&self, case: &Case, file: &str, line: u32, rule: &str) -> Option<FindingId> {
        let same = case.findings.iter().filter_map(|(id, state)| match state {
            finding::State::Open(it, last, _) if *last != self.id => {
                (it.file == file && it.rule == rule).then_some((it.line.abs_diff(line), *id))
            }
            finding::State::Open(..) | finding::State::Absent | finding::State::Resolved(..) => {
                None
            }
        });
        same.min().map(|(_, id)| id)
    }
}

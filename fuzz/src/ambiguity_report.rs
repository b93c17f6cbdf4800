//! What must hold of any question that an agent files. The first line of the input is the priority
//! that it proposes.

use domain::ambiguity::Priority;
use domain::ambiguity::report::{BYTES_MAX, Filing, normalized, read, written};

/// Reads one filing, and holds what was understood against what was filed.
pub(crate) fn run(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (proposed, raw) = input.split_once('\n').unwrap_or(("P2", &input));
    let filing = read(raw, proposed);
    bounded(&filing, raw);
    let report = &filing.report;
    assert_eq!(
        normalized(&normalized(&report.question)),
        normalized(&report.question),
        "equal questions would have two keys"
    );
    if filing.malformed.is_empty() {
        let proposed = Priority::named(proposed.trim()).expect("an unknown priority was taken");
        assert!(filing.priority <= proposed, "the priority was lowered");
        assert!(report.options.len() >= 2, "{report:?}");
        for part in [
            &report.question,
            &report.why,
            &report.recommended,
            &report.impact,
            &report.default_held,
        ] {
            assert!(!part.trim().is_empty(), "{report:?}");
        }
        let again = read(&written(report), proposed.name());
        assert_eq!(again.malformed, [""; 0], "{report:?}");
        assert_eq!(again.report, *report, "a report changed on its way");
        assert!(
            filing.priority <= again.priority && again.priority <= proposed,
            "what was grave is less so, or what was not is more"
        );
    } else {
        let named = Priority::named(proposed.trim()).unwrap_or(Priority::P2);
        assert!(
            filing.priority <= named.min(Priority::P2),
            "a bad form made a question less grave"
        );
        assert!(
            report.options.is_empty(),
            "a malformed filing offers nothing"
        );
        let kept = raw
            .chars()
            .find(|it| !it.is_control() || matches!(it, '\n' | '\t'));
        assert_eq!(
            kept.is_none(),
            report.question.is_empty(),
            "what was filed is lost"
        );
    }
}

/// Holds that nothing grew, and that no control character is left.
fn bounded(filing: &Filing, raw: &str) {
    let report = &filing.report;
    let parts = report.options.iter().chain([
        &report.question,
        &report.why,
        &report.recommended,
        &report.impact,
        &report.default_held,
    ]);
    let mut bytes = 0;
    for part in parts.chain(&filing.malformed) {
        bytes += part.len();
        let control = |it: char| it.is_control() && !matches!(it, '\n' | '\t');
        assert!(!part.contains(control), "{part:?}");
    }
    // Faults are told briefly, whatever was filed.
    let most = raw.len() + 8_192;
    assert!(bytes <= most, "{bytes} bytes were made of {}", raw.len());
    assert!(
        filing.malformed.is_empty() || report.question.chars().count() <= BYTES_MAX / 4,
        "a malformed filing is kept longer than the cap"
    );
}

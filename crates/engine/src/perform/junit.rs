//! JUnit XML: the report that most test runners can write.

use domain::gate::Tests;
use roxmltree::{Document, Node, ParsingOptions};

/// The most nodes of a report, against reports made to exhaust memory.
const NODES_MAX: u32 = 4_000_000;

/// Reads a report.
///
/// # Errors
/// Says why it cannot be read.
pub fn read(bytes: &[u8]) -> Result<Tests, String> {
    let text = std::str::from_utf8(bytes).map_err(|it| it.to_string())?;
    let options = ParsingOptions {
        nodes_limit: NODES_MAX,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options).map_err(|it| it.to_string())?;
    let mut tests = Tests {
        reported: true,
        ..Tests::default()
    };
    for case in document
        .descendants()
        .filter(|it| it.has_tag_name("testcase"))
    {
        let name = name_of(&case);
        let has = |tag: &str| case.children().any(|it| it.has_tag_name(tag));
        if has("skipped") {
            tests.skipped.push(name);
            continue;
        }
        if has("failure") || has("error") {
            tests.failed.push(name.clone());
        }
        tests.executed.push(name);
    }
    for list in [&mut tests.executed, &mut tests.failed, &mut tests.skipped] {
        list.sort();
        list.dedup();
    }
    Ok(tests)
}

fn name_of(case: &Node<'_, '_>) -> String {
    let name = case.attribute("name").unwrap_or("(unnamed)");
    let class = case.attribute("classname").or_else(|| {
        case.ancestors()
            .find(|it| it.has_tag_name("testsuite"))
            .and_then(|it| it.attribute("name"))
    });
    class.map_or_else(|| name.to_string(), |class| format!("{class}::{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_sorted_into_executed_failed_and_skipped() {
        let text = r#"<?xml version="1.0"?><testsuites><testsuite name="s">
            <testcase name="b"/><testcase name="a"><failure>no</failure></testcase>
            <testcase name="c" classname="k"><skipped/></testcase>
            <testcase name="d"><error/></testcase></testsuite></testsuites>"#;
        let tests = read(text.as_bytes()).unwrap();
        assert_eq!(tests.executed, ["s::a", "s::b", "s::d"]);
        assert_eq!(tests.failed, ["s::a", "s::d"]);
        assert_eq!(tests.skipped, ["k::c"]);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(read(b"ok").is_err());
        assert!(read(b"\xff").is_err());
        assert!(read(b"<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>").is_err());
    }
}

//! The gates file: `[[gate]]` tables, the deterministic checks of a repository.

use domain::Millis;
use domain::formula::{Gate, gate_faults};

use super::sheet::{Faults, Sheet};
use super::{FileFault, Source};

/// How long a gate may take unless it says otherwise, in minutes.
const MINUTES: u64 = 15;

/// Reads and checks a gates file.
#[must_use]
pub fn read(source: &Source) -> (Vec<Gate>, Vec<FileFault>) {
    let faults = Faults::of(source);
    let sheet = Sheet::parse(source, &faults);
    let root = sheet.root(&faults);
    let tables = root.tables("gate");
    let mut gates = Vec::new();
    for table in &tables {
        let wall = match (table.number("seconds"), table.number("minutes")) {
            (Some(seconds), None) => Millis::from_secs(seconds),
            (None, minutes) => Millis::from_mins(minutes.unwrap_or(MINUTES)),
            (Some(_), Some(_)) => {
                table.fault("seconds", "give `minutes` or `seconds`, not both");
                Millis::from_mins(MINUTES)
            }
        };
        let tests_min = table.number("tests_min").unwrap_or(1);
        gates.push(Gate {
            name: table.required_text("name"),
            argv: table.texts("argv"),
            wall,
            junit: table.text("junit"),
            tests_min: u32::try_from(tests_min).unwrap_or(u32::MAX),
        });
        table.finish();
    }
    root.finish();
    for fault in gate_faults(&gates) {
        if let Some(table) = fault.item.and_then(|it| tables.get(it)) {
            table.fault(fault.field, fault.message);
        }
    }
    (gates, faults.sorted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_expects_at_least_one_test_unless_it_says_otherwise() {
        let text = "[[gate]]\nname = \"unit\"\nargv = [\"cargo\", \"test\"]\n".to_string();
        let (gates, faults) = read(&Source {
            name: "gates.toml".into(),
            text,
        });
        assert_eq!(faults, []);
        assert_eq!(gates[0].tests_min, 1);
    }

    #[test]
    fn a_shell_string_is_refused() {
        let text = "[[gate]]\nname = \"unit\"\nargv = \"cargo test\"\n".to_string();
        let (_, faults) = read(&Source {
            name: "gates.toml".into(),
            text,
        });
        assert!(
            faults
                .iter()
                .any(|it| it.message.contains("must be a list of strings"))
        );
    }
}

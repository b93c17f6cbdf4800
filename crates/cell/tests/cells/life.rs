//! How a cell starts and ends.

use ports::cells::{CellSpec, Cells, Error, Exit};

use crate::scene::{cells, prints, program, run, shell};

#[test]
fn a_program_runs_and_its_output_is_heard() {
    let outcome = run(&shell("echo out; echo err >&2; exit 7"));
    assert_eq!(outcome.exit, Exit::Code(7));
    assert_eq!(outcome.stdout, "out\n");
    assert_eq!(outcome.stderr, "err\n");
}

#[test]
fn a_signal_is_told_as_one() {
    assert_eq!(run(&shell("kill -TERM $$")).exit, Exit::Signal(15));
}

#[test]
fn python_and_scripts_run() {
    assert_eq!(
        prints(&program(&["/usr/bin/python3", "-I", "-c", "print(6*7)"])),
        "42\n"
    );
}

#[test]
fn a_missing_program_is_named() {
    let error = cells()
        .launch(&program(&["/bin/no-such-program"]))
        .unwrap_err();
    assert!(
        matches!(&error, Error::Program { program, .. } if program == "/bin/no-such-program"),
        "{error}"
    );
}

#[test]
fn the_environment_is_exactly_what_was_given() {
    let spec = CellSpec {
        env: [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "2 3".to_owned()),
        ]
        .into(),
        ..program(&["/usr/bin/env"])
    };
    let mut lines: Vec<_> = prints(&spec).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["A=1", "B=2 3"]);
}

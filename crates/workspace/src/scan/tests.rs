//! The caps of the walk, tried with small ones.

use std::fs::{self, File};
use std::path::PathBuf;

use super::*;
use crate::base::Base;
use crate::manifest::Changes;
use crate::names::Names;

const SMALL: Caps = Caps {
    file_bytes: 8,
    total_bytes: 20,
    entries: 10,
    visited: 30,
};

/// Keeps what it takes, in a word each.
#[derive(Default)]
struct Told(Vec<String>);

impl Sink for Told {
    fn is_known(&self, _path: &str, _status: &Status) -> bool {
        false
    }

    fn recall(&mut self, _path: &str, _status: &Status) -> bool {
        false
    }

    fn take(&mut self, path: &str, found: Found) -> Result<(), Error> {
        self.0.push(match found {
            Found::File { content, .. } => format!("{path} {}", content.len()),
            Found::Symlink(target) => format!("{path} -> {target}"),
            Found::Gone => format!("{path} gone"),
            Found::Foreign(what, rule) => format!("{path} {}: {what}", rule.name()),
        });
        Ok(())
    }
}

fn scanned(prepare: impl FnOnce(&Path)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let commit = "0123456789012345678901234567890123456789".parse().unwrap();
    let base = Base::in_memory(commit, PathBuf::new(), Names::default());
    let mut told = Told::default();
    let view = View::of(&base, Changes::new());
    Scan::upper(folder.path(), &view, SMALL, &mut told).unwrap();
    told.0
}

#[test]
fn one_path_over_the_cap_is_all_that_is_told() {
    let files = |count: usize| {
        move |top: &Path| {
            for number in 0..count {
                fs::write(top.join(format!("{number:02}")), "").unwrap();
            }
        }
    };
    assert_eq!(scanned(files(10)).len(), 10);
    let told = scanned(files(11));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with(". count: more than 10 paths"),
        "{told:?}"
    );
}

#[test]
fn names_are_counted_where_nothing_is_taken_too() {
    let told = scanned(|top| {
        for number in 0..31 {
            fs::create_dir(top.join(format!("empty{number}"))).unwrap();
        }
    });
    assert!(
        told[0].starts_with(". count: more than 30 paths"),
        "{told:?}"
    );
}

#[test]
fn a_file_over_its_cap_and_bytes_over_the_sum_are_told_by_size() {
    let told = scanned(|top| {
        fs::write(top.join("a"), "12345678").unwrap();
        File::create(top.join("b"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        fs::write(top.join("c"), "12345678").unwrap();
        fs::write(top.join("d"), "12345").unwrap();
        fs::write(top.join("e"), "1234").unwrap();
    });
    assert_eq!(
        told,
        [
            "a 8",
            "b size: a file of 1099511627776 bytes, over the limit of 8",
            "c 8",
            "d size: beyond the first 20 bytes of one capture",
            "e 4",
        ]
    );
}

#[test]
fn what_is_no_file_counts_for_nothing() {
    // Read ahead as if all that comes before counted, and told as if it had not been read ahead.
    let told = scanned(|top| {
        fs::write(top.join("a"), "12345678").unwrap();
        fs::hard_link(top.join("a"), top.join("b")).unwrap();
        fs::write(top.join("c"), "12345678").unwrap();
        fs::write(top.join("d"), "12345678").unwrap();
        fs::write(top.join("e"), "1234").unwrap();
    });
    let linked = "a hard-linked file; copy it instead";
    assert_eq!(
        told,
        [
            format!("a file_type: {linked}"),
            format!("b file_type: {linked}"),
            "c 8".into(),
            "d 8".into(),
            "e 4".into(),
        ]
    );
}

//! What must hold of any change that an agent leaves.
//!
//! The input is read as records, parted by 0x1e, of fields, parted by 0x1f: a letter for what it is
//! (`F` file, `X` executable, `L` link, `D` deleted, `Q` foreign), the path, the content or target.
//! A small letter puts it into the tree before instead. The first byte chooses the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Digest;
use domain::tree::{Change, Entry, ImportRules, Rule, Violation};
use ports::artifacts::{Artifacts, Error};
use workspace::bare::{Ground, Rules};

/// What the base holds: path, mode, content or target.
const BASE: [(&str, &str, &str); 9] = [
    ("README.md", "100644", "# Hello\n"),
    ("away", "120000", "/etc"),
    ("conftest.py", "100644", ""),
    ("inner", "120000", "src"),
    ("run.sh", "100755", "#!/bin/sh\n"),
    (
        "src/lib.rs",
        "100644",
        "#![doc = include_str!(\"../README.md\")]\n",
    ),
    ("sub", "160000", ""),
    (
        "tests/a.rs",
        "100644",
        "#[test]\nfn one() {}\n#[test]\nfn two() {}\n",
    ),
    ("tests/test_a.py", "100644", "def test_a():\n    pass\n"),
];

/// How many ways there are to choose the rules.
const FLAGS: u8 = 16;

/// The most records of one input.
const RECORDS_MAX: usize = 48;

/// The most changes that are also judged alone.
const ALONE_MAX: usize = 6;

/// Judges the changes of one input, and holds what passed against what must not.
pub(crate) fn run(input: &[u8]) {
    let Some((flags, rest)) = input.split_first() else {
        return;
    };
    let store = Store::default();
    let (before, changes) = read(rest, &store);
    let flags = usize::from(*flags % FLAGS);
    let mut after = before.clone();
    after.extend(changes.iter().map(|(path, it)| (path.clone(), it.clone())));
    let (before, after) = (listed(&before), listed(&after));
    let mut changes = listed(&changes);
    GROUND.with(|ground| {
        let (rules, compiled) = &ground.rules[flags];
        let judge = |changes: &[Change]| {
            let found = ground
                .ground
                .judge(&store, (&before, &after), changes, compiled);
            found.expect("what is there can be judged")
        };
        let found = judge(&changes);
        form(&found, &changes);
        for change in changes.iter().take(ALONE_MAX) {
            let alone = judge(std::slice::from_ref(change));
            let told = alone
                .iter()
                // Where tests moved to is only seen with the rest.
                .filter(|it| it.path != Violation::WHOLE && it.rule != Rule::TestWeakened);
            for violation in told {
                assert!(
                    found.contains(violation),
                    "{violation:?} is lost among others"
                );
            }
        }
        passed(&found, &changes, rules, &store);
        changes.reverse();
        assert_eq!(judge(&changes), found, "the order of changes decides");
    });
}

struct Laid {
    ground: Ground,
    /// The rules for each value of the first byte.
    rules: Vec<(ImportRules, Rules)>,
    _folder: tempfile::TempDir,
}

thread_local! {
    static GROUND: Laid = laid();
}

fn laid() -> Laid {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, mode, content) in BASE {
        let place = folder.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap_or(Path::new("/"))).expect("a folder");
        match mode {
            "120000" => std::os::unix::fs::symlink(content, place).expect("a link"),
            "160000" => std::fs::create_dir(place).expect("a folder"),
            _ => std::fs::write(place, content).expect("a file"),
        }
    }
    let paths: Vec<(&str, &str)> = BASE.iter().map(|(path, mode, _)| (*path, *mode)).collect();
    let commit = "0123456789012345678901234567890123456789";
    let ground = Ground::of(commit.parse().expect("a commit"), folder.path(), &paths);
    Laid {
        ground: ground.expect("a base"),
        rules: (0..FLAGS)
            .map(|flags| {
                let rules = rules(flags);
                let compiled = Rules::of(&rules).expect("globs of our own");
                (rules, compiled)
            })
            .collect(),
        _folder: folder,
    }
}

type Entries = BTreeMap<String, Entry>;

/// Returns what the tree before holds beyond the base, and what was changed.
fn read(input: &[u8], store: &Store) -> (Entries, Entries) {
    let (mut before, mut changes) = (Entries::new(), Entries::new());
    for record in input.split(|byte| *byte == 0x1e).take(RECORDS_MAX) {
        let mut fields = record.split(|byte| *byte == 0x1f);
        let kind = fields.next().and_then(|it| it.first()).copied();
        let text = |it: Option<&[u8]>| String::from_utf8_lossy(it.unwrap_or_default()).into_owned();
        let path = text(fields.next());
        let content = fields.next().unwrap_or_default();
        let entry = match kind.map(|it| it.to_ascii_uppercase()) {
            Some(b'F' | b'X') => Entry::File {
                content: store.keep(content),
                bytes: u64::try_from(content.len()).unwrap_or(u64::MAX),
                executable: kind.is_some_and(|it| it.eq_ignore_ascii_case(&b'X')),
            },
            Some(b'L') => Entry::Symlink {
                target: text(Some(content)),
            },
            Some(b'D') => Entry::Deleted,
            Some(b'Q') => Entry::Foreign {
                what: "a FIFO".to_owned(),
                rule: Rule::FileType,
            },
            Some(_) | None => continue,
        };
        let to = if kind.is_some_and(|it| it.is_ascii_lowercase()) {
            &mut before
        } else {
            &mut changes
        };
        to.insert(path, entry);
    }
    (before, changes)
}

fn listed(entries: &Entries) -> Vec<Change> {
    let change = |(path, entry): (&String, &Entry)| Change {
        path: path.clone(),
        entry: entry.clone(),
    };
    entries.iter().map(change).collect()
}

fn rules(flags: u8) -> ImportRules {
    let narrow = flags & 1 != 0;
    let globs = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    ImportRules {
        role_paths: globs(if narrow {
            &["src/**", "tests/**", "*.md"]
        } else {
            &["**"]
        }),
        plan_allowed: globs(&["**"]),
        plan_denied: globs(if narrow { &["src/denied/**"] } else { &[] }),
        protected: globs(&[".github/**", "AGENTS.md"]),
        secrets: globs(&["**/.env", "*.pem"]),
        may_set_executable: flags & 2 != 0,
        file_bytes_max: 1_000,
        total_bytes_max: 2_000,
        files_max: 40,
        accepted_secrets: vec![],
        documents_only: flags & 4 != 0,
        guards_tests: flags & 8 != 0,
    }
}

/// Holds the form of an answer: sorted, each thing once, about these changes, fit to be shown.
fn form(found: &[Violation], changes: &[Change]) {
    assert!(found.is_sorted());
    let once: BTreeSet<&Violation> = found.iter().collect();
    assert_eq!(once.len(), found.len());
    let paths: BTreeSet<&str> = changes.iter().map(|it| it.path.as_str()).collect();
    for violation in found {
        assert!(
            violation.path == Violation::WHOLE || paths.contains(violation.path.as_str()),
            "{violation:?} is about nothing"
        );
        assert!(!violation.detail.is_empty());
        assert!(
            !violation.detail.contains(char::is_control),
            "{violation:?}"
        );
        assert!(violation.detail.chars().count() <= 10 * 5_000);
    }
}

/// Holds every change that nothing was held against to what must be true of it.
fn passed(found: &[Violation], changes: &[Change], rules: &ImportRules, store: &Store) {
    let held: BTreeSet<&str> = found.iter().map(|it| it.path.as_str()).collect();
    let whole = held.contains(Violation::WHOLE);
    let changed: BTreeSet<&str> = changes.iter().map(|it| it.path.as_str()).collect();
    // What the base goes on holding, by the name that some disks give it.
    let mut folded: BTreeSet<String> = BASE
        .iter()
        .map(|(path, ..)| *path)
        .filter(|it| !changed.contains(it))
        .map(str::to_ascii_lowercase)
        .collect();
    for change in changes.iter().filter(|it| !held.contains(it.path.as_str())) {
        let path = change.path.as_str();
        for part in path.split('/') {
            assert!(!matches!(part, "" | "." | ".."), "{path:?}");
            assert!(!is_git(part), "{path:?}");
        }
        assert!(
            !path.to_ascii_lowercase().starts_with(".github/"),
            "{path:?}"
        );
        let is_foreign = matches!(change.entry, Entry::Foreign { .. });
        assert!(!is_foreign, "{change:?} passed");
        match &change.entry {
            Entry::Deleted | Entry::Foreign { .. } => continue,
            Entry::Symlink { target } => contained(path, target),
            Entry::File {
                content,
                executable,
                bytes,
            } => {
                assert!(*bytes <= rules.file_bytes_max);
                let content = store.get(content).expect("it was kept");
                let program = content.starts_with(b"#!") || content.starts_with(b"\x7fELF");
                let no_document = *executable || program || content.contains(&0);
                let picture =
                    path.to_lowercase().ends_with(".ico") || path.to_lowercase().ends_with(".png");
                assert!(
                    !rules.documents_only || !no_document || picture && !*executable && !program,
                    "{change:?} passed for a document"
                );
            }
        }
        assert!(!path.contains(['\\', ':']), "{path:?}");
        assert!(!path.contains(char::is_control), "{path:?}");
        assert!(path.len() <= 4_095 && path.split('/').all(|it| it.len() <= 255));
        assert!(
            folded.insert(path.to_ascii_lowercase()),
            "{path:?} has a twin"
        );
    }
    assert!(whole || changes.len() <= 40, "too many passed");
}

/// Returns whether git, on some disk, takes this for one of its own.
fn is_git(part: &str) -> bool {
    let visible: String = part
        .chars()
        .filter(|it| !matches!(it, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'))
        .collect();
    let lowered = visible.to_ascii_lowercase();
    let stem = lowered.split(':').next().unwrap_or_default();
    matches!(
        stem.trim_end_matches(['.', ' ']),
        ".git" | "git~1" | ".gitmodules" | ".gitattributes" | "gitmod~1" | "gitatt~1"
    )
}

/// Holds that a link's text leads nowhere outside.
fn contained(path: &str, target: &str) {
    assert!(
        !target.is_empty() && !target.starts_with(['/', '\\']),
        "{path:?} -> {target:?}"
    );
    let mut depth = i64::try_from(path.matches('/').count()).unwrap_or(i64::MAX);
    for part in target.split('/') {
        assert!(!is_git(part), "{path:?} -> {target:?}");
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        assert!(depth >= 0, "{path:?} -> {target:?}");
    }
    let through = target.split('/').find(|it| !matches!(*it, "" | "." | ".."));
    let climbs = target.split('/').filter(|it| *it == "..").count();
    let at_root = climbs == path.matches('/').count();
    assert!(
        !(at_root && through == Some("away")),
        "{path:?} -> {target:?}"
    );
}

/// Artifacts in memory.
#[derive(Default)]
struct Store(Mutex<BTreeMap<Digest, Vec<u8>>>);

impl Store {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<Digest, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, content: &[u8]) -> Digest {
        self.put_all(&[content]).expect("memory holds it")[0]
    }
}

impl Artifacts for Store {
    fn put_all(&self, blobs: &[&[u8]]) -> Result<Vec<Digest>, Error> {
        let mut kept = self.kept();
        let keep = |blob: &&[u8]| {
            let digest = Digest::from_bytes(*blake3::hash(blob).as_bytes());
            kept.insert(digest, blob.to_vec());
            digest
        };
        Ok(blobs.iter().map(keep).collect())
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let content = self.kept().get(digest).cloned();
        content.ok_or(Error::Missing(*digest))
    }

    fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        self.get(digest).map(|_| true)
    }

    fn list(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.kept().keys().copied().collect())
    }

    fn remove(&self, _: &[Digest]) -> Result<(), Error> {
        Ok(())
    }
}

//! The table of roles: what each may and may not do, which test keeps it, and what the role files
//! that are shipped make of the import filter.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it assumes by unwrapping"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use domain::formula::{Lane, Role};
use domain::tree::{Change, Commit, Entry, ImportRules, Tree};
use engine::catalog::{SHIPPED_ROLES, Source, roles};
use ports::artifacts::Artifacts as _;
use ports::workspaces::Workspaces as _;
use store::artifacts::DiskArtifacts;
use workspace::GitWorkspaces;

/// A rule of a role: its number, what it says, and the tests that keep it.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const TREE: &str = "crates/cell/tests/cells/tree.rs";
const WALLS: &str = "crates/cell/tests/cells/walls.rs";
const LIFE: &str = "crates/cell/tests/cells/life.rs";
const CYCLE: &str = "crates/engine/tests/engine/cycle.rs";
const STORY: &str = "crates/cli/tests/stories/cycle.rs";
const HOSTILE: &str = "crates/cli/tests/stories/hostile.rs";
const GUARDING: &str = "crates/workspace/src/filter/guarding/tests.rs";
const CONTENT: &str = "crates/workspace/src/filter/content/tests.rs";
const FILTER: &str = "crates/workspace/src/filter/tests.rs";
const FILES: &str = "crates/agents/src/question_files.rs";
const SIGNALS: &str = "crates/agents/src/signal_line.rs";
const SECRETS: &str = "crates/workspace/tests/story/prepare.rs";
const PROTECTED: &str = "crates/cli/src/config/protected.rs";
const HERE: &str = "crates/cli/tests/roles.rs";

const ROWS: [Row; 24] = [
    (
        "B+1",
        "the builder writes code in the workspace, and nowhere else",
        &[
            (
                HERE,
                "each_shipped_role_writes_what_it_is_for_and_nothing_else",
            ),
            (TREE, "nothing_of_the_host_is_there_or_can_be_written"),
        ],
    ),
    (
        "B+2",
        "it runs tests, within limits",
        &[
            (WALLS, "a_fork_bomb_is_bounded"),
            (WALLS, "memory_is_bounded"),
            (WALLS, "a_busy_program_is_ended_by_its_cpu_limit"),
        ],
    ),
    (
        "B+3",
        "it files questions, and the first finished version counts",
        &[
            (
                FILES,
                "the_first_version_counts_and_what_is_done_to_it_is_told_once",
            ),
            (
                FILES,
                "nothing_but_a_plain_small_text_is_taken_and_nothing_is_waited_for",
            ),
        ],
    ),
    (
        "B-1",
        "it sees no secret",
        &[
            (SECRETS, "secrets_are_in_no_layer_and_no_object"),
            (LIFE, "the_environment_is_exactly_what_was_given"),
            (WALLS, "the_init_shows_nothing"),
            (STORY, "no_secret_reaches_an_agent_or_leaves_a_trace"),
        ],
    ),
    (
        "B-2",
        "it deploys nothing by itself",
        &[
            (WALLS, "the_hosts_loopback_is_not_reached_by_tcp"),
            (WALLS, "nothing_leaves_by_udp"),
        ],
    ),
    (
        "B-3",
        "it goes past no one who acts: no other run's socket, no word of another life",
        &[
            (WALLS, "other_socket_families_are_refused"),
            (WALLS, "abstract_sockets_of_the_host_are_not_there"),
            (
                CYCLE,
                "a_signal_with_another_epoch_is_refused_whatever_it_says",
            ),
        ],
    ),
    (
        "T+1",
        "the tester runs the suite",
        &[(
            STORY,
            "a_specification_becomes_a_promoted_change_and_the_checkout_is_untouched",
        )],
    ),
    (
        "T+2",
        "it writes test files",
        &[(
            HERE,
            "each_shipped_role_writes_what_it_is_for_and_nothing_else",
        )],
    ),
    (
        "T+3",
        "what it finds wrong sends the work back",
        &[(CYCLE, "a_red_gate_sends_the_work_back_with_its_log")],
    ),
    (
        "T-1",
        "it changes no code under test, by no way around",
        &[
            (
                HERE,
                "each_shipped_role_writes_what_it_is_for_and_nothing_else",
            ),
            (FILTER, "each_rule_holds_what_it_is_for"),
            (FILTER, "a_link_is_followed_through_the_links_of_the_tree"),
            (CYCLE, "what_is_out_of_scope_is_turned_away_and_told"),
        ],
    ),
    (
        "T-2",
        "it sees no .env",
        &[
            (SECRETS, "secrets_are_in_no_layer_and_no_object"),
            (STORY, "no_secret_reaches_an_agent_or_leaves_a_trace"),
        ],
    ),
    (
        "T-3",
        "it skips, deletes and fakes no test",
        &[
            (GUARDING, "a_test_that_is_gone_is_told_in_every_language"),
            (GUARDING, "a_mark_that_skips_is_held_in_every_language"),
            (GUARDING, "configuration_may_not_deselect_tests"),
            (HOSTILE, "a_tester_takes_no_test_away"),
            (HOSTILE, "a_gate_is_not_replaced_by_what_it_judges"),
            (CYCLE, "a_gate_that_lost_a_test_is_red"),
            (CYCLE, "a_gate_with_a_new_skip_is_red"),
            (CYCLE, "a_gate_without_a_single_test_is_red"),
        ],
    ),
    (
        "R+1",
        "the reviewer reads everything",
        &[(CYCLE, "a_specification_becomes_a_promoted_commit")],
    ),
    (
        "R+2",
        "it reports findings, and it alone",
        &[
            (
                HERE,
                "only_the_reviewer_reports_findings_and_it_changes_nothing",
            ),
            (
                CYCLE,
                "a_finding_is_mended_and_checked_again_by_another_session",
            ),
        ],
    ),
    (
        "R+3",
        "it suggests how to mend them",
        &[(CYCLE, "a_noisy_review_can_still_be_mended")],
    ),
    (
        "R-1",
        "it changes no file",
        &[
            (
                HERE,
                "only_the_reviewer_reports_findings_and_it_changes_nothing",
            ),
            (TREE, "a_read_only_tree_refuses_every_write"),
        ],
    ),
    (
        "R-2",
        "it overrides no invariant: there is no word for it",
        &[
            (SIGNALS, "every_deviation_is_refused_with_its_reason"),
            (
                "crates/domain/src/policy.rs",
                "no_single_breach_gets_a_permit",
            ),
        ],
    ),
    (
        "R-3",
        "it marks nothing as resolved",
        &[
            (
                "crates/domain/src/finding.rs",
                "nobody_resolves_a_finding_of_their_own",
            ),
            (
                "crates/domain/src/finding.rs",
                "a_second_look_at_the_same_tree_resolves_nothing",
            ),
            (CYCLE, "a_review_that_is_refused_resolves_nothing"),
            (SIGNALS, "every_deviation_is_refused_with_its_reason"),
        ],
    ),
    (
        "D+1",
        "whoever documents writes decision records",
        &[(
            HERE,
            "each_shipped_role_writes_what_it_is_for_and_nothing_else",
        )],
    ),
    (
        "D+2",
        "and descriptions",
        &[(
            HERE,
            "each_shipped_role_writes_what_it_is_for_and_nothing_else",
        )],
    ),
    (
        "D+3",
        "and decisions",
        &[(
            HERE,
            "each_shipped_role_writes_what_it_is_for_and_nothing_else",
        )],
    ),
    (
        "D-1",
        "but no code, by name or by content",
        &[
            (CONTENT, "what_has_no_documents_name_is_code"),
            (CONTENT, "what_is_a_program_by_its_bytes_is_no_document"),
            (CONTENT, "what_newly_runs_where_it_is_read_is_held"),
            (CONTENT, "examples_that_every_build_runs_are_held"),
            (
                CONTENT,
                "an_example_of_rust_is_held_where_tests_take_in_the_document",
            ),
            (HOSTILE, "what_is_built_is_no_documentation"),
        ],
    ),
    (
        "D-2",
        "no secret",
        &[
            (SECRETS, "secrets_are_in_no_layer_and_no_object"),
            (STORY, "no_secret_reaches_an_agent_or_leaves_a_trace"),
        ],
    ),
    (
        "D-3",
        "and nobody touches the configuration of who acts",
        &[
            (HERE, "nobody_touches_the_configuration_of_who_acts"),
            (
                PROTECTED,
                "who_controls_the_gates_or_the_operators_machine_needs_an_approval",
            ),
            (HOSTILE, "a_protected_folder_is_not_replaced_by_a_link"),
        ],
    ),
];

#[test]
fn every_row_is_kept_by_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let numbers: BTreeSet<&str> = ROWS.iter().map(|(number, ..)| *number).collect();
    let expected: BTreeSet<String> = ["B", "T", "R", "D"]
        .iter()
        .flat_map(|role| ["+", "-"].map(|sign| format!("{role}{sign}")))
        .flat_map(|kind| (1..=3).map(move |number| format!("{kind}{number}")))
        .collect();
    assert_eq!(numbers, expected.iter().map(String::as_str).collect());
    for (number, rule, tests) in ROWS {
        assert!(!rule.is_empty() && !tests.is_empty(), "{number}");
        for (file, test) in tests {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            let at = text.find(&format!("fn {test}("));
            assert!(at.is_some(), "{number}: `{test}` is not in {file}");
            let above = text[..at.unwrap()].trim_end().lines().rev();
            let marked = above
                .map(str::trim)
                .take_while(|it| it.starts_with("#[") || it.starts_with("//"))
                .any(|it| it == "#[test]");
            assert!(marked, "{number}: `{test}` in {file} is no test");
        }
    }
}

fn role(name: &str) -> Role {
    let (_, text) = SHIPPED_ROLES.iter().find(|(it, _)| *it == name).unwrap();
    let (role, faults) = roles::read(&Source {
        name: name.to_owned(),
        text: (*text).to_owned(),
    });
    assert_eq!(faults, []);
    role
}

/// A repository with some of everything, and what judges changes of it.
struct Place {
    _folder: tempfile::TempDir,
    artifacts: Arc<DiskArtifacts>,
    workspaces: GitWorkspaces,
    base: Tree,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repo = folder.path().join("repo");
        for (path, text) in [
            ("README.md", "# Hello\n"),
            ("executor.toml", "actions = []\n"),
            ("src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n"),
            ("tests/a.rs", "#[test]\nfn a() {}\n"),
        ] {
            let place = repo.join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, text).unwrap();
        }
        for arguments in [
            &["init", "-q"][..],
            &["add", "-A"],
            &["commit", "-q", "-m", "start"],
        ] {
            let done = Command::new("git")
                .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-C"])
                .arg(&repo)
                .args(arguments)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
        }
        let store = folder.path().join("artifacts");
        let artifacts = Arc::new(DiskArtifacts::open(&store).unwrap());
        let state = folder.path().join("state");
        let workspaces = GitWorkspaces::open(&repo, &state, Arc::clone(&artifacts) as _).unwrap();
        let head: Commit = workspaces.resolve("HEAD").unwrap();
        let base = workspaces
            .prepare(&head, &ports::workspaces::Secrets::default())
            .unwrap();
        Self {
            _folder: folder,
            artifacts,
            workspaces,
            base,
        }
    }

    /// Returns the rules that one change of a role breaks.
    fn broken(&self, role: &Role, path: &str, text: Option<&str>) -> Vec<&'static str> {
        let entry = match text {
            Some(text) => Entry::File {
                content: self.artifacts.put(text.as_bytes()).unwrap(),
                bytes: u64::try_from(text.len()).unwrap(),
                executable: false,
            },
            None => Entry::Deleted,
        };
        let change = Change {
            path: path.to_owned(),
            entry,
        };
        let rules = ImportRules {
            role_paths: role.write.clone(),
            plan_allowed: vec!["**".into()],
            plan_denied: role.deny.clone(),
            protected: vec!["executor.toml".into(), "palisade.toml".into()],
            secrets: vec![],
            may_set_executable: role.may_set_executable,
            file_bytes_max: 1_000,
            total_bytes_max: 1_000,
            files_max: 10,
            accepted_secrets: Vec::new(),
            documents_only: role.documents_only,
            guards_tests: role.guards_tests,
        };
        let found = self
            .workspaces
            .judge(&self.base, &self.base, &[change], &rules)
            .unwrap();
        found.iter().map(|it| it.rule.name()).collect()
    }
}

#[test]
fn each_shipped_role_writes_what_it_is_for_and_nothing_else() {
    let place = Place::new();
    let test = Some("#[test]\nfn b() {}\n");
    let skipped = Some("#[test]\n#[ignore]\nfn a() {}\n");
    let fence = Some("# Hello\n\n```\nlet a = 1;\n```\n");
    for (name, path, text, expected) in [
        ("builder", "src/new.rs", Some("x"), &[][..]),
        ("builder", "tests/b.rs", test, &[]),
        ("tester", "tests/b.rs", test, &[]),
        ("tester", "crates/x/tests/deep/b.rs", test, &[]),
        ("tester", "src/lib.rs", Some("x"), &["role_scope"]),
        ("tester", "Cargo.toml", Some("x"), &["role_scope"]),
        ("tester", "build.rs", Some("x"), &["role_scope"]),
        ("tester", "tests/a.rs", None, &["test_weakened"]),
        ("tester", "tests/a.rs", skipped, &["test_weakened"]),
        ("tester", "tests/a.rs", Some(" "), &["test_weakened"]),
        ("docs", "docs/adr/0001-x.md", Some("# X\n"), &[]),
        ("docs", "docs/specs/x.md", Some("# X\n"), &[]),
        ("docs", "decisions/x.md", Some("# X\n"), &[]),
        ("docs", "README.md", Some("# Hello\n\nMore.\n"), &[]),
        ("docs", "README.md", fence, &["content"]),
        ("docs", "docs/conf.py", Some("x"), &["content"]),
        ("docs", "decisions/x.sh", Some("x"), &["content"]),
        ("docs", "docs/x.md", Some("#!/bin/sh\n"), &["content"]),
        ("docs", "src/lib.rs", Some("x"), &["role_scope", "content"]),
        (
            "docs",
            ".github/workflows/x.yml",
            Some("x"),
            &["role_scope", "content"],
        ),
        ("reviewer", "README.md", Some("x"), &["role_scope"]),
        ("reviewer", "notes.md", Some("x"), &["role_scope"]),
        ("reviewer", "src/lib.rs", None, &["role_scope"]),
    ] {
        let broken = place.broken(&role(name), path, text);
        assert_eq!(broken, expected, "{name} {path} {text:?}");
    }
}

#[test]
fn only_the_reviewer_reports_findings_and_it_changes_nothing() {
    for (name, _) in SHIPPED_ROLES {
        let role = role(name);
        assert_eq!(role.may_report_findings, *name == "reviewer", "{name}");
        assert_eq!(role.lane == Lane::ReadOnly, *name == "reviewer", "{name}");
        assert_eq!(role.write.is_empty(), *name == "reviewer", "{name}");
        assert_eq!(role.guards_tests, *name == "tester", "{name}");
        assert_eq!(role.documents_only, *name == "docs", "{name}");
        assert_eq!(role.may_set_executable, *name == "builder", "{name}");
    }
}

#[test]
fn nobody_touches_the_configuration_of_who_acts() {
    let place = Place::new();
    for (name, _) in SHIPPED_ROLES {
        for path in ["executor.toml", "deploy/Executor.toml", "palisade.toml"] {
            for text in [Some("actions = [\"all\"]\n"), None] {
                let broken = place.broken(&role(name), path, text);
                assert!(broken.contains(&"protected"), "{name} {path}: {broken:?}");
            }
        }
    }
}

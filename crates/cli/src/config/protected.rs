//! Files that need an approval of their own wherever they change: who controls them controls the
//! gates, or something that runs on the operator's machine without having been asked for.
//!
//! What the product itself consists of is not among them, although it runs when somebody builds it:
//! `build.rs`, `package.json`, a `Makefile`. It is reviewed as code, gates run it only in cells, and
//! the script that a gate calls is protected by the gate's definition. A glob without `/` matches at
//! any depth, and case does not matter.

/// What Palisade itself goes by.
const OURS: &[&str] = &["palisade.toml", ".palisade/**", "executor.toml"];

/// What decides whether a change is good, and who is asked: the forge and its robots.
const INTEGRATION: &[&str] = &[
    ".github/**",
    ".gitlab/**",
    ".gitlab-ci.yml",
    ".gitea/**",
    ".forgejo/**",
    ".ci/**",
    ".circleci/**",
    ".buildkite/**",
    ".semaphore/**",
    ".teamcity/**",
    ".tekton/**",
    ".woodpecker/**",
    ".woodpecker.y*ml",
    ".drone.y*ml",
    ".travis.yml",
    ".cirrus.y*ml",
    ".cirrus.star",
    ".build.yml",
    ".builds/**",
    ".appveyor.yml",
    "appveyor.yml",
    "azure-pipelines*.y*ml",
    "bitbucket-pipelines.yml",
    "buildspec.y*ml",
    "cloudbuild.y*ml",
    "Jenkinsfile*",
    "CODEOWNERS",
    ".mergify.yml",
    ".renovaterc*",
    "renovate.json*",
];

/// What git runs at a commit or push, and where it sends large files.
const HOOKS: &[&str] = &[
    ".githooks/**",
    ".git-hooks/**",
    ".husky/**",
    ".pre-commit-config.y*ml",
    ".pre-commit-hooks.y*ml",
    "lefthook*.{yml,yaml,json,toml}",
    ".lefthook*",
    ".overcommit.yml",
    ".git-hooks.*",
    ".simple-git-hooks.*",
    "simple-git-hooks.*",
    ".lintstagedrc*",
    "lint-staged.config.*",
    ".lfsconfig",
];

/// What an editor, debugger or shell reads, and may run, when the folder is opened.
const EDITORS: &[&str] = &[
    ".vscode",
    ".idea",
    ".fleet",
    ".zed",
    ".vim",
    ".devcontainer",
    ".devcontainer.json",
    ".gitpod.y*ml",
    ".gitpod.Dockerfile",
    "*.code-workspace",
    "*.sublime-project",
    ".dir-locals*.el",
    ".exrc",
    ".vimrc",
    ".nvimrc",
    ".nvim.lua",
    ".gdbinit",
    ".lldbinit",
    ".Rprofile",
    ".envrc",
    "mise.toml",
    "mise.*.toml",
    ".mise*",
    ".config/mise/**",
    ".config/mise.toml",
    ".tool-versions",
    "devenv.nix",
];

/// What an agent reads as its instructions, permissions, hooks or servers: in a later session, and
/// in the operator's own agent, which no cell holds.
const AGENTS: &[&str] = &[
    "AGENTS.md",
    "AGENT.md",
    "AGENTS.override.md",
    "CLAUDE.md",
    "CLAUDE.local.md",
    "GEMINI.md",
    ".claude",
    ".mcp.json",
    ".codex",
    ".gemini",
    ".cursor",
    ".cursorrules",
    ".windsurf",
    ".windsurfrules",
    ".clinerules",
    ".roo",
    ".roomodes",
    ".kiro",
    ".junie",
    ".amazonq",
    ".augment",
    ".continue",
    ".goosehints",
    ".opencode",
    "opencode.json*",
    ".aider*",
];

/// What decides which program a gate's command really is: a tool's own configuration can put another
/// in the place of the compiler or the runner, or leave tests out.
const TOOLS: &[&str] = &[
    ".cargo/config",
    ".cargo/config.toml",
    "**/.cargo/config",
    "**/.cargo/config.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    ".config/nextest.toml",
    "**/.config/nextest.toml",
    ".yarnrc",
    ".yarnrc.yml",
    ".yarn/releases/**",
    ".yarn/plugins/**",
    ".pnpmfile.*",
    ".bundle",
    ".mvn",
    "mvnw",
    "mvnw.cmd",
    "gradlew",
    "gradlew.bat",
    "gradle/wrapper/**",
    "**/gradle/wrapper/**",
    ".bazelrc",
    ".bazelversion",
    "tools/bazel",
];

/// Returns all of them.
pub(super) fn globs() -> Vec<&'static str> {
    [OURS, INTEGRATION, HOOKS, EDITORS, AGENTS, TOOLS].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::tree::{Change, Entry, ImportRules, Rule};
    use ports::artifacts::Artifacts as _;
    use ports::workspaces::Workspaces as _;
    use store::artifacts::DiskArtifacts;

    use super::*;

    /// Returns which of these paths the filter holds to be protected.
    fn protected(paths: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let repo = folder.path().join("repo");
        let git = |arguments: &[&str]| {
            let done = std::process::Command::new("git")
                .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-C"])
                .arg(&repo)
                .args(arguments)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        std::fs::create_dir(&repo).unwrap();
        git(&["init", "-q"]);
        git(&["commit", "-q", "--allow-empty", "-m", "start"]);
        let artifacts = Arc::new(DiskArtifacts::open(&folder.path().join("artifacts")).unwrap());
        let content = artifacts.put(b"").unwrap();
        let workspaces =
            workspace::GitWorkspaces::open(&repo, &folder.path().join("state"), artifacts).unwrap();
        let base = workspaces.resolve("HEAD").unwrap();
        let tree = workspaces
            .prepare(&base, &ports::workspaces::Secrets::default())
            .unwrap();
        let changes: Vec<Change> = paths
            .iter()
            .map(|path| Change {
                path: (*path).to_owned(),
                entry: Entry::File {
                    content,
                    bytes: 0,
                    executable: false,
                },
            })
            .collect();
        let rules = ImportRules {
            role_paths: vec!["**".into()],
            plan_allowed: vec!["**".into()],
            plan_denied: vec![],
            protected: globs().into_iter().map(str::to_owned).collect(),
            secrets: vec![],
            may_set_executable: true,
            file_bytes_max: 1,
            total_bytes_max: 1,
            files_max: u64::MAX,
            accepted_secrets: vec![],
            documents_only: false,
            guards_tests: false,
        };
        let found = workspaces.judge(&tree, &tree, &changes, &rules).unwrap();
        found
            .into_iter()
            .filter(|it| it.rule == Rule::Protected)
            .map(|it| it.path)
            .collect()
    }

    #[test]
    fn who_controls_the_gates_or_the_operators_machine_needs_an_approval() {
        let mut paths = [
            ".cargo/config",
            ".claude/settings.local.json",
            ".config/nextest.toml",
            ".cursor/rules/x.mdc",
            ".devcontainer/devcontainer.json",
            ".envrc",
            ".githooks/pre-push",
            ".github",
            ".GitHub/Workflows/ci.yml",
            ".github/workflows/ci.yml",
            ".husky/pre-commit",
            ".idea/runConfigurations/x.xml",
            ".mcp.json",
            ".mvn/extensions.xml",
            ".palisade/roles/builder.toml",
            ".pre-commit-config.yaml",
            ".vscode/settings.json",
            ".vscode/tasks.json",
            ".yarnrc.yml",
            "AGENTS.md",
            "agents.md",
            "crates/a/.cargo/config.toml",
            "deep/AGENTS.md",
            "deep/.vscode/tasks.json",
            "executor.toml",
            "gradlew",
            "lefthook-local.yml",
            "palisade.toml",
            "rust-toolchain.toml",
        ];
        paths.sort_unstable();
        assert_eq!(protected(&paths), paths);
    }

    #[test]
    fn what_the_product_consists_of_is_not_among_them() {
        let paths = [
            "build.rs",
            "Cargo.toml",
            "package.json",
            "Makefile",
            "docs/agents.html",
            "docs/mise-en-place.md",
            "src/github/workflows.rs",
            "src/husky.rs",
            "src/lefthook.rs",
            "src/config/config.toml",
            "tools/x",
            "README.md",
        ];
        assert_eq!(protected(&paths), [] as [&str; 0]);
    }
}

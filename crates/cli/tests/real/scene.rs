//! Real cells, made by the program itself.

use std::path::PathBuf;
use std::sync::Arc;

use cell::{Launcher, LinuxCells};
use ports::cells::Cells;
use testkit::agents::Setting;
use testkit::scripted_model::{ScriptedModel, Turn};

/// The program, which is the client in a cell.
pub(crate) fn own() -> PathBuf {
    env!("CARGO_BIN_EXE_palisade").into()
}

pub(crate) fn cells() -> Arc<dyn Cells> {
    Arc::new(LinuxCells::new(Launcher {
        program: own(),
        argument: "__cell".into(),
    }))
}

/// Returns where an agent program that `.ci/agents-for-tests` installs is.
pub(crate) fn installed(path: &str) -> PathBuf {
    let own = own();
    let mut folders = own.ancestors().map(|it| it.join("agents/node_modules"));
    let folder = folders.find(|it| it.is_dir());
    let found = folder.map(|it| it.join(path)).filter(|it| it.exists());
    found
        .ok_or_else(|| format!("`{path}` is not installed: run .ci/agents-for-tests"))
        .unwrap()
}

/// The setting of a session in a small repository: a greeting that is wrong, and a test that says
/// so. The plan lets `src` be written.
pub(crate) fn greeting(prompt: &str) -> Setting {
    let mut setting = Setting::new();
    for (path, text) in [
        ("src/greeting", "helo\n"),
        ("tests/greeting.sh", "grep -qx hello src/greeting\n"),
        ("Makefile", "test:\n\tsh tests/greeting.sh\n"),
    ] {
        let path = setting.tree().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    prompt.clone_into(&mut setting.task.prompt);
    let tree = setting.task.cell.workspace.as_mut().unwrap();
    tree.writes.writable = vec!["src".into()];
    setting
}

/// Gives a session a scripted model of its own.
pub(crate) fn with_model(setting: &mut Setting, script: Vec<Turn>) -> ScriptedModel {
    let model = ScriptedModel::listen(&setting.folder(), script).unwrap();
    setting.task.model_socket = Some(model.socket());
    model
}

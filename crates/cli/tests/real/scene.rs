//! Real cells, made by the program itself.

use std::path::PathBuf;
use std::sync::Arc;

use cell::{Launcher, LinuxCells};
use ports::cells::Cells;

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

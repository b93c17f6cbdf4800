//! The programs that the specification offers by name: symlinks in a folder that nobody can write.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxFlags};

use crate::launcher::mounts::Root;
use crate::link::Fault;
use crate::plan::{Plan, TOOLS};

const EXECUTABLE_BITS: u16 = 0o111;

/// Makes the folder with its links; every program must be there by now.
pub(crate) fn offer(root: &Root, plan: &Plan) -> Result<(), Fault> {
    let Some(programs) = &plan.programs else {
        return Ok(());
    };
    let folder = Path::new(TOOLS);
    root.folder(folder)
        .map_err(Fault::setup(format!("making {TOOLS}")))?;
    for (name, program) in programs {
        let doing = || format!("offering `{name}` as {}", program.display());
        check(root, program).map_err(Fault::setup(doing()))?;
        root.link(&format!("{TOOLS}/{name}"), program)
            .map_err(Fault::setup(doing()))?;
    }
    Ok(())
}

fn check(root: &Root, program: &Path) -> io::Result<()> {
    let Some(found) = root.find(program)? else {
        return Err(io::Error::other(
            "there is no such program in the cell; mount it, or take it off the list",
        ));
    };
    let wanted = StatxFlags::TYPE | StatxFlags::MODE;
    let about = rustix::fs::statx(&found, "", AtFlags::EMPTY_PATH, wanted)?;
    let kind = FileType::from_raw_mode(about.stx_mode.into());
    if kind == FileType::RegularFile && about.stx_mode & EXECUTABLE_BITS != 0 {
        Ok(())
    } else {
        Err(io::Error::other("it is no executable file"))
    }
}

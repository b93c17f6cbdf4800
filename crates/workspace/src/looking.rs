//! Looking through what a session left, before anything of it is kept.

use std::ops::ControlFlow;
use std::path::Path;

use ports::workspaces::Error;

use crate::capture::same_as_before;
use crate::manifest::View;
use crate::remembered::Status;
use crate::scan::{Caps, Found, Scan, Sink};

/// Shows `look` each changed path of a session on `view` that left `top` behind, until it has seen
/// enough.
pub(crate) fn through(
    view: &View<'_>,
    top: &Path,
    plain: bool,
    look: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut looking = Looking {
        view,
        look,
        is_over: false,
    };
    if plain {
        Scan::copy(top, view, Caps::USUAL, &mut looking)
    } else {
        Scan::upper(top, view, Caps::USUAL, &mut looking)
    }
}

struct Looking<'a> {
    view: &'a View<'a>,
    look: &'a mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    is_over: bool,
}

impl Sink for Looking<'_> {
    fn is_known(&self, _path: &str, _status: &Status) -> bool {
        false
    }

    fn recall(&mut self, _path: &str, _status: &Status) -> bool {
        false
    }

    fn take(&mut self, path: &str, found: Found) -> Result<(), Error> {
        if self.is_over {
            return Ok(());
        }
        let base = self.view.base.names.get(path.as_bytes());
        let content = match found {
            Found::File {
                content,
                digest,
                executable,
                status: _,
            } => {
                if same_as_before(self.view, path, base, (&digest, &content), executable)?.is_some()
                {
                    return Ok(());
                }
                content
            }
            Found::Symlink(target) => target.into_bytes(),
            Found::Gone | Found::Foreign(..) => Vec::new(),
        };
        self.is_over = (self.look)(path, &content).is_break();
        Ok(())
    }
}

//! Contents of git objects, one after the other, from one `git cat-file`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::ChildStdout;

use ports::workspaces::Error;

use crate::disk::failed;
use crate::git::{Git, git_error};

/// Reads these objects in their order and hands `take` the first `bytes_max` bytes of each.
pub(crate) fn each(
    git: &Git,
    repository: &Path,
    objects: &[&str],
    bytes_max: usize,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    if objects.is_empty() {
        return Ok(());
    }
    let call = git.on(repository, &["cat-file", "--batch", "--buffer"]);
    let ((), code, complaint) = call.pipe(
        move |stdin| {
            let mut buffered = std::io::BufWriter::new(stdin);
            objects
                .iter()
                .try_for_each(|it| writeln!(buffered, "{it}"))
                .and_then(|()| buffered.flush())
                .map_err(failed("asking git for objects"))
        },
        |stdout| {
            for object in objects {
                take(object, one(object, bytes_max, stdout)?)?;
            }
            Ok(())
        },
    )?;
    if code == 0 {
        Ok(())
    } else {
        Err(git_error("cat-file", code, &complaint))
    }
}

fn one(
    object: &str,
    bytes_max: usize,
    stdout: &mut BufReader<ChildStdout>,
) -> Result<Vec<u8>, Error> {
    let reading = || failed(format!("reading the object {object} from git"));
    let mut head = String::new();
    stdout.take(256).read_line(&mut head).map_err(reading())?;
    // `<object> <kind> <length>`
    let length: Option<u64> = head
        .trim_end()
        .strip_prefix(object)
        .and_then(|it| it.rsplit(' ').next())
        .and_then(|it| it.parse().ok());
    let Some(length) = length else {
        let told = head.trim();
        return Err(Error::Git {
            command: "cat-file".into(),
            output: format!(
                "the object {object} cannot be read ({told}); fetch it, or run `git fsck`"
            ),
        });
    };
    let wanted = length.min(u64::try_from(bytes_max).unwrap_or(u64::MAX));
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    let read = stdout
        .take(wanted)
        .read_to_end(&mut bytes)
        .map_err(reading())?;
    // The line feed after the content goes with what is not wanted.
    let rest = length - wanted + 1;
    let dropped = std::io::copy(&mut stdout.take(rest), &mut std::io::sink()).map_err(reading())?;
    if u64::try_from(read).ok() == Some(wanted) && dropped == rest {
        Ok(bytes)
    } else {
        Err(reading()(std::io::ErrorKind::UnexpectedEof.into()))
    }
}

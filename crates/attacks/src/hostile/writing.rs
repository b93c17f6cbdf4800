//! Writing: every way to change what lies at a path.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use cell::attempts::{Argument, call};

use super::Answer;

/// What is written.
const BREACH: &[u8] = b"breached\n";
/// A mode that nothing in the scene has.
const ODD_MODE: u32 = 0o4711;

pub(super) fn act(verb: &str, words: &[&str]) -> Option<Answer> {
    let result = match (verb, words) {
        ("write", paths) => return Some(write_all(paths)),
        ("write-text", [path, text]) => write_text(Path::new(path), text),
        ("truncate", [path]) => File::options()
            .write(true)
            .truncate(true)
            .open(path)
            .map(drop),
        ("remove", [path]) => fs::remove_file(path),
        ("rename", [from, to]) => fs::rename(from, to),
        ("link", [from, to]) => fs::hard_link(from, to),
        ("link-and-write", [from, to]) => {
            fs::hard_link(from, to).and_then(|()| append(Path::new(to)))
        }
        ("symlink", [to, at]) => symlink_at(to, Path::new(at)),
        ("symlink-chain", [to, first, second]) => {
            let name = Path::new(first).file_name().unwrap_or_default();
            symlink(to, first).and_then(|()| symlink(name, second))
        }
        ("replace-with-link", [to, at]) => fs::remove_file(at).and_then(|()| symlink(to, at)),
        ("git-config", [path, text]) => append_text(Path::new(path), text),
        ("git-filter", [tree, program]) => git_filter(Path::new(tree), program),
        ("git-hooks-path", [tree, hook]) => git_hooks_path(Path::new(tree), hook),
        ("git-nested", [folder, program]) => git_nested(Path::new(folder), program),
        ("symlink-and-write", [to, at]) => symlink(to, at).and_then(|()| append(Path::new(at))),
        ("make-folder", [path]) => fs::create_dir(path),
        ("change-mode", [path]) => fs::set_permissions(path, Permissions::from_mode(ODD_MODE)),
        ("change-time", [path]) => change_time(path),
        ("change-attribute", [path]) => rustix::fs::setxattr(
            *path,
            "user.breached",
            BREACH,
            rustix::fs::XattrFlags::empty(),
        )
        .map_err(Into::into),
        ("reopen", [path]) => reopen(path),
        ("remount-and-write", [mount, path]) => remount(mount, path),
        ("replace-folder", [folder, to]) => replace_folder(Path::new(folder), to),
        _ => return None,
    };
    Some(result.into())
}

/// Writes at each path by whatever way is open.
fn write_all(paths: &[&str]) -> Answer {
    let mut last = Answer::got();
    for path in paths {
        let path = Path::new(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        last = made.and_then(|()| append(path)).into();
    }
    last
}

fn append(path: &Path) -> io::Result<()> {
    File::options()
        .append(true)
        .create(true)
        .open(path)?
        .write_all(BREACH)
}

fn write_text(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn symlink_at(to: &str, at: &Path) -> io::Result<()> {
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent)?;
    }
    symlink(to, at)
}

fn change_time(path: &str) -> io::Result<()> {
    // By the path: opening for writing would be another attempt.
    let past = rustix::fs::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: past,
        last_modification: past,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty())?;
    Ok(())
}

/// Opens for reading, and once more for writing through the descriptor.
fn reopen(path: &str) -> io::Result<()> {
    let opened = File::open(path)?;
    append(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())))
}

fn remount(mount: &str, path: &str) -> io::Result<()> {
    const REMOUNT_BIND: u64 = 0x20 | 0x1000;
    let name = std::ffi::CString::new(mount)?;
    call(
        "mount",
        &[
            Argument::Text(c"none"),
            Argument::Text(&name),
            Argument::Number(0),
            Argument::Number(REMOUNT_BIND),
            Argument::Number(0),
        ],
    )?;
    append(Path::new(path))
}

/// Puts a link in place of a folder.
fn replace_folder(folder: &Path, to: &str) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => symlink(to, folder),
    }
}

fn append_text(path: &Path, text: &str) -> io::Result<()> {
    File::options()
        .append(true)
        .open(path)?
        .write_all(text.as_bytes())
}

/// Has every file of the tree go through a program on its way into git.
fn git_filter(tree: &Path, program: &str) -> io::Result<()> {
    fs::write(tree.join(".gitattributes"), "* filter=hidden\n")?;
    fs::write(tree.join("filtered"), "x\n")?;
    let filter = format!("[filter \"hidden\"]\n\tclean = {program}\n");
    append_text(&tree.join(".git/config"), &filter)
}

fn git_hooks_path(tree: &Path, hook: &str) -> io::Result<()> {
    write_text(&tree.join("tools/pre-commit"), hook)?;
    append_text(&tree.join(".git/config"), "[core]\n\thooksPath = tools\n")
}

/// Makes a repository by hand, as far as git needs to take it for one.
fn git_nested(folder: &Path, program: &str) -> io::Result<()> {
    for name in ["objects", "refs/heads"] {
        fs::create_dir_all(folder.join(".git").join(name))?;
    }
    fs::write(folder.join(".git/HEAD"), "ref: refs/heads/main\n")?;
    let config =
        format!("[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfsmonitor = {program}\n");
    fs::write(folder.join(".git/config"), config)?;
    fs::write(folder.join("file"), "x\n")
}

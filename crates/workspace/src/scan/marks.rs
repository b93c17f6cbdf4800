//! Extended attributes of what a session left: the overlay's own marks, and those that no file may
//! carry. A mark that the kernel does not make in our mounts was planted.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// The most bytes of names that the kernel returns for one file.
const NAMES_BYTES_MAX: usize = 64 << 10;

/// Bytes of names that most files stay below.
const FEW_NAMES_BYTES: usize = 512;

/// What a file is whose attributes the kernel does not tell.
const UNREADABLE: &str = "a file whose attributes cannot be read";

/// What the kernel notes for itself in an upper layer, and what changes nothing that is seen.
const HARMLESS: [&[u8]; 6] = [
    b"origin",
    b"impure",
    b"nlink",
    b"upper",
    b"uuid",
    b"protattr",
];

/// What the attributes of a file or folder say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// Nothing that matters.
    None,
    /// The folder hides what lies beneath it in lower layers.
    Opaque,
    /// Something that is never taken in, in a word or two.
    Strange(&'static str),
}

/// Returns what the attributes of an opened file or folder say.
pub(super) fn of(file: &OwnedFd) -> Marks {
    let mut few = [0; FEW_NAMES_BYTES];
    match rustix::fs::flistxattr(file, &mut few) {
        Ok(length) => named(file, few.get(..length).unwrap_or_default()),
        Err(Errno::RANGE) => {
            let mut many = vec![0; NAMES_BYTES_MAX];
            match rustix::fs::flistxattr(file, &mut many) {
                Ok(length) => named(file, many.get(..length).unwrap_or_default()),
                Err(_) => Marks::Strange(UNREADABLE),
            }
        }
        // A disk without attributes holds none.
        Err(Errno::OPNOTSUPP) => Marks::None,
        Err(_) => Marks::Strange(UNREADABLE),
    }
}

/// Returns what these names say.
fn named(file: &OwnedFd, names: &[u8]) -> Marks {
    let mut marks = Marks::None;
    for name in names.split(|byte| *byte == 0) {
        match judge(name) {
            Name::Harmless => {}
            Name::Opaque if is_yes(file) => marks = Marks::Opaque,
            // `x` marks whiteouts kept in attributes, which no mount of ours makes.
            Name::Opaque => return Marks::Strange("a folder with a strange overlay mark"),
            Name::Strange(what) => return Marks::Strange(what),
        }
    }
    marks
}

enum Name {
    Harmless,
    Opaque,
    Strange(&'static str),
}

fn judge(name: &[u8]) -> Name {
    if name == b"security.capability" {
        return Name::Strange("a file with capabilities");
    }
    let overlay = name
        .strip_prefix(b"user.overlay.")
        .or_else(|| name.strip_prefix(b"trusted.overlay."));
    match overlay {
        None => Name::Harmless,
        Some(own) if HARMLESS.contains(&own) => Name::Harmless,
        Some(b"opaque") => Name::Opaque,
        Some(b"redirect") => Name::Strange("a thing moved by overlay redirect"),
        Some(b"metacopy") => Name::Strange("a file whose content the overlay did not copy"),
        Some(_) => Name::Strange("a thing with a strange overlay mark"),
    }
}

fn is_yes(file: &OwnedFd) -> bool {
    let mut value = [0; 8];
    let length = rustix::fs::fgetxattr(file, "user.overlay.opaque", &mut value);
    length.is_ok_and(|it| &value[..it] == b"y")
}

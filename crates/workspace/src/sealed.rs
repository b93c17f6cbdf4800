//! The git directory that a cell sees: one commit without history, without what was left out, and
//! with an index that matches the materialised files.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use domain::tree::Commit;
use ports::workspaces::Error;

use crate::disk::{self, failed};
use crate::git::Git;
use crate::names::{Kind, Names};

/// Attributes over all others: content is what it is, in both directions.
pub(crate) const ATTRIBUTES: &str = "* -text !eol -ident !filter !working-tree-encoding\n";

const CONFIG: &str = "[core]
\trepositoryformatversion = VERSION
\tbare = false
\tfilemode = true
\tlogallrefupdates = false
\tcheckStat = minimal
\ttrustctime = false
\tfsmonitor = false
\tuntrackedCache = false
\thooksPath = /dev/null
[gc]
\tauto = 0
[maintenance]
\tauto = false
[index]
\tskipHash = true
[advice]
\tdetachedHead = false
";

/// What is sealed.
#[derive(Debug)]
pub(crate) struct Sealing<'a> {
    pub(crate) git: &'a Git,
    /// The controller's own repository.
    pub(crate) own: &'a Path,
    pub(crate) commit: &'a Commit,
    /// What is visible, with lengths and times.
    pub(crate) names: &'a Names,
    /// Whether anything was left out, so that the commit must be made anew.
    pub(crate) excluded: bool,
}

impl Sealing<'_> {
    /// Writes the git directory. Packs of `below`, a sealed git directory, are linked in when its
    /// commit is part of this commit's history, so that only new objects are packed.
    pub(crate) fn write(&self, folder: &Path, below: Option<&Path>) -> Result<(), Error> {
        for name in ["refs", "info", "objects/info", "objects/pack"] {
            disk::private_folder(&folder.join(name))?;
        }
        let sha256 = self.commit.as_str().len() == 64;
        let mut config = CONFIG.replace("VERSION", if sha256 { "1" } else { "0" });
        if sha256 {
            config.push_str("[extensions]\n\tobjectFormat = sha256\n");
        }
        put(&folder.join("config"), config.as_bytes())?;
        put(&folder.join("info/attributes"), ATTRIBUTES.as_bytes())?;
        put(&folder.join("base"), self.commit.as_str().as_bytes())?;
        put(&folder.join("index"), &index(self.names))?;
        let tree = self
            .git
            .on(self.own, &["write-tree", "--missing-ok"])
            .env("GIT_INDEX_FILE", folder.join("index"))
            .text()?;
        let sealed = if self.excluded {
            self.commit_without_parents(&tree)?
        } else {
            let shallow = format!("{}\n", self.commit);
            put(&folder.join("shallow"), shallow.as_bytes())?;
            self.commit.to_string()
        };
        put(&folder.join("HEAD"), format!("{sealed}\n").as_bytes())?;
        let below = match below {
            Some(below) => self.link_packs(folder, below)?,
            None => None,
        };
        self.pack(folder, &sealed, &tree, below.as_deref())
    }

    /// Writes the commit anew with another tree: same people and message, no parents, no signature.
    fn commit_without_parents(&self, tree: &str) -> Result<String, Error> {
        let original = self
            .git
            .on(self.own, &["cat-file", "commit", self.commit.as_str()])
            .output()?;
        let end = original
            .windows(2)
            .position(|it| it == b"\n\n")
            .unwrap_or(original.len());
        let mut made = format!("tree {tree}\n").into_bytes();
        for line in original[..end].split(|byte| *byte == b'\n') {
            let kept: [&[u8]; 3] = [b"author ", b"committer ", b"encoding "];
            if kept.iter().any(|it| line.starts_with(it)) {
                made.extend_from_slice(line);
                made.push(b'\n');
            }
        }
        made.extend_from_slice(original.get(end + 1..).unwrap_or(b"\n"));
        self.git
            .on(self.own, &["hash-object", "-t", "commit", "-w", "--stdin"])
            .input(made)
            .text()
    }

    /// Links the packs of an earlier sealed directory and returns its tree; `None` when they are
    /// not of this commit's history and were left alone.
    fn link_packs(&self, folder: &Path, below: &Path) -> Result<Option<String>, Error> {
        let reading = |name: &str| failed(format!("reading {}", below.join(name).display()));
        let base = fs::read_to_string(below.join("base")).map_err(reading("base"))?;
        let head = fs::read_to_string(below.join("HEAD")).map_err(reading("HEAD"))?;
        let related = self
            .git
            .on(
                self.own,
                &["merge-base", "--is-ancestor", &base, self.commit.as_str()],
            )
            .finish()?;
        if related.code != 0 {
            return Ok(None);
        }
        for entry in fs::read_dir(below.join("objects/pack")).map_err(reading("objects/pack"))? {
            let entry = entry.map_err(reading("objects/pack"))?;
            let target = folder.join("objects/pack").join(entry.file_name());
            fs::hard_link(entry.path(), &target)
                .or_else(|_| fs::copy(entry.path(), &target).map(drop))
                .map_err(failed(format!("linking {}", entry.path().display())))?;
        }
        let tree = format!("{}^{{tree}}", head.trim());
        let arguments = ["rev-parse", "--verify", "--quiet", &tree];
        self.git.on(self.own, &arguments).text().map(Some)
    }

    fn pack(
        &self,
        folder: &Path,
        sealed: &str,
        tree: &str,
        below: Option<&str>,
    ) -> Result<(), Error> {
        let without = below.map(|it| format!("^{it}"));
        let mut arguments = vec!["rev-list", "--objects", "--no-object-names", tree];
        arguments.extend(without.as_deref());
        let mut objects = self.git.on(self.own, &arguments).output()?;
        objects.extend_from_slice(sealed.as_bytes());
        objects.push(b'\n');
        let pack = folder.join("objects/pack/pack");
        let pack = pack
            .to_str()
            .ok_or_else(|| Error::Unusable("the state folder's path is not UTF-8".into()))?;
        // No search for deltas: packs are short-lived, and deltas that exist are taken over.
        self.git
            .on(
                self.own,
                &["pack-objects", "-q", "--threads=1", "--window=0", pack],
            )
            .input(objects)
            .output()
            .map(drop)
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(failed(format!("writing {}", path.display())))
}

/// Returns a git index, version 2, as in gitformat-index(5), with an absent checksum (git calls it
/// `index.skipHash`). Only what `core.checkStat = minimal` compares is filled in.
fn index(names: &Names) -> Vec<u8> {
    let count = u32::try_from(names.all().len()).unwrap_or(u32::MAX);
    let mut out = b"DIRC".to_vec();
    out.extend_from_slice(&2_u32.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    let mut hash_length = 20;
    for name in names.all() {
        let from = out.len();
        let submodule = name.kind == Kind::Submodule;
        let seconds = if submodule { 0 } else { low_bits(name.seconds) };
        // ctime, mtime (each seconds and nanoseconds), dev, ino, mode, uid, gid, size.
        let fields = [
            0,
            0,
            seconds,
            0,
            0,
            0,
            name.kind.mode(),
            0,
            0,
            low_bits(name.bytes),
        ];
        for field in fields {
            out.extend_from_slice(&field.to_be_bytes());
        }
        let object = unhex(&name.object);
        hash_length = object.len();
        out.extend_from_slice(&object);
        let length = u16::try_from(name.path.len())
            .unwrap_or(u16::MAX)
            .min(0xFFF);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&name.path);
        let padding = 8 - (out.len() - from) % 8;
        out.resize(out.len() + padding, 0);
    }
    out.resize(out.len() + hash_length, 0);
    out
}

/// Returns the low 32 bits, as git's index keeps numbers.
fn low_bits(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|it| it.to_digit(16))
        .filter_map(|it| u8::try_from(it).ok())
        .collect();
    digits.chunks(2).map(|it| it[0] << 4 | it[1]).collect()
}

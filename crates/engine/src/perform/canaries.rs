//! Canaries: files that look like credentials and open nothing, where no cell may read. Whoever
//! shows what is in them has been where nobody may be.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use ports::workspaces::Withheld;

use crate::recorder::{Error, Recorder};

/// The folder in the state.
const FOLDER: &str = "canary";

/// The shortest word of a canary that is watched for, in bytes.
const WORD_BYTES_MIN: usize = 16;

/// How many fresh numbers a canary is made of: each brings at least 32 bits that nobody can guess.
const NUMBERS: usize = 8;

const ALNUM: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The canaries, and how each is made of what is drawn.
const CANARIES: [(&str, fn(&mut Drawn) -> String); 4] = [
    (".env", |drawn| {
        let (password, token) = (drawn.letters(ALNUM, 32), drawn.letters(ALNUM, 40));
        format!("DB_PASSWORD={password}\nAPI_TOKEN={token}\n")
    }),
    ("credentials", |drawn| {
        let (id, key) = (drawn.letters(BASE32, 16), drawn.letters(ALNUM, 40));
        let prefix = ["AK", "IA"].concat();
        format!("[default]\naws_access_key_id = {prefix}{id}\naws_secret_access_key = {key}\n")
    }),
    ("id_ed25519", |drawn| {
        let kind = "OPENSSH PRIVATE KEY-----";
        let lines: Vec<_> = (0..5).map(|_| drawn.letters(ALNUM, 64)).collect();
        let body = lines.join("\n");
        format!("-----BEGIN {kind}\n{body}\n-----END {kind}\n")
    }),
    ("token", |drawn| {
        let token = drawn.letters(ALNUM, 36);
        format!("{}{token}\n", ["gh", "p_"].concat())
    }),
];

/// Plants the canaries that are not there yet, and returns what is in all of them.
///
/// # Errors
/// When the disk fails.
pub fn plant(state: &Path, recorder: &Recorder) -> Result<Vec<Withheld>, Error> {
    let folder = state.join(FOLDER);
    let failed = |source| {
        let doing = format!("the canaries in {} are planted", folder.display());
        Error::Io { doing, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(failed)?;
    let mut planted = Vec::new();
    for (name, make) in CANARIES {
        let place = folder.join(name);
        let text = match fs::read_to_string(&place) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = make(&mut Drawn::by(recorder));
                write(&folder, name, &text).map_err(failed)?;
                text
            }
            Err(error) => return Err(failed(error)),
        };
        planted.extend(words(&text).map(|it| Withheld {
            path: name.to_string(),
            value: it.as_bytes().to_vec(),
        }));
    }
    Ok(planted)
}

/// Writes a file that is whole when it is there.
fn write(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let fresh = folder.join(format!("{name}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&fresh)?.write_all(text.as_bytes())?;
    fs::rename(fresh, folder.join(name))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let secret = |it: &&str| {
        let letters = it
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_');
        it.len() >= WORD_BYTES_MIN && letters && it.bytes().any(|it| it.is_ascii_uppercase())
    };
    text.split(|it: char| it.is_whitespace() || it == '=')
        .filter(secret)
}

/// Letters that nobody can guess.
struct Drawn(blake3::OutputReader);

impl Drawn {
    fn by(recorder: &Recorder) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("palisade 2026 canaries");
        for _ in 0..NUMBERS {
            hasher.update(&recorder.fresh().to_le_bytes());
        }
        Self(hasher.finalize_xof())
    }

    fn letters(&mut self, alphabet: &[u8], count: usize) -> String {
        let mut bytes = vec![0; count];
        self.0.fill(&mut bytes);
        bytes
            .iter()
            .map(|it| char::from(alphabet[usize::from(*it) % alphabet.len()]))
            .collect()
    }
}

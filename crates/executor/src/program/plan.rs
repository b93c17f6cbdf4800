//! `palisade-executor plan`: makes a plan of a folder of migrations, tells its digest, and tells
//! beforehand what of it would be refused.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{causes, say};
use crate::actions::run_db_migration_plan::{MARK, PLAN_BYTES_MAX, named};
use crate::plans::{self, Dialect};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes a plan of the files `V1__name.sql` of a folder, and prints its digest.
    Pack {
        /// The migrations; other files are left out.
        folder: PathBuf,
        /// Where the plan is put, by its digest; the `plans` of executor.toml.
        #[arg(long, value_name = "PLANS")]
        into: PathBuf,
    },
    /// Prints the digest that an approval names.
    Digest {
        /// The plan.
        file: PathBuf,
    },
    /// Tells every statement of a plan that may not run.
    Check {
        /// The plan.
        file: PathBuf,
        /// Whose SQL it is.
        #[arg(long = "for", value_name = "DATABASE")]
        dialect: Dialect,
    },
}

pub(super) fn run(command: &Command) -> Result<(), String> {
    match command {
        Command::Pack { folder, into } => pack(folder, into),
        Command::Digest { file } => {
            let digest = plans::digest(&read(file)?)?;
            say(&digest.to_string())
        }
        Command::Check { file, dialect } => check(file, *dialect),
    }
}

fn pack(folder: &Path, into: &Path) -> Result<(), String> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |it: std::io::Error| format!("{path}: {it}")
    };
    let mut migrations = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(told(folder))? {
        let path = entry.map_err(told(folder))?.path();
        if path.extension().is_none_or(|it| it != "sql") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let migration = named(&name).map_err(|it| causes(&it))?;
        migrations.push((migration.version, migration.name, path));
    }
    migrations.sort();
    let mut text = String::new();
    for (_, name, path) in migrations {
        let sql = std::fs::read_to_string(&path).map_err(told(&path))?;
        if sql.lines().any(|it| it.starts_with(MARK)) {
            let path = path.display();
            return Err(format!(
                "{path}: a line begins with `{MARK}`, as a migration does"
            ));
        }
        text.push_str(MARK);
        text.push_str(name.as_str());
        text.push('\n');
        text.push_str(&sql);
        if !sql.ends_with('\n') {
            text.push('\n');
        }
    }
    let digest = plans::digest(text.as_bytes())?.to_string();
    let path = into.join(digest.replace("b3:", ""));
    std::fs::write(&path, text).map_err(told(&path))?;
    say(&digest)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let told = |it: std::io::Error| format!("{}: {it}", file.display());
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|it| it.take(PLAN_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(told)?;
    Ok(bytes)
}

fn check(file: &Path, dialect: Dialect) -> Result<(), String> {
    let plan = read(file)?;
    match plans::statements(&plan, dialect) {
        Ok(all) => say(&format!(
            "{} statements may run; the plan is {}",
            all.len(),
            plans::digest(&plan)?
        )),
        Err(reasons) => {
            for reason in &reasons {
                say(reason)?;
            }
            Err(format!("{} is not a plan that may run", file.display()))
        }
    }
}

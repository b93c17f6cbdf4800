//! The catalog: formulas, roles and gates as files. They are read from the trusted base commit,
//! else from what the operator has, else from what Palisade ships; never from an agent's tree.

use std::collections::BTreeSet;

use domain::formula::{Formula, Gate, Kind, Role};
use domain::run::Pin;
use domain::tree::Commit;
use ports::workspaces::Workspaces;

use crate::recorder::Error;
use crate::settings::Fallback;
use crate::world::digest_of;

pub mod formulas;
pub mod gates;
pub mod globs;
pub mod prompts;
pub mod roles;
pub mod schema;
pub mod sheet;
pub mod spec;

/// The folder of a repository that holds its own catalog.
pub const FOLDER: &str = ".palisade";

/// The folder of the prompts' templates, beneath [`FOLDER`].
pub const PROMPTS: &str = "formulas/prompts";

/// The folder of the schemas of judges' answers, beneath [`FOLDER`].
pub const SCHEMAS: &str = "formulas/schemas";

/// The file that names the gates.
pub const GATES: &str = ".palisade/gates.toml";

/// The formulas that come with Palisade.
pub const SHIPPED_FORMULAS: &[(&str, &str)] = &[
    (
        "triage-cycle",
        include_str!("../../../formulas/triage-cycle.toml"),
    ),
    (
        "work-cycle",
        include_str!("../../../formulas/work-cycle.toml"),
    ),
];

/// The prompt templates that come with Palisade.
pub const SHIPPED_PROMPTS: &[(&str, &str)] = &[
    (
        "session",
        include_str!("../../../formulas/prompts/session.md"),
    ),
    (
        "triage",
        include_str!("../../../formulas/prompts/triage.md"),
    ),
];

/// The schemas of judges' answers that come with Palisade.
pub const SHIPPED_SCHEMAS: &[(&str, &str)] = &[(
    "triage",
    include_str!("../../../formulas/schemas/triage.json"),
)];

/// The template that frames what a session is told.
pub const SESSION_PROMPT: &str = "session";

/// The roles that come with Palisade.
pub const SHIPPED_ROLES: &[(&str, &str)] = &[
    ("builder", include_str!("../../../roles/builder.toml")),
    ("docs", include_str!("../../../roles/docs.toml")),
    ("reviewer", include_str!("../../../roles/reviewer.toml")),
    ("tester", include_str!("../../../roles/tester.toml")),
];

/// One catalog file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it came from.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Everything a run executes, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// The formula.
    pub formula: Formula,
    /// The roles it names.
    pub roles: Vec<Role>,
    /// The gates.
    pub gates: Vec<Gate>,
    /// The templates of prompts that its steps name.
    pub prompts: Vec<Template>,
    /// Where each came from.
    pub pinned: Vec<Pin>,
}

/// A template of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Its text, and where it came from.
    pub source: Source,
}

/// Something wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl std::fmt::Display for FileFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

/// Reads and checks all that a formula needs, as it stands in `base`.
///
/// # Errors
/// When something is missing or wrong; names every fault.
pub fn load(
    workspaces: &dyn Workspaces,
    base: &Commit,
    fallbacks: &[Fallback],
    formula: &str,
) -> Result<Catalog, Error> {
    let shelf = Shelf {
        workspaces,
        base,
        fallbacks,
    };
    let mut sources = vec![shelf.find("formulas", formula, "toml", SHIPPED_FORMULAS)?];
    let (mut formula, mut faults) = formulas::read(&sources[0]);
    for name in formula.schemas() {
        sources.push(shelf.find(SCHEMAS, &name, "json", SHIPPED_SCHEMAS)?);
        faults.extend(formula.set_schema(&name, sources.last()));
    }
    let mut roles = Vec::new();
    for name in roles_of(&formula.value) {
        let source = shelf.find("roles", name, "toml", SHIPPED_ROLES)?;
        let (role, more) = roles::read(&source);
        faults.extend(more);
        roles.push(role);
        sources.push(source);
    }
    let mut templates = Vec::new();
    for name in prompts_of(&formula.value) {
        let source = shelf.find(PROMPTS, name, "md", SHIPPED_PROMPTS)?;
        faults.extend(prompts::faults(&source));
        sources.push(source.clone());
        let name = name.to_string();
        templates.push(Template { name, source });
    }
    let gates = match shelf.own(GATES)? {
        None => Vec::new(),
        Some(source) => {
            let (gates, more) = gates::read(&source);
            faults.extend(more);
            sources.push(source);
            gates
        }
    };
    faults.extend(formula.faults(&roles, &gates));
    if !faults.is_empty() {
        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
        return Err(Error::Invalid(format!(
            "the catalog has faults:\n{}",
            lines.join("\n")
        )));
    }
    let pinned = sources.iter().map(|it| Pin {
        source: it.name.clone(),
        digest: digest_of(it.text.as_bytes()),
    });
    Ok(Catalog {
        pinned: pinned.collect(),
        formula: formula.value,
        roles,
        gates,
        prompts: templates,
    })
}

fn roles_of(formula: &Formula) -> BTreeSet<&str> {
    let names = formula.steps.iter().filter_map(|it| match &it.kind {
        Kind::Session { role, .. } => Some(role.as_str()),
        Kind::Judge(_) | Kind::Gate { .. } | Kind::Decision | Kind::Action { .. } => None,
    });
    names.collect()
}

/// Returns the names of the templates that the steps of a formula are told by.
fn prompts_of(formula: &Formula) -> BTreeSet<&str> {
    let names = formula.steps.iter().filter_map(|it| match &it.kind {
        Kind::Session { .. } => Some(SESSION_PROMPT),
        Kind::Judge(judge) => Some(judge.prompt.as_str()),
        Kind::Gate { .. } | Kind::Decision | Kind::Action { .. } => None,
    });
    names.collect()
}

/// Where the files of a catalog are found.
struct Shelf<'a> {
    workspaces: &'a dyn Workspaces,
    base: &'a Commit,
    fallbacks: &'a [Fallback],
}

impl Shelf<'_> {
    /// Returns a file of the base or the operator, else the shipped one of that name.
    fn find(
        &self,
        folder: &str,
        name: &str,
        ending: &str,
        shipped: &[(&str, &str)],
    ) -> Result<Source, Error> {
        let path = format!("{FOLDER}/{folder}/{name}.{ending}");
        if let Some(own) = self.own(&path)? {
            return Ok(own);
        }
        let shipped = shipped.iter().find(|(it, _)| *it == name);
        let (_, text) = shipped.ok_or_else(|| {
            Error::Invalid(format!(
                "there is no {path} in the base, and none is shipped"
            ))
        })?;
        Ok(Source {
            name: format!("shipped:{folder}/{name}"),
            text: (*text).to_string(),
        })
    }

    fn own(&self, path: &str) -> Result<Option<Source>, Error> {
        if let Some(bytes) = self.workspaces.read_at(self.base, path)? {
            let text = String::from_utf8(bytes).map_err(|_| {
                Error::Invalid(format!("{path} in {} is not UTF-8", self.base.short()))
            })?;
            return Ok(Some(Source {
                name: path.to_string(),
                text,
            }));
        }
        let fallback = self.fallbacks.iter().find(|it| it.path == path);
        Ok(fallback.map(|it| Source {
            name: it.source.clone(),
            text: it.text.clone(),
        }))
    }
}

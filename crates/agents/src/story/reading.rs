//! Reads stories: every fault is found and told with its place, not only the first.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Fault, STORY_BYTES_MAX, Step, Turn, When};

mod verbs;

/// Turns in one story, and steps in one turn.
const ENTRIES_MAX: usize = 1_000;

/// Returns the turns of a story, or all its faults.
pub(super) fn read(source: &str) -> Result<Vec<Turn>, Vec<Fault>> {
    let mut faults = Faults {
        source,
        list: Vec::new(),
    };
    if source.len() > STORY_BYTES_MAX {
        faults.add(0..0, format!("the story is over {STORY_BYTES_MAX} bytes"));
        return Err(faults.list);
    }
    let (document, errors) = DeTable::parse_recoverable(source);
    for error in errors {
        faults.add(error.span().unwrap_or(0..0), error.message().to_owned());
    }
    if !faults.list.is_empty() {
        // What could not be read would be told as missing: only noise.
        return Err(faults.sorted());
    }
    let mut fields = Fields::new(document.get_ref(), 0..0);
    let turns: Vec<Turn> = fields
        .required("turn", &mut faults, entries)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| read_turn(entry, &mut faults))
        .collect();
    fields.finish("the story", &mut faults);
    if faults.list.is_empty() {
        Ok(turns)
    } else {
        Err(faults.sorted())
    }
}

fn read_turn(entry: &Value<'_>, faults: &mut Faults<'_>) -> Option<Turn> {
    let mut fields = Fields::of(entry, faults)?;
    let role = fields.optional("role", faults, text);
    let round = fields.optional("round", faults, count);
    let when = fields.optional("when", faults, when);
    let steps = fields.required("steps", faults, entries);
    fields.finish("a turn", faults);
    let steps = steps?
        .iter()
        .filter_map(|entry| read_step(entry, faults))
        .collect();
    Some(Turn {
        role,
        round,
        when,
        steps,
    })
}

fn read_step(entry: &Value<'_>, faults: &mut Faults<'_>) -> Option<Step> {
    let mut fields = Fields::of(entry, faults)?;
    let found: Vec<&'static str> = verbs::VERBS
        .into_iter()
        .filter(|verb| fields.left.contains_key(verb))
        .collect();
    let [verb] = found[..] else {
        let message = if found.is_empty() {
            format!("a step needs a verb: one of {}", verbs::VERBS.join(", "))
        } else {
            format!("a step has one verb, here are {}", found.join(", "))
        };
        faults.add(entry.span(), message);
        return None;
    };
    let may_fail = fields.optional("may_fail", faults, flag).unwrap_or(false);
    let act = verbs::read(verb, &mut fields, faults);
    fields.finish(&format!("the step `{verb}`"), faults);
    Some(Step {
        line: faults.place(entry.span().start).0,
        verb,
        act: act?,
        may_fail,
    })
}

type Value<'a> = Spanned<DeValue<'a>>;

/// The faults found so far.
struct Faults<'a> {
    source: &'a str,
    list: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, span: Range<usize>, message: String) {
        let (line, column) = self.place(span.start);
        self.list.push(Fault {
            line,
            column,
            message,
        });
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.source.get(..offset).unwrap_or(self.source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default();
        (line, column.chars().count() + 1)
    }

    fn sorted(mut self) -> Vec<Fault> {
        self.list.sort();
        self.list
    }
}

/// The fields of one table that were not asked for yet.
struct Fields<'a> {
    left: BTreeMap<&'a str, (Range<usize>, &'a Value<'a>)>,
    span: Range<usize>,
}

/// Reads a value, or returns what it should have been.
type Read<'a, T> = fn(&'a DeValue<'a>) -> Result<T, String>;

impl<'a> Fields<'a> {
    fn new(table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        let left = table
            .iter()
            .map(|(name, value)| (name.get_ref().as_ref(), (name.span(), value)))
            .collect();
        Self { left, span }
    }

    fn of(entry: &'a Value<'a>, faults: &mut Faults<'_>) -> Option<Self> {
        let table = entry.get_ref().as_table();
        if table.is_none() {
            faults.add(entry.span(), "this must be a table".to_owned());
        }
        Some(Self::new(table?, entry.span()))
    }

    fn optional<T>(&mut self, name: &str, faults: &mut Faults<'_>, read: Read<'a, T>) -> Option<T> {
        let (_, value) = self.left.remove(name)?;
        read(value.get_ref())
            .map_err(|wanted| faults.add(value.span(), format!("`{name}` must be {wanted}")))
            .ok()
    }

    fn required<T>(&mut self, name: &str, faults: &mut Faults<'_>, read: Read<'a, T>) -> Option<T> {
        if !self.left.contains_key(name) {
            faults.add(self.span.clone(), format!("`{name}` is missing"));
        }
        self.optional(name, faults, read)
    }

    /// Takes a field that is a table of its own.
    fn table(&mut self, name: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let (_, value) = self.left.remove(name)?;
        Self::of(value, faults)
    }

    fn finish(self, what: &str, faults: &mut Faults<'_>) {
        for (name, (span, _)) in self.left {
            faults.add(span, format!("{what} has no `{name}`"));
        }
    }
}

fn entries<'a>(value: &'a DeValue<'a>) -> Result<Vec<&'a Value<'a>>, String> {
    let entries = value.as_array().ok_or("a list of tables")?;
    if entries.len() > ENTRIES_MAX {
        return Err(format!("a list of at most {ENTRIES_MAX}"));
    }
    Ok(entries.iter().collect())
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| "a text".to_owned())
}

fn path(value: &DeValue<'_>) -> Result<String, String> {
    text(value)
        .ok()
        .filter(|it| !it.is_empty() && !it.contains('\0'))
        .ok_or_else(|| "a path".to_owned())
}

fn words(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    value
        .as_array()
        .filter(|words| !words.is_empty())
        .and_then(|words| words.iter().map(|it| text(it.get_ref()).ok()).collect())
        .ok_or_else(|| "a list of texts, at least one".to_owned())
}

fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "true or false".to_owned())
}

fn number<T: TryFrom<i64>>(value: &DeValue<'_>, wanted: &str) -> Result<T, String> {
    value
        .as_integer()
        .and_then(|it| i64::from_str_radix(it.as_str(), it.radix()).ok())
        .and_then(|it| T::try_from(it).ok())
        .ok_or_else(|| wanted.to_owned())
}

fn count(value: &DeValue<'_>) -> Result<u32, String> {
    number(value, "a whole number from 0")
}

fn large(value: &DeValue<'_>) -> Result<u64, String> {
    number(value, "a whole number from 0")
}

fn code(value: &DeValue<'_>) -> Result<i32, String> {
    let wanted = "an exit code from 0 to 255";
    number::<u8>(value, wanted).map(i32::from)
}

fn when(value: &DeValue<'_>) -> Result<When, String> {
    match value.as_str() {
        Some("fresh") => Ok(When::Fresh),
        Some("findings") => Ok(When::Findings),
        Some("violations") => Ok(When::Violations),
        Some("answers") => Ok(When::Answers),
        Some(_) | None => Err("`fresh`, `findings`, `violations` or `answers`".to_owned()),
    }
}

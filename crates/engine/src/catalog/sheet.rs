//! Sheets: TOML files that people write, read so that every fault is found at once and each is
//! named with its line and column.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{FileFault, Source};

/// Collects the faults of one file.
#[derive(Debug)]
pub struct Faults<'a> {
    source: &'a Source,
    found: RefCell<Vec<FileFault>>,
}

impl<'a> Faults<'a> {
    /// Returns an empty collection for a file.
    #[must_use]
    pub const fn of(source: &'a Source) -> Self {
        Self {
            source,
            found: RefCell::new(Vec::new()),
        }
    }

    /// Notes a fault at a place in the file.
    pub fn add(&self, span: &Range<usize>, message: impl Into<String>) {
        let (line, column) = place(&self.source.text, span.start);
        let (file, message) = (self.source.name.clone(), message.into());
        self.found.borrow_mut().push(FileFault {
            file,
            line,
            column,
            message,
        });
    }

    /// Returns all faults in the order of the file.
    #[must_use]
    pub fn sorted(self) -> Vec<FileFault> {
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        found
    }
}

/// Returns the line and column, from 1, of a byte in a text.
#[must_use]
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

/// A file parsed as far as possible.
#[derive(Debug)]
pub struct Sheet<'a> {
    root: Spanned<DeTable<'a>>,
}

impl<'a> Sheet<'a> {
    /// Parses a file; what is wrong with its syntax goes to `faults`.
    #[must_use]
    pub fn parse(source: &'a Source, faults: &Faults<'_>) -> Self {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            faults.add(&error.span().unwrap_or_default(), error.message());
        }
        Self { root }
    }

    /// Returns the outermost table.
    #[must_use]
    pub fn root<'s>(&'s self, faults: &'s Faults<'s>) -> Table<'s> {
        Table {
            table: self.root.get_ref(),
            span: 0..0,
            faults,
            known: RefCell::default(),
        }
    }
}

/// One table of a file. Whoever is done with it asks for [`Table::finish`], which names the keys
/// that nobody knew.
#[derive(Debug)]
pub struct Table<'s> {
    table: &'s DeTable<'s>,
    /// Where it begins.
    pub span: Range<usize>,
    faults: &'s Faults<'s>,
    known: RefCell<Vec<&'static str>>,
}

impl<'s> Table<'s> {
    fn value(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'s>>> {
        self.known.borrow_mut().push(key);
        self.table
            .iter()
            .find(|(it, _)| it.get_ref() == key)
            .map(|(_, value)| value)
    }

    /// Returns where a key's value stands, or the table where there is none.
    #[must_use]
    pub fn span_of(&self, key: &str) -> Range<usize> {
        let entry = self.table.iter().find(|(it, _)| it.get_ref() == key);
        entry.map_or_else(|| self.span.clone(), |(_, value)| value.span())
    }

    /// Notes a fault at a key.
    pub fn fault(&self, key: &str, message: impl Into<String>) {
        self.faults.add(&self.span_of(key), message);
    }

    fn typed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&'s DeValue<'s>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let typed = read(value.get_ref());
        if typed.is_none() {
            let found = value.get_ref().type_str();
            self.faults.add(
                &value.span(),
                format!("`{key}` must be {wanted}, not {found}"),
            );
        }
        typed
    }

    /// Returns a text, if the key is there.
    #[must_use]
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.typed(key, "a string", |it| it.as_str().map(ToString::to_string))
    }

    /// Returns a text that must be there.
    #[must_use]
    pub fn required_text(&self, key: &'static str) -> String {
        self.require(key);
        self.text(key).unwrap_or_default()
    }

    fn require(&self, key: &'static str) {
        if self.value(key).is_none() {
            self.faults.add(&self.span, format!("`{key}` is missing"));
        }
    }

    /// Returns a list of texts; empty if the key is not there.
    #[must_use]
    pub fn texts(&self, key: &'static str) -> Vec<String> {
        let all = |it: &'s DeValue<'s>| {
            let items = it.as_array()?.iter();
            items
                .map(|it| it.get_ref().as_str().map(ToString::to_string))
                .collect()
        };
        self.typed(key, "a list of strings", all)
            .unwrap_or_default()
    }

    /// Returns a truth value, or `default` if the key is not there.
    #[must_use]
    pub fn truth(&self, key: &'static str, default: bool) -> bool {
        self.typed(key, "true or false", DeValue::as_bool)
            .unwrap_or(default)
    }

    /// Returns a whole number from 0, if the key is there.
    #[must_use]
    pub fn number(&self, key: &'static str) -> Option<u64> {
        self.typed(key, "a whole number, not negative", |it| {
            let integer = it.as_integer()?;
            u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
        })
    }

    /// Returns a table within, if the key is there.
    #[must_use]
    pub fn table(&self, key: &'static str) -> Option<Self> {
        let span = self.span_of(key);
        let table = self.typed(key, "a table", DeValue::as_table)?;
        Some(Self {
            table,
            span,
            faults: self.faults,
            known: RefCell::default(),
        })
    }

    /// Returns the tables of a list of tables; empty if the key is not there.
    #[must_use]
    pub fn tables(&self, key: &'static str) -> Vec<Self> {
        let all = |it: &'s DeValue<'s>| {
            let items = it.as_array()?.iter();
            items
                .map(|it| Some((it.get_ref().as_table()?, it.span())))
                .collect::<Option<Vec<_>>>()
        };
        let tables = self.typed(key, "a list of tables", all).unwrap_or_default();
        let sheet = |(table, span)| Self {
            table,
            span,
            faults: self.faults,
            known: RefCell::default(),
        };
        tables.into_iter().map(sheet).collect()
    }

    /// Returns every key of the table with its text: for tables whose keys are the writer's own.
    #[must_use]
    pub fn all_texts(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (key, value) in self.table {
            match value.get_ref().as_str() {
                Some(text) => {
                    found.insert(key.get_ref().to_string(), text.to_string());
                }
                None => {
                    let kind = value.get_ref().type_str();
                    let message = format!("`{}` must be a string, not {kind}", key.get_ref());
                    self.faults.add(&value.span(), message);
                }
            }
        }
        found
    }

    /// Returns every key of the table with its list of texts: for tables whose keys are the writer's
    /// own.
    #[must_use]
    pub fn all_lists(&self) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        for (key, value) in self.table {
            let items = value.get_ref().as_array().and_then(|items| {
                let texts = items.iter();
                texts
                    .map(|it| it.get_ref().as_str().map(ToString::to_string))
                    .collect()
            });
            match items {
                Some(items) => {
                    found.insert(key.get_ref().to_string(), items);
                }
                None => {
                    let message = format!("`{}` must be a list of strings", key.get_ref());
                    self.faults.add(&value.span(), message);
                }
            }
        }
        found
    }

    /// Returns one of the named values; names them all when it is another.
    #[must_use]
    pub fn one_of<T: Copy>(&self, key: &'static str, values: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let known = values
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value);
        if known.is_none() {
            let names: Vec<_> = values.iter().map(|(name, _)| format!("`{name}`")).collect();
            self.fault(key, format!("`{text}` is none of {}", names.join(", ")));
        }
        known
    }

    /// Names the keys that nobody asked for.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            if !known.iter().any(|it| it == key.get_ref()) {
                let mut names = known.clone();
                names.sort_unstable();
                names.dedup();
                let known = names.join("`, `");
                let message = format!("`{}` is not known here; known are `{known}`", key.get_ref());
                self.faults.add(&key.span(), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_with_its_place() {
        let text = "name = 3\nodd = true\nlane = \"up\"\n".to_string();
        let source = Source {
            name: "x.toml".into(),
            text,
        };
        let faults = Faults::of(&source);
        let sheet = Sheet::parse(&source, &faults);
        let root = sheet.root(&faults);
        assert_eq!(root.text("name"), None);
        assert_eq!(
            root.one_of("lane", &[("read_only", 1), ("dry_run", 2)]),
            None
        );
        root.finish();
        let told: Vec<_> = faults.sorted().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "x.toml:1:8: `name` must be a string, not integer",
                "x.toml:2:1: `odd` is not known here; known are `lane`, `name`",
                "x.toml:3:8: `up` is none of `read_only`, `dry_run`",
            ]
        );
    }

    #[test]
    fn a_syntax_error_does_not_hide_the_rest() {
        let text = "a = \nb = 1\n".to_string();
        let source = Source {
            name: "x.toml".into(),
            text,
        };
        let faults = Faults::of(&source);
        let sheet = Sheet::parse(&source, &faults);
        assert_eq!(sheet.root(&faults).number("b"), Some(1));
        assert_eq!(faults.sorted().len(), 1);
    }
}

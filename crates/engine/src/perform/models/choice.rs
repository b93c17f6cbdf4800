//! Which model a session is given: by its role's class, the operator's settings, and what was asked
//! for its work alone. Pure.

use std::collections::BTreeMap;

use domain::model::{Model, first_for};

/// The class of roles that name none.
const DEFAULT: &str = "default";

/// What follows for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The model it is given; none leaves its program's own choice.
    pub(super) model: Option<Model>,
    /// Models that stand in for each other, the class of the session first.
    pub(super) classes: Vec<Vec<Model>>,
}

/// Chooses. Without any class each program chooses for itself, among what the broker allows.
///
/// # Errors
/// When the role's class is not there, or has no model that the agent's program can speak to.
pub(super) fn choose(
    wanted: Option<&str>,
    settings: &BTreeMap<String, Vec<Model>>,
    own: &BTreeMap<String, Vec<Model>>,
    speaks_to: &dyn Fn(&str) -> bool,
) -> Result<Choice, String> {
    let mut classes = settings.clone();
    classes.extend(own.clone());
    let name = wanted
        .filter(|it| classes.contains_key(*it))
        .or_else(|| classes.contains_key(DEFAULT).then_some(DEFAULT));
    let Some(name) = name else {
        return match wanted {
            Some(class) if !classes.is_empty() => Err(format!(
                "the role asks for a model of the class `{class}`, which is not there: name it, or \
                 `default`, in [models.classes] of palisade.toml, or give `--model \
                 {class}=PROVIDER/MODEL`"
            )),
            Some(_) | None => Ok(Choice {
                model: None,
                classes: classes.into_values().collect(),
            }),
        };
    };
    let class = classes.remove(name).unwrap_or_default();
    let model = first_for(&class, speaks_to).cloned().ok_or_else(|| {
        let named: Vec<_> = class.iter().map(ToString::to_string).collect();
        format!(
            "the agent's program speaks to none of the providers of the class `{name}`: {}",
            named.join(", ")
        )
    })?;
    let classes = std::iter::once(class).chain(classes.into_values());
    Ok(Choice {
        model: Some(model),
        classes: classes.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(all: &[(&str, &[&str])]) -> BTreeMap<String, Vec<Model>> {
        let class = |it: &&[&str]| it.iter().map(|it| Model::parse(it).unwrap()).collect();
        let all = all.iter();
        all.map(|(name, it)| ((*name).to_owned(), class(it)))
            .collect()
    }

    fn given(wanted: Option<&str>, own: &[(&str, &[&str])]) -> Result<String, String> {
        let settings = classes(&[
            ("default", &["anthropic/a"]),
            ("strong", &["openai/x", "anthropic/s", "anthropic/t"]),
        ]);
        let chosen = choose(wanted, &settings, &classes(own), &|it| it == "anthropic")?;
        Ok(chosen.model.unwrap().to_string())
    }

    #[test]
    fn a_class_gives_its_first_model_that_the_program_speaks_to() {
        assert_eq!(given(Some("strong"), &[]).unwrap(), "anthropic/s");
        assert_eq!(given(None, &[]).unwrap(), "anthropic/a");
        assert_eq!(given(Some("unheard"), &[]).unwrap(), "anthropic/a");
    }

    #[test]
    fn what_is_asked_for_one_work_counts_more() {
        let own: &[(&str, &[&str])] = &[("strong", &["anthropic/u"])];
        assert_eq!(given(Some("strong"), own).unwrap(), "anthropic/u");
    }

    #[test]
    fn what_cannot_be_had_is_told() {
        let own: &[(&str, &[&str])] = &[("strong", &["gemini/g"])];
        let told = given(Some("strong"), own).unwrap_err();
        assert!(told.contains("`strong`: gemini/g"), "{told}");
        let some = classes(&[("quick", &["anthropic/q"])]);
        let told = choose(Some("strong"), &some, &BTreeMap::new(), &|_| true).unwrap_err();
        assert!(told.contains("`strong`, which is not there"), "{told}");
    }

    #[test]
    fn without_classes_the_program_chooses() {
        let none = BTreeMap::new();
        let chosen = choose(Some("strong"), &none, &none, &|_| true).unwrap();
        assert_eq!(chosen, Choice::default());
    }

    #[test]
    fn the_class_of_the_session_stands_before_the_others() {
        let all = classes(&[("a", &["anthropic/a"]), ("z", &["anthropic/z"])]);
        let chosen = choose(Some("z"), &all, &BTreeMap::new(), &|_| true).unwrap();
        assert_eq!(chosen.classes[0][0].to_string(), "anthropic/z");
        assert_eq!(chosen.classes.len(), 2);
    }
}

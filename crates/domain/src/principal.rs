//! Principals: who acts, as `kind:name`. What decides is an operator, and never one that bears the
//! name of an author.

/// How an operator's principal begins.
const OPERATOR: &str = "operator:";

/// Returns whether this is a human with a name, and no agent or service.
#[must_use]
pub fn is_operator(principal: &str) -> bool {
    let name = principal.strip_prefix(OPERATOR);
    name.is_some_and(|it| !it.trim().is_empty())
}

/// Returns whether two principals bear the same name, whatever kind each claims to be and however
/// it is written: an account that runs as `agent:ada` is not another one as `operator:Ada`.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (name(one).chars(), name(other).chars());
    one.flat_map(char::to_lowercase)
        .eq(other.flat_map(char::to_lowercase))
}

fn name(principal: &str) -> &str {
    let name = principal
        .split_once(':')
        .map_or(principal, |(_, name)| name);
    name.trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_operator_is_one() {
        assert!(is_operator("operator:ada"));
        for other in [
            "agent:ada",
            "ada",
            "operator:",
            "operator: ",
            "Operator:ada",
            "",
        ] {
            assert!(!is_operator(other), "{other}");
        }
    }

    #[test]
    fn a_name_is_the_same_under_every_kind() {
        assert!(is_same("agent:ada", "operator:Ada"));
        assert!(!is_same("agent:scripted:a.toml", "operator:a.toml"));
        assert!(!is_same("agent:bob", "operator:ada"));
    }
}

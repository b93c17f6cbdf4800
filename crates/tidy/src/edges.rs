//! Who may lean on whom: the arrows between crates, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Who may lean on whom. A new row or word here is an architectural decision: it comes with a
/// record in `docs/adr/`.
pub const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("ports", &["domain"]),
    ("secrets", &[]),
    ("wire", &["domain", "ports"]),
    ("judges", &["ports"]),
    ("sealed", &[]),
    ("broker", &["domain", "ports", "wire", "secrets", "sealed"]),
    (
        "executor",
        &["domain", "ports", "wire", "secrets", "sealed", "cell"],
    ),
    ("engine", &["domain", "ports", "secrets"]),
    ("store", &["domain", "ports"]),
    ("workspace", &["domain", "ports", "secrets"]),
    ("cell", &["domain", "ports"]),
    ("agents", &["domain", "ports"]),
    ("attacks", &["domain", "ports", "cell"]),
    (
        "cli",
        &[
            "domain",
            "ports",
            "engine",
            "store",
            "workspace",
            "cell",
            "agents",
            "attacks",
            "wire",
            "judges",
        ],
    ),
    ("testkit", &["domain", "ports"]),
    ("tidy", &[]),
];

/// Further edges for tests only. `testkit` is open to every crate but `domain`.
pub const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("attacks", &["agents", "store", "workspace"]),
    ("sealed", &["secrets"]),
    ("workspace", &["store"]),
];

/// The only outside crates that the pure crates may use.
pub const PURE: &[(&str, &[&str])] = &[
    ("domain", &["serde", "thiserror"]),
    ("ports", &["serde", "thiserror"]),
];

/// Returns every edge between our crates that the tables do not allow.
#[must_use]
pub fn wrong_edges(metadata: &Value) -> Vec<String> {
    let crates = crates(metadata);
    let mut breaches = Vec::new();
    for name in crates.keys() {
        if row(ALLOWED, name).is_none() {
            breaches.push(format!(
                "`{name}` has no row in ALLOWED: say whom it may lean on, and why in docs/adr/"
            ));
        }
    }
    for (name, _) in ALLOWED {
        if !crates.contains_key(*name) {
            breaches.push(format!(
                "ALLOWED has a row for `{name}`, which is no crate: remove it"
            ));
        }
    }
    for (from, uses) in &crates {
        for edge in uses.iter().filter(|it| it.inside) {
            let to = edge.name.as_str();
            let normal = row(ALLOWED, from).is_some_and(|it| it.contains(&to));
            let in_tests = normal
                || row(ALLOWED_IN_TESTS, from).is_some_and(|it| it.contains(&to))
                || (to == "testkit" && from != "domain");
            let allowed = match edge.kind.as_str() {
                "dev" => in_tests,
                "build" => false,
                _ => normal,
            };
            if !allowed {
                breaches.push(format!(
                    "`{from}` may not lean on `{to}` ({}): move the code to where the arrow is \
                     allowed, or change the plan in an ADR and ALLOWED",
                    edge.kind
                ));
            }
        }
    }
    breaches
}

/// Returns every crate whose package is not named after its folder.
#[must_use]
pub fn wrong_names(metadata: &Value) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"]);
        let folder = text(&package["manifest_path"])
            .trim_end_matches("/Cargo.toml")
            .rsplit('/')
            .next()
            .unwrap_or_default();
        if name != format!("palisade-{folder}") {
            breaches.push(format!(
                "package `{name}` lives in `{folder}`: call it `palisade-{folder}`"
            ));
        }
    }
    breaches
}

/// Returns every outside crate that a pure crate uses without being allowed to.
#[must_use]
pub fn impurities(metadata: &Value) -> Vec<String> {
    let crates = crates(metadata);
    let mut breaches = Vec::new();
    for (name, allowed) in PURE {
        let Some(uses) = crates.get(*name) else {
            breaches.push(format!("`{name}` is gone; PURE still names it"));
            continue;
        };
        for edge in uses.iter().filter(|it| !it.inside && it.kind != "dev") {
            if !allowed.contains(&edge.name.as_str()) {
                breaches.push(format!(
                    "`{name}` is pure and may not use `{}`: pass what it gives as a parameter",
                    edge.name
                ));
            }
            if *name == "domain" && edge.std {
                breaches.push(format!(
                    "`domain` is no_std: take `{}` without its default and `std` features",
                    edge.name
                ));
            }
        }
    }
    breaches
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    name: String,
    kind: String,
    inside: bool,
    std: bool,
}

/// Returns, for each crate by its folder's name, what it depends on.
fn crates(metadata: &Value) -> BTreeMap<String, BTreeSet<Edge>> {
    list(&metadata["packages"])
        .map(|package| {
            let uses = list(&package["dependencies"]).map(|it| Edge {
                name: plain(text(&it["name"])),
                kind: it["kind"].as_str().unwrap_or("normal").to_owned(),
                inside: it["path"].is_string(),
                std: it["uses_default_features"].as_bool().unwrap_or(true)
                    || list(&it["features"]).any(|it| it == "std"),
            });
            (plain(text(&package["name"])), uses.collect())
        })
        .collect()
}

fn row<'a>(table: &'a [(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table
        .iter()
        .find(|(it, _)| *it == name)
        .map(|(_, uses)| *uses)
}

fn plain(package: &str) -> String {
    package
        .strip_prefix("palisade-")
        .unwrap_or(package)
        .to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The whole house without any edge, and then these.
    fn house(edges: &[(&str, Value)]) -> Value {
        let packages = ALLOWED.iter().map(|(name, _)| {
            let uses: Vec<_> = edges
                .iter()
                .filter(|(from, _)| from == name)
                .map(|(_, to)| to.clone())
                .collect();
            json!({
                "name": format!("palisade-{name}"),
                "manifest_path": format!("/home/ada/palisade/crates/{name}/Cargo.toml"),
                "dependencies": uses,
            })
        });
        json!({ "packages": packages.collect::<Vec<_>>() })
    }

    fn inside(to: &str, kind: Option<&str>) -> Value {
        json!({ "name": format!("palisade-{to}"), "path": "/x", "kind": kind })
    }

    fn outside(to: &str, features: &[&str]) -> Value {
        json!({ "name": to, "kind": null, "uses_default_features": false, "features": features })
    }

    #[test]
    fn a_wrong_arrow_is_found() {
        let wrong = wrong_edges(&house(&[("store", inside("engine", None))]));
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].starts_with("`store` may not lean on `engine` (normal)"));
    }

    #[test]
    fn testkit_is_for_tests_and_never_for_domain() {
        let dev = wrong_edges(&house(&[("store", inside("testkit", Some("dev")))]));
        assert_eq!(dev, Vec::<String>::new());
        for edge in [
            ("store", inside("testkit", None)),
            ("cli", inside("testkit", None)),
            ("domain", inside("testkit", Some("dev"))),
            ("store", inside("cell", Some("dev"))),
            ("engine", inside("domain", Some("build"))),
        ] {
            assert_eq!(wrong_edges(&house(std::slice::from_ref(&edge))).len(), 1);
        }
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
        let metadata = json!({ "packages": [{ "name": "palisade-extra", "dependencies": [] }] });
        let wrong = wrong_edges(&metadata);
        assert_eq!(wrong.len(), 1 + ALLOWED.len());
        assert!(wrong[0].starts_with("`extra` has no row"));
    }

    #[test]
    fn a_package_that_is_not_named_after_its_folder_is_found() {
        let metadata = json!({ "packages": [
            { "name": "palisade-cell", "manifest_path": "/x/crates/sandbox/Cargo.toml" }
        ]});
        assert_eq!(wrong_names(&metadata).len(), 1);
        assert_eq!(wrong_names(&house(&[])), Vec::<String>::new());
    }

    #[test]
    fn an_impure_crate_is_found() {
        assert_eq!(
            impurities(&house(&[("ports", outside("libc", &[]))])).len(),
            1
        );
        assert_eq!(
            impurities(&house(&[("domain", outside("serde", &["std"]))])).len(),
            1
        );
        let clean = house(&[
            ("domain", outside("serde", &["alloc"])),
            ("ports", outside("thiserror", &["std"])),
        ]);
        assert_eq!(impurities(&clean), Vec::<String>::new());
    }
}

//! The `[[mount]]` tables of `palisade.toml`.

use std::path::PathBuf;

use engine::catalog::sheet::Table;
use engine::settings::Mount;

use super::ground::{Ground, refuses_target};

/// Returns the mounts of the file; what is wrong with one goes to the faults of the file.
pub(super) fn read(root: &Table<'_>, ground: &Ground) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for table in root.tables("mount") {
        let Some(mount) = mount(&table, ground) else {
            continue;
        };
        if mounts.iter().any(|it| it.target == mount.target) {
            let target = mount.target.display();
            table.fault("target", format!("something else is at {target} already"));
        }
        if mount.layer.is_some() && mounts.iter().any(|it| it.layer == mount.layer) {
            table.fault("layer", "another mount has this layer; name each its own");
        }
        mounts.push(mount);
    }
    mounts
}

fn mount(table: &Table<'_>, ground: &Ground) -> Option<Mount> {
    let source = PathBuf::from(table.required_text("source"));
    let target = table
        .text("target")
        .map_or_else(|| source.clone(), PathBuf::from);
    let layer = table.text("layer");
    table.finish();
    if source.as_os_str().is_empty() {
        return None;
    }
    let mut sound = true;
    if let Some(why) = ground.refuses(&source) {
        table.fault("source", why);
        sound = false;
    }
    let place = if table.text("target").is_some() {
        "target"
    } else {
        "source"
    };
    if let Some(why) = refuses_target(&target) {
        table.fault(place, why);
        sound = false;
    }
    if layer
        .as_ref()
        .is_some_and(|it| !domain::formula::is_name(it))
    {
        table.fault(
            "layer",
            "must be a name: lower-case letters, digits, `-`, `_`, a letter first",
        );
        sound = false;
    }
    sound.then_some(Mount {
        source,
        target,
        layer,
    })
}

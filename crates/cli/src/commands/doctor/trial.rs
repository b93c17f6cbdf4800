//! The trial: a small cell with every mount and mask, and a look around inside.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::formula::Gate;
use engine::Settings;
use ports::cells::{Access, Bind, CellSpec, Cells, Error, Layered, Layers, Tree, Writes};

use super::{Finding, State};
use crate::config::Overlays;

/// Longest time the trial may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that is read of what it says, in bytes.
const SAID_BYTES_MAX: u64 = 1 << 20;

/// Says one line for each thing that it tried: the word, a tab, the thing, a tab, the answer.
const SCRIPT: &str = r#"
exec 2>/dev/null
opens() { if [ -d "$1" ]; then ls -A "$1"; else cat "$1"; fi; }
answer() { printf '%s\t%s\t%s\n' "$1" "$2" "$3"; }
if [ "$(cat /workspace/below)" = below ] && echo above > /workspace/above; then
  answer tree /workspace writable
else
  answer tree /workspace broken
fi
for asked do
  what=${asked#*:}
  case $asked in
    program:*) answer program "$what" "$(command -v "$what")" ;;
    layer:*) if (: > "$what/.palisade-trial"); then answer layer "$what" writable; else answer layer "$what" closed; fi ;;
    mask:*) if opens "$what" > /dev/null; then answer mask "$what" open; else answer mask "$what" covered; fi ;;
  esac
done
answer end . .
"#;

/// Runs the trial.
pub(crate) fn run(
    cells: &dyn Cells,
    settings: &Settings,
    overlays: Overlays,
    gates: &[Gate],
) -> Vec<Finding> {
    let scratch = settings
        .state
        .join(format!("doctor-{}", std::process::id()));
    let said = set_up(&scratch, settings, overlays, gates).map_err(|error| {
        let told = format!("{} cannot be made: {error}", scratch.display());
        Finding::new("cell", State::Wrong, told)
    });
    let said = said.and_then(|spec| listen(cells, &spec));
    let mut findings = match said {
        Ok(said) => judge(&said, gates),
        Err(finding) => vec![finding.required()],
    };
    let above = std::fs::read_to_string(scratch.join("upper/above"));
    if overlays == Overlays::Work
        && findings.iter().all(|it| it.state != State::Wrong)
        && above.is_err()
    {
        let told =
            "a change made in the cell did not reach its layer; keep state on a local file system";
        findings.push(Finding::new("cell", State::Wrong, told).required());
    }
    if let Err(error) = clear(&scratch) {
        let told = format!("{} cannot be cleared: {error}", scratch.display());
        findings.push(Finding::new("cell", State::Warning, told));
    }
    findings
}

fn set_up(
    scratch: &Path,
    settings: &Settings,
    overlays: Overlays,
    gates: &[Gate],
) -> std::io::Result<CellSpec> {
    let folder = |name: String| {
        let path = scratch.join(name);
        std::fs::create_dir_all(&path).map(|()| path)
    };
    let lower = folder("lower".to_string())?;
    std::fs::write(lower.join("below"), "below\n")?;
    let layers = match overlays {
        Overlays::Work => Layers::Overlay {
            lowers: vec![lower],
            upper: folder("upper".to_string())?,
            work: folder("work".to_string())?,
        },
        Overlays::Missing => Layers::Plain { dir: lower },
    };
    let (mut binds, mut layered) = (Vec::new(), Vec::new());
    for (index, mount) in settings.mounts.iter().enumerate() {
        let (source, target) = (mount.source.clone(), mount.target.clone());
        if mount.layer.is_some() {
            let upper = folder(format!("caches/{index}/upper"))?;
            let work = folder(format!("caches/{index}/work"))?;
            layered.push(Layered {
                source,
                target,
                upper,
                work,
            });
        } else {
            binds.push(Bind {
                source,
                target,
                access: Access::ReadOnly,
            });
        }
    }
    let mut argv = ["/bin/sh", "-c", SCRIPT, "trial"]
        .map(ToString::to_string)
        .to_vec();
    let asked = |kind: &str, what: &Path| format!("{kind}:{}", what.display());
    argv.extend(programs(gates).map(|it| format!("program:{it}")));
    argv.extend(layered.iter().map(|it| asked("layer", &it.target)));
    argv.extend(settings.masks.iter().map(|it| asked("mask", it)));
    Ok(CellSpec {
        argv,
        env: settings.env.clone(),
        cwd: PathBuf::from("/workspace"),
        workspace: Some(Tree {
            layers,
            git_dir: None,
            writes: Writes::everywhere(),
        }),
        binds,
        layered,
        masks: settings.masks.clone(),
        programs: None,
        accepted: Vec::new(),
        limits: settings.cell_limits,
    })
}

/// Returns the programs that gates call, as far as they are not part of the tree.
fn programs(gates: &[Gate]) -> impl Iterator<Item = String> {
    let program = |gate: &Gate| {
        let words: Vec<_> = gate.argv.iter().map(String::as_str).collect();
        let name = match words.as_slice() {
            ["/usr/bin/env", rest @ ..] => *rest
                .iter()
                .find(|it| !it.starts_with('-') && !it.contains('='))?,
            ["/bin/sh" | "/bin/bash", "-c", line, ..] => {
                line.split_whitespace().find(|it| *it != "exec")?
            }
            [program, ..] => program,
            [] => return None,
        };
        let of_tree =
            name.starts_with("/workspace/") || name.contains('/') && !name.starts_with('/');
        let plain = |it: char| it.is_ascii_alphanumeric() || "/._-+".contains(it);
        (!of_tree && name.chars().all(plain)).then(|| name.to_string())
    };
    let mut names: Vec<_> = gates.iter().filter_map(program).collect();
    names.sort();
    names.dedup();
    names.into_iter()
}

fn listen(cells: &dyn Cells, spec: &CellSpec) -> Result<String, Finding> {
    let failed = |error: Error| {
        let state = match error {
            Error::Unsupported { .. } => State::Missing,
            Error::Setup { .. } | Error::Program { .. } | Error::Io { .. } => State::Wrong,
        };
        Finding::new("cell", state, error.to_string())
    };
    let launched = cells.launch(spec).map_err(failed)?;
    drop(launched.streams.stdin);
    drop(launched.streams.stderr);
    // Whatever hangs inside is ended after its time, which ends what it says too.
    let ended = std::thread::scope(|scope| {
        let stdout = launched.streams.stdout;
        let reader = scope.spawn(move || {
            let mut said = Vec::new();
            stdout
                .take(SAID_BYTES_MAX)
                .read_to_end(&mut said)
                .map(|_| said)
        });
        let ended = launched.cell.wait(PATIENCE);
        let killed = launched.cell.kill();
        let said = reader.join();
        ended.and_then(|it| killed.map(|()| (it, said)))
    });
    let (exit, said) = ended.map_err(failed)?;
    let Ok(Ok(said)) = said else {
        return Err(Finding::new(
            "cell",
            State::Wrong,
            "what it said could not be read",
        ));
    };
    if exit.is_none() {
        let told = format!("it did not end within {} s", PATIENCE.as_secs());
        return Err(Finding::new("cell", State::Wrong, told));
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn judge(said: &str, gates: &[Gate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wrong = |told: String| Finding::new("cell", State::Wrong, told).required();
    let mut covered = 0;
    for line in said.lines() {
        let mut parts = line.split('\t');
        let parts = (parts.next(), parts.next(), parts.next());
        let (Some(kind), Some(what), Some(answer)) = parts else {
            continue;
        };
        match (kind, answer) {
            ("tree", "writable") => {
                findings.push(Finding::new("cell", State::Good, "sealed, with every mount; its tree can be written").required());
            }
            ("tree", _) => findings.push(wrong("its tree cannot be written".to_string())),
            ("program", "") => {
                let told = format!("`{what}`, which a gate calls, is not on the cell's PATH; add a mount and its folder to `path`");
                findings.push(Finding::new("gate", State::Wrong, told));
            }
            ("program", at) => findings.push(Finding::new("gate", State::Good, format!("`{what}` is {at} in the cell"))),
            ("layer", "closed") => findings.push(wrong(format!("{what} cannot be written, though it has a layer; its folder must be yours, or open to you"))),
            ("mask", "open") => findings.push(wrong(format!("{what} can be read, though it is masked"))),
            ("mask", _) => covered += 1,
            _ => {}
        }
    }
    if covered > 0 {
        findings.push(Finding::new(
            "masks",
            State::Good,
            format!("{covered} places cannot be read in the cell"),
        ));
    }
    if !said.lines().any(|it| it.starts_with("end\t")) {
        findings.push(wrong(format!(
            "it ended before its time, after {} lines; {} gates were asked for",
            said.lines().count(),
            gates.len()
        )));
    }
    findings
}

/// Removes the scratch; overlays leave folders in it that permit nothing to anyone.
pub(super) fn clear(folder: &Path) -> std::io::Result<()> {
    for work in [folder.join("work"), folder.join("caches")] {
        open_up(&work);
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn open_up(folder: &Path) {
    // What cannot be opened is what removing will complain about.
    drop(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o700),
    ));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(argv: &[&str]) -> Gate {
        Gate {
            name: "g".to_string(),
            argv: argv.iter().map(ToString::to_string).collect(),
            wall: domain::Millis(1),
            junit: None,
            tests_min: 1,
        }
    }

    #[test]
    fn the_programs_of_gates_are_asked_for() {
        let gates = [
            gate(&["/usr/bin/env", "CI=1", "cargo", "test"]),
            gate(&["/bin/sh", "-c", "npm ci && npm test"]),
            gate(&["/bin/sh", "-c", "exec go test ./..."]),
            gate(&["/usr/bin/env", "./gradlew", "test"]),
            gate(&["/opt/check"]),
            gate(&["/bin/sh", "-c", "$(x)"]),
        ];
        assert_eq!(
            programs(&gates).collect::<Vec<_>>(),
            ["/opt/check", "cargo", "go", "npm"]
        );
    }

    #[test]
    fn every_answer_is_judged() {
        let said = "tree\t/workspace\twritable\nprogram\tcargo\t/a/cargo\nprogram\tnpm\t\nlayer\t/c\tclosed\nmask\t/m\topen\nmask\t/n\tcovered\nend\t.\t.\n";
        let states: Vec<_> = judge(said, &[]).into_iter().map(|it| it.state).collect();
        assert_eq!(
            states,
            [
                State::Good,
                State::Good,
                State::Wrong,
                State::Wrong,
                State::Wrong,
                State::Good
            ]
        );
        assert_eq!(judge("", &[])[0].state, State::Wrong);
    }
}

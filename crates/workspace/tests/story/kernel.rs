//! The real thing: an overlay that the kernel mounts, in a user namespace of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::tree::Entry;
use ports::cells::Layers;
use ports::workspaces::{Mode, Secrets, Workspaces as _};

use crate::world::{Thing, World, file, session, things};

/// Runs a shell script in `/workspace`-to-be, mounted as a cell would; `None` (with a word on
/// standard error) when this machine has no overlays in user namespaces.
pub(crate) fn in_overlay(world: &World, layers: &Layers, script: &str) -> Option<String> {
    let point = world.folder.path().join("mounted");
    fs::create_dir_all(&point).unwrap();
    let join = |lowers: &[PathBuf]| {
        lowers
            .iter()
            .map(|it| it.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(":")
    };
    let options = match layers {
        Layers::Overlay {
            lowers,
            upper,
            work,
        } => format!(
            "volatile,userxattr,lowerdir={},upperdir={},workdir={}",
            join(lowers),
            upper.display(),
            work.display()
        ),
        // One layer alone cannot be an overlay: an empty one is put on top.
        Layers::ReadOnly { lowers } => {
            let empty = world.folder.path().join("empty");
            fs::create_dir_all(&empty).unwrap();
            let lowers = join(lowers);
            format!("userxattr,lowerdir={}:{lowers}", empty.display())
        }
        Layers::Plain { .. } => unreachable!("overlays were asked for"),
    };
    let run = |script: &str| {
        Command::new("unshare")
            .args(["-Urm", "sh", "-ec", script, "sh"])
            .arg(&point)
            .output()
    };
    let probe = world.folder.path().join("probe");
    for name in ["lower", "upper", "work"] {
        fs::create_dir_all(probe.join(name)).unwrap();
    }
    let try_out = format!(
        "cd {}; mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work \"$1\"",
        probe.display()
    );
    if !run(&try_out).is_ok_and(|it| it.status.success()) {
        eprintln!("SKIPPED: no overlay in a user namespace on this machine");
        return None;
    }
    let mount = format!("mount -t overlay overlay -o '{options}' \"$1\"");
    let output = run(&format!("{mount}; cd \"$1\"; {script}")).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Returns what the kernel shows of layers, through a copy.
pub(crate) fn shown(world: &World, layers: &Layers) -> Option<crate::world::Things> {
    let copy = world.folder.path().join("copy");
    drop(fs::remove_dir_all(&copy));
    fs::create_dir_all(&copy).unwrap();
    in_overlay(world, layers, &format!("cp -a . {}/", copy.display()))?;
    Some(things(&copy))
}

fn world() -> World {
    let mut files: Vec<(String, Thing)> = (0..20)
        .map(|number| (format!("many/{number}"), file("m\n")))
        .collect();
    files.extend(
        [
            ("a", "a\n"),
            ("dir/x", "x\n"),
            ("dir/sub/y", "y\n"),
            ("gone/z", "z\n"),
            ("moved/in/1", "1\n"),
            ("moved/in/2", "2\n"),
            ("mode", "mode\n"),
        ]
        .map(|(path, text)| (path.to_owned(), file(text))),
    );
    let files: Vec<(&str, Thing)> = files
        .iter()
        .map(|(path, thing)| (path.as_str(), thing.clone()))
        .collect();
    World::of(&files)
}

const AGENT: &str = "
rm -r dir; mkdir dir; echo new > dir/new; mkdir dir/sub; echo 2 > dir/sub/two
rm -r gone
mv moved/in moved/out
rm a; mkdir a; echo inside > a/file
chmod +x mode
echo more >> many/3; rm many/4
touch many/5; chmod 600 many/6; chmod 644 many/6
ln -s ../mode dir/link
rm -r moved/out/2
mkdir -p empty/folders
";

#[test]
fn what_an_agent_does_under_the_kernels_overlay_is_captured_whole() {
    let world = world();
    // A stacked base, so that the kernel sees whiteouts of our own making as well.
    world.prepared();
    world.git(&["rm", "-q", "-r", "many/0", "many/1"]);
    let base = world.commit(&[("many/2/deeper", file("was a file\n"))].map(|it| {
        fs::remove_file(world.repo().join("many/2")).unwrap();
        it
    }));
    let tree = world
        .workspaces
        .prepare(&base, &Secrets::default())
        .unwrap();
    let (opened, _) = world.open(1, &tree);
    let Layers::Overlay { lowers, .. } = &opened.tree.layers else {
        panic!("overlays were asked for");
    };
    assert_eq!(lowers.len(), 2);
    let listing = "find . -not -type d | LC_ALL=C sort";
    let Some(before) = in_overlay(&world, &opened.tree.layers, listing) else {
        return;
    };
    let expected: String = things(&world.repo())
        .keys()
        .map(|path| format!("./{path}\n"))
        .collect();
    assert_eq!(before, expected);

    let (opened, upper) = world.open(2, &tree);
    let copy = world.folder.path().join("after");
    fs::create_dir(&copy).unwrap();
    let script = format!("{AGENT}\ncp -a . {}/", copy.display());
    in_overlay(&world, &opened.tree.layers, &script).unwrap();
    // What the kernel leaves behind is captured and removed by an ordinary user as well.
    assert!(has_opaque(&upper.join("dir")), "the kernel marked it");
    let captured = world.workspaces.capture(session(2)).unwrap();
    assert!(
        captured
            .changes
            .iter()
            .all(|it| !matches!(it.entry, Entry::Foreign { .. })),
        "{:?}",
        captured.changes
    );
    let paths: Vec<&str> = captured.changes.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "a",
            "a/file",
            "dir/link",
            "dir/new",
            "dir/sub/two",
            "dir/sub/y",
            "dir/x",
            "gone/z",
            "many/3",
            "many/4",
            "mode",
            "moved/in/1",
            "moved/in/2",
            "moved/out/1",
        ]
    );
    assert_eq!(world.seen(&captured.tree), things(&copy));

    world.workspaces.close(session(2)).unwrap();
    assert!(!upper.exists());

    // The captured tree, opened again, is what the kernel shows next time.
    let opened = world
        .workspaces
        .open(session(3), &captured.tree, Mode::ReadOnly)
        .unwrap();
    assert_eq!(shown(&world, &opened.tree.layers).unwrap(), things(&copy));
}

#[test]
fn a_cache_layer_can_be_mounted_again_and_again() {
    let world = world();
    let lower = world.folder.path().join("cache");
    fs::create_dir(&lower).unwrap();
    let use_it = |script: &str| {
        let (upper, work) = world.workspaces.cache_layer("work_1", "cargo").unwrap();
        let layers = Layers::Overlay {
            lowers: vec![lower.clone()],
            upper,
            work,
        };
        in_overlay(&world, &layers, script)
    };
    if use_it("echo one > a").is_none() {
        return;
    }
    assert_eq!(use_it("cat a; echo two > a").unwrap(), "one\n");
    assert_eq!(use_it("cat a").unwrap(), "two\n");
    // After a power cut nothing in a volatile layer can be trusted.
    let (upper, _) = world.workspaces.cache_layer("work_1", "cargo").unwrap();
    assert!(upper.join("a").exists());
    use_it("true").unwrap();
    fs::write(upper.parent().unwrap().join("boot"), "another start").unwrap();
    assert_eq!(use_it("ls").unwrap(), "");
}

fn has_opaque(folder: &Path) -> bool {
    rustix::fs::getxattr(folder, "user.overlay.opaque", &mut [0; 4]).is_ok()
}

#[test]
fn git_inside_needs_no_second_look_at_unchanged_files() {
    let world = world();
    let tree = world.prepared();
    let opened = world
        .workspaces
        .open(session(1), &tree, Mode::Writable)
        .unwrap();
    let git_dir = opened.tree.git_dir.unwrap();
    let script = format!(
        "mount --bind {} .git; mount -o remount,bind,ro .git
         export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null HOME=/nonexistent
         git diff-files --name-only; git status --porcelain
         echo edited > a; rm dir/x; git status --porcelain; git diff --stat | tail -1
         git log --oneline | wc -l",
        git_dir.display()
    );
    let Some(output) = in_overlay(&world, &opened.tree.layers, &script) else {
        return;
    };
    assert_eq!(
        output.replace(' ', ""),
        "Ma\nDdir/x\n2fileschanged,1insertion(+),2deletions(-)\n1\n"
    );
}

//! Where in its tree a program can write, kept by the kernel.

use std::fmt::Write as _;
use std::path::PathBuf;

use ports::cells::{Access, Bind, CellSpec, Cells, Error, Exit, Layers, Writes};

use crate::scene::{World, cells, cells_without, finish, prints, python, run, shell, within};

fn scoped(spec: CellSpec, layers: Layers, writable: &[&str], read_only: &[&str]) -> CellSpec {
    let mut spec = within(spec, layers, None);
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
    spec.workspace.as_mut().unwrap().writes = Writes {
        writable: paths(writable),
        read_only: paths(read_only),
    };
    spec
}

/// A tree with three folders and a nested one, in a lower layer.
fn world() -> World {
    let world = World::new();
    for file in ["src/lib", "tests/one", "docs/guide", "src/deep/er/keep"] {
        world.write(&format!("base/{file}"), "base\n");
    }
    world
}

/// Prints `<attempt> <error name or open>` for each attempt, a Python expression.
fn attempts(each: &[&str]) -> CellSpec {
    let mut script = String::from(
        "import errno, os, ctypes, shutil\n\
         w = lambda p: open(p, 'w').write('new')\n\
         def t(what):\n    \
             try:\n        eval(what); print(what, 'open')\n    \
             except OSError as e: print(what, errno.errorcode[e.errno])\n",
    );
    for attempt in each {
        writeln!(script, "t({attempt:?})").unwrap();
    }
    python(&script)
}

fn answers(printed: &str) -> Vec<&str> {
    printed
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect()
}

#[test]
fn a_third_folder_cannot_be_written() {
    let world = world();
    let tries = [
        "w('src/new')",
        "w('tests/one')",
        "os.unlink('src/lib')",
        "w('docs/guide')",
        "w('docs/new')",
        "w('new')",
        "os.unlink('docs/guide')",
        "os.mkdir('docs/more')",
        "os.chmod('docs/guide', 0o777)",
        "os.utime('docs/guide')",
        "os.truncate('docs/guide', 0)",
        "os.setxattr('docs/guide', 'user.x', b'y')",
        "os.symlink('x', 'docs/link')",
        "os.link('docs/guide', 'docs/hard')",
        "os.rename('docs/guide', 'docs/moved')",
        "os.rmdir('src')",
    ];
    let plain = world.path("plain");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([world.path("base"), plain.clone()])
        .status()
        .unwrap();
    assert!(copied.success());
    for layers in [world.overlay(), Layers::Plain { dir: plain }] {
        let spec = scoped(attempts(&tries), layers, &["src", "tests"], &[]);
        let printed = prints(&spec);
        let answers = answers(&printed);
        assert_eq!(answers[..3], ["open"; 3], "{printed}");
        assert_eq!(answers[3..], ["EROFS"; 13], "{printed}");
    }
    assert_eq!(world.read("base/docs/guide"), "base\n");
    // The capture's layer holds the changes, and nothing of how they were let in.
    let mut changed = Vec::new();
    for folder in ["upper", "upper/src", "upper/tests"] {
        for entry in std::fs::read_dir(world.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            changed.push(
                path.strip_prefix(world.path("upper"))
                    .unwrap()
                    .to_path_buf(),
            );
        }
    }
    changed.sort();
    let changed: Vec<_> = changed.iter().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(changed, ["src", "src/lib", "src/new", "tests", "tests/one"]);
    let whiteout = std::fs::metadata(world.path("upper/src/lib")).unwrap();
    assert!(is_whiteout(&whiteout), "{whiteout:?}");
}

fn is_whiteout(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    about.file_type().is_char_device() && about.rdev() == 0
}

#[test]
fn the_scope_is_what_keeps_the_third_folder() {
    let tries = attempts(&["w('docs/new')"]);
    let world = world();
    let spec = scoped(tries, world.overlay(), &["src"], &[]);
    assert_eq!(answers(&prints(&spec)), ["EROFS"]);
    // The mounts are the first wall; the second answers by itself, and is no weaker.
    let weak = finish(cells_without("landlock").launch(&spec).unwrap());
    assert_eq!(answers(&weak.stdout), ["EROFS"]);
    let weak = finish(cells_without("writes").launch(&spec).unwrap());
    assert_eq!(answers(&weak.stdout), ["open"]);
}

#[test]
fn landlock_keeps_the_scope_too() {
    // Rights to mount, and only Landlock in the way: the closed tree cannot be opened again.
    let world = world();
    let script = "mount -o remount,bind,rw /workspace 2>/dev/null; \
        (echo new >docs/new) 2>/dev/null && echo wrote; true";
    let spec = scoped(shell(script), world.overlay(), &["src"], &[]);
    let without = |walls: &str| finish(cells_without(walls).launch(&spec).unwrap()).stdout;
    assert_eq!(without("rights,seccomp"), "");
    assert_eq!(without("rights,seccomp,landlock"), "wrote\n");
}

#[test]
fn nothing_is_moved_over_the_border() {
    let world = world();
    let tries = [
        "os.rename('docs/guide', 'src/guide')",
        "os.rename('src/lib', 'docs/lib')",
        "os.rename('src/lib', 'lib')",
        "os.link('docs/guide', 'src/guide')",
        "os.rename('src/deep', 'docs/deep')",
        "os.rename('src', 'code')",
        "os.rename('src/lib', 'src/moved')",
    ];
    let spec = scoped(attempts(&tries), world.overlay(), &["src"], &[]);
    let printed = prints(&spec);
    assert_eq!(
        answers(&printed),
        ["EXDEV", "EXDEV", "EXDEV", "EXDEV", "EXDEV", "EROFS", "open"],
        "{printed}"
    );
}

#[test]
fn a_missing_folder_is_made() {
    let world = world();
    let spec = scoped(
        attempts(&["w('adr/2025/one')", "w('adr/two')", "w('src/lib')"]),
        world.overlay(),
        &["adr/2025"],
        &[],
    );
    assert_eq!(answers(&prints(&spec)), ["open", "EROFS", "EROFS"]);
    assert_eq!(world.read("upper/adr/2025/one"), "new");
    assert!(!world.path("base/adr").exists());
}

#[test]
fn a_read_only_file_can_in_no_way_be_replaced() {
    let world = world();
    world.write("base/src/deep/er/policy.toml", "base\n");
    let tries = [
        "w('src/deep/er/policy.toml')",
        "os.unlink('src/deep/er/policy.toml')",
        "os.rename('src/deep/er/policy.toml', 'src/x')",
        "os.rename('src/lib', 'src/deep/er/policy.toml')",
        "os.rename('src/deep/er/keep', 'src/deep/er/policy.toml')",
        "os.link('src/deep/er/policy.toml', 'src/hard')",
        "os.chmod('src/deep/er/policy.toml', 0o777)",
        "os.rename('src/deep/er', 'src/deep/away')",
        "os.rename('src/deep', 'src/away')",
        "os.rename('src', 'away')",
        "shutil.rmtree('src/deep')",
        "w('src/deep/er/beside')",
        "w('src/deep/new')",
        "os.rename('src/lib', 'src/lib2')",
    ];
    let spec = scoped(
        attempts(&tries),
        world.overlay(),
        &[""],
        &["src/deep/er/policy.toml", "not/there"],
    );
    let printed = prints(&spec);
    assert_eq!(
        answers(&printed),
        [
            "EROFS", "EBUSY", "EXDEV", "EXDEV", "EBUSY", "EXDEV", "EROFS", "EBUSY", "EBUSY",
            "EBUSY", "EBUSY", "open", "open", "open"
        ],
        "{printed}"
    );
    assert!(!world.path("upper/src/deep/er/policy.toml").exists());
}

#[test]
fn the_deepest_path_decides() {
    let world = world();
    for file in ["a/f", "a/b/f", "a/b/c/f", "a/b/c/d/f"] {
        world.write(&format!("base/{file}"), "base\n");
    }
    let tries = [
        "w('f')",
        "w('a/f')",
        "w('a/b/f')",
        "w('a/b/c/f')",
        "w('a/b/c/d/f')",
    ];
    for (writable, read_only, expected) in [
        (
            &["", "a/b", "a/b/c/d"][..],
            &["a", "a/b/c"][..],
            ["open", "EROFS", "open", "EROFS", "open"],
        ),
        (
            &["a", "a/b/c"],
            &["a/b", "a/b/c/d"],
            ["EROFS", "open", "EROFS", "open", "EROFS"],
        ),
        (&[], &[], ["EROFS"; 5]),
        (&[""], &[""], ["EROFS"; 5]),
        (
            &["a/b/c/f"],
            &[],
            ["EROFS", "EROFS", "EROFS", "open", "EROFS"],
        ),
    ] {
        let spec = scoped(attempts(&tries), world.overlay(), writable, read_only);
        let printed = prints(&spec);
        assert_eq!(answers(&printed), expected, "{writable:?} {read_only:?}");
    }
}

#[test]
fn a_link_planted_in_the_tree_moves_no_border() {
    for (planted, to, writable, read_only) in [
        ("upper/out", "/tmp", "out", "not/there"),
        ("upper/out", "docs", "out/deep", "not/there"),
        ("upper/out", "/workspace/docs", "out", "not/there"),
        ("upper/out", "docs", "src", "src/../out"),
        ("upper/src/linked", "../docs", "src", "src/linked/guide"),
    ] {
        let world = world();
        std::fs::create_dir(world.path("upper/src")).unwrap();
        std::os::unix::fs::symlink(to, world.path(planted)).unwrap();
        let spec = scoped(shell("true"), world.overlay(), &[writable], &[read_only]);
        let error = cells().launch(&spec).unwrap_err();
        assert!(matches!(error, Error::Setup { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("symlink") || told.contains(".."), "{told}");
    }
    let world = world();
    world.write("upper/src/pipe", "");
    std::fs::remove_file(world.path("upper/src/pipe")).unwrap();
    let fifo = std::process::Command::new("mkfifo")
        .arg(world.path("upper/src/pipe"))
        .status()
        .unwrap();
    assert!(fifo.success());
    let spec = scoped(shell("true"), world.overlay(), &["src/pipe"], &[]);
    let error = cells().launch(&spec).unwrap_err().to_string();
    assert!(error.contains("neither a folder nor a file"), "{error}");
}

#[test]
fn a_read_only_symlink_stays_what_it_is() {
    let world = world();
    std::os::unix::fs::symlink("lib", world.path("base/src/link")).unwrap();
    let tries = [
        "os.unlink('src/link')",
        "os.rename('src/link', 'src/x')",
        "os.rename('src/lib', 'src/link')",
        "os.symlink('x', 'src/other')",
    ];
    let spec = scoped(attempts(&tries), world.overlay(), &["src"], &["src/link"]);
    let printed = prints(&spec);
    assert_eq!(
        answers(&printed),
        ["EBUSY", "EBUSY", "EBUSY", "open"],
        "{printed}"
    );
}

#[test]
fn git_and_binds_keep_their_own_access() {
    let world = world();
    world.write("git/HEAD", "ref\n");
    world.write("base/src/drop/.keep", "");
    std::fs::create_dir(world.path("dropped")).unwrap();
    let tries = [
        "w('.git/HEAD')",
        "w('.git/new')",
        "os.rename('.git', 'g')",
        "w('src/drop/out')",
        "w('src/lib')",
    ];
    for (writable, expected) in [
        (&[""][..], ["EROFS", "EROFS", "EBUSY", "open", "EROFS"]),
        (&["tests"], ["EROFS", "EROFS", "EROFS", "open", "EROFS"]),
    ] {
        let mut spec = scoped(attempts(&tries), world.overlay(), writable, &["src"]);
        spec.workspace.as_mut().unwrap().git_dir = Some(world.path("git"));
        spec.binds.push(Bind {
            source: world.path("dropped"),
            target: "/workspace/src/drop".into(),
            access: Access::Writable,
        });
        let printed = prints(&spec);
        assert_eq!(answers(&printed), expected, "{printed}");
    }
    assert_eq!(world.read("git/HEAD"), "ref\n");
    assert_eq!(world.read("dropped/out"), "new");
}

#[test]
fn masks_hold_within_the_scope() {
    let world = world();
    world.write("base/src/.env", "canary\n");
    let mut spec = scoped(
        shell("cat src/.env; rm -f src/.env; mv src/.env src/x; cat src/x; true"),
        world.overlay(),
        &["src"],
        &[],
    );
    spec.masks.push("/workspace/src/.env".into());
    assert_eq!(run(&spec).stdout, "");
}

#[test]
fn work_within_the_scope_is_not_hindered() {
    let world = world();
    let script = "cd src; mkdir a b && echo f >a/f && mv a/f b/g && ln b/g b/h && rm -r a && \
        mv deep moved && cp lib lib2 && mv lib2 lib && chmod 755 lib && touch -d 2020-01-01 lib && \
        mv ../src/lib ../tests/lib && cat ../tests/lib && rm -r ../tests/* && echo done";
    let spec = scoped(
        shell(script),
        world.overlay(),
        &["src", "tests"],
        &["src/not-there"],
    );
    assert_eq!(prints(&spec), "base\ndone\n");
    let again = scoped(shell("ls src tests"), world.overlay(), &["src"], &[]);
    assert_eq!(prints(&again), "src:\nb\nmain\nmoved\n\ntests:\n");
}

#[test]
fn a_scope_that_leads_elsewhere_is_refused() {
    let world = world();
    for path in ["/etc", "../x", ".git", ".git/hooks"] {
        let spec = scoped(shell("true"), world.overlay(), &[path], &[]);
        let error = cells().launch(&spec).unwrap_err();
        assert!(
            matches!(&error, Error::Setup { doing, .. } if doing.contains(path)),
            "{error}"
        );
    }
}

#[test]
fn the_walls_tell_the_scope() {
    let world = world();
    let told = |writable: &[&str], read_only: &[&str]| {
        let spec = scoped(shell("true"), world.overlay(), writable, read_only);
        let launched = cells().launch(&spec).unwrap();
        let walls = launched.cell.walls();
        assert_eq!(finish(launched).exit, Exit::Code(0));
        let wall = walls.into_iter().find(|wall| wall.name == "write scope");
        wall.unwrap().state.unwrap()
    };
    assert_eq!(told(&[""], &[]), "the whole tree can be written");
    assert_eq!(
        told(&["src", "tests"], &["src/lib"]),
        "read-only tree with 2 writable and 1 read-only parts"
    );
}

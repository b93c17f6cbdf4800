//! What a program in a cell sees of files and what it can change.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ports::cells::{Access, Bind, CellSpec, Cells, Error, Layered, Layers};

use crate::scene::{World, cells, prints, run, shell, within};

fn bind(source: &Path, target: &str, access: Access) -> Bind {
    Bind {
        source: source.to_path_buf(),
        target: target.into(),
        access,
    }
}

#[test]
fn changes_land_in_the_upper_layer_only() {
    let world = World::new();
    let script = "echo new >new; echo changed >README; rm src/main; cat README new; ls src";
    let spec = within(shell(script), world.overlay(), None);
    assert_eq!(prints(&spec), "changed\nnew\n");
    assert_eq!(world.read("base/README"), "base\n");
    assert_eq!(world.read("base/src/main"), "main\n");
    assert_eq!(world.read("upper/README"), "changed\n");
    assert_eq!(world.read("upper/new"), "new\n");
    assert!(!world.path("base/new").exists());
    // A second cell on the same layers sees the changes, though the first left its scratch behind.
    assert_eq!(
        prints(&within(shell("cat new; ls src"), world.overlay(), None)),
        "new\n"
    );
}

#[test]
fn scratch_of_a_cell_that_was_cut_off_is_no_hindrance() {
    let world = World::new();
    // What the kernel leaves of a volatile overlay that was never taken down in order.
    for folder in [
        "work/work",
        "work/work/incompat",
        "work/work/incompat/volatile",
    ] {
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    world.write("work/work/incompat/volatile/dirty", "");
    for folder in [
        "work/work/incompat/volatile",
        "work/work/incompat",
        "work/work",
    ] {
        let nothing = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(world.path(folder), nothing).unwrap();
    }
    assert_eq!(
        prints(&within(shell("cat README"), world.overlay(), None)),
        "base\n"
    );
}

#[test]
fn the_topmost_of_many_layers_wins() {
    let world = World::new();
    let mut lowers = Vec::new();
    for layer in (0..40).rev() {
        world.write(&format!("layer:{layer},x/number"), &format!("{layer}\n"));
        world.write(&format!("layer:{layer},x/only-{layer}"), "");
        lowers.push(world.path(&format!("layer:{layer},x")));
    }
    let script = "cat number; ls | wc -l; (echo x >y) 2>/dev/null && echo wrote; true";
    let fixed = within(
        shell(script),
        Layers::ReadOnly {
            lowers: lowers.clone(),
        },
        None,
    );
    assert_eq!(prints(&fixed), "39\n41\n");
    let layers = Layers::Overlay {
        lowers,
        upper: world.path("upper"),
        work: world.path("work"),
    };
    assert_eq!(
        prints(&within(shell(script), layers, None)),
        "39\n41\nwrote\n"
    );
}

#[test]
fn a_read_only_tree_refuses_every_write() {
    let world = World::new();
    let script = "for c in 'touch new' 'rm README' 'mkdir d' 'chmod 777 README' 'ln README l' \
        'mv README r' 'ln -s a b' 'truncate -s 0 README' 'touch README'; do \
        $c 2>/dev/null && echo $c; done; cat README";
    let spec = within(
        shell(script),
        Layers::ReadOnly {
            lowers: vec![world.path("base")],
        },
        None,
    );
    assert_eq!(prints(&spec), "base\n");
    let control = within(
        shell("touch new && echo wrote"),
        Layers::Plain {
            dir: world.path("base"),
        },
        None,
    );
    assert_eq!(prints(&control), "wrote\n");
    assert!(world.path("base/new").exists());
}

#[test]
fn nothing_of_the_host_is_there_or_can_be_written() {
    let world = World::new();
    let secret = world.write("secret", "canary\n");
    let script = format!(
        "cat {secret} 2>&1; cat /etc/shadow 2>&1; \
         for d in / /usr /usr/bin /etc /home /run /proc /dev /var; do \
           (echo x >$d/planted) 2>/dev/null && echo wrote $d; done; \
         echo x >/tmp/a && echo x >$HOME/b && echo x >/dev/shm/c && echo x >/workspace/d && echo private",
        secret = secret.display()
    );
    let mut spec = within(shell(&script), world.overlay(), None);
    spec.env.insert("HOME".to_owned(), "/home/agent".to_owned());
    let printed = prints(&spec);
    assert!(
        !printed.contains("canary") && !printed.contains("wrote"),
        "{printed}"
    );
    assert!(printed.ends_with("private\n"), "{printed}");
}

#[test]
fn a_symlink_in_the_tree_leads_nowhere_outside() {
    let world = World::new();
    let secret = world.write("secret/key", "canary\n");
    std::os::unix::fs::symlink(&secret, world.path("base/link")).unwrap();
    std::os::unix::fs::symlink(world.path("secret"), world.path("base/folder")).unwrap();
    let mut spec = within(
        shell("cat link folder/key 2>/dev/null; ls"),
        world.overlay(),
        None,
    );
    // Even a mount through it stays inside: the place is made in the cell, not on the host.
    spec.binds.push(bind(
        &world.path("base"),
        "/workspace/folder/place",
        Access::ReadOnly,
    ));
    let error = cells().launch(&spec).unwrap_err().to_string();
    assert!(error.contains("symlink"), "{error}");
    assert!(!world.path("secret/place").exists());
}

#[test]
fn git_is_shown_read_only_and_its_place_is_no_change() {
    let world = World::new();
    world.write("git/HEAD", "ref: refs/heads/main\n");
    let script = "cat .git/HEAD; (echo x >.git/HEAD) 2>/dev/null && echo wrote; \
        rm -rf .git 2>/dev/null && echo removed; mv .git g 2>/dev/null && echo moved; \
        (echo x >new) 2>/dev/null; true";
    let trees = [
        world.overlay(),
        Layers::ReadOnly {
            lowers: vec![world.path("base")],
        },
        Layers::ReadOnly {
            lowers: vec![world.path("upper"), world.path("base")],
        },
    ];
    for layers in trees {
        let spec = within(shell(script), layers, Some(&world.path("git")));
        assert_eq!(prints(&spec), "ref: refs/heads/main\n");
    }
    let changed: Vec<_> = std::fs::read_dir(world.path("upper"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(changed, ["new"]);
    assert!(!world.path("base/.git").exists());
}

#[test]
fn a_link_planted_where_git_belongs_is_refused() {
    let world = World::new();
    world.write("git/HEAD", "ref\n");
    std::os::unix::fs::symlink("/tmp", world.path("upper/.git")).unwrap();
    let spec = within(shell("true"), world.overlay(), Some(&world.path("git")));
    let error = cells().launch(&spec).unwrap_err().to_string();
    assert!(
        error.contains("/workspace/.git") && error.contains("symlink"),
        "{error}"
    );
}

#[test]
fn a_bind_is_read_only_unless_declared() {
    let world = World::new();
    let file = world.write("tools/tool", "#!/bin/sh\necho tool\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(world.path("drop")).unwrap();
    let spec = CellSpec {
        binds: vec![
            bind(&world.path("tools"), "/opt/tools", Access::ReadOnly),
            bind(&file, "/opt/alone", Access::ReadOnly),
            bind(&world.path("drop"), "/.agent", Access::Writable),
        ],
        ..shell(
            "/opt/tools/tool; /opt/alone; \
             (echo x >/opt/tools/new) 2>/dev/null && echo wrote; \
             (echo x >/opt/alone) 2>/dev/null && echo wrote; \
             echo out >/.agent/proposal",
        )
    };
    assert_eq!(prints(&spec), "tool\ntool\n");
    assert_eq!(world.read("drop/proposal"), "out\n");
}

#[test]
fn a_socket_and_a_fifo_of_the_host_can_be_given() {
    let world = World::new();
    let listener = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    let fifo = world.path("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut peer, b"from the host").unwrap();
    });
    let script = "import os, socket\n\
        s = socket.socket(socket.AF_UNIX); s.connect('/run/broker'); print(s.recv(99).decode())\n\
        f = os.open('/run/fifo', os.O_RDWR); os.write(f, b'x'); print(os.read(f, 1).decode())";
    let mut spec = crate::scene::python(script);
    spec.binds
        .push(bind(&world.path("socket"), "/run/broker", Access::ReadOnly));
    spec.binds.push(bind(&fifo, "/run/fifo", Access::Writable));
    assert_eq!(prints(&spec), "from the host\nx\n");
    server.join().unwrap();
}

#[test]
fn work_in_the_tree_is_not_hindered() {
    let world = World::new();
    let script = "mkdir a b && echo f >a/f && mv a/f b/g && ln b/g b/h && ln -s g b/s && \
        chmod 755 b/g && mv src moved && rm -r a && truncate -s 1 b/h && cat b/s && \
        touch -d 2020-01-01 README && ls moved && \
        cp /bin/true ./tool && ./tool && mv tool /tmp/tool && /tmp/tool && echo done";
    let spec = within(shell(script), world.overlay(), None);
    assert_eq!(prints(&spec), "fmain\ndone\n");
}

#[test]
fn a_set_id_program_in_a_bind_gives_nothing() {
    let world = World::new();
    std::fs::create_dir(world.path("tools")).unwrap();
    let tool = world.path("tools/id");
    std::fs::copy("/usr/bin/id", &tool).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o6755)).unwrap();
    let mut spec = shell("/opt/tools/id -u; grep ' /opt/tools ' /proc/self/mountinfo");
    spec.binds
        .push(bind(&world.path("tools"), "/opt/tools", Access::ReadOnly));
    let printed = prints(&spec);
    assert!(printed.starts_with("1000\n"), "{printed}");
    assert!(printed.contains("ro,nosuid,nodev"), "{printed}");
}

#[test]
fn a_layered_folder_is_written_beside_its_source() {
    let world = World::new();
    world.write("cargo/bin/tool", "tool\n");
    world.write("cargo/registry/index", "index\n");
    for folder in ["up", "scratch"] {
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    let mut spec = shell(
        "(echo x >/opt/cargo/bin/tool) 2>/dev/null && echo wrote; \
         echo changed >/opt/cargo/registry/index; echo new >/opt/cargo/registry/new; \
         cat /opt/cargo/registry/index",
    );
    spec.binds
        .push(bind(&world.path("cargo"), "/opt/cargo", Access::ReadOnly));
    spec.layered.push(Layered {
        source: world.path("cargo/registry"),
        target: "/opt/cargo/registry".into(),
        upper: world.path("up"),
        work: world.path("scratch"),
    });
    assert_eq!(prints(&spec), "changed\n");
    assert_eq!(world.read("cargo/registry/index"), "index\n");
    assert_eq!(world.read("up/new"), "new\n");
    assert!(!world.path("cargo/registry/new").exists());
}

#[test]
fn masks_hide_files_and_folders_wherever_they_are_mounted() {
    let world = World::new();
    world.write("base/.env", "canary\n");
    world.write("home/.cargo/credentials.toml", "canary\n");
    world.write("home/.cargo/config.toml", "config\n");
    world.write("home/.ssh/id", "canary\n");
    for folder in ["up", "scratch"] {
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    let script = "grep -r canary /workspace /opt 2>/dev/null; cat /opt/home/.cargo/config.toml; \
        chmod 777 /workspace/.env 2>/dev/null && echo opened; \
        rm -f /workspace/.env 2>/dev/null && echo removed; \
        mv /opt/home/.ssh /opt/home/x 2>/dev/null && cat /opt/home/x/id 2>/dev/null; \
        mv /opt/home/.cargo /opt/home/y 2>/dev/null; \
        cat /opt/home/y/credentials.toml 2>/dev/null; true";
    let mut spec = within(shell(script), world.overlay(), None);
    spec.layered.push(Layered {
        source: world.path("home"),
        target: "/opt/home".into(),
        upper: world.path("up"),
        work: world.path("scratch"),
    });
    let control = prints(&CellSpec {
        masks: Vec::new(),
        ..spec.clone()
    });
    assert!(control.contains("canary"), "{control}");
    for folder in ["up", "scratch", "upper", "work"] {
        std::fs::rename(world.path(folder), world.path(&format!("{folder}-control"))).unwrap();
        std::fs::create_dir(world.path(folder)).unwrap();
    }
    spec.masks = vec![
        "/workspace/.env".into(),
        "/opt/home/.cargo/credentials.toml".into(),
        "/opt/home/.ssh".into(),
        "/opt/home/not/there".into(),
    ];
    assert_eq!(prints(&spec), "config\n");
}

#[test]
fn what_cannot_be_mounted_is_named() {
    let world = World::new();
    let missing = world.path("missing");
    let mut spec = shell("true");
    spec.binds.push(bind(&missing, "/opt/x", Access::ReadOnly));
    let error = cells().launch(&spec).unwrap_err().to_string();
    assert!(error.contains(missing.to_str().unwrap()), "{error}");

    let mut spec = shell("true");
    spec.binds.push(bind(
        &world.path("base"),
        "/usr/share/not-there",
        Access::ReadOnly,
    ));
    let error = cells().launch(&spec).unwrap_err().to_string();
    assert!(
        error.contains("/usr/share/not-there") && error.contains("read-only"),
        "{error}"
    );

    for target in ["relative", "/proc/x", "/a/../b", "/"] {
        let mut spec = shell("true");
        spec.binds
            .push(bind(&world.path("base"), target, Access::ReadOnly));
        assert!(
            matches!(cells().launch(&spec), Err(Error::Setup { .. })),
            "{target}"
        );
    }
    let spec = CellSpec {
        cwd: "/not/there".into(),
        ..shell("true")
    };
    let error = cells().launch(&spec).unwrap_err().to_string();
    assert!(error.contains("/not/there"), "{error}");
}

#[test]
fn devices_in_the_tree_do_not_open() {
    let world = World::new();
    let script = "mknod node c 1 3 2>/dev/null && echo made; head -c 1 /dev/zero | wc -c; \
        echo x >/dev/null && head -c 2 /dev/urandom | wc -c";
    let outcome = run(&within(shell(script), world.overlay(), None));
    assert_eq!(outcome.stdout, "1\n2\n", "{outcome:?}");
    // One that a privileged engine finds in its tree opens outside, and not in the cell.
    let made = std::process::Command::new("mknod")
        .arg(world.path("base/zero"))
        .args(["c", "1", "5"])
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    if made.success() {
        assert!(std::fs::File::open(world.path("base/zero")).is_ok());
        let script = "ls zero; head -c 1 zero 2>&1 | grep -o denied";
        let printed = prints(&within(shell(script), world.overlay(), None));
        assert_eq!(printed, "zero\ndenied\n");
    }
}

//! What `palisade.toml` may say, and how it is told what it may not.

use super::*;

fn ground(home: &Path) -> Ground {
    Ground {
        root: home.join("app"),
        git: home.join("app/.git"),
        state: home.join("app/.git/palisade"),
        home: Some(home.to_path_buf()),
        own: None,
    }
}

fn parsed(text: &str) -> Result<Config, Vec<String>> {
    let told = |faults: Vec<FileFault>| faults.iter().map(ToString::to_string).collect();
    Config::parse(text.to_string(), true, &ground(Path::new("/home/ada"))).map_err(told)
}

fn faults(text: &str) -> Vec<String> {
    parsed(text).unwrap_err()
}

#[test]
fn a_missing_file_grants_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::read(&ground(dir.path())).unwrap();
    assert!(!config.exists);
    assert!(!config.plain_copy);
    let settings = config.settings(dir.path(), "operator:ada", vec![], Overlays::Work);
    assert_eq!(settings.mounts, []);
    assert_eq!(settings.env["PATH"], "/usr/local/bin:/usr/bin:/bin");
    assert_eq!(settings.env["HOME"], CELL_HOME);
    assert!(settings.protected.contains(&"palisade.toml".to_string()));
    assert!(settings.secrets.globs.contains(&"**/.env".to_string()));
    assert!(settings.slots >= 1);
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_with_their_place() {
    let text = "slot = 2\nslots = \"two\"\nmasks = [1]\n[limits]\nmemory = 1\ntmp_mib = -4\n[env]\nCI = true\n";
    assert_eq!(
        faults(text),
        [
            "palisade.toml:1:1: `slot` is not known here; known are `accepted_secret`, `agent`, `checkpoints`, `egress`, `env`, `executor`, \
             `limits`, `masks`, `models`, `mount`, `path`, `plain_copy_fallback`, `protected`, `secrets`, `slots`",
            "palisade.toml:2:9: `slots` must be a whole number, not negative, not string",
            "palisade.toml:3:9: `masks` must be a list of strings, not array",
            "palisade.toml:5:1: `memory` is not known here; known are `changed_files`, \
             `changed_mib`, `disk_files`, `disk_free_mib`, `disk_mib`, `file_mib`, `first_word_seconds`, `idle_seconds`, `memory_free_mib`, `memory_mib`, \
             `processes`, `session_minutes`, `stall_minutes`, `tmp_mib`, `work_disk_mib`, `work_files`, `work_output_mib`",
            "palisade.toml:6:11: `tmp_mib` must be a whole number, not negative, not integer",
            "palisade.toml:8:6: `CI` must be a string, not boolean",
        ]
    );
}

#[test]
fn a_dangerous_mount_is_refused_at_its_line() {
    let mounted = |source: &str| faults(&format!("[[mount]]\nsource = \"{source}\"\n"));
    for source in [
        "/",
        "/etc",
        "/home/ada",
        "/home/ada/.ssh",
        "/home/ada/app/.git",
        "a",
        "/a/../b",
    ] {
        let told = mounted(source);
        assert!(
            told[0].starts_with("palisade.toml:2:10: "),
            "{source}: {told:?}"
        );
    }
    let text = "[[mount]]\nsource = \"/opt/go\"\ntarget = \"/proc/go\"\nlayer = \"A b\"\n";
    let told = faults(text);
    assert!(
        told[0].starts_with("palisade.toml:3:10: /proc/go is made by the cell"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("palisade.toml:4:9: must be a name"),
        "{told:?}"
    );
}

#[test]
fn mounts_do_not_share_a_place_or_a_layer() {
    let one = "[[mount]]\nsource = \"/opt/a\"\nlayer = \"x\"\n";
    let told = faults(&format!("{one}{one}"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("another mount has this layer"), "{told:?}");
}

#[test]
fn variables_and_paths_are_checked() {
    let text = "path = [\"bin\", \"/a:/b\"]\nmasks = [\"x\"]\n[env]\nPATH = \"/bin\"\nPALISADE_ROLE = \"x\"\n\"a b\" = \"\"\n";
    let told = faults(text);
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(
        told.iter()
            .any(|it| it.contains("list the folders in `path` instead"))
    );
}

#[test]
fn nothing_is_not_a_limit() {
    assert_eq!(
        faults("slots = 0\n[limits]\nprocesses = 0\ndisk_mib = 0\n"),
        [
            "palisade.toml:1:9: `slots` must be more than 0",
            "palisade.toml:3:13: `processes` must be more than 0",
            "palisade.toml:4:12: `disk_mib` must be more than 0",
        ]
    );
}

#[test]
fn what_is_written_holds() {
    let text = "slots = 1\npath = [\"/opt/go/bin\"]\nplain_copy_fallback = true\nsecrets = [\"*.tfvars\"]\n[[mount]]\nsource = \"/opt/go\"\nlayer = \"go\"\n[limits]\nmemory_mib = 2\ndisk_mib = 3\ndisk_files = 4\nsession_minutes = 3\n[env]\nGOFLAGS = \"-mod=mod\"\n";
    let config = parsed(text).unwrap();
    assert!(config.plain_copy);
    let settings = config.settings(Path::new("/s"), "operator:ada", vec![], Overlays::Work);
    assert_eq!(settings.slots, 1);
    assert_eq!(settings.cell_limits.memory_bytes, 2 << 20);
    assert_eq!(settings.cell_limits.disk_bytes, 3 << 20);
    assert_eq!(settings.cell_limits.disk_files, 4);
    assert_eq!(settings.accepted_downgrades, [""; 0]);
    assert_eq!(settings.agent_limits.wall, Duration::from_secs(180));
    assert_eq!(
        settings.env["PATH"],
        "/opt/go/bin:/usr/local/bin:/usr/bin:/bin"
    );
    assert_eq!(settings.env["GOFLAGS"], "-mod=mod");
    assert_eq!(settings.mounts[0].target, Path::new("/opt/go"));
    assert_eq!(settings.mounts[0].layer.as_deref(), Some("go"));
    assert!(settings.secrets.globs.contains(&"*.tfvars".to_string()));
}

#[test]
fn without_overlays_every_mount_is_read_only() {
    let text = "plain_copy_fallback = true\n[[mount]]\nsource = \"/opt/go\"\nlayer = \"go\"\n";
    let config = parsed(text).unwrap();
    let settings = config.settings(Path::new("/s"), "operator:ada", vec![], Overlays::Missing);
    assert_eq!(settings.mounts[0].layer, None);
}

#[test]
fn a_secret_is_accepted_by_its_fingerprint_and_for_a_reason() {
    let text = "[[accepted_secret]]\nfingerprint = \"0123456789abcdef\"\nreason = \"made up\"\n";
    let settings =
        parsed(text)
            .unwrap()
            .settings(Path::new("/s"), "operator:ada", vec![], Overlays::Work);
    assert_eq!(settings.secrets.accepted, ["0123456789abcdef"]);
    let faults = |text: &str| -> Vec<String> {
        let faults = parsed(text).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    };
    let told = faults("[[accepted_secret]]\nfingerprint = \"0123456789abcdef\"\n");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("reason"), "{told:?}");
    let told = faults("[[accepted_secret]]\nfingerprint = \"01\"\nreason = \" \"\n");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn checkpoints_are_set_one_by_one() {
    let text = "[checkpoints]\nquiet_seconds = 1\nsize_mib = 2\non_violation = \"tell\"\npause_minutes = 3\n";
    let settings =
        parsed(text)
            .unwrap()
            .settings(Path::new("/state"), "operator:ada", vec![], Overlays::Work);
    let wanted = Checkpoints {
        quiet: Duration::from_secs(1),
        bytes: 2 << 20,
        on_violation: None,
        pause: Duration::from_secs(180),
        ..Checkpoints::default()
    };
    assert_eq!(settings.checkpoints, wanted);
    assert_eq!(
        faults("[checkpoints]\non_violation = \"ignore\"\nquiet_seconds = 0\nsize = 1\n"),
        [
            "palisade.toml:2:16: `on_violation` is one of \"paths\", \"full\", \"smart\", \"tell\", not \
             \"ignore\"",
            "palisade.toml:3:17: `quiet_seconds` must be more than 0",
            "palisade.toml:4:1: `size` is not known here; known are `escalation_minutes`, \
             `interval_seconds`, `judging_seconds`, `on_violation`, `pause_minutes`, `quiet_seconds`, `size_mib`",
        ]
    );
}

#[test]
fn budgets_and_the_tape_are_read_and_told_where_wrong() {
    let text = "[models]\nallowed = [\"claude-*\"]\nwork_usd = \"2.50\"\nday_tokens = 7\ntape = \"replay:a\"\n";
    let models = parsed(text).unwrap().models.settings;
    assert_eq!(models.allowed, ["claude-*"]);
    assert_eq!(
        models.caps.work.money,
        Some(domain::usage::Money(2_500_000))
    );
    assert_eq!(models.caps.day.tokens, Some(7));
    assert_eq!(models.tape, ports::models::Tape::Replay("a".to_string()));
    let wrong =
        "[models]\nwork_usd = \"much\"\ntape = \"loud\"\nbroker = \"here\"\nday_tokens = 0\n";
    let told = faults(wrong);
    let places: Vec<_> = told
        .iter()
        .map(|it| it.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "palisade.toml:2:12",
            "palisade.toml:3:8",
            "palisade.toml:4:10",
            "palisade.toml:5:14"
        ]
    );
}

#[test]
fn classes_of_models_and_hosts_are_read_and_told_with_their_place() {
    let text = "[models.classes]\nstrong = [\"anthropic/a\", \"local/b\"]\n[egress]\nhosts = \
                [\"index.crates.io:443\"]\nsent_mib = 1\n";
    let settings =
        parsed(text)
            .unwrap()
            .settings(Path::new("/s"), "operator:ada", vec![], Overlays::Work);
    let strong = &settings.models.classes["strong"];
    assert_eq!(strong[1].to_string(), "local/b");
    let egress = settings.models.egress.unwrap();
    assert_eq!((egress.hosts.len(), egress.sent_bytes_max), (1, 1 << 20));
    let text = "[models.classes]\nstrong = [\"a\"]\n[egress]\nhosts = [\"*.org:443\", \"b\"]\n";
    assert_eq!(
        faults(text),
        [
            "palisade.toml:2:10: `a` is no model, such as `anthropic/claude-sonnet-4-5`",
            "palisade.toml:4:9: `*.org:443` is no host's name with its port, such as `static.crates.io:443`; addresses and wildcards are none",
            "palisade.toml:4:9: `b` is no host's name with its port, such as `static.crates.io:443`; addresses and wildcards are none",
        ]
    );
    let (name, models) = models::class("quick=openai/x,openai/y").unwrap();
    assert_eq!((name.as_str(), models.len()), ("quick", 2));
    for wrong in ["quick", "=a/b", "quick=", "quick=a"] {
        assert!(models::class(wrong).is_err(), "{wrong}");
    }
}

//! What an agent finds around it: the paths and variables that drivers set and agents read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ports::agents::Task;
use ports::cells::{Access, Bind};

/// The brief, read-only.
pub(crate) const BRIEF: &str = "/brief";
/// The drop, writable.
pub(crate) const DROP: &str = "/.agent";
/// Where the client and a bound agent program are.
pub(crate) const PROGRAMS: &str = "/palisade/bin";
/// The name of the client in [`PROGRAMS`].
pub(crate) const CLIENT: &str = "palisade-agent";

/// Names the signal pipe.
pub(crate) const SIGNALS_VARIABLE: &str = "PALISADE_SIGNALS";
/// Names the longest signal, in bytes.
pub(crate) const SIGNAL_BYTES_VARIABLE: &str = "PALISADE_SIGNAL_BYTES_MAX";
/// Names the brief's folder.
pub(crate) const BRIEF_VARIABLE: &str = "PALISADE_BRIEF";
/// Names the role.
pub(crate) const ROLE_VARIABLE: &str = "PALISADE_ROLE";
/// Names the round.
pub(crate) const ROUND_VARIABLE: &str = "PALISADE_ROUND";
/// Names the session's epoch.
pub(crate) const EPOCH_VARIABLE: &str = "PALISADE_EPOCH";
/// Names the loopback address that leads to the session's model, set by the bridge.
pub(crate) const MODEL_VARIABLE: &str = "PALISADE_MODEL_URL";

/// Where the session's socket to its model is.
const MODEL_SOCKET: &str = "/palisade/model.sock";
/// The loopback address that leads there.
pub(crate) const MODEL_ADDRESS: &str = "127.0.0.1:4141";

/// The key that agent programs are given: it opens nothing, the real one is added by the broker.
pub(crate) const DUMMY_KEY: &str = "palisade-no-key";

/// Where programs that fetch packages look for a proxy: in general, Cargo, npm, pip.
const PROXIES: [&str; 8] = [
    "CARGO_HTTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "PIP_PROXY",
    "http_proxy",
    "https_proxy",
    "npm_config_https_proxy",
    "npm_config_proxy",
];

/// The home of a program that was given none.
const HOME: &str = "/home/agent";

/// The folders of programs every cell shows from the host.
pub(crate) const SYSTEM_PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// The host's folders that every cell shows read-only at the same place.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// Adds to a task's cell what every agent program finds beside brief and drop: client and variables.
pub(crate) fn furnish(task: &mut Task, client: &Path) {
    let cell = &mut task.cell;
    for (name, value) in [
        (SIGNALS_VARIABLE, format!("{DROP}/{}", crate::channel::NAME)),
        (
            SIGNAL_BYTES_VARIABLE,
            task.limits.signal_bytes_max.to_string(),
        ),
        (BRIEF_VARIABLE, BRIEF.to_owned()),
        (ROLE_VARIABLE, task.role.clone()),
        (ROUND_VARIABLE, task.round.to_string()),
        (EPOCH_VARIABLE, task.epoch.to_string()),
    ] {
        cell.env.insert(name.to_owned(), value);
    }
    let path = match cell.env.get("PATH") {
        Some(path) => format!("{PROGRAMS}:{path}"),
        None => format!("{PROGRAMS}:{}", SYSTEM_PATH.join(":")),
    };
    cell.env.insert("PATH".to_owned(), path);
    let client = bind(client, Path::new(PROGRAMS).join(CLIENT), Access::ReadOnly);
    cell.binds.push(client);
}

/// Refuses a task without a model to one who cannot do without.
///
/// # Errors
/// When the session has no model.
pub(crate) fn needs_model(task: &Task, who: &str) -> Result<(), String> {
    match task.model_socket {
        Some(_) => Ok(()),
        None => Err(format!(
            "{who} speaks to a model, and this session has none: no broker gives it a socket"
        )),
    }
}

/// Returns the home of a task's program inside the cell, which has one afterwards.
pub(crate) fn home(task: &mut Task) -> String {
    let home = task.cell.env.entry("HOME".to_owned());
    home.or_insert_with(|| HOME.to_owned()).clone()
}

/// The server of tools as agent programs name it.
pub(crate) const TOOLS: &str = "palisade";

/// Returns how the server of a furnished task's tools is started: its program, arguments, and the
/// variables by which it knows the session, for programs that do not hand theirs on.
pub(crate) fn tools(task: &Task) -> (String, [&'static str; 1], BTreeMap<&'static str, String>) {
    let variables = [
        BRIEF_VARIABLE,
        EPOCH_VARIABLE,
        ROLE_VARIABLE,
        ROUND_VARIABLE,
        SIGNALS_VARIABLE,
        SIGNAL_BYTES_VARIABLE,
    ];
    let env = variables.into_iter();
    let env = env.filter_map(|it| Some((it, task.cell.env.get(it)?.clone())));
    (format!("{PROGRAMS}/{CLIENT}"), ["mcp"], env.collect())
}

/// Returns the address of a provider behind the session's bridge: that of the task's model if it is
/// a compatible server's, else `usual`.
pub(crate) fn provider(task: &Task, usual: &str) -> String {
    let other = task.model.as_ref().filter(|it| it.provider != usual);
    let path = other.map_or_else(
        || usual.to_owned(),
        |it| format!("compatible/{}", it.provider),
    );
    format!("http://{MODEL_ADDRESS}/{path}")
}

/// Returns the name of the model that a program shall ask for: the one its driver was given, else the
/// task's; none leaves it to the program.
pub(crate) fn model(own: Option<&str>, task: &Task) -> Option<String> {
    own.map(str::to_owned)
        .or_else(|| task.model.as_ref().map(|it| it.model.clone()))
}

/// Returns whether a provider is `own`, or a server that may speak its language as well.
pub(crate) fn is_own_or_compatible(provider: &str, own: &str) -> bool {
    provider == own || !matches!(provider, "anthropic" | "openai" | "gemini")
}

/// Leads the programs that fetch packages through the same bridge, if the task's may.
fn lead_to_registries(task: &mut Task) {
    if !task.may_fetch_packages {
        return;
    }
    let proxy = format!("http://{MODEL_ADDRESS}");
    for name in PROXIES {
        task.cell.env.insert(name.to_owned(), proxy.clone());
    }
    for name in ["NO_PROXY", "no_proxy"] {
        let own = "127.0.0.1,localhost,::1".to_owned();
        task.cell.env.insert(name.to_owned(), own);
    }
}

/// Lets the task's program reach its model, if it may: shows the session's socket, and has the
/// client lead a loopback address there. Comes last, when the program and its arguments are set.
pub(crate) fn lead_to_model(task: &mut Task) {
    let Some(socket) = &task.model_socket else {
        return;
    };
    let socket = socket.clone();
    lead_to_registries(task);
    let cell = &mut task.cell;
    cell.binds
        .push(bind(&socket, MODEL_SOCKET.into(), Access::ReadOnly));
    let client = format!("{PROGRAMS}/{CLIENT}");
    let bridge = [
        &client,
        "bridge",
        "--listen",
        MODEL_ADDRESS,
        "--to",
        MODEL_SOCKET,
        "--",
    ];
    let bridge = bridge.map(str::to_owned);
    cell.argv = bridge.into_iter().chain(cell.argv.drain(..)).collect();
}

/// Returns the path of a host program inside the cell, binding it there if no folder shows it.
///
/// # Errors
/// With the reason, when its name is taken or cannot be said in the cell.
pub(crate) fn admit(task: &mut Task, program: &Path, client: &Path) -> Result<String, String> {
    // Through links: a link in /usr to somewhere else would dangle inside the cell.
    let real = std::fs::canonicalize(program)
        .map_err(|error| format!("`{}` cannot be found: {error}", program.display()))?;
    if shown(task, program) && shown(task, &real) {
        return in_words(&inside(task, program));
    }
    if std::fs::canonicalize(client).is_ok_and(|client| client == real) {
        return in_words(&Path::new(PROGRAMS).join(CLIENT));
    }
    let name = program.file_name().unwrap_or(OsStr::new("agent"));
    if name.as_bytes() == CLIENT.as_bytes() {
        return Err(format!(
            "`{}` has the name of the client every agent finds in {PROGRAMS}; give it another",
            program.display()
        ));
    }
    let target = Path::new(PROGRAMS).join(name);
    task.cell
        .binds
        .push(bind(&real, target.clone(), Access::ReadOnly));
    in_words(&target)
}

fn bind(source: &Path, target: PathBuf, access: Access) -> Bind {
    Bind {
        source: source.to_owned(),
        target,
        access,
    }
}

fn shown(task: &Task, path: &Path) -> bool {
    SYSTEM_FOLDERS.iter().any(|it| path.starts_with(it))
        || host_folders(task).any(|(source, _)| path.starts_with(source))
}

fn inside(task: &Task, path: &Path) -> PathBuf {
    host_folders(task)
        .find_map(|(source, target)| Some(target.join(path.strip_prefix(source).ok()?)))
        .unwrap_or_else(|| path.to_owned())
}

fn host_folders(task: &Task) -> impl Iterator<Item = (&Path, &Path)> {
    let binds = task.cell.binds.iter();
    let layered = task.cell.layered.iter();
    binds
        .map(|it| (it.source.as_path(), it.target.as_path()))
        .chain(layered.map(|it| (it.source.as_path(), it.target.as_path())))
        // The brief and the drop are no place to run programs from.
        .filter(|(_, target)| *target != Path::new(BRIEF) && *target != Path::new(DROP))
}

fn in_words(path: &Path) -> Result<String, String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("`{}` is not UTF-8 text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use testkit::agents::Setting;

    #[test]
    fn a_cell_is_furnished_with_client_and_variables() {
        let mut task = Setting::new().task;
        task.cell
            .env
            .insert("PATH".to_owned(), "/opt/bin".to_owned());
        furnish(&mut task, Path::new("/host/client"));
        let env: Vec<String> = task
            .cell
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            env,
            [
                "PALISADE_BRIEF=/brief",
                "PALISADE_EPOCH=3",
                "PALISADE_ROLE=builder",
                "PALISADE_ROUND=1",
                "PALISADE_SIGNALS=/.agent/signals",
                "PALISADE_SIGNAL_BYTES_MAX=65536",
                "PATH=/palisade/bin:/opt/bin",
            ]
        );
        let expected = [
            bind(&task.brief, BRIEF.into(), Access::ReadOnly),
            bind(&task.drop, DROP.into(), Access::Writable),
            bind(
                Path::new("/host/client"),
                "/palisade/bin/palisade-agent".into(),
                Access::ReadOnly,
            ),
        ];
        assert_eq!(task.cell.binds, expected, "each place is bound once");
    }

    #[test]
    fn a_model_is_reached_by_one_socket_and_only_when_there_is_one() {
        let mut task = Setting::new().task;
        task.cell.argv = vec!["/usr/bin/agent".to_owned(), "-x".to_owned()];
        let before = task.cell.clone();
        lead_to_model(&mut task);
        assert_eq!(task.cell, before);
        task.model_socket = Some("/host/session.sock".into());
        lead_to_model(&mut task);
        assert_eq!(
            task.cell.argv.join(" "),
            "/palisade/bin/palisade-agent bridge --listen 127.0.0.1:4141 \
             --to /palisade/model.sock -- /usr/bin/agent -x"
        );
        let (socket, target) = ("/host/session.sock", "/palisade/model.sock".into());
        let expected = bind(Path::new(socket), target, Access::ReadOnly);
        assert_eq!(task.cell.binds.last(), Some(&expected));
    }

    #[test]
    fn registries_are_reached_through_the_same_address_and_only_when_allowed() {
        let mut task = Setting::new().task;
        task.model_socket = Some("/host/session.sock".into());
        lead_to_model(&mut task);
        assert!(!task.cell.env.keys().any(|it| it.contains("PROXY")));
        task.may_fetch_packages = true;
        lead_to_model(&mut task);
        for name in PROXIES {
            assert_eq!(task.cell.env[name], "http://127.0.0.1:4141", "{name}");
        }
        assert_eq!(task.cell.env["NO_PROXY"], "127.0.0.1,localhost,::1");
    }

    #[test]
    fn the_model_of_a_compatible_server_is_asked_there() {
        let mut task = Setting::new().task;
        let usual = provider(&task, "anthropic");
        assert_eq!(usual, "http://127.0.0.1:4141/anthropic");
        task.model = domain::model::Model::parse("anthropic/claude-a");
        assert_eq!(provider(&task, "anthropic"), usual);
        task.model = domain::model::Model::parse("ollama/qwen3");
        let other = provider(&task, "anthropic");
        assert_eq!(other, "http://127.0.0.1:4141/compatible/ollama");
        assert!(is_own_or_compatible("ollama", "openai"));
        assert!(!is_own_or_compatible("gemini", "openai"));
    }

    #[test]
    fn a_program_the_cell_shows_is_run_where_it_is() {
        let mut task = Setting::new().task;
        let client = Path::new("/nonexistent/client");
        let shell = admit(&mut task, Path::new("/bin/sh"), client).unwrap();
        assert_eq!(shell, "/bin/sh");
        assert_eq!(task.cell.binds, Setting::binds(&task.brief, &task.drop));
    }

    #[test]
    fn a_program_in_a_mounted_folder_is_run_at_its_mount() {
        let setting = Setting::new();
        let mut task = setting.task.clone();
        let tools = fs::canonicalize(setting.folder()).unwrap().join("tools");
        fs::create_dir_all(tools.join("bin")).unwrap();
        fs::write(tools.join("bin/agent"), "").unwrap();
        task.cell
            .binds
            .push(bind(&tools, "/opt/tools".into(), Access::ReadOnly));
        let client = Path::new("/nonexistent/client");
        let program = admit(&mut task, &tools.join("bin/agent"), client).unwrap();
        assert_eq!(program, "/opt/tools/bin/agent");
        assert_eq!(task.cell.binds.len(), 3);
    }

    #[test]
    fn a_program_from_elsewhere_is_bound_by_its_real_path() {
        let setting = Setting::new();
        let mut task = setting.task.clone();
        let folder = fs::canonicalize(setting.folder()).unwrap();
        fs::write(folder.join("agent-1.2"), "").unwrap();
        symlink("agent-1.2", folder.join("agent")).unwrap();
        let client = Path::new("/nonexistent/client");
        let program = admit(&mut task, &folder.join("agent"), client).unwrap();
        assert_eq!(program, "/palisade/bin/agent");
        let target = PathBuf::from("/palisade/bin/agent");
        let expected = bind(&folder.join("agent-1.2"), target, Access::ReadOnly);
        assert_eq!(task.cell.binds.last(), Some(&expected));
    }

    #[test]
    fn the_clients_name_is_the_clients() {
        let setting = Setting::new();
        let mut task = setting.task.clone();
        let own = setting.folder().join("own");
        fs::create_dir(&own).unwrap();
        let (client, other) = (setting.folder().join(CLIENT), own.join(CLIENT));
        fs::write(&client, "").unwrap();
        fs::write(&other, "").unwrap();
        let program = admit(&mut task, &client, &client).unwrap();
        assert_eq!(program, "/palisade/bin/palisade-agent");
        let error = admit(&mut task, &other, &client).unwrap_err();
        assert!(error.contains("give it another"), "{error}");
        assert_eq!(task.cell.binds, Setting::binds(&task.brief, &task.drop));
    }
}

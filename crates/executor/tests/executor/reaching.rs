//! The world beyond: a cell reaches the hosts of its action through its door, and nothing else.

use domain::egress::Verdict;

use crate::authority::Authority;
use crate::scene::{SECRET, Scene, git, write};
use crate::service::{Service, git_backend, greeting, reply};

/// What deploys to hosts: says a line to each place, through the proxy or past it, and keeps what it
/// hears.
const DEPLOY: &str = r#"#!/bin/bash
proxy=${HTTPS_PROXY#http://}
echo "proxy $(test -n "$proxy" && echo yes)" > "$TARGET/heard"
for place in $PLACES; do
  (
    exec 3<>"/dev/tcp/${proxy%:*}/${proxy#*:}" || exit
    printf 'CONNECT %s HTTP/1.1\r\nhost: %s\r\n\r\n' "$place" "$place" >&3
    read -r status <&3
    case $status in
      *' 200 '*) read -r blank <&3; printf '%s\n' "$SAY" >&3; wc -c <&3 ;;
      *) echo "${status%$'\r'}" ;;
    esac
  ) >> "$TARGET/heard" 2>&1
done
(exec 4<>"/dev/tcp/127.0.0.1/${PLACES##*:}") 2> /dev/null && echo direct >> "$TARGET/heard"
echo "$VERSION" > "$TARGET/released"
"#;

fn script(places: &[u16], say: &str) -> String {
    let places: Vec<_> = places.iter().map(|it| format!("127.0.0.1:{it}")).collect();
    let places = places.join(" ");
    DEPLOY.replacen("\n", &format!("\nPLACES='{places}' SAY='{say}'\n"), 1)
}

/// Deploys with a program that goes to these places, of which these are listed; returns what it heard.
fn deploys(scene: &mut Scene, listed: &[u16], places: &[u16], say: &str, more: &str) -> String {
    write(&scene.path("deploy"), &script(places, say), 0o755);
    let hosts: Vec<_> = listed
        .iter()
        .map(|it| format!("\"127.0.0.1:{it}\""))
        .collect();
    scene.deploy_more = format!("reach = {{ hosts = [{}]{more} }}", hosts.join(", "));
    let running = scene.start();
    assert!(
        running
            .execute(&scene.request(scene.deploy("one")))
            .receipt()
            .ok
    );
    std::fs::read_to_string(scene.path("staging/heard")).unwrap()
}

#[test]
fn a_deployment_reaches_its_hosts_and_nothing_else() {
    let (listed, other) = (greeting(), greeting());
    let mut scene = Scene::new();
    let heard = deploys(&mut scene, &[listed], &[listed, other], "hello", "");
    assert_eq!(heard, "proxy yes\n8\nHTTP/1.1 403 Forbidden\n");
    assert_eq!(
        scene.reached(),
        [(listed, Verdict::Carried), (other, Verdict::NotListed)]
    );
    // The other is there, and is reached by whom it is listed for.
    let mut scene = Scene::new();
    let heard = deploys(&mut scene, &[listed, other], &[listed, other], "hello", "");
    assert_eq!(heard, "proxy yes\n8\n8\n");
}

#[test]
fn without_hosts_there_is_no_door() {
    let place = greeting();
    let mut scene = Scene::new();
    write(&scene.path("deploy"), &script(&[place], "hello"), 0o755);
    let running = scene.start();
    assert!(
        running
            .execute(&scene.request(scene.deploy("one")))
            .receipt()
            .ok
    );
    let heard = std::fs::read_to_string(scene.path("staging/heard")).unwrap();
    assert!(
        heard.starts_with("proxy \n") && !heard.contains("direct"),
        "{heard}"
    );
    assert_eq!(scene.reached(), []);
    running.kill();
    scene.deploy_more = "reach = { hosts = [\"*.other.test:443\"] }".to_owned();
    scene.configure();
    let told = scene.refusal_to_start();
    assert!(told.contains("not a host with its port"), "{told}");
}

#[test]
fn what_comes_in_is_bounded_and_a_secret_in_a_hosts_name_is_not_kept() {
    let place = greeting();
    let mut scene = Scene::new();
    let heard = deploys(&mut scene, &[place], &[place], "*", ", received_mib = 1");
    let bytes: u64 = heard.lines().nth(1).unwrap().parse().unwrap();
    assert!(bytes <= 1 << 20, "{bytes}");
    assert_eq!(scene.reached(), [(place, Verdict::OverCap)]);
    // Whoever asks for a host by the name of a secret tells it to whoever keeps the name.
    let mut scene = Scene::new();
    let text = script(&[place], "hello").replace("127.0.0.1:", "$TOKEN.example.org:");
    let text = text
        .replace("PLACES='", "PLACES=\"")
        .replace("' SAY", "\" SAY");
    write(&scene.path("deploy"), &text, 0o755);
    scene.deploy_more = format!("reach = {{ hosts = [\"127.0.0.1:{place}\"] }}");
    let running = scene.start();
    assert!(
        running
            .execute(&scene.request(scene.deploy("one")))
            .receipt()
            .ok
    );
    let audit = std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap();
    let shown = audit.to_lowercase();
    assert!(!shown.contains(&SECRET.to_lowercase()), "{audit}");
    assert!(
        audit.contains("\"host\":\"withheld\"") && audit.contains("incident"),
        "{audit}"
    );
}

/// A git server behind TLS that wants the secret; returns it and its authority's file.
fn forge(scene: &Scene) -> (Service, String) {
    use base64::Engine as _;
    let authority = Authority::new();
    let root = scene.folder.path().to_path_buf();
    let both = format!("robot:{SECRET}");
    let wanted = base64::engine::general_purpose::STANDARD.encode(both);
    let service = Service::encrypted(&authority, move |asked| {
        if asked.header("authorization") == Some(&format!("Basic {wanted}")) {
            git_backend(&root, asked)
        } else {
            let headers = "www-authenticate: Basic realm=\"forge\"\r\n";
            reply("401 Unauthorized", headers, b"")
        }
    });
    let file = scene.path("authority.pem");
    write(&file, &authority.0.pem(), 0o644);
    (service, file.display().to_string())
}

fn held(scene: &Scene) -> String {
    let forge = scene.path("forge.git");
    git(
        &forge,
        &["for-each-ref", "--format=%(refname) %(objectname)"],
    )
}

#[test]
fn a_change_is_published_over_https_with_a_token_of_that_child_only() {
    let mut scene = Scene::new();
    let (service, authority) = forge(&scene);
    let url = format!("https://localhost:{}/forge.git", service.port);
    let remote = |user: &str| {
        format!(
            "{{ url = \"{url}\", user = \"{user}\", secret = \"TOKEN\", authority = \"{authority}\" }}"
        )
    };
    scene.remote = remote("robot");
    let running = scene.start();
    let first = scene.commit("first", None);
    let receipt = running
        .execute(&scene.request(scene.publish(&first, None)))
        .receipt();
    assert!(receipt.ok, "{receipt:?}");
    let branch = "refs/heads/agents/palisade/fix";
    assert_eq!(held(&scene), format!("{branch} {first}"));
    // On, but not back, and not over what somebody else has put there.
    let second = scene.commit("second", Some(&first));
    let on = scene.request(scene.publish(&second, Some(&first)));
    assert!(running.execute(&on).receipt().ok);
    let again = scene.request(scene.publish(&second, Some(&first)));
    assert_eq!(running.execute(&again).code(), "target_moved");
    let back = scene.request(scene.publish(&first, Some(&second)));
    assert_eq!(running.execute(&back).code(), "not_forward");
    assert_eq!(held(&scene), format!("{branch} {second}"));
    let reached = scene.reached();
    assert!(reached.len() >= 4, "{reached:?}");
    assert!(
        reached
            .iter()
            .all(|it| *it == (service.port, Verdict::Carried))
    );
    running.kill();
    // The server's no is a no: its log shows that only the name was another.
    scene.remote = remote("other");
    let running = scene.start();
    let refused = running.execute(&scene.request(scene.publish(&second, Some(&second))));
    assert_eq!(refused.code(), "unavailable");
    let audit = std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap();
    assert!(!audit.contains(SECRET));
}

#[test]
fn a_git_server_that_nobody_vouches_for_is_not_told_the_token() {
    let mut scene = Scene::new();
    let (service, _) = forge(&scene);
    let url = format!("https://localhost:{}/forge.git", service.port);
    scene.remote = format!("{{ url = \"{url}\", user = \"robot\", secret = \"TOKEN\" }}");
    let running = scene.start();
    let first = scene.commit("first", None);
    let answer = running.execute(&scene.request(scene.publish(&first, None)));
    assert_eq!(answer.code(), "unavailable");
    assert_eq!(service.lines(), Vec::<String>::new());
    assert_eq!(held(&scene), "");
}

#[test]
fn a_git_server_that_sends_elsewhere_is_not_followed() {
    let mut scene = Scene::new();
    let authority = Authority::new();
    let elsewhere = Service::encrypted(&authority, |_| reply("200 OK", "", b""));
    let to = format!("https://localhost:{}/", elsewhere.port);
    let service = Service::encrypted(&authority, move |asked| {
        let path = asked.line.split(' ').nth(1).unwrap().to_owned();
        reply("301 Moved", &format!("location: {to}{path}\r\n"), b"")
    });
    let file = scene.path("authority.pem");
    write(&file, &authority.0.pem(), 0o644);
    scene.remote = format!(
        "{{ url = \"https://localhost:{}/forge.git\", secret = \"TOKEN\", authority = \"{}\" }}",
        service.port,
        file.display()
    );
    let running = scene.start();
    let first = scene.commit("first", None);
    let answer = running.execute(&scene.request(scene.publish(&first, None)));
    assert_eq!(answer.code(), "unavailable");
    assert_eq!((service.lines().len(), elsewhere.lines().len()), (1, 0));
}

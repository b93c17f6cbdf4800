//! How the executor proves to AWS who it is: as it is told, and in no other way.

use std::os::unix::fs::PermissionsExt as _;

use crate::moto::{Cloud, LANES, Moto, PARAMETER, document, within};
use crate::road::{Manner, Road};
use crate::scene::{SECRET, word};
use wire::execution::action::GetStagingConfigValues;
use wire::execution::{Action, Failure};

const ROLE: &str = "arn:aws:iam::123456789012:role/palisade-executor-execute";

fn private(cloud: &Cloud, name: &str, text: &str) {
    let path = cloud.scene.path(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn actions(cloud: &Cloud) -> Vec<String> {
    cloud.road.calls().into_iter().map(|it| it.action).collect()
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn a_key_of_the_services_credentials_is_used_and_one_of_the_environment_is_not() {
    let mut cloud = Cloud::new();
    cloud.configure("credential", "palisade-staging", cloud.road.port);
    // In the environment, where it is not to be looked for.
    let told = cloud.refusal();
    assert!(told.contains("LoadCredential=AWS_ACCESS_KEY_ID"), "{told}");
    assert_eq!(cloud.road.calls(), []);
    private(&cloud, "AWS_ACCESS_KEY_ID", &cloud.key.0);
    private(
        &cloud,
        "AWS_SECRET_ACCESS_KEY",
        &format!("{}\n", cloud.key.1),
    );
    cloud.scene.env.clear();
    drop(cloud.scene.start());
    assert_eq!(actions(&cloud), ["sts:AssumeRole", "ssm:GetParameters"]);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(cloud.scene.path("AWS_SECRET_ACCESS_KEY"), open).unwrap();
    std::fs::remove_dir_all(cloud.scene.path("state")).unwrap();
    assert!(cloud.refusal().contains("chmod 600"));
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn without_a_key_nobody_is_asked() {
    let mut cloud = Cloud::new();
    for (credentials, wanted) in [
        ("environment", "set AWS_ACCESS_KEY_ID"),
        ("credential", "LoadCredential="),
        ("web_identity", "AWS_WEB_IDENTITY_TOKEN_FILE is not set"),
    ] {
        cloud.configure(credentials, "palisade-staging", cloud.road.port);
        // What other programs would take instead.
        cloud.scene.env = vec![
            ("AWS_PROFILE".to_owned(), "default".to_owned()),
            (
                "HOME".to_owned(),
                cloud.scene.folder.path().display().to_string(),
            ),
        ];
        std::fs::create_dir_all(cloud.scene.path(".aws")).unwrap();
        let profile = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            cloud.key.0, cloud.key.1
        );
        private(&cloud, ".aws/credentials", &profile);
        let told = cloud.refusal();
        assert!(told.contains(wanted), "{told}");
    }
    cloud.configure("profile", "palisade-staging", cloud.road.port);
    let told = cloud.refusal();
    assert!(
        told.contains("credentials") && told.contains("web_identity"),
        "{told}"
    );
    assert_eq!(cloud.road.calls(), []);
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn a_token_of_a_web_identity_takes_the_role_itself() {
    // moto takes an unsigned question for a wrong one when it enforces, so here it does not.
    let moto = Moto::start();
    moto.put(PARAMETER, SECRET, "SecureString");
    let mut cloud = Cloud::of(moto, (String::new(), "none".to_owned()));
    cloud.configure("web_identity", "palisade-staging", cloud.road.port);
    private(&cloud, "token", "eyJ0b2tlbiI6Im9mIHRoZSBjbHVzdGVyIn0\n");
    let path = cloud.scene.path("token").display().to_string();
    cloud.scene.env = vec![("AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(), path)];
    drop(cloud.scene.start());
    let calls = cloud.road.calls();
    let wanted = ["sts:AssumeRoleWithWebIdentity", "ssm:GetParameters"];
    assert_eq!(actions(&cloud), wanted);
    assert_eq!(calls[0].key, "");
    assert_eq!(calls[0].fields["RoleArn"], ROLE);
    let token = "eyJ0b2tlbiI6Im9mIHRoZSBjbHVzdGVyIn0";
    assert_eq!(calls[0].fields["WebIdentityToken"], token);
    assert_eq!(cloud.road.role(&calls[1].key).as_deref(), Some(ROLE));
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn the_metadata_of_a_machine_vouch_for_it_by_their_second_version() {
    let moto = Moto::start();
    let machine = "arn:aws:sts::123456789012:assumed-role/palisade-executor-machine/i-0";
    for lane in LANES {
        let mut trust = document(&format!("{lane}.trust"));
        trust["Statement"][0]["Principal"]["AWS"] = machine.into();
        moto.role(lane, &trust, &document(&format!("{lane}.permissions")));
    }
    moto.role("machine", &document("execute.trust"), &document("caller"));
    let fields = [
        (
            "RoleArn",
            "arn:aws:iam::123456789012:role/palisade-executor-machine",
        ),
        ("RoleSessionName", "i-0"),
    ];
    let session = moto.form("sts", "AssumeRole", &fields);
    let session =
        ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|it| within(&session, it).unwrap());
    moto.put(PARAMETER, SECRET, "SecureString");
    moto.enforce();
    let key = (session[0].clone(), session[1].clone());
    let mut cloud = Cloud::of(moto, key);
    cloud.road = Road::to(cloud.moto.port, Manner::Machine(session));
    cloud.configure("instance", "palisade-staging", cloud.road.port);
    cloud.scene.env.clear();
    drop(cloud.scene.start());
    let actions = actions(&cloud);
    assert!(
        actions[0].starts_with("PUT /latest/api/token"),
        "{actions:?}"
    );
    assert!(actions.ends_with(&["sts:AssumeRole".to_owned(), "ssm:GetParameters".to_owned()]));
    // A machine that vouches for nobody.
    let silent = Cloud::new();
    let mut cloud = silent;
    cloud.configure("instance", "palisade-staging", cloud.road.port);
    let told = cloud.refusal();
    assert!(
        told.contains("the machine's metadata (IMDSv2) gives none"),
        "{told}"
    );
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn the_executors_own_key_does_not_leave_either() {
    let cloud = Cloud::new();
    let running = cloud.scene.start();
    let ask = || {
        let keys = [word("HOST")].into();
        let action = Action::GetStagingConfigValues(GetStagingConfigValues { keys });
        running.execute(&cloud.scene.request(action)).receipt()
    };
    let values = cloud.scene.path("values.toml");
    std::fs::write(&values, format!("HOST = \"{}\"\n", cloud.key.1)).unwrap();
    assert_eq!(ask().failure, Some(Failure::Withheld));
    std::fs::write(&values, "HOST = \"db.staging\"\n").unwrap();
    assert!(ask().ok);
}

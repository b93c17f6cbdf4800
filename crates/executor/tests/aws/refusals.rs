//! Whatever is wrong at AWS or on the way there: nothing is served, and a sentence says what to do.

use crate::moto::{Cloud, LANES, Moto, PARAMETER, document};
use crate::road::{Manner, Road};
use crate::scene::SECRET;

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn who_is_not_believed_gets_nothing() {
    let mut cloud = Cloud::new();
    let (port, right) = (cloud.road.port, cloud.key.clone());
    let asks = |cloud: &mut Cloud, external_id: &str, wanted: &str| {
        cloud.configure("environment", external_id, port);
        let told = cloud.refusal();
        let role = "arn:aws:iam::123456789012:role/palisade-executor-execute cannot be assumed";
        assert!(told.contains(role) && told.contains(wanted), "{told}");
    };
    cloud.key.1 = "another/Secret+of/the+same/length0123456".to_owned();
    asks(
        &mut cloud,
        "palisade-staging",
        "`SignatureDoesNotMatch`; the access key is none",
    );
    cloud.key = ("AKIAANOTHERKEY000000".to_owned(), right.1.clone());
    asks(
        &mut cloud,
        "palisade-staging",
        "`InvalidClientTokenId`; the access key is none",
    );
    cloud.key = right;
    // Who is not meant by the role's trust.
    asks(
        &mut cloud,
        "somebody-else",
        "`AccessDenied`; compare the policies",
    );
    // The control: with the right one it starts.
    cloud.configure("environment", "palisade-staging", port);
    drop(cloud.scene.start());
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn a_role_that_may_not_read_gets_nothing() {
    let moto = Moto::start();
    for lane in LANES {
        let mut permissions = document(&format!("{lane}.permissions"));
        permissions["Statement"].as_array_mut().unwrap().remove(0);
        moto.role(lane, &document(&format!("{lane}.trust")), &permissions);
    }
    let key = moto.user(&document("caller"));
    moto.put(PARAMETER, SECRET, "SecureString");
    moto.enforce();
    let told = Cloud::of(moto, key).refusal();
    assert!(told.contains(PARAMETER), "{told}");
    assert!(
        told.contains("cannot be read by the role") && told.contains("`AccessDeniedException`"),
        "{told}"
    );
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn a_parameter_that_is_missing_another_or_no_secret_is_not_taken() {
    let moto = Moto::start();
    moto.put(PARAMETER, SECRET, "SecureString");
    moto.put(PARAMETER, "planted-Newer-Token-0123456789", "SecureString");
    moto.put("/palisade/plain", SECRET, "String");
    moto.put("/palisade/weak", "short", "SecureString");
    let mut cloud = Cloud::of(moto, ("AKIAANYBODY000000000".to_owned(), "x".repeat(40)));
    for (parameter, wanted) in [
        (
            "{ ssm = \"/palisade/missing\" }",
            "AWS has no parameter /palisade/missing",
        ),
        (
            "{ ssm = \"/palisade/staging/deploy-token\", version = 7 }",
            "deploy-token:7",
        ),
        ("{ ssm = \"/palisade/plain\" }", "is no SecureString"),
        ("{ ssm = \"/palisade/weak\" }", "could not be recognised"),
        (
            "{ ssm = \"/palisade/staging/\" }",
            "the exact name of a parameter",
        ),
        (
            "{ ssm = \"/palisade/staging/*\" }",
            "the exact name of a parameter",
        ),
    ] {
        cloud.scene.secrets = format!("TOKEN = {parameter}");
        let told = cloud.refusal();
        assert!(told.contains("`TOKEN`") && told.contains(wanted), "{told}");
    }
    // The version that is named is the one that is taken, though there is a newer one.
    cloud.scene.secrets = format!("TOKEN = {{ ssm = \"{PARAMETER}\", version = 1 }}");
    crate::sources::hold(&cloud.scene);
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn who_does_not_answer_or_is_not_aws_stops_the_start() {
    let mut cloud = Cloud::new();
    // A port that nobody is at any more.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let nobody = free.local_addr().unwrap().port();
    drop(free);
    let page = Road::to(cloud.moto.port, Manner::Page);
    let silent = Road::to(cloud.moto.port, Manner::Silent);
    for (port, wanted) in [
        (nobody, "AWS cannot be reached"),
        (page.port, "what answers is not AWS"),
        (silent.port, "AWS did not answer in time"),
    ] {
        cloud.configure("environment", "palisade-staging", port);
        let told = cloud.refusal();
        assert!(told.contains(wanted), "{told}");
    }
    // It was asked again, and not without end.
    assert_eq!(silent.calls().len(), 2);
    // In the clear it is asked on this machine alone.
    cloud.scene.more = cloud.scene.more.replace("127.0.0.1", "192.0.2.1");
    assert!(cloud.refusal().contains("`endpoint` of [aws] is for tests"));
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn many_parameters_are_asked_for_ten_at_a_time_and_each_once() {
    let moto = Moto::start();
    for number in 0..12 {
        moto.put(
            &format!("/palisade/{number}"),
            &format!("{SECRET}{number}"),
            "SecureString",
        );
    }
    moto.put(PARAMETER, SECRET, "SecureString");
    let mut cloud = Cloud::of(moto, ("AKIAANYBODY000000000".to_owned(), "x".repeat(40)));
    let secret = |it: usize| format!("\nT{it} = {{ ssm = \"/palisade/{it}\" }}");
    let secrets: String = (0..12).map(secret).collect();
    cloud.scene.secrets.push_str(&secrets);
    // Two secrets may be one parameter.
    let again = "\nAGAIN = { ssm = \"/palisade/1\" }";
    cloud.scene.secrets.push_str(again);
    let variables: String = (0..12).map(|it| format!("T{it} = \"T{it}\", ")).collect();
    let suite = format!(
        "[actions.run_tests.suites.many]\nprogram = \"suite\"\nfolder = \"{}\"\n\
         secrets = {{ {variables} AGAIN = \"AGAIN\" }}\n",
        cloud.scene.path("tree").display()
    );
    cloud.scene.more.push_str(&suite);
    drop(cloud.scene.start());
    let asked: Vec<_> = cloud
        .road
        .calls()
        .into_iter()
        .filter(|it| it.action == "ssm:GetParameters")
        .map(|it| it.fields["Names"].as_array().unwrap().len())
        .collect();
    // Twelve of the lane dry_run, and one of the lane execute.
    assert_eq!(asked, [10, 2, 1]);
}

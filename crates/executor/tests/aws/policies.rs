//! deploy/iam and the calls that are really made, held against each other: each call is allowed, and
//! each allowed action on each resource is made. moto looks at actions alone; resources and
//! conditions are judged here, as AWS documents them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::moto::{Cloud, LANES, REGION, document};

const ACCOUNT: &str = "123456789012";

/// What each lane's actions need, as deploy/iam has it.
const NEEDED: [(&str, &str, &str); 3] = [
    (
        "read_only",
        "PASSWORD",
        "/palisade/staging/database-password",
    ),
    ("dry_run", "TEST_TOKEN", "/palisade/staging/test-token"),
    ("execute", "TOKEN", "/palisade/staging/deploy-token"),
];

/// Something that somebody would do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deed {
    /// The file of deploy/iam that has to allow it.
    file: String,
    action: String,
    resource: String,
    context: BTreeMap<String, String>,
}

fn list(value: &Value) -> Vec<&str> {
    let Some(all) = value.as_array() else {
        return vec![value.as_str().unwrap()];
    };
    all.iter().map(|it| it.as_str().unwrap()).collect()
}

/// Returns the resources that a statement names; a trust names none, and is on one.
fn resources<'a>(statement: &'a Value, own: &'a str) -> Vec<&'a str> {
    statement.get("Resource").map_or(vec![own], list)
}

fn statements(file: &str) -> Vec<Value> {
    let document = document(file);
    assert_eq!(document["Version"], "2012-10-17");
    let statements = document["Statement"].as_array().unwrap().clone();
    let known = [
        "Sid",
        "Effect",
        "Principal",
        "Action",
        "Resource",
        "Condition",
    ];
    for key in statements
        .iter()
        .flat_map(|it| it.as_object().unwrap().keys())
    {
        assert!(
            known.contains(&key.as_str()),
            "{file}: {key} is not judged here"
        );
    }
    statements
}

/// Returns whether a statement speaks of a deed.
fn speaks_of(statement: &Value, deed: &Deed) -> bool {
    let resources = resources(statement, &deed.resource);
    let is = |key: &str| deed.context.get(key).map(String::as_str);
    let principal = statement.get("Principal");
    let condition = statement.get("Condition").and_then(Value::as_object);
    let holds = condition.into_iter().flatten().all(|(operator, keys)| {
        assert_eq!(operator, "StringEquals", "no other is judged here");
        let mut keys = keys.as_object().unwrap().iter();
        keys.all(|(key, wanted)| is(key).is_some_and(|it| list(wanted).contains(&it)))
    });
    list(&statement["Action"]).contains(&deed.action.as_str())
        && (resources.contains(&"*") || resources.contains(&deed.resource.as_str()))
        && principal.is_none_or(|it| is("principal") == it["AWS"].as_str())
        && holds
}

fn is_allowed(deed: &Deed) -> bool {
    let effect = |wanted: &str| {
        let mut all = statements(&deed.file).into_iter();
        all.any(|it| it["Effect"] == wanted && speaks_of(&it, deed))
    };
    effect("Allow") && !effect("Deny")
}

fn arn(parameter: &str) -> String {
    format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{parameter}")
}

fn role(lane: &str) -> String {
    let name = lane.replace('_', "-");
    format!("arn:aws:iam::{ACCOUNT}:role/palisade-executor-{name}")
}

fn deed(file: String, action: &str, resource: String, context: &[(&str, &str)]) -> Deed {
    let context = context.iter();
    Deed {
        file,
        action: action.to_owned(),
        resource,
        context: context
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// Returns the key that a lane's parameters are sealed with: the one its own file names.
fn seal(lane: &str) -> String {
    let all = statements(&format!("{lane}.permissions"));
    let opens = all.iter().find(|it| it["Action"] == "kms:Decrypt").unwrap();
    opens["Resource"].as_str().unwrap().to_owned()
}

/// Returns what reading a parameter in a lane's role comes to: AWS opens it with its key, in the
/// name of who reads.
fn reading(lane: &str, parameter: &str) -> [Deed; 2] {
    let (file, arn) = (format!("{lane}.permissions"), arn(parameter));
    let context = [
        ("kms:ViaService", format!("ssm.{REGION}.amazonaws.com")),
        ("kms:EncryptionContext:PARAMETER_ARN", arn.clone()),
    ];
    let context: Vec<_> = context
        .iter()
        .map(|(key, it)| (*key, it.as_str()))
        .collect();
    [
        deed(file.clone(), "ssm:GetParameters", arn, &[]),
        deed(file, "kms:Decrypt", seal(lane), &context),
    ]
}

/// Starts an executor that needs a secret in each lane, and returns what it really did.
fn done() -> BTreeSet<Deed> {
    let mut cloud = Cloud::new_before_it_is_enforced(|moto| {
        for (_, name, parameter) in NEEDED {
            moto.put(
                parameter,
                &format!("planted-{name}-0123456789"),
                "SecureString",
            );
        }
    });
    let secret =
        |(_, name, parameter): (&str, &str, &str)| format!("{name} = {{ ssm = \"{parameter}\" }}");
    cloud.scene.secrets = NEEDED.map(secret).join("\n");
    cloud.scene.more_keys = ", PASSWORD = { secret = \"PASSWORD\" }".to_owned();
    let suite = format!(
        "[actions.run_tests.suites.sealed]\nprogram = \"suite\"\nfolder = \"{}\"\n\
         secrets = {{ TOKEN = \"TEST_TOKEN\" }}\n",
        cloud.scene.path("tree").display()
    );
    cloud.scene.more.push_str(&suite);
    drop(cloud.scene.start());
    let user = format!("arn:aws:iam::{ACCOUNT}:user/palisade-executor");
    let mut deeds = BTreeSet::new();
    for call in cloud.road.calls() {
        match call.action.as_str() {
            "sts:AssumeRole" => {
                assert_eq!(call.key, cloud.key.0);
                assert_eq!(call.fields["DurationSeconds"], "900");
                let asked = call.fields["RoleArn"].as_str().unwrap();
                let lane = LANES.into_iter().find(|it| role(it) == asked).unwrap();
                let external_id = call.fields["ExternalId"].as_str().unwrap();
                let context = [
                    ("principal", user.as_str()),
                    ("sts:ExternalId", external_id),
                ];
                let trust = format!("{lane}.trust");
                deeds.insert(deed(trust, "sts:AssumeRole", asked.to_owned(), &context));
                deeds.insert(deed(
                    "caller".to_owned(),
                    "sts:AssumeRole",
                    asked.to_owned(),
                    &[],
                ));
            }
            "ssm:GetParameters" => {
                assert_eq!(call.fields["WithDecryption"], true);
                let session = cloud.road.role(&call.key).unwrap();
                let lane = LANES.into_iter().find(|it| role(it) == session).unwrap();
                let names = call.fields["Names"].as_array().unwrap().iter();
                deeds.extend(names.flat_map(|it| reading(lane, it.as_str().unwrap())));
            }
            other => panic!("nobody is to do {other}"),
        }
    }
    deeds
}

#[test]
#[ignore = "needs moto: `./check` installs it"]
fn what_is_done_is_allowed_and_what_is_allowed_is_done() {
    let done = done();
    for deed in &done {
        assert!(
            is_allowed(deed),
            "{deed:?} is done, and deploy/iam does not allow it"
        );
    }
    let mut allowed = BTreeSet::new();
    let lanes = LANES.into_iter();
    let files = lanes.flat_map(|it| [format!("{it}.trust"), format!("{it}.permissions")]);
    for file in files.chain(["caller".to_owned()]) {
        let lane = file.split('.').next().unwrap();
        for statement in statements(&file)
            .iter()
            .filter(|it| it["Effect"] == "Allow")
        {
            let role = role(lane);
            for action in list(&statement["Action"]) {
                for resource in resources(statement, &role) {
                    assert!(!action.contains('*') && !resource.contains('*'), "{file}");
                    allowed.insert((file.clone(), action.to_owned(), resource.to_owned()));
                }
            }
        }
    }
    let done: BTreeSet<_> = done
        .into_iter()
        .map(|it| (it.file, it.action, it.resource))
        .collect();
    assert_eq!(allowed, done, "what is allowed, and what is done");
}

#[test]
fn a_lane_reads_its_own_parameters_and_nothing_else() {
    for lane in LANES {
        for (other, _, parameter) in NEEDED {
            for deed in reading(lane, parameter) {
                let own = lane == other;
                assert_eq!(is_allowed(&deed), own, "{deed:?}");
            }
        }
        let file = format!("{lane}.permissions");
        let own = NEEDED.into_iter().find(|it| it.0 == lane).unwrap();
        for action in [
            "ssm:GetParametersByPath",
            "ssm:DescribeParameters",
            "ssm:GetParameterHistory",
            "ssm:GetParameter",
            "ssm:PutParameter",
            "kms:Encrypt",
        ] {
            let deed = deed(file.clone(), action, arn(own.2), &[]);
            assert!(!is_allowed(&deed), "{deed:?}");
        }
        // The key opens nothing but through parameters, and those of this lane alone.
        let bare = deed(file, "kms:Decrypt", seal(lane), &[]);
        assert!(!is_allowed(&bare), "{bare:?}");
    }
}

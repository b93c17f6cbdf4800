//! Tests of the scanner: a sample for each rule, what is none, and the limits.

use proptest::prelude::*;

use super::*;

fn scanner() -> Scanner {
    Scanner::standard().unwrap()
}

fn rules(text: &str) -> Vec<&'static str> {
    scanner()
        .scan(text.as_bytes())
        .into_iter()
        .map(|it| it.rule)
        .collect()
}

/// Returns so many characters of an alphabet, drawn the same way each time.
fn drawn(alphabet: &str, count: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ u64::try_from(count).unwrap();
    let mut text = String::new();
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state % u64::try_from(letters.len()).unwrap()).unwrap();
        text.push(letters[at]);
    }
    text
}

const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const AGE: &str = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";

fn hex(count: usize) -> String {
    drawn(HEX, count)
}

fn alnum(count: usize) -> String {
    drawn(ALNUM, count)
}

fn key(kind: &str) -> String {
    let body: Vec<String> = (0..6).map(|it| alnum(64 - it)).collect();
    let (begin, end) = (["-----BEGIN", kind].join(" "), ["-----END", kind].join(" "));
    format!("{begin}-----\n{}\n{end}-----\n", body.join("\n"))
}

/// For each rule of the table a text that it must find. None of them stands here as it is.
#[expect(clippy::too_many_lines, reason = "a table: one row for each rule")]
fn samples() -> Vec<(&'static str, String)> {
    let join = |parts: &[&str]| parts.concat();
    vec![
        ("private-key", key("RSA PRIVATE KEY")),
        (
            "putty-private-key",
            format!("Private-Lines: 4\n{}\n", alnum(64)),
        ),
        (
            "age-secret-key",
            join(&["AGE-SECRET-", "KEY-1", &drawn(AGE, 58)]),
        ),
        (
            "wireguard-private-key",
            format!("PrivateKey = {}=\n", alnum(43)),
        ),
        (
            "aws-access-key-id",
            join(&["id: AK", "IA", &drawn(UPPER, 16)]),
        ),
        (
            "aws-secret-access-key",
            format!("aws_secret_access_key = {}\n", alnum(40)),
        ),
        ("gcp-api-key", join(&["key=AI", "za", &alnum(35)])),
        ("google-oauth-secret", join(&["GOC", "SPX-", &alnum(28)])),
        ("google-oauth-token", join(&["ya", "29.", &alnum(70)])),
        (
            "gcp-service-account",
            format!("\"private_key_id\": \"{}\"", hex(40)),
        ),
        ("azure-storage-key", format!("AccountKey={}==;", alnum(86))),
        (
            "azure-client-secret",
            format!("x={}8Q~{}", alnum(3), alnum(34)),
        ),
        (
            "azure-shared-access-signature",
            format!("?sv=1&sig={}%3D", alnum(43)),
        ),
        (
            "azure-devops-token",
            join(&[&alnum(76), "AZ", "DO", &alnum(4)]),
        ),
        ("alibaba-access-key-id", join(&["LT", "AI", &alnum(20)])),
        ("digitalocean-token", join(&["dop_", "v1_", &hex(64)])),
        (
            "cloudflare-token",
            format!("CLOUDFLARE_API_TOKEN={}", alnum(40)),
        ),
        ("heroku-key", join(&["HR", "KU-", &alnum(40)])),
        ("netlify-token", join(&["nf", "p_", &alnum(36)])),
        ("supabase-token", join(&["sb", "p_", &hex(40)])),
        (
            "planetscale-credential",
            join(&["psc", "ale_pw_", &alnum(43)]),
        ),
        ("databricks-token", join(&["da", "pi", &hex(32)])),
        ("vault-token", join(&["hv", "s.", &alnum(30)])),
        (
            "terraform-cloud-token",
            join(&[&alnum(14), ".atlas", "v1.", &alnum(64)]),
        ),
        ("doppler-token", join(&["dp.", "pt.", &alnum(43)])),
        ("pulumi-token", join(&["pu", "l-", &hex(40)])),
        (
            "tailscale-key",
            join(&["tskey", "-auth-", &alnum(12), "-", &alnum(32)]),
        ),
        (
            "onepassword-service-account",
            join(&["ops_", "eyJ", &alnum(240)]),
        ),
        (
            "github-token",
            join(&["ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq17"]),
        ),
        ("github-app-token", join(&["gh", "s_", &alnum(36)])),
        (
            "github-fine-grained-token",
            join(&["github_", "pat_", &alnum(22), "_", &alnum(59)]),
        ),
        ("gitlab-token", join(&["gl", "pat-", &alnum(20)])),
        ("npm-token", join(&["np", "m_", &alnum(36)])),
        (
            "npmrc-auth",
            format!("//r.acme.io/:_authToken={}\n", hex(36)),
        ),
        (
            "pypi-token",
            join(&["pypi-", "AgEIcHlwaS5vcmc", &alnum(80)]),
        ),
        ("crates-io-token", join(&["ci", "o", &alnum(32)])),
        ("rubygems-key", join(&["ruby", "gems_", &hex(48)])),
        ("nuget-key", join(&["oy", "2", &drawn(LOWER, 43)])),
        ("docker-hub-token", join(&["dckr_", "pat_", &alnum(27)])),
        (
            "docker-config-auth",
            format!("{{\"auth\": \"{}=\"}}", alnum(31)),
        ),
        ("atlassian-token", join(&["ATA", "TT3", &alnum(180)])),
        ("sonarqube-token", join(&["sq", "p_", &hex(40)])),
        ("postman-key", join(&["PM", "AK-", &hex(24), "-", &hex(34)])),
        ("anthropic-key", join(&["sk-", "ant-api03-", &alnum(93)])),
        (
            "openai-key",
            join(&["sk-", "proj-", &alnum(70), "T3Blbk", "FJ", &alnum(70)]),
        ),
        ("openrouter-key", join(&["sk-or", "-v1-", &hex(64)])),
        (
            "hugging-face-token",
            join(&["h", "f_", &drawn(LETTERS, 34)]),
        ),
        ("groq-key", join(&["gs", "k_", &alnum(52)])),
        ("xai-key", join(&["xa", "i-", &alnum(80)])),
        ("perplexity-key", join(&["pp", "lx-", &alnum(48)])),
        ("replicate-token", join(&["r", "8_", &alnum(37)])),
        (
            "slack-token",
            join(&["xo", "xb-", "290318475620-840291756382-", &alnum(24)]),
        ),
        (
            "slack-app-token",
            join(&["xa", "pp-1-A0B1C2D3E4-4820917365-", &hex(64)]),
        ),
        (
            "slack-webhook",
            format!(
                "https://hooks.slack.com/services/T0A1B2C3D/B0E1F2G3H/{}",
                alnum(24)
            ),
        ),
        (
            "discord-webhook",
            format!(
                "https://discord.com/api/webhooks/123456789098765432/{}",
                alnum(68)
            ),
        ),
        (
            "discord-bot-token",
            format!("DISCORD_TOKEN=M{}.{}.{}", alnum(23), alnum(6), alnum(27)),
        ),
        (
            "telegram-bot-token",
            join(&["987654321:", "AA", &alnum(33)]),
        ),
        ("stripe-key", join(&["sk_", "live_", &alnum(24)])),
        ("stripe-webhook-secret", join(&["wh", "sec_", &alnum(32)])),
        ("square-token", join(&["sq0", "atp-", &alnum(22)])),
        (
            "braintree-token",
            join(&["access_token$", "production$", &hex(16), "$", &hex(32)]),
        ),
        ("shopify-token", join(&["shp", "at_", &hex(32)])),
        ("twilio-key", format!("TWILIO_AUTH_TOKEN={}", hex(32))),
        (
            "sendgrid-key",
            join(&["S", "G.", &alnum(22), ".", &alnum(43)]),
        ),
        ("mailgun-key", join(&["\"ke", "y-", &hex(32), "\""])),
        ("mailchimp-key", join(&[&hex(32), "-u", "s14"])),
        ("linear-key", join(&["lin_", "api_", &alnum(40)])),
        ("notion-token", join(&["nt", "n_", &alnum(46)])),
        ("figma-token", join(&["fi", "gd_", &alnum(40)])),
        ("new-relic-key", join(&["NR", "AK-", &drawn(UPPER, 27)])),
        (
            "grafana-token",
            join(&["gl", "sa_", &alnum(32), "_", &hex(8)]),
        ),
        ("datadog-key", format!("DD_API_KEY={}", hex(32))),
        ("sentry-token", join(&["sntr", "yu_", &hex(64)])),
        (
            "json-web-token",
            join(&[
                "ey",
                "J",
                &alnum(30),
                ".ey",
                "J",
                &alnum(40),
                ".",
                &alnum(43),
            ]),
        ),
        (
            "password-in-address",
            format!("postgres://app:{}@db.acme.io/app", alnum(14)),
        ),
        (
            "netrc-password",
            format!("machine acme.io login ada password {}", alnum(14)),
        ),
        (
            "authorization-header",
            format!("Authorization: Bearer {}", alnum(32)),
        ),
        (
            "named-secret",
            format!("session_secret = \"{}\"", alnum(32)),
        ),
        (
            "named-secret-unquoted",
            format!("SESSION_SECRET={}\n", alnum(32)),
        ),
    ]
}

#[test]
fn every_rule_finds_its_format() {
    let samples = samples();
    for (rule, text) in &samples {
        assert!(rules(text).contains(rule), "{rule}: {:?}", rules(text));
        let inside = format!("first\n{text}\nlast\n");
        assert!(!rules(&inside).is_empty(), "{rule} within a file");
    }
    for rule in RULES {
        assert!(
            samples.iter().any(|(id, _)| *id == rule.id),
            "no sample for {}",
            rule.id
        );
    }
}

#[test]
fn a_hit_tells_where_and_never_what() {
    let (_, token) = &samples()[28];
    let text = format!("one\ntwo\n  key: {token}\n");
    let hits = scanner().scan(text.as_bytes());
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert_eq!((hits[0].line, hits[0].column), (3, 8));
    assert_eq!(hits[0].fingerprint, fingerprint(token.as_bytes()));
    assert_eq!(hits[0].fingerprint.len(), 16);
    assert!(!format!("{hits:?}").contains(token.as_str()));
}

#[test]
fn placeholders_and_ordinary_text_are_no_hits() {
    for text in [
        "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
        "API_KEY=changeme-changeme-changeme\n",
        "token = \"${GITHUB_TOKEN}\"\n",
        "password: xxxxxxxxxxxxxxxxxxxxxxxx\n",
        "postgres://user:password@localhost:5432/app\n",
        "let token_type = \"application/vnd.github.v3+json\";\n",
        "const TOKEN_KIND: &str = \"some-long-identifier-with-words\";\n",
        "secret = \"550e8400-e29b-41d4-a716-446655440000\"\n",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n",
        "looks for \"-----BEGIN PRIVATE KEY-----\" in text\n",
        "sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b\n",
    ] {
        assert_eq!(rules(text), Vec::<&str>::new(), "{text}");
    }
    let typed = ["ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ", "0mLq18"].concat();
    assert_eq!(rules(&typed), Vec::<&str>::new(), "its checksum is wrong");
}

#[test]
fn bytes_that_are_no_text_are_searched_for_unmistakable_formats_only() {
    let named = format!("\0\0\nsession_secret = \"{}\"\n", alnum(32));
    assert_eq!(rules(&named), Vec::<&str>::new());
    assert_eq!(
        rules(&format!("\0\0{}", key("PRIVATE KEY"))),
        ["private-key"]
    );
}

#[test]
fn a_key_in_a_string_of_code_is_found() {
    let key = key("EC PRIVATE KEY").replace('\n', "\\n");
    assert_eq!(
        rules(&format!("const KEY: &str = \"{key}\";")),
        ["private-key"]
    );
}

#[test]
fn one_value_is_one_hit_of_the_most_particular_rule() {
    let token = ["np", "m_", &alnum(36)].concat();
    let text = format!("NPM_TOKEN=\"{token}\"\n");
    assert_eq!(rules(&text), ["npm-token"]);
}

#[test]
fn hits_are_told_up_to_a_limit() {
    let token = ["np", "m_", &alnum(36)].concat();
    let (scanner, told) = (scanner(), format!("{token}\n").repeat(HITS_MAX));
    let last = |text: &str| {
        let hits = scanner.scan(text.as_bytes());
        (hits.len(), hits[hits.len() - 1].clone())
    };
    assert_eq!(last(&told), (HITS_MAX, last(&told).1));
    let (count, one) = last(&format!("{told}{token}\n"));
    assert_eq!((count, one.rule), (HITS_MAX + 1, TOO_MANY));
    let (_, other) = last(&format!("{told}{token} {token}\n"));
    assert_ne!(
        one.fingerprint, other.fingerprint,
        "accepting one accepts no other"
    );
}

#[test]
fn words_at_every_place_are_searched_once() {
    // A window for each of these words would overlap a thousand others; they are merged.
    let text = "token".repeat(400_000);
    let scanner = scanner();
    let windows = scanner.windows(text.as_bytes(), true);
    let searched: usize = windows.values().flatten().map(|it| it.len()).sum();
    assert!(searched <= text.len() * windows.len(), "{searched}");
    assert!(scanner.scan(text.as_bytes()).is_empty());
}

#[test]
fn the_version_is_a_short_name() {
    assert_eq!(Scanner::version(), Scanner::version());
    assert_eq!(Scanner::version().len(), 16);
}

proptest! {
    #[test]
    fn any_bytes_are_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
        let hits = scanner_once().scan(&bytes);
        prop_assert!(hits.len() <= HITS_MAX + 1);
    }

    #[test]
    fn what_stands_around_a_token_does_not_hide_it(
        before in "[ -~\n]{0,200}[ \n\"'=]",
        after in "[ \n\"',;)][ -~\n]{0,200}",
    ) {
        let token = ["gl", "pat-", "q7Zr0vTn2KxWm5LpB3cD"].concat();
        let text = format!("{before}{token}{after}");
        let hits = scanner_once().scan(text.as_bytes());
        prop_assert!(hits.iter().any(|it| it.rule == "gitlab-token"), "{hits:?}");
    }
}

fn scanner_once() -> &'static Scanner {
    static SCANNER: std::sync::OnceLock<Scanner> = std::sync::OnceLock::new();
    SCANNER.get_or_init(scanner)
}

//! The rules: one row for each format of a credential, as data.
//!
//! A row names the words that must be near (all others cost nothing), the expression whose first
//! group is the value, the least entropy of the value, and where its provider describes it.

/// What is asked of a value beyond its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing: the format is unmistakable.
    Format,
    /// The last six characters are the CRC-32 of those after the prefix, in base 62.
    Checksum,
    /// The password of an address: it counts when the host is on a network.
    Address,
    /// What a variable with a telling name holds: it must look random.
    Random,
}

/// One format.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name, in messages and the log; never changed, since operators may quote it.
    pub id: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// Words of which one must be in the text, in lower case; found whatever their case there.
    pub near: &'static [&'static str],
    /// The expression; its first group is the value.
    pub pattern: &'static str,
    /// The least entropy of the value, in bits for each byte.
    pub entropy: f64,
    /// What more is asked.
    pub check: Check,
    /// Whether files that are not text are searched for it as well.
    pub in_binary: bool,
    /// Where the format is described.
    pub documented: &'static str,
}

/// An unmistakable format.
const fn known(
    id: &'static str,
    title: &'static str,
    near: &'static [&'static str],
    pattern: &'static str,
    documented: &'static str,
) -> Rule {
    Rule {
        id,
        title,
        near,
        pattern,
        entropy: 2.5,
        check: Check::Format,
        in_binary: true,
        documented,
    }
}

/// A format that is told by the words around it, in text only.
const fn told(
    id: &'static str,
    title: &'static str,
    near: &'static [&'static str],
    pattern: &'static str,
    entropy: f64,
    check: Check,
    documented: &'static str,
) -> Rule {
    Rule {
        id,
        title,
        near,
        pattern,
        entropy,
        check,
        in_binary: false,
        documented,
    }
}

/// All formats, the particular ones first: of several that cover the same bytes, the first counts.
pub const RULES: &[Rule] = &[
    // Keys
    known(
        "private-key",
        "a private key (PEM, OpenSSH, PGP)",
        &["private key"],
        r#"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]|["'+,\\])*(?:[A-Za-z-]{1,20}: ?[^\r\n\\]{1,80}(?:\s|\\[nr]|["'+,\\])+){0,6}((?:[A-Za-z0-9+/=]{16,}(?:\s|\\[nr]|["'+,\\])*)+)"#,
        "https://www.rfc-editor.org/rfc/rfc7468",
    ),
    known(
        "putty-private-key",
        "a PuTTY private key",
        &["private-lines:"],
        r"Private-Lines: \d{1,3}\s+([A-Za-z0-9+/=]{32,})",
        "https://tartarus.org/~simon/putty-snapshots/htmldoc/AppendixC.html",
    ),
    known(
        "age-secret-key",
        "an age identity",
        &["age-secret-key-1"],
        r"\b(AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58})\b",
        "https://age-encryption.org/v1",
    ),
    told(
        "wireguard-private-key",
        "a WireGuard private key",
        &["privatekey"],
        r"(?i)\bPrivateKey\s{0,4}=\s{0,4}([A-Za-z0-9+/]{43}=)",
        4.0,
        Check::Format,
        "https://man7.org/linux/man-pages/man8/wg.8.html",
    ),
    // Clouds
    known(
        "aws-access-key-id",
        "an AWS access key",
        &["akia", "asia", "abia", "acca"],
        r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html",
    ),
    told(
        "aws-secret-access-key",
        "an AWS secret access key",
        &[
            "secret_access_key",
            "secretaccesskey",
            "secret_key",
            "secretkey",
            "secret-access-key",
        ],
        r#"(?i)\b(?:aws_?)?secret[_-]?(?:access[_-]?)?key["']?\s{0,4}(?::=|=>|=|:|,)\s{0,4}["']?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        4.0,
        Check::Format,
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html",
    ),
    known(
        "gcp-api-key",
        "a Google API key",
        &["aiza"],
        r"\b(AIza[0-9A-Za-z_-]{35})(?:[^0-9A-Za-z_-]|$)",
        "https://cloud.google.com/docs/authentication/api-keys",
    ),
    known(
        "google-oauth-secret",
        "a Google OAuth client secret",
        &["gocspx-"],
        r"\b(GOCSPX-[0-9A-Za-z_-]{28})",
        "https://developers.google.com/identity/protocols/oauth2",
    ),
    known(
        "google-oauth-token",
        "a Google OAuth access token",
        &["ya29."],
        r"\b(ya29\.[0-9A-Za-z_-]{60,})",
        "https://developers.google.com/identity/protocols/oauth2",
    ),
    told(
        "gcp-service-account",
        "the key of a Google service account",
        &["private_key_id"],
        r#""private_key_id"\s{0,4}:\s{0,4}"([0-9a-f]{40})""#,
        3.0,
        Check::Format,
        "https://cloud.google.com/iam/docs/keys-create-delete",
    ),
    known(
        "azure-storage-key",
        "the key of an Azure storage account",
        &["accountkey=", "sharedaccesskey="],
        r"(?i)(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{42,86}={1,2})",
        "https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string",
    ),
    known(
        "azure-client-secret",
        "an Azure client secret",
        &["q~"],
        r"(?:^|[^A-Za-z0-9_~.-])([A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)",
        "https://learn.microsoft.com/purview/sit-defn-azure-ad-client-secret",
    ),
    told(
        "azure-shared-access-signature",
        "an Azure shared access signature",
        &["sig="],
        r"[?&]sig=([A-Za-z0-9%+/]{43,70}(?:%3D|=))",
        3.5,
        Check::Format,
        "https://learn.microsoft.com/rest/api/storageservices/create-service-sas",
    ),
    known(
        "azure-devops-token",
        "an Azure DevOps token",
        &["azdo"],
        r"\b([A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})\b",
        "https://learn.microsoft.com/azure/devops/organizations/accounts/use-personal-access-tokens-to-authenticate",
    ),
    known(
        "alibaba-access-key-id",
        "an Alibaba Cloud access key",
        &["ltai"],
        r"\b(LTAI[A-Za-z0-9]{17,21})\b",
        "https://www.alibabacloud.com/help/ram/user-guide/create-an-accesskey-pair",
    ),
    known(
        "digitalocean-token",
        "a DigitalOcean token",
        &["dop_v1_", "doo_v1_", "dor_v1_"],
        r"\b(do[opr]_v1_[a-f0-9]{64})\b",
        "https://docs.digitalocean.com/reference/api/create-personal-access-token/",
    ),
    told(
        "cloudflare-token",
        "a Cloudflare token",
        &["cloudflare", "cf_api"],
        r#"(?i)(?:cloudflare|cf_api)[\w.-]{0,30}["']?\s{0,4}(?::=|=>|=|:)\s{0,4}["']?([A-Za-z0-9_-]{37,40})(?:[^A-Za-z0-9_-]|$)"#,
        3.5,
        Check::Random,
        "https://developers.cloudflare.com/fundamentals/api/get-started/create-token/",
    ),
    known(
        "heroku-key",
        "a Heroku API key",
        &["hrku-"],
        r"\b(HRKU-[A-Za-z0-9_-]{36,})",
        "https://devcenter.heroku.com/articles/authentication",
    ),
    known(
        "netlify-token",
        "a Netlify token",
        &["nfp_"],
        r"\b(nfp_[A-Za-z0-9]{36})\b",
        "https://docs.netlify.com/api/get-started/",
    ),
    known(
        "supabase-token",
        "a Supabase token",
        &["sbp_"],
        r"\b(sbp_[a-f0-9]{40})\b",
        "https://supabase.com/docs/reference/api/introduction",
    ),
    known(
        "planetscale-credential",
        "a PlanetScale credential",
        &["pscale_"],
        r"\b(pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,64})",
        "https://planetscale.com/docs/concepts/service-tokens",
    ),
    known(
        "databricks-token",
        "a Databricks token",
        &["dapi"],
        r"\b(dapi[a-f0-9]{32}(?:-\d{1,2})?)\b",
        "https://docs.databricks.com/dev-tools/auth/pat.html",
    ),
    known(
        "vault-token",
        "a HashiCorp Vault token",
        &["hvs.", "hvb.", "hvr."],
        r"\b(hv[sbr]\.[A-Za-z0-9_-]{24,})",
        "https://developer.hashicorp.com/vault/docs/concepts/tokens",
    ),
    known(
        "terraform-cloud-token",
        "a Terraform Cloud token",
        &[".atlasv1."],
        r"\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,})",
        "https://developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens",
    ),
    known(
        "doppler-token",
        "a Doppler token",
        &["dp."],
        r"\b(dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44})\b",
        "https://docs.doppler.com/reference/auth-token-formats",
    ),
    known(
        "pulumi-token",
        "a Pulumi token",
        &["pul-"],
        r"\b(pul-[a-f0-9]{40})\b",
        "https://www.pulumi.com/docs/pulumi-cloud/access-management/access-tokens/",
    ),
    known(
        "tailscale-key",
        "a Tailscale key",
        &["tskey-"],
        r"\b(tskey-(?:api|auth|client|scim|webhook)-[A-Za-z0-9]{6,}-[A-Za-z0-9]{20,})\b",
        "https://tailscale.com/kb/1277/key-prefixes",
    ),
    known(
        "onepassword-service-account",
        "the token of a 1Password service account",
        &["ops_eyj"],
        r"\b(ops_eyJ[A-Za-z0-9+/_-]{200,}={0,2})",
        "https://developer.1password.com/docs/service-accounts/",
    ),
    // Code and packages
    Rule {
        id: "github-token",
        title: "a GitHub token",
        near: &["ghp_", "gho_", "ghu_", "ghr_"],
        pattern: r"\b(gh[pour]_[A-Za-z0-9]{36})\b",
        entropy: 3.0,
        check: Check::Checksum,
        in_binary: true,
        documented: "https://github.blog/engineering/behind-githubs-new-authentication-token-formats/",
    },
    known(
        "github-app-token",
        "a token of a GitHub app",
        &["ghs_"],
        r"\b(ghs_[A-Za-z0-9._-]{36,})",
        "https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    known(
        "github-fine-grained-token",
        "a fine-grained GitHub token",
        &["github_pat_"],
        r"\b(github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
        "https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    ),
    known(
        "gitlab-token",
        "a GitLab token",
        &[
            "glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-",
            "glsoat-", "glcbt-",
        ],
        r"\b(gl(?:pat|dt|rt|ptt|ft|imt|agent|oas|soat|cbt)-[A-Za-z0-9_.-]{20,})",
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
    ),
    known(
        "npm-token",
        "an npm token",
        &["npm_"],
        r"\b(npm_[A-Za-z0-9]{36})\b",
        "https://docs.npmjs.com/about-access-tokens",
    ),
    told(
        "npmrc-auth",
        "a registry's token or password in an npm configuration",
        &["_authtoken", "_password", "_auth"],
        r#"(?m)_(?:authToken|auth|password)\s{0,4}=\s{0,4}["']?([A-Za-z0-9+/_.=-]{16,})"#,
        3.0,
        Check::Format,
        "https://docs.npmjs.com/cli/configuring-npm/npmrc",
    ),
    known(
        "pypi-token",
        "a PyPI token",
        &["pypi-age"],
        r"\b(pypi-AgE[A-Za-z0-9_-]{50,})",
        "https://pypi.org/help/#apitoken",
    ),
    known(
        "crates-io-token",
        "a crates.io token",
        &["cio"],
        r"\b(cio[A-Za-z0-9]{32})\b",
        "https://doc.rust-lang.org/cargo/reference/publishing.html",
    ),
    known(
        "rubygems-key",
        "a RubyGems key",
        &["rubygems_"],
        r"\b(rubygems_[a-f0-9]{48})\b",
        "https://guides.rubygems.org/api-key-scopes/",
    ),
    known(
        "nuget-key",
        "a NuGet key",
        &["oy2"],
        r"\b(oy2[a-z0-9]{43})\b",
        "https://learn.microsoft.com/nuget/nuget-org/publish-a-package",
    ),
    known(
        "docker-hub-token",
        "a Docker Hub token",
        &["dckr_pat_", "dckr_oat_"],
        r"\b(dckr_[po]at_[A-Za-z0-9_-]{27,})",
        "https://docs.docker.com/security/access-tokens/",
    ),
    told(
        "docker-config-auth",
        "a login in a Docker configuration",
        &["\"auth\""],
        r#""auth"\s{0,8}:\s{0,8}"([A-Za-z0-9+/]{20,}={0,2})""#,
        3.0,
        Check::Random,
        "https://docs.docker.com/reference/cli/docker/login/",
    ),
    known(
        "atlassian-token",
        "an Atlassian token",
        &["atatt3"],
        r"\b(ATATT3[A-Za-z0-9_=-]{100,})",
        "https://support.atlassian.com/atlassian-account/docs/manage-api-tokens-for-your-atlassian-account/",
    ),
    known(
        "sonarqube-token",
        "a SonarQube token",
        &["sqp_", "squ_", "sqa_"],
        r"\b(sq[pua]_[a-f0-9]{40})\b",
        "https://docs.sonarsource.com/sonarqube-server/user-guide/managing-tokens/",
    ),
    known(
        "postman-key",
        "a Postman key",
        &["pmak-"],
        r"\b(PMAK-[a-f0-9]{24}-[a-f0-9]{34})\b",
        "https://learning.postman.com/docs/developer/postman-api/authentication/",
    ),
    // Models
    known(
        "anthropic-key",
        "an Anthropic key",
        &["sk-ant-"],
        r"\b(sk-ant-[a-z]{3,8}\d{2}-[A-Za-z0-9_-]{80,})",
        "https://docs.anthropic.com/en/api/overview",
    ),
    known(
        "openai-key",
        "an OpenAI key",
        &["t3blbkfj"],
        r"\b(sk-[A-Za-z0-9_-]{20,200}T3BlbkFJ[A-Za-z0-9_-]{20,200})",
        "https://platform.openai.com/docs/api-reference/authentication",
    ),
    known(
        "openrouter-key",
        "an OpenRouter key",
        &["sk-or-v1-"],
        r"\b(sk-or-v1-[a-f0-9]{64})\b",
        "https://openrouter.ai/docs/api-reference/authentication",
    ),
    known(
        "hugging-face-token",
        "a Hugging Face token",
        &["hf_", "api_org_"],
        r"\b((?:hf|api_org)_[A-Za-z]{34})\b",
        "https://huggingface.co/docs/hub/security-tokens",
    ),
    known(
        "groq-key",
        "a Groq key",
        &["gsk_"],
        r"\b(gsk_[A-Za-z0-9]{52})\b",
        "https://console.groq.com/docs/quickstart",
    ),
    known(
        "xai-key",
        "an xAI key",
        &["xai-"],
        r"\b(xai-[A-Za-z0-9]{80})\b",
        "https://docs.x.ai/docs/overview",
    ),
    known(
        "perplexity-key",
        "a Perplexity key",
        &["pplx-"],
        r"\b(pplx-[A-Za-z0-9]{48})\b",
        "https://docs.perplexity.ai/",
    ),
    known(
        "replicate-token",
        "a Replicate token",
        &["r8_"],
        r"\b(r8_[A-Za-z0-9]{37})\b",
        "https://replicate.com/docs/topics/security/api-tokens",
    ),
    // Messages and money
    known(
        "slack-token",
        "a Slack token",
        &[
            "xoxa-", "xoxb-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xoxc-",
            "xoxd-",
        ],
        r"\b(xox[abceoprsd][.-](?:[A-Za-z0-9%]+-){0,4}[A-Za-z0-9%+/=-]{20,})",
        "https://docs.slack.dev/authentication/tokens",
    ),
    known(
        "slack-app-token",
        "an app-level Slack token",
        &["xapp-"],
        r"\b(xapp-\d-[A-Z0-9]{8,}-\d{8,}-[a-z0-9]{40,})\b",
        "https://docs.slack.dev/authentication/tokens",
    ),
    known(
        "slack-webhook",
        "a Slack webhook",
        &["hooks.slack.com"],
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9]{8,}/[A-Za-z0-9]{8,}/[A-Za-z0-9]{18,})",
        "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
    ),
    known(
        "discord-webhook",
        "a Discord webhook",
        &["/api/webhooks/"],
        r"discord(?:app)?\.com/api/webhooks/\d{16,20}/([A-Za-z0-9_-]{60,})",
        "https://discord.com/developers/docs/resources/webhook",
    ),
    told(
        "discord-bot-token",
        "a Discord bot token",
        &["discord", "bot_token", "bot token"],
        r#"(?i-u:discord|bot[_ ]token)[^\n]{0,60}[^A-Za-z0-9_-]([MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38})(?:[^A-Za-z0-9_-]|$)"#,
        3.5,
        Check::Format,
        "https://discord.com/developers/docs/reference#authentication",
    ),
    known(
        "telegram-bot-token",
        "a Telegram bot token",
        &[":aa"],
        r"\b(\d{8,10}:AA[A-Za-z0-9_-]{33})(?:[^A-Za-z0-9_-]|$)",
        "https://core.telegram.org/bots/api#authorizing-your-bot",
    ),
    known(
        "stripe-key",
        "a Stripe key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_"],
        r"\b([sr]k_(?:live|test)_[A-Za-z0-9]{24,247})\b",
        "https://docs.stripe.com/keys",
    ),
    known(
        "stripe-webhook-secret",
        "the secret of a Stripe webhook",
        &["whsec_"],
        r"\b(whsec_[A-Za-z0-9+/]{32,})",
        "https://docs.stripe.com/webhooks",
    ),
    known(
        "square-token",
        "a Square token",
        &["sq0atp-", "sq0csp-"],
        r"\b(sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43})",
        "https://developer.squareup.com/docs/build-basics/access-tokens",
    ),
    known(
        "braintree-token",
        "a PayPal Braintree token",
        &["access_token$production$"],
        r"(access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32})\b",
        "https://developer.paypal.com/braintree/docs/start/overview",
    ),
    known(
        "shopify-token",
        "a Shopify token",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        r"\b(shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32})\b",
        "https://shopify.dev/docs/apps/build/authentication-authorization",
    ),
    told(
        "twilio-key",
        "a Twilio key or token",
        &["twilio"],
        r#"(?i)twilio[\w .-]{0,30}["']?\s{0,4}(?::=|=>|=|:|,)\s{0,4}["']?((?-i:SK)?[0-9a-f]{32})\b"#,
        3.0,
        Check::Format,
        "https://www.twilio.com/docs/iam/api-keys",
    ),
    known(
        "sendgrid-key",
        "a SendGrid key",
        &["sg."],
        r"\b(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})(?:[^A-Za-z0-9_-]|$)",
        "https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys",
    ),
    known(
        "mailgun-key",
        "a Mailgun key",
        &["key-"],
        r"(?:^|[^A-Za-z0-9_-])(key-[0-9a-f]{32})\b",
        "https://documentation.mailgun.com/docs/mailgun/api-reference/mg-auth",
    ),
    known(
        "mailchimp-key",
        "a Mailchimp key",
        &["-us"],
        r"\b([0-9a-f]{32}-us\d{1,2})\b",
        "https://mailchimp.com/developer/marketing/guides/quick-start/",
    ),
    // Tools of the trade
    known(
        "linear-key",
        "a Linear key",
        &["lin_api_"],
        r"\b(lin_api_[A-Za-z0-9]{40})\b",
        "https://linear.app/developers/graphql",
    ),
    known(
        "notion-token",
        "a Notion token",
        &["ntn_", "secret_"],
        r"\b(ntn_[A-Za-z0-9]{46}|secret_[A-Za-z0-9]{43})\b",
        "https://developers.notion.com/reference/authentication",
    ),
    known(
        "figma-token",
        "a Figma token",
        &["figd_"],
        r"\b(figd_[A-Za-z0-9_-]{38,})",
        "https://www.figma.com/developers/api#access-tokens",
    ),
    known(
        "new-relic-key",
        "a New Relic key",
        &["nrak-"],
        r"\b(NRAK-[A-Z0-9]{27})\b",
        "https://docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys/",
    ),
    known(
        "grafana-token",
        "a Grafana token",
        &["glsa_", "glc_"],
        r"\b(glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}|glc_eyJ[A-Za-z0-9+/=]{32,})",
        "https://grafana.com/docs/grafana/latest/administration/service-accounts/",
    ),
    told(
        "datadog-key",
        "a Datadog key",
        &["datadog", "dd_api", "dd_app"],
        r#"(?i)(?:datadog|dd)[_-](?:api|app(?:lication)?)[_-]?key["']?\s{0,4}(?::=|=>|=|:|,)\s{0,4}["']?([0-9a-f]{32}(?:[0-9a-f]{8})?)\b"#,
        3.0,
        Check::Format,
        "https://docs.datadoghq.com/account_management/api-app-keys/",
    ),
    known(
        "sentry-token",
        "a Sentry token",
        &["sntrys_", "sntryu_"],
        r"\b(sntrys_[A-Za-z0-9+/=_-]{60,}|sntryu_[a-f0-9]{64})",
        "https://docs.sentry.io/account/auth-tokens/",
    ),
    // Wherever they are for
    known(
        "json-web-token",
        "a signed JSON web token",
        &["eyj"],
        r"\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,})",
        "https://www.rfc-editor.org/rfc/rfc7519",
    ),
    told(
        "password-in-address",
        "an address with a password",
        &["://"],
        r#"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@"'`<>(){}\[\]$]{1,100}:([^\s:/@"'`<>(){}\[\]$]{8,200})@([a-z0-9.-]{1,253})"#,
        2.8,
        Check::Address,
        "https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1",
    ),
    told(
        "netrc-password",
        "a password in a netrc file",
        &["machine"],
        r"\bmachine\s{1,8}\S{1,253}\s{1,8}login\s{1,8}\S{1,100}\s{1,8}password\s{1,8}(\S{8,200})",
        2.8,
        Check::Format,
        "https://www.gnu.org/software/inetutils/manual/html_node/The-_002enetrc-file.html",
    ),
    told(
        "authorization-header",
        "a value of an Authorization header",
        &["authorization"],
        r#"(?i)\bauthorization["']?\s{0,4}(?:=>|=|:|,)\s{0,4}["']?(?:bearer|basic|token)\s{1,4}([A-Za-z0-9._~+/=-]{20,})"#,
        3.7,
        Check::Random,
        "https://www.rfc-editor.org/rfc/rfc9110#section-11.6.2",
    ),
    told(
        "named-secret",
        "a variable named like a secret with a random value",
        &[
            "secret",
            "token",
            "passw",
            "pwd",
            "api_key",
            "apikey",
            "api-key",
            "access_key",
            "private_key",
            "credential",
            "auth_key",
            "signing_key",
            "encryption_key",
        ],
        r#"(?i)([A-Za-z0-9_.-]{0,40}(?:secret|token|passwd|password|passwort|pwd|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth[_-]?key|signing[_-]?key|encryption[_-]?key)[A-Za-z0-9_.-]{0,20})["'\]]{0,2}\s{0,4}(?::=|=>|=|:)\s{0,4}["'`]([A-Za-z0-9+/=_.~!@#%^&*-]{16,200})["'`]"#,
        3.6,
        Check::Random,
        "https://cwe.mitre.org/data/definitions/798.html",
    ),
    told(
        "named-secret-unquoted",
        "a variable named like a secret with a random value",
        &[
            "secret",
            "token",
            "passw",
            "pwd",
            "api_key",
            "apikey",
            "access_key",
            "private_key",
            "credential",
        ],
        r#"(?m)^[ \t]{0,8}(?:export[ \t]+|set[ \t]+|-[ \t]+|ENV[ \t]+)?([A-Za-z0-9_.-]{0,40}(?i:secret|token|passwd|password|pwd|api_?key|access_?key|private_?key|credential)[A-Za-z0-9_.-]{0,20})[ \t]{0,4}[=:][ \t]{0,4}([A-Za-z0-9+/=_.~!@#%^&*-]{16,200})[ \t\r]*$"#,
        3.6,
        Check::Random,
        "https://cwe.mitre.org/data/definitions/798.html",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_whole() {
        let ids: BTreeSet<&str> = RULES.iter().map(|it| it.id).collect();
        assert_eq!(ids.len(), RULES.len(), "a name stands for one rule");
        assert!(RULES.len() >= 40);
        for rule in RULES {
            assert!(!rule.near.is_empty(), "{}: no word is near", rule.id);
            for word in rule.near {
                assert_eq!(*word, word.to_lowercase(), "{}", rule.id);
                assert!(word.len() >= 3 || *word == "q~", "{}: `{word}`", rule.id);
            }
            assert!(rule.documented.starts_with("https://"), "{}", rule.id);
        }
    }
}

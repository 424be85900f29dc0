use super::*;

fn read(text: &str) -> Result<Config, String> {
    let folder = Path::new("folder");
    let reader = Reader { path: Path::new("jit.toml"), text, folder };
    let file = toml::from_str(text).map_err(|error: toml::de::Error| {
        reader.wrong(error.span().map_or(0, |span| span.start), error.message()).message
    })?;
    reader.config(file).map_err(|failure| failure.message)
}

const WHOLE: &str = r#"
policy = "policy.toml"
[store]
url = "sqlite:jit.db"
[targets.orders-prod]
url = "postgres://jit_broker@127.0.0.1:5432/orders"
password_file = "secret"
tls = { mode = "verify-full", ca = "ca.pem" }
[audit]
signing_key = "audit.key"
file = "/var/log/jit.jsonl"
[tenants.acme]
policy = "acme.toml"
"#;

#[test]
fn what_is_configured_is_placed_beside_the_file() {
    let config = read(WHOLE).unwrap();
    assert_eq!(config.store, StoreAt::Sqlite(PathBuf::from("folder/jit.db")));
    let main = &config.tenants[&TenantId::default()];
    assert_eq!(main.policy, PathBuf::from("folder/policy.toml").into());
    assert_eq!(main.audit.file, Some(PathBuf::from("/var/log/jit.jsonl")));
    let target = &main.targets["orders-prod"];
    assert_eq!(target.password, Some(Password::File(PathBuf::from("folder/secret"))));
    assert_eq!(target.tls, TlsMode::verify_full(Some(PathBuf::from("folder/ca.pem"))));
    assert_eq!(config.tenants.len(), 2);
}

#[test]
fn the_name_in_a_certificate_and_the_administrators_are_read() {
    let named = "tls = { mode = \"verify-full\", ca = \"ca.pem\", server_name = \"project:instance\" }\nadministrators = [\"steward\"]";
    let whole = WHOLE.replace("tls = { mode = \"verify-full\", ca = \"ca.pem\" }", named);
    let config = read(&whole).unwrap();
    let target = &config.tenants[&TenantId::default()].targets["orders-prod"];
    let (ca, server_name) = (Some(PathBuf::from("folder/ca.pem")), Some("project:instance".to_owned()));
    assert_eq!(target.tls, TlsMode::VerifyFull { ca, server_name });
    assert_eq!(target.administrators, ["steward"]);
    let chain = WHOLE.replace("verify-full", "verify-ca");
    let config = read(&chain).unwrap();
    let target = &config.tenants[&TenantId::default()].targets["orders-prod"];
    assert_eq!(target.tls, TlsMode::VerifyCa { ca: PathBuf::from("folder/ca.pem") });
}

#[test]
fn everything_wrong_is_placed_and_says_what_is_known() {
    for (from, to, says) in [
        ("policy = \"policy", "polcy = \"policy", "jit.toml:2:1: unknown field `polcy`, expected one of"),
        ("password_file", "pasword_file", "jit.toml:7:1: unknown field `pasword_file`"),
        ("sqlite:jit.db", "postgres://node:secret@x/y", "the URL of the store holds a password"),
        (
            "url = \"sqlite:jit.db\"",
            "url = \"sqlite:jit.db\"\ntls = { mode = \"verify-full\" }",
            "only a store at `postgres://`",
        ),
        ("sqlite:jit.db", "jit.db", "this is not a store"),
        (
            "password_file = \"secret\"",
            "dead_mans_switch_grace = \"60\"",
            "jit.toml:7:26: `dead_mans_switch_grace`: `60` lacks a unit",
        ),
        (
            "[tenants.acme]",
            "[notify.slack.dba]\n[tenants.acme]",
            "`[notify.slack.dba]` has no `url`, `url_file` or `url_env`",
        ),
        ("jit_broker@", "jit_broker:hunter2@", "holds a password"),
        ("postgres://", "oracle://", "knows targets of `postgres://`, `mysql://`"),
        ("\"verify-full\"", "\"none\"", "jit.toml:8"),
        ("{ mode = \"verify-full\", ca = \"ca.pem\" }", "{ mode = \"verify-ca\" }", "jit.toml:8:7: missing field `ca`"),
        (
            "url = \"postgres://jit_broker@127.0.0.1:5432/orders\"",
            "administrators = [\"steward\"]\nurl = \"mysql://jit_broker@127.0.0.1:3306\"",
            "only a target of PostgreSQL",
        ),
        ("[tenants.acme]", "[tenants.default]", "keep one of the two"),
        ("file = \"/var", "file \"/var", "jit.toml:11"),
    ] {
        let error = read(&WHOLE.replace(from, to)).unwrap_err();
        assert!(error.contains(says), "{to}: {error}");
        assert!(!error.contains('\n') && !error.contains("hunter2"), "{error}");
    }
    assert!(read("[store]\nurl = \"memory:\"").unwrap_err().contains("has no `policy`"));
}

//! Tests of wrong use of the trial binary: each is answered in one line that says what to do, with
//! its exit code. The target never answers here; examples/quickstart.sh tests what needs a
//! database.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = r#"
policy = "policy.toml"
[store]
url = "sqlite:jit.db"
[targets.orders-prod]
url = "postgres://jit_broker@127.0.0.1:1/orders"
password_file = "password"
tls = { mode = "danger-plaintext" }
[audit]
signing_key = "audit.key"
file = "audit.jsonl"
[tenants.acme]
policy = "policy.toml"
"#;

const POLICY: &str = r#"
version = 1
[groups]
payments = ["alice"]
dba      = ["alice", "bob", "carol"]
security = ["frank"]
[[may]]
do      = ["stop", "resume", "clock", "retire"]
who     = ["group:security"]
targets = ["*"]
[[rule]]
name       = "change orders"
targets    = ["orders-prod"]
roles      = ["orders_write"]
requesters = ["group:payments"]
max        = "1h"
[[rule.stage]]
people = [{ group = "dba", quorum = 2 }]
"#;

const ASK: [&str; 5] = ["request", "--target=orders-prod", "--role=orders_write", "--as=alice", "--json"];

/// Answer of a command.
struct Said {
    code: i32,
    out: String,
    error: String,
}

impl Said {
    /// Checks that it fails with this code, in one line that contains this text.
    #[track_caller]
    fn fails(&self, code: i32, with: &str) {
        let Self { error, .. } = self;
        assert_eq!(self.code, code, "{error}");
        assert!(error.contains(with), "{error} has no `{with}`");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.error))
    }
}

fn trial() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jit.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
    folder
}

fn jit(folder: &Path, arguments: &[&str]) -> Said {
    said(Command::new(env!("CARGO_BIN_EXE_jit")).args(arguments).current_dir(folder))
}

/// Removes the environment of the user who runs the tests: it must not decide what a command does.
fn by_itself(command: &mut Command) -> &mut Command {
    ["JIT_CONFIG", "JIT_TENANT", "JIT_AS", "JIT_LOG"].iter().fold(command, |command, name| command.env_remove(name))
}

fn said(command: &mut Command) -> Said {
    let command = by_itself(command);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
}

fn asked(folder: &Path) -> String {
    let said = jit(folder, &[&ASK[..], &["--for=5m"]].concat());
    assert_eq!(said.code, 0, "{}", said.error);
    let access = said.json();
    assert_eq!(access["state"], "pending");
    assert_eq!(access["can_decide"], serde_json::json!(["bob", "carol"]));
    access["id"].as_str().unwrap().to_owned()
}

#[test]
fn without_a_configuration_init_is_named() {
    let folder = tempfile::tempdir().unwrap();
    jit(folder.path(), &["list"]).fails(2, "jit init");
    let said = jit(folder.path(), &["list", "--json"]);
    let error: Value = serde_json::from_str(&said.error).unwrap();
    assert_eq!(error["error"]["kind"], "configuration");
    assert!(error["error"]["hint"].as_str().unwrap().contains("jit init"));
}

#[test]
fn init_writes_what_is_sound_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(jit(folder.path(), &["init"]).code, 0);
    let check = jit(folder.path(), &["policy", "check"]);
    assert_eq!((check.code, check.out.trim()), (0, "policy.toml: sound"));
    jit(folder.path(), &["init"]).fails(2, "nothing was written");
    assert_eq!(jit(folder.path(), &["list"]).code, 0);
}

#[test]
fn a_duration_has_to_be_given_and_possible() {
    let folder = trial();
    for (how_long, code, says) in [
        (vec![], 2, "--for"),
        (vec!["--for=0s"], 2, "longer than zero"),
        (vec!["--for", "-5m"], 2, "negative"),
        (vec!["--for="], 2, "no length of time"),
        (vec!["--for", "--reason=x"], 2, "a length of time after --for"),
        (vec!["--for=soon"], 2, "not a length of time"),
        (vec!["--for=2h"], 1, "at most `1h`"),
    ] {
        jit(folder.path(), &[&ASK[..4], &how_long].concat()).fails(code, says);
    }
}

#[test]
fn what_no_rule_allows_and_what_is_not_there_is_refused() {
    let folder = trial();
    let ask = |target: &str, role: &str, who: &str| jit(folder.path(), &["request", target, role, who, "--for=5m"]);
    ask("--target=orders-prod", "--role=orders_wrote", "--as=alice").fails(1, "no rule lets `alice`");
    ask("--target=nowhere", "--role=orders_write", "--as=alice").fails(1, "configured are `orders-prod`");
    ask("--target=orders-prod", "--role=orders_write", "--as=mallory").fails(1, "no rule lets `mallory`");
    jit(folder.path(), &["approve", "nonsense", "--as=bob"]).fails(2, "not a UUID");
    let unknown = "018f6f3e-7d4c-7000-8000-000000000000";
    jit(folder.path(), &["approve", unknown, "--as=bob"]).fails(1, "there is no access");
    jit(folder.path(), &["stop", "--all", "--as=bob"]).fails(1, "`bob` may not stop");
    jit(folder.path(), &["list", "--state=odd"]).fails(2, "known are pending");
    jit(folder.path(), &["aprove"]).fails(2, "did you mean `approve`?");
}

#[test]
fn nobody_decides_on_his_own_request_nor_twice_nor_across_tenants() {
    let folder = trial();
    let id = asked(folder.path());
    jit(folder.path(), &["approve", &id, "--as=alice"]).fails(1, "nobody decides on their own request");
    jit(folder.path(), &["approve", &id, "--as=mallory"]).fails(1, "not among those who may decide");
    jit(folder.path(), &["--tenant=acme", "show", &id]).fails(1, "there is no access");
    jit(folder.path(), &["--tenant=nope", "show", &id]).fails(2, "configured are `acme`, `default`");
    assert_eq!(jit(folder.path(), &["approve", &id, "--as=bob"]).code, 0);
    jit(folder.path(), &["approve", &id, "--as=bob"]).fails(1, "decided already");
}

#[test]
fn a_database_that_does_not_answer_is_said_and_nothing_is_lost() {
    let folder = trial();
    let id = asked(folder.path());
    assert_eq!(jit(folder.path(), &["approve", &id, "--as=bob"]).code, 0);
    jit(folder.path(), &["approve", &id, "--as=carol"]).fails(3, "not usable");
    let access = jit(folder.path(), &["show", &id, "--json"]).json();
    assert_eq!(access["state"], "scheduled");
    let doctor = jit(folder.path(), &["doctor"]);
    doctor.fails(3, "not reachable: orders-prod");
    assert!(!format!("{}{}", doctor.out, doctor.error).contains("hunter2"));
}

/// Creates a folder with one target of each engine, none of which answers, and with the role of the
/// README.
fn targets_of_the_documentation() -> TempDir {
    let folder = trial();
    let mut config = "policy = \"policy.toml\"\nstore = { url = \"sqlite:jit.db\" }\n".to_owned();
    for (name, url) in [
        ("orders-prod", "postgres://jit_broker@127.0.0.1:1/orders"),
        ("orders-mysql", "mysql://jit_broker@127.0.0.1:1"),
        ("orders-mariadb", "mariadb://jit_broker@127.0.0.1:1"),
        ("orders-mssql", "mssql://jit_broker@127.0.0.1:1/orders"),
    ] {
        config.push_str(&format!("[targets.{name}]\nurl = \"{url}\"\npassword_file = \"password\"\n"));
    }
    std::fs::write(folder.path().join("jit.toml"), config).unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY.replace("\"orders-prod\"", "\"orders-*\"")).unwrap();
    folder
}

#[test]
fn what_sets_a_target_up_is_printed_before_it_answers() {
    let folder = targets_of_the_documentation();
    for name in ["orders-prod", "orders-mysql", "orders-mariadb", "orders-mssql"] {
        let said = jit(folder.path(), &["doctor", "--sql", name]);
        assert_eq!(said.code, 0, "{}", said.error);
        assert!(said.out.contains("orders_write") && said.out.contains("jit_broker"), "{}", said.out);
        assert!(!said.out.contains("hunter2"), "{name}: the password is printed");
        let told = jit(folder.path(), &["doctor", "--json", "--sql", name]).json();
        assert_eq!(told["script"].as_str().unwrap().trim_end(), said.out.trim_end());
    }
    // the store is not needed
    assert!(!folder.path().join("jit.db").exists());
    jit(folder.path(), &["doctor", "--sql", "nowhere"]).fails(1, "configured are");
}

#[test]
fn the_documentation_shows_what_is_printed() {
    let folder = targets_of_the_documentation();
    let pages = [
        ("postgresql.md", &["orders-prod"][..]),
        ("mysql.md", &["orders-mysql", "orders-mariadb"]),
        ("sql-server.md", &["orders-mssql"]),
    ];
    for (page, targets) in pages {
        let text = std::fs::read_to_string(format!("{}/../docs/src/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let shown: Vec<&str> = text.split("```sql\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
        assert_eq!(shown.len(), targets.len(), "{page}");
        for (shown, target) in shown.iter().zip(targets) {
            let printed = jit(folder.path(), &["doctor", "--sql", target]).out;
            let mut rest = printed.as_str();
            // a line of dots stands for statements that the page leaves out
            for part in shown.split_inclusive('\n').collect::<Vec<_>>().split(|line| line.starts_with("-- ...")) {
                let part = part.concat();
                let found = rest.split_once(&part);
                rest = found.unwrap_or_else(|| panic!("{page}: {target} does not print, in this place:\n{part}")).1;
            }
        }
    }
}

/// Compares the Rust of the README and of the book with the program that is compiled, statement by
/// statement. Imports and comments may differ.
#[test]
fn the_documentation_embeds_as_the_example_does() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let dense = |text: &str| text.split_whitespace().collect::<String>();
    let program = dense(&std::fs::read_to_string(format!("{root}/examples/src/bin/embed.rs")).unwrap());
    for page in ["README.md", "docs/src/embedding.md"] {
        let text = std::fs::read_to_string(format!("{root}/{page}")).unwrap();
        let block = text.split_once("```rust,ignore\n").unwrap().1.split_once("```").unwrap().0;
        let code: String = block.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let statements: Vec<&str> = code.split(';').filter(|part| !part.trim().is_empty()).collect();
        assert!(statements.len() > 5, "{page}");
        for statement in statements.into_iter().filter(|statement| !statement.trim_start().starts_with("use ")) {
            assert!(program.contains(&dense(statement)), "{page}: not in embed.rs: {statement}");
        }
    }
}

#[test]
fn a_typo_is_placed() {
    let folder = trial();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, POLICY.replace("max        =", "maxx       =")).unwrap();
    let said = jit(folder.path(), &["policy", "check"]);
    assert_eq!(said.code, 2);
    assert!(said.error.contains("policy.toml:16:1: unknown key `maxx`"), "{}", said.error);
    std::fs::write(folder.path().join("jit.toml"), CONFIG.replace("password_file", "pasword_file")).unwrap();
    jit(folder.path(), &["list"]).fails(2, "jit.toml:7:1: unknown field `pasword_file`");
}

#[test]
fn a_store_of_a_newer_version_is_left_as_it_is() {
    let folder = trial();
    assert_eq!(jit(folder.path(), &["list"]).code, 0);
    let store = rusqlite::Connection::open(folder.path().join("jit.db")).unwrap();
    store.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    jit(folder.path(), &["list"]).fails(2, "run the newer version");
}

#[test]
fn a_clock_two_days_back_stops_new_grants_until_it_is_accepted() {
    let folder = trial();
    assert_eq!(jit(folder.path(), &["list"]).code, 0);
    let store = rusqlite::Connection::open(folder.path().join("jit.db")).unwrap();
    store.execute("UPDATE meta SET mark = mark + 2 * 86400000000, boot = 'another'", []).unwrap();
    drop(store);
    jit(folder.path(), &[&ASK[..4], &["--for=5m"]].concat()).fails(1, "jit clock accept");
    jit(folder.path(), &["clock", "accept", "--as=bob"]).fails(1, "`bob` may not accept the clock");
    assert_eq!(jit(folder.path(), &["clock", "accept", "--as=frank"]).code, 0);
    asked(folder.path());
}

#[test]
fn a_full_disk_is_told_and_changes_nothing() {
    let folder = trial();
    let full = |arguments: &str| {
        // with a little more room the request is kept, and only what follows it fails
        let line = format!("ulimit -f 44; exec \"{}\" {arguments}", env!("CARGO_BIN_EXE_jit"));
        said(Command::new("bash").args(["-c", &line]).current_dir(folder.path()))
    };
    full("request --target=orders-prod --role=orders_write --for=5m --as=alice").fails(3, "no room left");
    assert_eq!(jit(folder.path(), &["list", "--json"]).out, "");
    asked(folder.path());
}

#[test]
fn the_log_is_exported_and_one_changed_byte_is_found() {
    let folder = trial();
    let id = asked(folder.path());
    assert_eq!(jit(folder.path(), &["audit", "export", "copy.jsonl"]).code, 0);
    let verify = ["audit", "verify", "copy.jsonl", "--public-key=audit.key.pub"];
    assert_eq!(jit(folder.path(), &verify).code, 0);
    assert_eq!(jit(folder.path(), &["audit", "prove", &id]).code, 0);
    let copy = folder.path().join("copy.jsonl");
    let text = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&copy, text.replacen("\"actor\":\"alice\"", "\"actor\":\"alicf\"", 1)).unwrap();
    jit(folder.path(), &verify).fails(1, "it was changed");
    jit(folder.path(), &verify).fails(1, "have it exported again");
    let store = jit(folder.path(), &["audit", "verify"]);
    assert_eq!(store.code, 0, "{}", store.error);
    assert!(store.out.contains("hold, by their signatures: all of that is signed"), "{}", store.out);
}

#[test]
fn what_nobody_decided_in_time_is_said_to_have_lapsed_and_nobody_is_asked_to_approve_it() {
    let folder = trial();
    let id = asked(folder.path());
    let shown = jit(folder.path(), &["show", &id]).out;
    assert!(shown.contains("decide by") && shown.contains(&format!("jit approve {id}")), "{shown}");
    let store = rusqlite::Connection::open(folder.path().join("jit.db")).unwrap();
    store.execute("UPDATE meta SET mark = mark + 2 * 86400000000, boot = 'another'", []).unwrap();
    drop(store);
    assert_eq!(jit(folder.path(), &["clock", "accept", "--as=frank"]).code, 0);
    let shown = jit(folder.path(), &["show", &id]).out;
    assert!(shown.contains("pending (lapsed)"), "{shown}");
    assert!(shown.contains("it lapses as soon as a pump runs"), "{shown}");
    assert!(!shown.contains("jit approve") && !shown.contains("can decide"), "{shown}");
    jit(folder.path(), &["approve", &id, "--as=bob"]).fails(1, "nobody decided in time");
}

#[test]
fn that_nothing_runs_the_pump_is_told_once_something_is_left_to_it() {
    let folder = trial();
    let ask = [&ASK[..4], &["--for=5m"]].concat();
    let warned = |said: &Said| said.out.contains("nothing runs the pump: run `jit run-due` or `jit pump`");
    assert!(warned(&jit(folder.path(), &ask)));
    assert!(!warned(&jit(folder.path(), &["run-due"])), "it is what runs now");
    let mut pump = Command::new(env!("CARGO_BIN_EXE_jit"));
    let pump = by_itself(pump.arg("pump").current_dir(folder.path()));
    let mut pump = pump.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(pump.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    let beside = jit(folder.path(), &ask);
    pump.kill().unwrap();
    pump.wait().unwrap();
    assert!(first.contains("the pump runs"), "{first}");
    assert!(!warned(&beside), "{}", beside.out);
    assert!(warned(&jit(folder.path(), &ask)));
}

#[test]
fn doctor_tells_what_needs_an_operator() {
    let folder = trial();
    let id = asked(folder.path());
    assert_eq!(jit(folder.path(), &["stop", "--principal=dave", "--as=frank", "--reason=a stolen laptop"]).code, 0);
    let config = |name: &str| {
        std::fs::write(folder.path().join("jit.toml"), CONFIG.replace("targets.orders-prod", name)).unwrap();
        jit(folder.path(), &["doctor"])
    };
    let doctor = config("targets.another");
    for line in [
        "an emergency stop of principal `dave` is in force since",
        "(a stolen laptop): `jit resume --principal dave` lifts it",
        "rule `change orders` names `orders-prod`, which no configured target matches",
        "warning: `orders-prod` is not configured here any more, and has open accesses: pending",
        "`jit target retire orders-prod`",
        "fix: start the server",
        id.as_str(),
    ] {
        assert!(doctor.out.contains(line), "{} has no `{line}`", doctor.out);
    }
    doctor.fails(3, "not reachable: another");
    let json = jit(folder.path(), &["doctor", "--json"]).json();
    let target = &json["targets"][0];
    assert!(target["remedy"].is_string() && target["mend"] == target["remedy"], "{target}");
    assert_eq!(jit(folder.path(), &["target", "retire", "orders-prod", "--as=frank"]).code, 0);
    let doctor = config("targets.orders-prod");
    assert!(doctor.out.contains("`orders-prod` is retired since"), "{}", doctor.out);
    assert!(doctor.out.contains("`jit target confirm orders-prod`"), "{}", doctor.out);
    assert!(!doctor.out.contains("`orders-prod` is not configured"), "{}", doctor.out);
    assert!(
        doctor.out.contains("`another` is not configured here any more, and was never contacted"),
        "{}",
        doctor.out
    );
    let json = jit(folder.path(), &["doctor", "--json"]).json();
    assert!(json["concerns"]["retired"]["orders-prod"].is_string(), "{json}");
}

#[test]
fn a_misspelt_prefix_is_placed() {
    let folder = trial();
    let policy = POLICY.replace("[\"group:payments\"]", "[\"groups:payments\"]");
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let said = jit(folder.path(), &["policy", "check"]);
    assert_eq!(said.code, 2);
    assert!(
        said.error.contains("policy.toml:15:15: `groups:payments` begins with an unknown prefix"),
        "{}",
        said.error
    );
}

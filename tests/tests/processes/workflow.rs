//! Tests of approvals in a careful team, from request to end: tickets, codes, people, outside
//! systems, notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jit_core::testkit::database_laws::{Attempt, Tried};
use jit_tests::outside::{MailServer, post, signature};
use jit_tests::servers::Servers;
use serde_json::{Value, json};

use crate::Tests;
use crate::town::{CHAT_PATH, MAIL_PASSWORD, OPA_TOKEN, SIGNING, TRACKER_TOKEN, Town, oathtool};

pub(crate) fn all(tests: &mut Tests, servers: &Servers) {
    tests.add("workflow_a_ticket_codes_the_manager_and_two_dbas_on_postgres", |ground| async move {
        story(Town::on_postgres(ground.server).await?).await
    });
    let mariadb = servers.mysql().find(|server| server.name() == "mariadb-11.8").cloned();
    match mariadb {
        Some(server) => tests.add("workflow_a_ticket_codes_the_manager_and_two_dbas_on_mariadb", |_| async move {
            story(Town::on_mysql(server).await?).await
        }),
        None => tests.leave_out("workflow_a_ticket_codes_the_manager_and_two_dbas_on_mariadb", "mariadb-11.8"),
    }
    tests.add("workflow_a_webhook_answers_at_once_or_calls_back_once", |ground| async move {
        calls_back(Town::on_postgres(ground.server).await?).await
    });
    tests.add(
        "workflow_an_endpoint_that_is_down_slow_huge_or_wrong_is_no_yes_and_the_log_says_why",
        |ground| async move { is_no_yes(Town::on_postgres(ground.server).await?).await },
    );
    tests.add(
        "workflow_a_receiver_that_fails_for_a_minute_gets_everything_once_and_delays_nothing",
        |ground| async move { fails_for_a_minute(Town::on_postgres(ground.server).await?).await },
    );
    tests.add("workflow_mail_goes_by_starttls_to_whom_is_trusted_or_waits", |ground| async move {
        mail_waits(Town::on_postgres(ground.server).await?).await
    });
}

/// Tells a whole story. A request with a ticket and a code is approved by the manager, a DBA and
/// somebody on call. It becomes usable, everybody is told, and the log proves it.
async fn story(town: Town) -> Result<()> {
    let mut secrets = Vec::new();
    for who in ["alice", "dana", "bob", "grace"] {
        secrets.push(town.enrolls(who).await?);
    }
    let [alice, dana, bob, grace] = secrets.as_slice() else { anyhow::bail!("four have codes") };
    let mut pump = town.runs(&["pump"])?;
    let asks = |code: &str| {
        let ask =
            ["request", "--json", "--target", "orders", "--role", &town.role, "--for", "10m", "--ticket", "OPS-12"];
        let rest = ["--reason", "stuck orders, see the ticket", "--as", "alice", "--totp", code];
        ask.iter().chain(&rest).map(|text| (*text).to_owned()).collect::<Vec<String>>()
    };
    let ask = asks(&oathtool(alice, 0)?);
    let ask: Vec<&str> = ask.iter().map(String::as_str).collect();
    let asked = town.jit(&ask).await?.done()?.json()?;
    let id = asked["id"].as_str().context("no id")?;
    // the tracker is asked first, and the code of the request counts after that
    for _ in 0..100 {
        let pending_on = town.access(id).await?["pending_on"].to_string();
        ensure!(!pending_on.contains("a second factor of"), "the code is asked for again: {pending_on}");
        if pending_on.contains("manager") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refused(&town, &["approve", id, "--as=dana"], "a second factor (`totp`)").await?;
    refused(&town, &["approve", id, "--as=dana", "--totp", "000000"], "is wrong").await?;
    refused(&town, &["approve", id, "--as=alice", "--totp", &oathtool(alice, 30)?], "own request").await?;
    let (dana_code, bob_code) = (oathtool(dana, 0)?, oathtool(bob, 0)?);
    town.jit(&["approve", id, "--as=dana", "--note=go ahead", "--totp", &dana_code]).await?.done()?;
    town.jit(&["approve", id, "--as=bob", "--totp", &bob_code]).await?.done()?;
    town.outside.hears("chat", "the escalation", |heard| heard["body"].to_string().contains("Escalated to oncall"))?;
    town.jit(&["approve", id, "--as=grace", "--totp", &oathtool(grace, 0)?]).await?.done()?;
    town.until(id, "active").await?;
    let mut session = town.world.session(&town.account).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let _ = session.attempt(Attempt::SetRole(&town.role)).await;
    let tried = session.attempt(Attempt::Read(&town.role)).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(tried == Tried::Done, "the role is not usable: {tried:?}");
    // the same code is not accepted again, whatever it is for
    refused(&town, &["mfa", "confirm", "--as=bob", "--totp", &bob_code], "used already").await?;
    everybody_was_told(&town, id)?;
    town.jit(&["release", id, "--as=alice"]).await?.done()?;
    town.until(id, "revoked").await?;
    town.mail.receives("Revoked and verified")?;
    pump.start_kill()?;
    pump.wait().await?;
    the_log_proves_it(&town, id).await?;
    law_12_no_secret_comes_out(&town, &secrets)
}

/// Checks that the command is refused, with this text.
async fn refused(town: &Town, arguments: &[&str], says: &str) -> Result<()> {
    let said = town.jit(arguments).await?;
    ensure!(
        said.code == Some(1) && said.error.contains(says),
        "no `{says}`: {:?} {}{}",
        said.code,
        said.out,
        said.error
    );
    Ok(())
}

fn everybody_was_told(town: &Town, id: &str) -> Result<()> {
    for said in ["alice asks for", "Approved:", "Usable:"] {
        town.outside.hears("chat", said, |heard| heard["body"].to_string().contains(said))?;
        let mail = town.mail.receives(said)?;
        ensure!(mail["tls"] == true && mail["login"] == "jit", "not by STARTTLS and a login: {mail}");
    }
    let heard = town.outside.hears("siem", "that it is usable", |heard| {
        heard["body"].to_string().contains("jit.active") && heard["body"].to_string().contains(id)
    })?;
    is_signed(&heard)?;
    let chat = town.outside.heard("chat")?;
    let link = format!("https://jit.example.com/accesses/{id}");
    ensure!(chat.iter().any(|heard| heard["body"].to_string().contains(&link)), "no link to the decision");
    Ok(())
}

async fn the_log_proves_it(town: &Town, id: &str) -> Result<()> {
    town.jit(&["audit", "verify"]).await?.done()?;
    town.jit(&["audit", "prove", id]).await?.done()?;
    town.jit(&["audit", "export", "export.jsonl"]).await?.done()?;
    let export = std::fs::read_to_string(town.folder.path().join("export.jsonl"))?;
    let entries: Vec<Value> = export.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let about = |what: &str| -> Vec<String> {
        let of = entries.iter().map(|entry| entry.to_string());
        of.filter(|entry| entry.contains(id) && entry.contains(&format!("\"what\":\"{what}\""))).collect()
    };
    let has = |what: &str, part: &str| {
        let found = about(what);
        ensure!(found.iter().any(|entry| entry.contains(part)), "no `{what}` with `{part}`: {found:?}");
        Ok(())
    };
    has("approved", "\"approver\":\"jira\"")?;
    has("approved", "\"approver_decision_id\":\"decision-7\"")?;
    has("confirmed", "\"factor\":\"totp\"")?;
    has("approved", "\"human\":\"dana\"")?;
    has("approved", "\"human\":\"bob\"")?;
    has("escalated", "\"to\":\"oncall\"")?;
    has("approved", "\"human\":\"grace\"")?;
    has("factor-refused", "is wrong")?;
    has("active", "\"end\"")?;
    let at = |what: &str| -> Result<chrono::DateTime<chrono::Utc>> {
        let entry: Value = serde_json::from_str(about(what).first().context("no such entry")?)?;
        let find = |value: &Value| value["at"].as_str().or_else(|| value["entry"]["at"].as_str()).map(str::to_owned);
        Ok(find(&entry).context("no time")?.parse()?)
    };
    if let (Ok(satisfied), Ok(active)) = (at("satisfied"), at("active")) {
        eprintln!("usable {} ms after the last yes", (active - satisfied).num_milliseconds());
    }
    Ok(())
}

/// Checks law 12: no output contains any of the planted secrets, even at the most detailed log
/// level.
fn law_12_no_secret_comes_out(town: &Town, seeds: &[String]) -> Result<()> {
    use base64::Engine as _;
    let signing = base64::engine::general_purpose::STANDARD.encode(SIGNING);
    let mut secrets: Vec<&str> = vec![TRACKER_TOKEN, OPA_TOKEN, CHAT_PATH, MAIL_PASSWORD, &signing, &town.password];
    secrets.extend(seeds.iter().map(String::as_str));
    let key = std::fs::read_to_string(town.folder.path().join("mfa.key"))?;
    secrets.push(key.trim().rsplit('+').next().unwrap_or_default());
    let mut came_out: Vec<(String, String)> = Vec::new();
    for name in ["said.log", "background.log", "audit.jsonl", "export.jsonl", "jit.db", "jit.db-wal"] {
        let bytes = std::fs::read(town.folder.path().join(name)).unwrap_or_default();
        came_out.push((name.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    for notifier_name in ["chat", "siem", "jira", "opa"] {
        for heard in town.outside.heard(notifier_name)? {
            came_out.push((format!("what `{notifier_name}` was sent"), heard["body"].to_string()));
        }
    }
    came_out.extend(town.mail.mails().iter().map(|mail| ("a mail".to_owned(), mail.to_string())));
    ensure!(
        came_out.iter().any(|(name, text)| name == "background.log" && text.contains("TRACE")),
        "nothing was traced"
    );
    for (name, text) in &came_out {
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            ensure!(
                !text.contains(secret),
                "a secret stands in {name}: {}...",
                secret.chars().take(12).collect::<String>()
            );
        }
    }
    Ok(())
}

/// Requests the role for alice as dave, which the board has to approve, and returns the access.
async fn asks_the_board(town: &Town) -> Result<Value> {
    let ask = ["request", "--json", "--target", "orders", "--role", &town.role, "--for", "10m"];
    let whose = ["--as", "dave", "--on-behalf-of", "alice"];
    town.jit(&[ask.as_slice(), &whose].concat()).await?.done()?.json()
}

/// Checks the signature as the specification defines it.
fn is_signed(heard: &Value) -> Result<()> {
    let header = |name: &str| heard["headers"][name].as_str().unwrap_or_default();
    let body = heard["body"].as_str().context("no body")?;
    let expected = signature(SIGNING, header("webhook-id"), header("webhook-timestamp").parse()?, body);
    ensure!(header("webhook-signature") == expected, "not signed as the specification has it: {heard}");
    Ok(())
}

/// Lets the board answer at once, or later. An answer counts once, if it is signed, for its own
/// access and in time.
async fn calls_back(town: Town) -> Result<()> {
    town.outside
        .behaves("board", &json!({ "body": json!({"decision": "approve", "reason": "on the list"}).to_string() }))?;
    let at_once = asks_the_board(&town).await?;
    ensure!(at_once["state"] == "active", "{at_once}");
    let heard = town.outside.heard("board")?;
    let first = heard.first().context("it was not asked")?;
    is_signed(first)?;
    town.jit(&["release", at_once["id"].as_str().context("no id")?, "--as=alice"]).await?.done()?;

    town.outside.behaves("board", &json!({ "status": 202, "body": "" }))?;
    let mut serve = town.runs(&["serve", "--json", "--listen", "127.0.0.1:0"])?;
    let listening = loop {
        let said = town.background();
        let line = said
            .lines()
            .find_map(|line| serde_json::from_str::<Value>(line).ok()?["listening"].as_str().map(str::to_owned));
        match line {
            Some(address) => break address,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let asked = asks_the_board(&town).await?;
        let id = asked["id"].as_str().context("no id")?.to_owned();
        let heard = town.outside.hears("board", "the question", |heard| heard["body"].to_string().contains(&id))?;
        let review: Value = serde_json::from_str(heard["body"].as_str().context("no body")?)?;
        let callback = review["callback"].as_str().context("no callback")?;
        let token = callback.rsplit('/').next().context("no token")?.to_owned();
        let body = |decision: &str| {
            json!({"review": review["review"], "access": id, "decision": decision, "reason": "later"}).to_string()
        };
        waiting.push((id.clone(), format!("http://{listening}/callbacks/{token}"), body("approve"), body("deny")));
    }
    let call = |url: &str, body: &str, secret: &[u8], at: i64| -> Result<(u16, String)> {
        let (stamp, signed) = (at.to_string(), signature(secret, "msg_1", at, body));
        post(url, &[("webhook-id", "msg_1"), ("webhook-timestamp", &stamp), ("webhook-signature", &signed)], body)
    };
    let now = chrono::Utc::now().timestamp();
    let [(first, url, yes, _), (second, other, other_yes, no), (third, late, late_yes, _)] = waiting.as_slice() else {
        anyhow::bail!("three wait")
    };
    ensure!(post(url, &[], yes)?.0 == 404, "not signed");
    ensure!(call(url, yes, b"somebody else's secret, 32 bytes", now)?.0 == 404, "signed with another secret");
    ensure!(call(url, yes, SIGNING, now - 301)?.0 == 404, "signed long ago");
    ensure!(call(url, other_yes, SIGNING, now)?.0 == 404, "about another access");
    ensure!(call(&format!("{url}0"), yes, SIGNING, now)?.0 == 404, "a token that nobody gave");
    ensure!(town.access(first).await?["state"] == "pending");
    ensure!(call(url, yes, SIGNING, now)?.0 == 200);
    town.until(first, "active").await?;
    ensure!(call(url, yes, SIGNING, now)?.0 == 404, "the same once more");
    ensure!(call(other, no, SIGNING, now)?.0 == 200);
    town.until(second, "denied").await?;
    ensure!(call(other, other_yes, SIGNING, now)?.0 == 404, "after a no");
    ensure!(town.access(second).await?["state"] == "denied");
    town.jit(&["cancel", third, "--as=dave"]).await?.done()?;
    ensure!(call(late, late_yes, b"somebody else's secret, 32 bytes", now)?.0 == 404, "too late, to who cannot sign");
    ensure!(call(late, late_yes, SIGNING, now)?.0 == 410, "too late");
    ensure!(town.access(third).await?["state"] == "cancelled");
    let told = town.jit(&["show", first]).await?.done()?.out;
    ensure!(told.contains("decision-refused"), "who could not sign is not in the log: {told}");
    town.jit(&["release", first, "--as=alice"]).await?.done()?;
    serve.start_kill()?;
    serve.wait().await?;
    Ok(())
}

/// Checks that an answer that cannot be understood does not approve, and that the log says why.
async fn is_no_yes(town: Town) -> Result<()> {
    let approve = json!({"decision": "approve"}).to_string();
    let cases = [
        (json!({ "status": 500, "body": approve }), "it answered 500"),
        (
            json!({ "status": 302, "body": approve, "headers": { "location": town.outside.url("opa") } }),
            "it answered 302",
        ),
        (json!({ "delay_ms": 10_000, "body": approve }), "gave no complete answer within 2 s"),
        (json!({ "bytes": 2_000_000 }), "more than 1048576 bytes"),
        (json!({ "body": "approve" }), "is not JSON"),
        (json!({ "body": "{\"decision\": \"perhaps\"}" }), "is not JSON with a `decision`"),
        (json!({ "body": "{}" }), "is not JSON with a `decision`"),
    ];
    for (behaviour, why) in cases {
        town.outside.behaves("board", &behaviour)?;
        let asked = asks_the_board(&town).await?;
        let id = asked["id"].as_str().context("no id")?;
        ensure!(asked["state"] == "pending", "{behaviour}: {asked}");
        let told = town.jit(&["show", id]).await?.done()?.out;
        ensure!(told.contains("approver-failed") && told.contains(why), "{behaviour}: no `{why}` in {told}");
        town.jit(&["cancel", id, "--as=dave"]).await?.done()?;
    }
    // an address that nobody listens at
    let config = std::fs::read_to_string(town.folder.path().join("jit.toml"))?;
    town.write("jit.toml", &config.replace(&town.outside.url("board"), "http://127.0.0.1:1/at/board"))?;
    let asked = asks_the_board(&town).await?;
    ensure!(asked["state"] == "pending", "{asked}");
    let told = town.jit(&["show", asked["id"].as_str().context("no id")?]).await?.done()?.out;
    ensure!(told.contains("`127.0.0.1:1` cannot be reached"), "{told}");
    Ok(())
}

/// Checks that an untrusted mail server gets nothing, not even the login: one of another authority,
/// or one without STARTTLS. Neither that nor a wrong password loses a notice.
async fn mail_waits(town: Town) -> Result<()> {
    town.outside.behaves("board", &json!({ "body": json!({"decision": "approve"}).to_string() }))?;
    let config = std::fs::read_to_string(town.folder.path().join("jit.toml"))?;
    let plain = MailServer::start(None)?;
    let elsewhere = config.replace(&format!("port = {}", town.mail.port), &format!("port = {}", plain.port));
    let asks = async |config: &str, why: &str| {
        town.write("jit.toml", config)?;
        let mut pump = town.runs(&["pump"])?;
        let access = asks_the_board(&town).await?;
        let id = access["id"].as_str().context("no id")?.to_owned();
        town.until(&id, "active").await?;
        // the process that delivers says it, whichever it is
        let said = || Ok::<_, std::io::Error>(town.background() + &std::fs::read_to_string(town.said())?);
        for _ in 0..600 {
            if said()?.contains(why) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let not_delivered =
            || said().map(|said| said.lines().filter(|line| line.contains("not delivered")).collect::<String>());
        ensure!(said()?.contains(why), "the log has no `{why}`: {}", not_delivered()?);
        town.jit(&["release", &id, "--as=alice"]).await?.done()?;
        pump.start_kill()?;
        pump.wait().await?;
        anyhow::Ok(id)
    };
    let first =
        asks(&config.replace("ca = \"ca.pem\"", "ca = \"other-ca.pem\""), "cannot be used: Connection error").await?;
    let second = asks(&elsewhere, "STARTTLS is not supported").await?;
    town.write("mail", "not the password")?;
    let third = asks(&config, "does not take the login (535)").await?;
    ensure!(town.mail.mails().is_empty() && plain.mails().is_empty(), "something was sent");
    town.write("mail", MAIL_PASSWORD)?;
    town.write("jit.toml", &config)?;
    let mut pump = town.runs(&["pump"])?;
    for id in [first, second, third] {
        town.mail.receives(&format!("/accesses/{id}"))?;
    }
    pump.start_kill()?;
    pump.wait().await?;
    Ok(())
}

/// Lets an endpoint fail for a minute. Afterwards it has every notice, once by its key, in the
/// order of each access. Roles come and go meanwhile.
async fn fails_for_a_minute(town: Town) -> Result<()> {
    town.outside.behaves("board", &json!({ "body": json!({"decision": "approve"}).to_string() }))?;
    town.outside.behaves("siem", &json!({ "status": 503 }))?;
    let mut pump = town.runs(&["pump"])?;
    let begun = std::time::Instant::now();
    let mut ids = Vec::new();
    let mut took = Vec::new();
    while begun.elapsed() < Duration::from_secs(60) {
        let asked = std::time::Instant::now();
        let access = asks_the_board(&town).await?;
        let id = access["id"].as_str().context("no id")?.to_owned();
        // the pump may be the one that asks the board or ends the window
        town.until(&id, "active").await.context("a receiver that fails is in the way")?;
        town.jit(&["release", &id, "--as=alice"]).await?.done()?;
        town.until(&id, "revoked").await.context("a receiver that fails is in the way of the end")?;
        took.push(asked.elapsed());
        ids.push(id);
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    took.sort();
    eprintln!("asked for, granted, released, revoked while a receiver failed: median {:?}", took.get(took.len() / 2));
    ensure!(town.outside.heard("siem")?.iter().all(|heard| heard["status"] == 503));
    town.outside.behaves("siem", &json!({}))?;
    let story = ["jit.requested", "jit.approved", "jit.active", "jit.revoked"];
    for id in &ids {
        town.outside.hears("siem", "the last notice", |heard| {
            let body = heard["body"].to_string();
            heard["status"] == 200 && body.contains(id.as_str()) && body.contains("jit.revoked")
        })?;
        let heard = town.outside.heard("siem")?;
        let taken: Vec<&Value> = heard
            .iter()
            .filter(|heard| heard["status"] == 200 && heard["body"].to_string().contains(id.as_str()))
            .collect();
        let events: Vec<String> = taken
            .iter()
            .filter_map(|heard| {
                Some(serde_json::from_str::<Value>(heard["body"].as_str()?).ok()?["type"].as_str()?.to_owned())
            })
            .collect();
        ensure!(events == story, "{id}: {events:?}");
        let keys: std::collections::BTreeSet<String> =
            taken.iter().map(|heard| heard["headers"]["webhook-id"].to_string()).collect();
        ensure!(keys.len() == story.len(), "{id}: {keys:?}");
    }
    pump.start_kill()?;
    pump.wait().await?;
    Ok(())
}

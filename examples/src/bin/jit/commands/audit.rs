//! Verifying the log, exporting it, proving entries.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jit_core::audit::{
    self, BATCH, Checkpoint, ExportError, Proof, ProveError, SigningKey, VerifyError, VerifyingKey, prove_access,
    verify_export, verify_proof,
};
use jit_core::engine::Jit;
use jit_core::id::{AccessId, EntryId, TenantId};
use jit_core::store::Store;
use serde_json::json;

use super::Context;
use crate::cli;
use crate::config::Config;
use crate::error::{Exit, Failure};
use crate::spans::{shown, stamped};
use crate::{build, output::Output};

/// Number of entries that are read at a time in a search for an id.
const PAGE: usize = 1_000;

pub(super) async fn audit(at: &Context<'_>, command: &cli::Audit) -> Result<(), Failure> {
    match command {
        cli::Audit::Verify { file: Some(file), public_key } => verify_file(at, file, public_key),
        cli::Audit::Verify { file: None, public_key } => verify(at, public_key).await,
        cli::Audit::Export { file } => export(at, file).await,
        cli::Audit::Prove { id } => prove(at, id).await,
        cli::Audit::Checkpoint => checkpoint(at).await,
    }
}

/// Verifies the store's own log.
async fn verify(at: &Context<'_>, public_keys: &[String]) -> Result<(), Failure> {
    let log = Log::open(at).await?;
    let mut keys = given_keys(public_keys)?;
    keys.extend(log.key.as_deref().map(|key| key.verifying_key().clone()));
    let verified = audit::verify(log.store(), log.tenant(), &keys).await.map_err(|error| match error {
        VerifyError::Store(error) => error.into(),
        broken => tampered(&broken, OF_THE_STORE),
    })?;
    let signed = verified.latest.as_ref().map_or(0, |latest| latest.statement().size);
    let answer = json!({
        "verified": true, "tenant": log.tenant(), "entries": verified.size, "unnumbered": verified.unnumbered,
        "root": verified.root, "checkpoints": verified.checkpoints, "signed": signed,
    });
    at.out.result(&answer, || {
        let waiting = match verified.unnumbered {
            0 => String::new(),
            some => format!("; {some} more wait for their number"),
        };
        let by_signature = match (verified.checkpoints, verified.size.saturating_sub(signed)) {
            (0, _) if log.key.is_some() => "no checkpoint signs them yet: `jit audit checkpoint` does".to_owned(),
            (0, _) => "no checkpoint signs them: whoever can write the store could have written all of them anew; \
                       set `[audit] signing_key` in jit.toml"
                .to_owned(),
            (checkpoints, 0) => format!("{checkpoints} checkpoints hold, by their signatures: all of that is signed"),
            (checkpoints, _) => {
                format!("{checkpoints} checkpoints hold, by their signatures: entries up to {signed} are signed")
            }
        };
        format!(
            "verified: all {} entries of `{}` are there and as they were numbered{waiting}\n{by_signature}",
            verified.size,
            log.tenant(),
        )
    })
}

/// Verifies an exported file: it needs neither store nor configuration, only the public key.
fn verify_file(at: &Context<'_>, file: &Path, public_keys: &[String]) -> Result<(), Failure> {
    let mut keys = given_keys(public_keys)?;
    if keys.is_empty() {
        let missing =
            || Failure::usage("no public key is given to check it with", "name its file: --public-key audit.key.pub");
        let config = Config::load(&at.cli.config).map_err(|_| missing())?;
        let tenant = at.cli.tenant.clone().unwrap_or_default();
        let settings = config.tenants.get(&tenant).ok_or_else(missing)?;
        let public = settings.audit.signing_key.as_deref().map(public_half).ok_or_else(missing)?;
        keys.push(VerifyingKey::load(&public).map_err(|error| wrong_key(&error))?);
    }
    let from = File::open(file).map_err(|error| {
        Failure::usage(
            format!("`{}` cannot be read: {error}", file.display()),
            "name a file made by `jit audit export`",
        )
    })?;
    let exported = verify_export(BufReader::new(from), &keys).map_err(|error| match error {
        ExportError::Broken(broken) => tampered(&broken, OF_A_FILE),
        other => from_export(other),
    })?;
    let at_time = exported.latest.statement().at;
    let answer = json!({
        "verified": true, "tenant": exported.tenant, "entries": exported.size, "checkpoints": exported.checkpoints,
        "signed_at": stamped(at_time),
    });
    at.out.result(&answer, || {
        format!(
            "verified: {} entries of `{}`, complete up to the checkpoint of {}\n{} checkpoints hold, by the public key; what came later is \
             not in the file",
            exported.size,
            exported.tenant,
            shown(at_time),
            exported.checkpoints,
        )
    })
}

/// Writes the log up to now to a file that anyone with the public key can verify.
async fn export(at: &Context<'_>, file: &Path) -> Result<(), Failure> {
    let log = Log::open(at).await?;
    log.sign().await?;
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => "nothing is overwritten: name another file",
            _ => "name a file in a folder that this user can write",
        };
        Failure::usage(format!("`{}` cannot be made: {error}", file.display()), hint)
    })?;
    let mut out = BufWriter::new(to);
    let written = audit::export(log.store(), log.tenant(), &mut out).await;
    let synced = written.and_then(|latest| {
        let whole = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        whole.sync_all()?;
        Ok(latest)
    });
    let latest = synced.map_err(|error| {
        // half an export is none
        let _ = std::fs::remove_file(file);
        from_export(error)
    })?;
    let size = latest.statement().size;
    at.out.result(&json!({"exported": file.display().to_string(), "entries": size}), || {
        let public = log.public.as_deref().map_or_else(|| "KEY".to_owned(), |path| path.display().to_string());
        let file = file.display();
        format!("exported {size} entries to {file}\ncheck it anywhere: jit audit verify {file} --public-key {public}")
    })
}

/// Prints the path from entries to a signed root.
async fn prove(at: &Context<'_>, id: &str) -> Result<(), Failure> {
    let wrong = |_| {
        Failure::usage(
            format!("`{}` is not the id of an access or an entry", id.escape_debug()),
            "`jit show --json` prints both",
        )
    };
    let (access, entry): (AccessId, EntryId) = (id.parse().map_err(wrong)?, id.parse().map_err(wrong)?);
    let log = Log::open(at).await?;
    let key = log.key.clone().ok_or_else(no_key)?;
    log.sign().await?;
    let proofs = match prove_access(log.store(), log.tenant(), access).await {
        Err(ProveError::NotFound { .. }) => vec![log.prove_entry(entry).await?],
        other => other.map_err(from_prove)?,
    };
    let keys = [key.verifying_key().clone()];
    for proof in &proofs {
        let checkpoint = verify_proof(proof, &keys).map_err(from_prove)?;
        say(at.out, proof, &checkpoint)?;
    }
    Ok(())
}

fn say(out: Output, proof: &Proof, checkpoint: &Checkpoint) -> Result<(), Failure> {
    out.result(proof, || {
        let what = match proof.entry.get("what") {
            Some(jit_core::audit_event::Detail::Text(what)) => what.as_str(),
            _ => "",
        };
        let (hashes, size) = (proof.hashes.len(), checkpoint.statement().size);
        format!(
            "entry {} ({what}) is in the signed log of {size}, by {hashes} hashes: --json prints the proof",
            proof.number
        )
    })
}

/// Signs the log in its current state.
async fn checkpoint(at: &Context<'_>) -> Result<(), Failure> {
    let log = Log::open(at).await?;
    if log.key.is_none() {
        return Err(no_key());
    }
    log.sign().await?;
    let latest = audit::latest_checkpoint(log.store(), log.tenant()).await?;
    let Some(latest) = latest else {
        return Err(Failure::refused("audit", "the log is empty: there is nothing to sign", ""));
    };
    let stated = latest.statement();
    let answer = json!({"size": stated.size, "root": stated.root, "at": stamped(stated.at), "note": latest.note()});
    // people keep the note elsewhere: it is printed as it is
    at.out.result(&answer, || latest.note().trim_end().to_owned())
}

/// Log of the tenant that was asked for.
struct Log {
    jit: Jit,
    key: Option<Arc<SigningKey>>,
    public: Option<PathBuf>,
}

impl Log {
    async fn open(at: &Context<'_>) -> Result<Self, Failure> {
        let config = at.config()?;
        let jit = build::engine(&config, at.cli.tenant.as_ref()).await?;
        let path = config.tenants.get(jit.tenant_id()).and_then(|settings| settings.audit.signing_key.clone());
        let key = path.as_deref().map(|path| build::signing_key(path, jit.tenant_id())).transpose()?.map(Arc::new);
        Ok(Self { jit, key, public: path.as_deref().map(public_half) })
    }

    fn store(&self) -> &dyn Store {
        self.jit.store().as_ref()
    }

    fn tenant(&self) -> &TenantId {
        self.jit.tenant_id()
    }

    /// Numbers the entries without a number, and signs the log if there is a key.
    async fn sign(&self) -> Result<(), Failure> {
        while audit::advance(self.store(), self.tenant(), BATCH).await?.more {}
        if let Some(key) = &self.key {
            let now = self.store().now().await?;
            audit::checkpoint(self.store(), self.tenant(), key, now).await?;
        }
        Ok(())
    }

    async fn prove_entry(&self, id: EntryId) -> Result<Proof, Failure> {
        let mut from = 0_u64;
        loop {
            let page = self.store().entries(self.tenant(), from, PAGE).await?;
            let found = page.iter().find(|entry| entry.id == id).and_then(|entry| entry.number);
            if let Some(number) = found {
                return audit::prove(self.store(), self.tenant(), number).await.map_err(from_prove);
            }
            match page.last().and_then(|entry| entry.number) {
                Some(last) => from = last.saturating_add(1),
                None => {
                    let message = format!("there is no access or entry `{id}` in the log of `{}`", self.tenant());
                    return Err(Failure::refused(
                        "not-found",
                        message,
                        "`jit show --json` prints the ids of an access's entries",
                    ));
                }
            }
        }
    }
}

fn given_keys(keys: &[String]) -> Result<Vec<VerifyingKey>, Failure> {
    let read = |given: &String| {
        let path = Path::new(given);
        if path.exists() { VerifyingKey::load(path) } else { given.trim().parse() }.map_err(|error| wrong_key(&error))
    };
    keys.iter().map(read).collect()
}

/// Returns the path of the public half of a signing key.
fn public_half(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

fn no_key() -> Failure {
    let hint = "add `signing_key = \"audit.key\"` under `[audit]` in jit.toml: it is made on first use";
    Failure::configuration("no key is configured that could sign the log", hint)
}

fn wrong_key(error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(error.to_string(), "the public key stands beside the signing key, in a file that ends in .pub")
}

/// Advice if the store's own log is not verified.
const OF_THE_STORE: &str = "keep the store as it is, and compare it with what the sinks and the last good export hold; where the key was changed, give \
                            the earlier one by --public-key";
/// Advice if an exported file is not verified.
const OF_A_FILE: &str = "give its log's own key by --public-key; if that was the key, have it exported again and run `jit audit verify` on the store";

fn tampered(broken: &dyn std::fmt::Display, hint: &str) -> Failure {
    Failure::refused("tampered", format!("not verified: {broken}"), hint)
}

fn from_export(error: ExportError) -> Failure {
    match error {
        ExportError::Store(error) => error.into(),
        ExportError::File(error) => Failure::new(
            Exit::Unreachable,
            "file",
            format!("the file cannot be written or read: {error}"),
            "look at the disk it is on",
        ),
        ExportError::NoCheckpoint { .. } => no_key(),
        broken => tampered(&broken, OF_THE_STORE),
    }
}

fn from_prove(error: ProveError) -> Failure {
    match error {
        ProveError::Store(error) => error.into(),
        ProveError::NotFound { .. } => Failure::refused("not-found", error.to_string(), "look with `jit list`"),
        ProveError::NotSigned => Failure::refused("audit", error.to_string(), "run `jit audit checkpoint`"),
        broken => tampered(&broken, OF_THE_STORE),
    }
}

//! A file that only grows, with one JSON object a line.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{AuditSink, NumberedEntry, SinkError};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::export::checkpoint_line;
use crate::clock::SystemEntropy;
use crate::hex::random_hex;
use crate::key_file::{read_short, write_new};

/// A file of JSON lines, in the form of an export: `{"number":N,"leaf":"H","entry":E}` and
/// `{"checkpoint":"NOTE"}`. Acknowledged lines are on the disk (fsync). Several processes may
/// append to it. If one of them stopped while it wrote, the others wait no longer than a second,
/// and try again later. The file can be rotated by renaming: the next batch begins a new file.
///
/// Another file beside it, with the same name and `.place` behind, holds an id that is made once.
/// The progress of the file is stored under that id. So files of several hosts at the same path
/// each get the whole log. A file without an id, as on a new disk, gets the log from its beginning.
#[derive(Debug, Clone)]
pub struct JsonLines {
    path: PathBuf,
    name: String,
}

impl JsonLines {
    /// Appends to this file, which is made with mode 0600 if it does not exist. A last line that
    /// was cut by a crash was never acknowledged. It is removed and its entry comes again.
    ///
    /// # Errors
    /// When the file cannot be written, or holds something else than such lines.
    pub fn append(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        let path = path.as_ref();
        let file = open(path)?;
        // if another process writes to the file now, then it can be written
        if lock(&file, Duration::ZERO).map_err(|error| unwritten(path, error))? {
            cut_off_half_a_line(path, &file)?;
        }
        let place = place(path).map_err(|error| unwritten(path, error))?;
        Ok(Self { path: path.to_owned(), name: format!("file:{place}") })
    }

    /// Sets the name under which the progress of the sink is stored. Two files need two names,
    /// otherwise each file lacks the entries that the other got.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    async fn add(&self, lines: Vec<u8>) -> Result<(), SinkError> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, &lines)).await;
        written
            .map_err(|error| SinkError { why: "the writing was cut short".to_owned(), source: Some(error.into()) })?
    }
}

#[async_trait]
impl AuditSink for JsonLines {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, batch: &[NumberedEntry]) -> Result<(), SinkError> {
        self.add(batch.iter().flat_map(NumberedEntry::line).collect()).await
    }

    async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        let mut line = checkpoint_line(checkpoint).into_bytes();
        line.push(b'\n');
        self.add(line).await
    }
}

/// Appends whole lines, all or none of them, and waits until they are on the disk.
fn write(path: &Path, lines: &[u8]) -> Result<(), SinkError> {
    let failed = |error| unwritten(path, error);
    let mut file = open(path)?;
    if !lock(&file, PATIENCE).map_err(failed)? {
        let why = format!("another process is writing `{}` and makes no progress", path.display());
        return Err(SinkError { why, source: None });
    }
    let whole = cut_off_half_a_line(path, &file)?;
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // best effort: the next writer would remove half a line, but not whole ones that come again
        let _ = file.set_len(whole);
        return Err(failed(error));
    }
    Ok(())
}

fn unwritten(path: &Path, source: io::Error) -> SinkError {
    SinkError {
        why: format!("`{}` cannot be written: check its directory, its permissions and the space left", path.display()),
        source: Some(source.into()),
    }
}

/// Returns an id that distinguishes the file from every other one, on any host. The id is in a file
/// beside it, which is made if it does not exist.
fn place(path: &Path) -> io::Result<String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".place");
    let beside = Path::new(&beside);
    if !beside.exists() {
        let id = format!("{}\n", random_hex::<16>(&SystemEntropy));
        match write_new(beside, id.as_bytes(), 0o644) {
            // another process made it meanwhile
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    let id = read_short(beside)?.trim().to_owned();
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let why = format!(
            "`{}` holds no id of a sink: remove it, and the file gets the log from its beginning",
            beside.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(id)
}

/// Opens the file. A new file is made durably.
fn open(path: &Path) -> Result<File, SinkError> {
    let failed = |error| unwritten(path, error);
    let is_new = !path.exists();
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    if is_new {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(file)
}

/// Locks the file and returns true if nobody else writes to it now; the lock ends with the file. A
/// process that was stopped keeps its lock. Waiting for it without limit would stop this process
/// too.
#[expect(clippy::disallowed_methods, reason = "a thread that may block waits for a file")]
fn lock(file: &File, patience: Duration) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => std::thread::sleep(BETWEEN),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Removes an incomplete last line, and returns the length of the file after that.
fn cut_off_half_a_line(path: &Path, file: &File) -> Result<u64, SinkError> {
    whole_lines(file).map_err(|error| unwritten(path, error))?.ok_or_else(|| SinkError {
        why: format!("`{}` ends in something that is no line of an audit log: choose another file", path.display()),
        source: None,
    })
}

/// Cuts off a last line that has no end, and returns the length of the rest. `None` if that line
/// was not begun as a line of ours.
fn whole_lines(mut file: &File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let (mut end, mut torn) = (length, Vec::new());
    let mut whole = 0;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut block = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        let newline = block.iter().rposition(|byte| *byte == b'\n');
        let rest = block.split_off(newline.map_or(0, |at| at.saturating_add(1)));
        torn = [rest, torn].concat();
        if newline.is_some() {
            whole = start.saturating_add(block.len() as u64);
            break;
        }
        end = start;
    }
    let ours = [&b"{\"number\":"[..], b"{\"checkpoint\":"];
    let is_ours = ours.iter().any(|begin| torn.iter().zip(*begin).all(|(found, wanted)| found == wanted));
    if !is_ours {
        return Ok(None);
    }
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(Some(whole))
}

/// Time that another process may write. A batch takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two attempts to get the lock.
const BETWEEN: Duration = Duration::from_millis(5);
/// Number of bytes that are read at a time when looking for the last end of a line.
const STEP: u64 = 64 << 10;

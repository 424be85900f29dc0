//! A file that only grows, one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::super::checkpoint::Checkpoint;
use super::super::export::checkpoint_line;
use super::{AuditSink, NumberedEntry, SinkError};

/// A file of JSON lines, as an export has them: `{"number":N,"leaf":"H","entry":E}` and `{"checkpoint":"NOTE"}`. What is
/// acknowledged is on the disk (fsync). Several processes may append to it. It can be rotated by renaming: the next batch begins a
/// new file.
#[derive(Debug, Clone)]
pub struct JsonLines {
    path: PathBuf,
    name: String,
}

impl JsonLines {
    /// Appends to this file, which is made with mode 0600 if it is not there. A last line that was cut by a crash was never
    /// acknowledged; it is removed and its entry comes again.
    ///
    /// # Errors
    /// When the file cannot be written, or holds something else than such lines.
    pub fn append(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        let path = path.as_ref();
        let sink = Self { path: path.to_owned(), name: format!("file:{}", path.display()) };
        write(&sink.path, &[])?;
        Ok(sink)
    }

    /// Under this name it is remembered how far the sink has come. Without it that is `file:` and the path.
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
    let failed = |source: io::Error| SinkError {
        why: format!("`{}` cannot be written: check its directory, its permissions and the space left", path.display()),
        source: Some(source.into()),
    };
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    // one writer at a time, whatever its process; the lock goes with the file
    file.lock().map_err(failed)?;
    let whole = whole_lines(&mut file).map_err(failed)?.ok_or_else(|| SinkError {
        why: format!("`{}` ends in something that is no line of an audit log: choose another file", path.display()),
        source: None,
    })?;
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // best effort: the next writer would remove half a line, but not whole ones that come again
        let _ = file.set_len(whole);
        return Err(failed(error));
    }
    if is_new {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// The length of the file without a last line that has no end, which is cut off. `None` when that was not begun as a line of ours.
fn whole_lines(file: &mut File) -> io::Result<Option<u64>> {
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

/// How much is read at a time when looking for the last end of a line.
const STEP: u64 = 64 << 10;

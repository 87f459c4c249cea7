//! The files of the history: lines are added to the newer one; when that is full it takes the place of the older one.

use hearth_api::history::Record;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most bytes of a file: some 20 hours of a line each 30 s.
pub(super) const FILE_BYTES: u64 = 1 << 20;

/// Where the history is.
#[derive(Debug, Clone)]
pub struct HistoryFiles {
    newer: PathBuf,
    older: PathBuf,
}

impl HistoryFiles {
    pub(super) fn in_folder(folder: &Path) -> HistoryFiles {
        HistoryFiles { newer: folder.join("thermal-history.jsonl"), older: folder.join("thermal-history.old.jsonl") }
    }

    /// Read-only descriptors of the files that there are, the older first. Blocks for as long as it takes to open a file.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = Vec::with_capacity(2);
        for path in [&self.older, &self.newer] {
            match File::open(path) {
                Ok(file) => descriptors.push(file.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(descriptors)
    }
}

/// Writes lines.
#[derive(Debug)]
pub(super) struct Generations {
    files: HistoryFiles,
    /// What the newer file ends with is a whole line.
    whole: bool,
    /// The reason of the decision that holds, and what goes with it, for a file's first line.
    reason: Option<String>,
    fan_trips: Vec<f64>,
    /// A failure was said; said again only after lines could be written.
    complained: bool,
}

impl Generations {
    pub(super) fn new(files: HistoryFiles) -> Generations {
        Generations { files, whole: false, reason: None, fan_trips: Vec::new(), complained: false }
    }

    /// Adds a line. What fails is said once.
    pub(super) fn append(&mut self, record: &Record) {
        if record.reason.is_some() {
            self.reason.clone_from(&record.reason);
            self.fan_trips.clone_from(&record.fan_trips);
        }
        match self.try_append(record) {
            Ok(()) => self.complained = false,
            Err(error) => {
                self.whole = false;
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!("the thermal history cannot be written to {}: {error}; serving goes on", self.files.newer.display());
                }
            }
        }
    }

    fn try_append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        // Opened each time: whoever removes the file gets a new one, and a folder that comes late is found.
        let mut file = self.open()?;
        let mut length = file.metadata()?.len();
        if length > 0 && length + line.len() as u64 >= FILE_BYTES {
            drop(file);
            fs::rename(&self.files.newer, &self.files.older)?;
            file = self.open()?;
            length = 0;
        }
        if length == 0 {
            // Whoever reads this file alone has to know what holds.
            let first = Record { reason: self.reason.clone(), fan_trips: self.fan_trips.clone(), ..record.clone() };
            line = serde_json::to_vec(&first)?;
        } else if !self.whole && !ends_a_line(&mut file, length)? {
            line.insert(0, b'\n');
        }
        line.push(b'\n');
        self.whole = false;
        file.write_all(&line)?;
        self.whole = true;
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&self.files.newer)
    }
}

fn ends_a_line(file: &mut File, length: u64) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

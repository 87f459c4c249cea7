//! How this program checks a model: itself, started again as a child.

use crate::config::Models;
use hearth_models::check::{self, Limits, REPORT, Refusal};
use std::io;
use std::path::Path;

/// A busy board lets a check wait: so much longer by the clock than in CPU time.
const WAITING: u32 = 5;

/// A check with these limits, to hand to `Store::install`; keeps its report beside the model.
pub(crate) fn checker(models: &Models) -> io::Result<impl Fn(&Path) -> Result<(), Refusal> + use<>> {
    let program = std::env::current_exe()?;
    let limits = Limits { memory_bytes: models.check_memory_bytes, cpu: models.check_timeout, clock: models.check_timeout * WAITING };
    Ok(move |directory: &Path| {
        let report = check::run(&program, directory, &limits)?;
        let json = serde_json::to_vec_pretty(&report).expect("a report is plain data");
        std::fs::write(directory.join(REPORT), json).map_err(|e| Refusal { reason: format!("{REPORT} cannot be written: {e}") })
    })
}

//! Where the log goes: fields to the journal when systemd started us, readable text on a terminal otherwise.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

/// Starts the log. `level` is `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,hearthd::mqtt=debug`.
pub(crate) fn start(level: &str) -> anyhow::Result<()> {
    // Libraries speak up only where something is wrong: what they log at `info` is of no use to an operator.
    let with_quiet_libraries = format!("warn,hearthd={level},hearth_models={level},hearth_ctl={level}");
    let filter = if level.contains(['=', ',']) { level } else { &with_quiet_libraries };
    let filter = EnvFilter::builder().parse(filter).map_err(|e| anyhow::anyhow!("--log {level}: {e}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    // Set by systemd where standard error goes to the journal.
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal.with_syslog_identifier("hearthd".into())).init();
        return Ok(());
    }
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false);
    registry.with(text).init();
    Ok(())
}

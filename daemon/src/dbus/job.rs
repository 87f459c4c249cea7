//! Jobs: requests that outlive the call that brought them.

use super::caller::Kept;
use super::error::CallError;
use super::payload::Outgoing;
use super::request::{Encoded, Info, Running};
use super::talk::Lines;
use super::{Link, addressed};
use crate::scheduler::Key;
use hearth_api::dbus::MANAGER_PATH;
use hearth_api::{Fault, FaultBody, FaultKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

/// How long a job stays after its end.
pub(super) const KEPT: Duration = Duration::from_secs(60);

/// How far a job is.
#[derive(Clone)]
enum Progress {
    Running,
    Ended(Arc<Result<Encoded, Fault>>),
}

impl Progress {
    fn as_str(&self) -> &'static str {
        match self {
            Progress::Running => "running",
            Progress::Ended(end) => match &**end {
                Ok(_) => "done",
                Err(fault) if fault.kind == FaultKind::Cancelled => "cancelled",
                Err(_) => "failed",
            },
        }
    }
}

/// A submitted job.
pub(super) struct Job {
    link: Arc<Link>,
    owner: Arc<str>,
    id: String,
    key: Key,
    progress: watch::Receiver<Progress>,
    /// Cancelled when nobody needs the object any more.
    dismissed: CancellationToken,
}

/// Puts the job's object on the bus and follows the request to its end. With `lines` the end is the last of them, and the object
/// goes with it.
pub(super) async fn start(
    link: &Arc<Link>,
    connection: &Connection,
    mut kept: Kept,
    running: Running,
    lines: Option<Lines>,
) -> Result<OwnedObjectPath, Fault> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let path = OwnedObjectPath::try_from(format!("{MANAGER_PATH}/job/{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
        .map_err(|error| Fault::internal(format!("no path for the job: {error}")))?;
    let (progress, watch) = watch::channel(Progress::Running);
    let dismissed = kept.left().child_token();
    let job = Job {
        link: link.clone(),
        owner: kept.caller().clone(),
        id: running.id().to_string(),
        key: running.key().clone(),
        progress: watch,
        dismissed: dismissed.clone(),
    };
    let server = connection.object_server().clone();
    server.at(&path, job).await.map_err(|error| Fault::internal(format!("the job's object could not be made: {error}")))?;
    let emitter = SignalEmitter::from_parts(connection.clone(), path.clone().into_inner());
    let model = running.model().clone();
    tokio::spawn(async move {
        let id = running.id().clone();
        let end = running.end().await;
        // What its caller has in the pipe need not be kept.
        let stays = if lines.is_some() { Duration::ZERO } else { KEPT };
        match lines {
            Some(lines) => lines.end(match &end {
                Ok(encoded) => encoded.bytes().clone(),
                Err(fault) => FaultBody::new(Some(id), Some(model), fault.clone()).to_json().into(),
            }),
            None => kept.keeps(end.as_ref().map_or(0, Encoded::len)),
        }
        progress.send_replace(Progress::Ended(Arc::new(end)));
        // A bus that has gone hears nothing; the job ends all the same.
        if let Err(error) = tell_end(&server, &emitter, kept.caller()).await {
            tracing::debug!(%error, "the end of a job was not told");
        }
        let _ = tokio::time::timeout(stays, dismissed.cancelled()).await;
        if let Err(error) = server.remove::<Job, _>(emitter.path()).await {
            tracing::debug!(%error, "the object of a job was not removed");
        }
    });
    Ok(path)
}

async fn tell_end(server: &zbus::ObjectServer, emitter: &SignalEmitter<'static>, owner: &str) -> zbus::Result<()> {
    let object = server.interface::<_, Job>(emitter.path()).await?;
    let job = object.get().await;
    job.state_changed(emitter).await?;
    let state = job.state();
    Job::finished(&addressed(emitter, owner), &state).await
}

impl Job {
    fn check_owner(&self, header: &Header<'_>) -> Result<Arc<str>, Fault> {
        let caller = self.link.caller(header)?;
        if caller == self.owner { Ok(caller) } else { Err(Fault::unauthorized("this job is another caller's")) }
    }
}

/// A submitted job. Only the caller that submitted it may use it.
#[zbus::interface(name = "org.hearthd.Inference1.Job")]
impl Job {
    /// Withdraws the request if it is still at work; the job then ends as cancelled. An ended job's object goes at once.
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<(), CallError> {
        self.check_owner(&header)?;
        let running = matches!(*self.progress.borrow(), Progress::Running);
        if running {
            self.link.door.engine.cancel(&self.key);
        } else {
            self.dismissed.cancel();
        }
        Ok(())
    }

    /// What Infer would have returned; waits for the end of the job. May be called again.
    #[zbus(out_args("result_type", "result", "info"))]
    async fn result(&self, #[zbus(header)] header: Header<'_>) -> Result<(&'static str, Outgoing, Info), CallError> {
        let caller = self.check_owner(&header)?;
        let _call = self.link.callers.call(&caller)?;
        let mut progress = self.progress.clone();
        let ended = progress.wait_for(|progress| matches!(progress, Progress::Ended(_))).await.map(|ended| ended.clone());
        match ended {
            Ok(Progress::Ended(end)) => match &*end {
                Ok(encoded) => Ok(encoded.to_returned()?),
                Err(fault) => Err(fault.clone().into()),
            },
            Ok(Progress::Running) | Err(_) => Err(Fault::internal("the job was dropped before its end").into()),
        }
    }

    /// The job has ended; state as in the property. Sent to its caller alone.
    #[zbus(signal)]
    async fn finished(emitter: &SignalEmitter<'_>, state: &str) -> zbus::Result<()>;

    /// Id of the request.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.id.clone()
    }

    /// running, done, failed or cancelled.
    #[zbus(property)]
    fn state(&self) -> String {
        self.progress.borrow().as_str().to_owned()
    }
}

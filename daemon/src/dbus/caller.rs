//! Who calls: how much each caller may have going on, and what ends when it leaves the bus.

use crate::engine::Engine;
use crate::scheduler::{Door, Key};
use bytes::Bytes;
use hearth_api::{Fault, RequestId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Calls that a caller may have pending.
pub(super) const CALLS_PER_CALLER: usize = 64;
/// Jobs that a caller may have, ended ones that are still kept included.
pub(super) const JOBS_PER_CALLER: usize = 64;
/// Names of callers that left, kept to refuse a call that is handled after its caller's leaving was.
const DEPARTED: usize = 256;

/// The callers on one connection.
#[derive(Clone)]
pub(super) struct Callers {
    book: Arc<Mutex<Book>>,
    engine: Engine,
    /// Holds a token for each pending call and each request at work.
    pending: TaskTracker,
}

#[derive(Default)]
struct Book {
    present: HashMap<Arc<str>, Caller>,
    departed: VecDeque<Arc<str>>,
    /// Bytes of results that jobs keep, of all callers.
    kept_bytes: usize,
    served: u64,
}

#[derive(Default)]
struct Caller {
    calls: usize,
    jobs: usize,
    /// Requests at work; their ids are the caller's own.
    requests: HashMap<RequestId, Key>,
    /// Cancelled when the caller leaves; its jobs end with it.
    left: CancellationToken,
}

impl Callers {
    /// Nobody yet.
    pub(super) fn new(engine: Engine) -> Callers {
        Callers { book: Arc::default(), engine, pending: TaskTracker::new() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nothing panics while it holds the book of callers")
    }

    /// A call begins; it is over when the guard drops.
    pub(super) fn call(&self, caller: &str) -> Result<Call, Fault> {
        self.enter(caller, |entry| {
            if entry.calls >= CALLS_PER_CALLER {
                return Err(Fault::overloaded(format!(
                    "{CALLS_PER_CALLER} calls of this caller are pending, the most there may be; wait for one to return"
                ))
                .with_limit("calls_per_caller", CALLS_PER_CALLER as u64)
                .retry_after(Duration::from_millis(100)));
            }
            entry.calls += 1;
            Ok(())
        })
        .map(|(name, _)| Call { callers: self.clone(), caller: name, _pending: self.pending.token() })
    }

    /// A request begins; it is cancelled if the guard drops before `ended`.
    pub(super) fn request(&self, caller: &str, id: Option<RequestId>) -> Result<Pending, Fault> {
        let mut made = None;
        let served = {
            let mut book = self.book();
            book.served += 1;
            book.served
        };
        let (name, _) = self.enter(caller, |entry| {
            let id = match id {
                Some(id) if entry.requests.contains_key(&id) => {
                    return Err(Fault::bad_request(format!(
                        "a request with the id {id} is at work already; ids of pending requests differ"
                    )));
                }
                Some(id) => id,
                None => (served..)
                    .map(|number| RequestId::new(format!("bus-{number}")).expect("letters, a hyphen and digits"))
                    .find(|id| !entry.requests.contains_key(id))
                    .expect("a caller has fewer requests than there are numbers"),
            };
            let key = Key { door: Door::Bus, reply_to: caller.into(), correlation: Bytes::copy_from_slice(id.as_str().as_bytes()) };
            entry.requests.insert(id.clone(), key.clone());
            made = Some((id, key));
            Ok(())
        })?;
        let (id, key) = made.expect("entered");
        Ok(Pending { callers: self.clone(), caller: name, id, key, ended: false, _pending: self.pending.token() })
    }

    /// A job begins; it is forgotten when the guard drops.
    pub(super) fn job(&self, caller: &str, kept_bytes_limit: usize) -> Result<Kept, Fault> {
        if self.book().kept_bytes >= kept_bytes_limit {
            return Err(Fault::overloaded("the results of ended jobs fill their memory; it is free again within a minute")
                .with_limit("job_bytes", kept_bytes_limit as u64)
                .retry_after(super::job::KEPT));
        }
        let (name, left) = self.enter(caller, |entry| {
            if entry.jobs >= JOBS_PER_CALLER {
                return Err(Fault::overloaded(format!(
                    "{JOBS_PER_CALLER} jobs of this caller are there, the most there may be; Cancel those whose results were read"
                ))
                .with_limit("jobs_per_caller", JOBS_PER_CALLER as u64)
                .retry_after(Duration::from_millis(100)));
            }
            entry.jobs += 1;
            Ok(())
        })?;
        Ok(Kept { callers: self.clone(), caller: name, left, bytes: 0 })
    }

    fn enter(&self, caller: &str, admit: impl FnOnce(&mut Caller) -> Result<(), Fault>) -> Result<(Arc<str>, CancellationToken), Fault> {
        let mut book = self.book();
        let name = match book.present.get_key_value(caller) {
            Some((name, _)) => name.clone(),
            None if book.departed.iter().any(|gone| **gone == *caller) => return Err(Fault::cancelled("the caller has left the bus")),
            None => caller.into(),
        };
        let entry = book.present.entry(name.clone()).or_default();
        let left = entry.left.clone();
        let admitted = admit(entry);
        book.forget_if_idle(&name);
        admitted.map(|()| (name, left))
    }

    /// The request of this caller with this id, if it is at work.
    pub(super) fn find(&self, caller: &str, id: &RequestId) -> Option<Key> {
        self.book().present.get(caller)?.requests.get(id).cloned()
    }

    /// The caller has left the bus: its work is cancelled, its jobs go.
    pub(super) fn leave(&self, caller: &str) {
        let entry = {
            let mut book = self.book();
            if book.departed.len() == DEPARTED {
                book.departed.pop_front();
            }
            book.departed.push_back(caller.into());
            book.present.remove(caller).unwrap_or_default()
        };
        entry.left.cancel();
        entry.requests.values().for_each(|key| self.engine.cancel(key));
    }

    /// The bus itself has gone, and everyone with it.
    pub(super) fn leave_all(&self) {
        let everyone: Vec<Arc<str>> = self.book().present.keys().cloned().collect();
        everyone.iter().for_each(|caller| self.leave(caller));
    }

    /// Resolves when no call is pending and no request at work.
    pub(super) async fn idle(&self) {
        self.pending.close();
        self.pending.wait().await;
    }
}

impl Book {
    fn forget_if_idle(&mut self, caller: &Arc<str>) {
        if self.present.get(caller).is_some_and(|entry| entry.calls == 0 && entry.jobs == 0 && entry.requests.is_empty()) {
            self.present.remove(caller);
        }
    }
}

/// A pending call.
pub(super) struct Call {
    callers: Callers,
    caller: Arc<str>,
    _pending: TaskTrackerToken,
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut book = self.callers.book();
        if let Some(entry) = book.present.get_mut(&self.caller) {
            entry.calls = entry.calls.saturating_sub(1);
        }
        book.forget_if_idle(&self.caller);
    }
}

/// A request at work.
pub(super) struct Pending {
    callers: Callers,
    caller: Arc<str>,
    id: RequestId,
    key: Key,
    ended: bool,
    _pending: TaskTrackerToken,
}

impl Pending {
    /// Its id.
    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    /// Its identity in the engine.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// The engine has delivered its end.
    pub(super) fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut book = self.callers.book();
        if let Some(entry) = book.present.get_mut(&self.caller) {
            entry.requests.remove(&self.id);
        }
        book.forget_if_idle(&self.caller);
        drop(book);
        if !self.ended {
            self.callers.engine.cancel(&self.key);
        }
    }
}

/// A job, kept for its caller.
pub(super) struct Kept {
    callers: Callers,
    caller: Arc<str>,
    left: CancellationToken,
    bytes: usize,
}

impl Kept {
    /// Whose it is.
    pub(super) fn caller(&self) -> &Arc<str> {
        &self.caller
    }

    /// Cancelled when its caller leaves.
    pub(super) fn left(&self) -> &CancellationToken {
        &self.left
    }

    /// It keeps a result of this size.
    pub(super) fn keeps(&mut self, bytes: usize) {
        self.callers.book().kept_bytes += bytes;
        self.bytes += bytes;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut book = self.callers.book();
        book.kept_bytes -= self.bytes;
        if let Some(entry) = book.present.get_mut(&self.caller) {
            entry.jobs = entry.jobs.saturating_sub(1);
        }
        book.forget_if_idle(&self.caller);
    }
}

//! The compute pool: a fixed set of threads that help a caller with the tasks of one job at a time. Not an executor: nothing
//! is queued, the caller takes part, and a call returns when its work is done.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread that waits spins before it parks. Longer than the gap between two runs of one step, shorter than what
/// a busy neighbour on the same core would notice.
const SPIN: Duration = Duration::from_micros(20);

/// Compute threads; the caller is one of them.
///
/// One job holds the threads at a time. Whoever calls while they are held (from within a task, from a nested step, from another
/// thread) does all its work itself, so a call never waits for another one and nesting cannot deadlock.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` threads, counting the caller: `threads - 1` are started, named `compute-1` and up. Where the system
    /// refuses a thread, the pool makes do with those it has; [`Pool::threads`] tells.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared::default());
        let workers = (1..threads)
            .map_while(|number| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(format!("compute-{number}")).spawn(move || shared.work()).ok()
            })
            .collect();
        Pool { shared, workers }
    }

    /// Threads that can work at once, the caller among them; at least 1.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `f(0)` to `f(tasks - 1)`, at most `tasks` at once, and returns when all are done. The caller runs `f(0)` first, then
    /// helps with the rest. If tasks panic, the others still run; then the first panic is resumed on the caller.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        if tasks > 0 {
            self.run_with(tasks - 1, &|other| f(other + 1), &mut || f(0));
        }
    }

    /// Runs `f(0)` to `f(tasks - 1)` on at most `threads` threads, the caller among them, and returns when all are done. Each thread takes
    /// the next task when it is through with one. Panics as in [`Pool::run`].
    pub fn share(&self, threads: usize, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        let threads = threads.min(tasks);
        if threads <= 1 {
            return (0..tasks).for_each(f);
        }
        // Relaxed: the count only deals out numbers.
        let next = AtomicUsize::new(0);
        self.run(threads, &|_| {
            let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|task| *task < tasks);
            while let Some(task) = take() {
                f(task);
            }
        });
    }

    /// Runs `own` on the calling thread while other threads run `f(0)` to `f(others - 1)`; then the caller helps with those
    /// that are left. For work that only the caller may do, such as calling a closure that is not `Sync`. Panics as in [`Pool::run`].
    pub fn run_with(&self, others: usize, f: &(dyn Fn(usize) + Sync), own: &mut dyn FnMut()) {
        let job = Job { task: f, tasks: others, next: AtomicUsize::new(0), panic: Mutex::new(None) };
        let helpers = others.min(self.workers.len());
        // Dropped before `job`, also when something unwinds: no worker holds the job after that.
        let lent = if helpers > 0 { self.shared.lend(&job, helpers, self.workers.len()) } else { None };
        job.catch(own);
        job.work();
        drop(lent);
        if let Some(panic) = lock(&job.panic).take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.slot).stopping = true;
        self.shared.published.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a task, so it has none to hand on.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

/// Nothing panics while it holds one of the pool's locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tasks `0..tasks`, handed out one by one. Lives on the caller's stack.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// Takes and runs tasks until none is left.
    fn work(&self) {
        loop {
            // Relaxed: the count only deals out numbers; what the tasks read and write is ordered by the slot's lock.
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= self.tasks {
                return;
            }
            self.catch(&mut || (self.task)(task));
        }
    }

    fn catch(&self, work: &mut dyn FnMut()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            let mut first = lock(&self.panic);
            match *first {
                None => *first = Some(panic),
                // Leaked, not dropped: a payload whose drop panics would take the worker with it.
                Some(_) => std::mem::forget(panic),
            }
        }
    }
}

/// A job whose lifetime the compiler no longer sees. Valid from [`Shared::lend`] until the [`Lent`] is dropped.
#[derive(Clone, Copy)]
struct JobPointer(NonNull<Job<'static>>);

// SAFETY: a `Job` may be used from many threads at once (its task is `Sync`, the rest is atomics and a mutex), so a pointer
// to it may be sent to them.
unsafe impl Send for JobPointer {}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    /// A job was published, or the pool stops.
    published: Condvar,
    /// The last helper left a job whose caller sleeps.
    finished: Condvar,
    /// Helpers that may still join the job. Changed only under the lock; read without it by spinning workers.
    seats: AtomicUsize,
    /// Helpers at work on the job. Changed only under the lock; read without it by a spinning caller.
    active: AtomicUsize,
}

#[derive(Default)]
struct Slot {
    /// The job that helpers may join.
    job: Option<JobPointer>,
    /// Whether a caller holds the pool: from the lending of its job until the last helper has left it.
    held: bool,
    /// Whether that caller sleeps until the last helper leaves.
    awaited: bool,
    /// Workers that sleep.
    parked: usize,
    stopping: bool,
}

impl Shared {
    /// Lets up to `helpers` of the `workers` join the job; none if another job holds the pool.
    fn lend<'a>(&'a self, job: &'a Job<'_>, helpers: usize, workers: usize) -> Option<Lent<'a>> {
        let mut slot = lock(&self.slot);
        if slot.held {
            return None;
        }
        slot.held = true;
        slot.job = Some(JobPointer(NonNull::from(job).cast()));
        self.seats.store(helpers, Ordering::Relaxed);
        // Workers that are not parked spin, or are on their way to look at the slot: they need no call.
        let awake = workers - slot.parked;
        let calls = helpers.saturating_sub(awake);
        drop(slot);
        for _ in 0..calls {
            self.published.notify_one();
        }
        Some(Lent(self))
    }

    /// A worker's life.
    fn work(&self) {
        while let Some(job) = self.join() {
            // SAFETY: `join` has counted this worker as active on the job, and whoever lent it waits, before the job goes
            // away, until no worker is active.
            unsafe { job.0.as_ref() }.work();
            self.leave();
        }
    }

    /// Waits for a job with a free seat and takes the seat; none when the pool stops.
    fn join(&self) -> Option<JobPointer> {
        spin_while(|| self.seats.load(Ordering::Relaxed) == 0);
        let mut slot = lock(&self.slot);
        loop {
            if slot.stopping {
                return None;
            }
            let seats = self.seats.load(Ordering::Relaxed);
            if let Some(job) = slot.job
                && seats > 0
            {
                self.seats.store(seats - 1, Ordering::Relaxed);
                self.active.fetch_add(1, Ordering::Relaxed);
                return Some(job);
            }
            slot.parked += 1;
            slot = self.published.wait(slot).unwrap_or_else(PoisonError::into_inner);
            slot.parked -= 1;
        }
    }

    fn leave(&self) {
        let slot = lock(&self.slot);
        // A helper leaves when all tasks are handed out: nobody else need join.
        self.seats.store(0, Ordering::Relaxed);
        // Release: what the tasks wrote is seen by the caller that reads 0.
        let last = self.active.fetch_sub(1, Ordering::Release) == 1;
        if last && slot.awaited {
            self.finished.notify_one();
        }
    }
}

/// The pool, held by a job. Dropping it closes the job to helpers, and waits for those at work on it.
struct Lent<'a>(&'a Shared);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let shared = self.0;
        {
            let mut slot = lock(&shared.slot);
            slot.job = None;
            shared.seats.store(0, Ordering::Relaxed);
        }
        spin_while(|| shared.active.load(Ordering::Acquire) > 0);
        let mut slot = lock(&shared.slot);
        slot.awaited = true;
        while shared.active.load(Ordering::Acquire) > 0 {
            slot = shared.finished.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
        slot.awaited = false;
        slot.held = false;
    }
}

/// Spins while `waiting`, for [`SPIN`] at most.
fn spin_while(waiting: impl Fn() -> bool) {
    let start = Instant::now();
    while waiting() && start.elapsed() < SPIN {
        for _ in 0..16 {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread::{self, ThreadId};

    /// How often each of `tasks` ran.
    fn counts(pool: &Pool, tasks: usize) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.run(tasks, &|task| {
            counts[task].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn each_task_runs_exactly_once() {
        for threads in [0, 1, 2, 4] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads.max(1));
            for tasks in [0, 1, 2, 3, 4, 5, 64] {
                assert_eq!(counts(&pool, tasks), vec![1; tasks], "{threads} threads");
            }
        }
    }

    #[test]
    fn tasks_run_at_the_same_time_as_many_as_there_are_threads() {
        let pool = Pool::new(4);
        let barrier = Barrier::new(4);
        let threads: Mutex<HashSet<ThreadId>> = Mutex::default();
        // Would never return were fewer than four at work at once.
        pool.run(4, &|_| {
            lock(&threads).insert(thread::current().id());
            barrier.wait();
        });
        let threads = lock(&threads);
        assert_eq!(threads.len(), 4);
        assert!(threads.contains(&thread::current().id()), "the caller takes part");
    }

    #[test]
    fn no_more_threads_work_than_there_are_tasks() {
        let pool = Pool::new(4);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for _ in 0..200 {
            pool.run(2, &|_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::hint::black_box((0..500).sum::<usize>());
                now.fetch_sub(1, Ordering::SeqCst);
            });
        }
        assert!(most.into_inner() <= 2);
    }

    #[test]
    fn the_first_task_runs_on_the_caller_and_workers_have_names() {
        let pool = Pool::new(2);
        let caller = thread::current().id();
        let barrier = Barrier::new(2);
        pool.run(2, &|task| {
            barrier.wait();
            match task {
                0 => assert_eq!(thread::current().id(), caller),
                _ => assert_eq!(thread::current().name(), Some("compute-1")),
            }
        });
    }

    #[test]
    fn a_closure_that_may_not_leave_the_caller_runs_beside_the_others() {
        let pool = Pool::new(2);
        let barrier = Barrier::new(2);
        let own = Cell::new(0);
        pool.run_with(
            1,
            &|_| {
                barrier.wait();
            },
            &mut || {
                barrier.wait();
                own.set(own.get() + 1);
            },
        );
        assert_eq!(own.get(), 1);
    }

    #[test]
    fn a_run_within_a_task_completes() {
        let pool = Pool::new(3);
        let total = AtomicUsize::new(0);
        pool.run(3, &|_| {
            pool.run(5, &|_| {
                pool.run(2, &|_| {
                    total.fetch_add(1, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(total.into_inner(), 3 * 5 * 2);
    }

    #[test]
    fn a_nested_step_completes_while_the_workers_are_busy() {
        let pool = Pool::new(2);
        let (entered, nested) = (Barrier::new(2), Barrier::new(2));
        let ran = AtomicUsize::new(0);
        pool.run(2, &|task| {
            entered.wait();
            if task == 0 {
                // The other thread waits for us at `nested`: this run can only be the caller's own work.
                pool.run(4, &|_| {
                    ran.fetch_add(1, Ordering::Relaxed);
                });
            }
            nested.wait();
        });
        assert_eq!(ran.into_inner(), 4);
    }

    #[test]
    fn callers_on_several_threads_all_get_their_work_done() {
        let pool = Pool::new(3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        assert_eq!(counts(&pool, 7), vec![1; 7]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_in_any_task_reaches_the_caller_after_the_others_ran() {
        let pool = Pool::new(3);
        for culprit in 0..6 {
            let ran = AtomicUsize::new(0);
            let panic = catch_unwind(AssertUnwindSafe(|| {
                pool.run(6, &|task| {
                    if task == culprit {
                        resume_unwind(Box::new(task));
                    }
                    ran.fetch_add(1, Ordering::Relaxed);
                });
            }))
            .expect_err("the panic was swallowed");
            assert_eq!(panic.downcast_ref::<usize>(), Some(&culprit));
            assert_eq!(ran.into_inner(), 5);
        }
        assert_eq!(counts(&pool, 6), vec![1; 6], "the pool works on");
    }

    #[test]
    fn many_tiny_runs_lose_nothing() {
        let pool = Pool::new(4);
        let total = AtomicUsize::new(0);
        for run in 0..5_000 {
            pool.run(run % 6, &|_| {
                total.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(total.into_inner(), (0..5_000).map(|run| run % 6).sum());
    }

    #[test]
    fn what_tasks_wrote_is_there_when_the_run_returns() {
        let pool = Pool::new(4);
        let cells: Vec<Mutex<Vec<usize>>> = (0..8).map(|_| Mutex::default()).collect();
        for run in 0..500 {
            pool.run(8, &|task| lock(&cells[task]).push(run));
        }
        for cell in cells {
            assert_eq!(cell.into_inner().expect("no task panicked"), (0..500).collect::<Vec<_>>());
        }
    }

    #[test]
    fn dropping_it_ends_its_threads() {
        struct Alive(Arc<()>);
        thread_local!(static ALIVE: Cell<Option<Alive>> = const { Cell::new(None) });
        let (token, barrier) = (Arc::new(()), Barrier::new(3));
        let pool = Pool::new(3);
        pool.run(3, &|_| {
            ALIVE.set(Some(Alive(Arc::clone(&token))));
            barrier.wait();
        });
        let held = ALIVE.take().map(|alive| Arc::strong_count(&alive.0));
        assert_eq!(held, Some(4), "three threads and we hold it");
        drop(pool);
        assert_eq!(Arc::strong_count(&token), 1, "the threads are gone, and what they held");
    }
}

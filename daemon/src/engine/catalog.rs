//! The books on the models: which are installed, in which state, what each holds and what was measured of it. Keeps
//! books only; what follows from them is done in `models.rs`.

use super::flight::Mark;
use super::handle::ModelStats;
use super::loader::{Fresh, Wanted};
use super::memory::{MemoryBudget, Resident, Room, make_room};
use super::points::{Points, Shape};
use crate::scheduler::Profile;
use hearth_api::{Fault, ModelInfo, ModelName, ModelState, Payload};
use hearth_models::language::Needs;
use hearth_models::manifest::Task;
use hearth_models::{Installed, Model};
use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The longest node is told anew when it grew by more than this share.
const NODE_GROWTH: f64 = 1.25;
/// After waiting this long for room, a model may take that of one that has work: they take turns.
const TURN: Duration = Duration::from_secs(1);

/// An installed model.
pub(super) struct Slot {
    pub(super) installed: Installed,
    pub(super) state: ModelState,
    pub(super) reason: String,
    pub(super) pinned: bool,
    /// What answers; may be an older version while the installed one is loaded.
    pub(super) serving: Option<Serving>,
    /// Who waits for it to be loaded.
    pub(super) waiters: Vec<oneshot::Sender<Result<(), Fault>>>,
    /// Failed because no room could ever be made; worth another try when the pins or the budget change.
    pub(super) found_no_room: bool,
    /// Since when it wants to be loaded.
    wanted_since: Instant,
    /// Requests for it that are not over.
    outstanding: usize,
    /// But for `waiting`, which is `outstanding`.
    counts: ModelStats,
    last_used: Instant,
    /// What the installed version was found to take.
    known_bytes: Option<u64>,
    /// What the head of its file tells; read once.
    needs: OnceCell<Option<Needs>>,
}

/// A model in memory.
pub(super) struct Serving {
    pub(super) model: Arc<Model>,
    pub(super) version: Arc<str>,
    pub(super) points: Points,
    /// Points that the store does not know yet.
    pub(super) unsaved: bool,
    mark: Mark,
    /// What to measure with.
    sample: Option<Payload>,
    told_longest_node: Duration,
}

impl Slot {
    fn new(installed: Installed) -> Slot {
        let now = Instant::now();
        Slot {
            installed,
            state: ModelState::Available,
            reason: String::new(),
            pinned: false,
            serving: None,
            waiters: Vec::new(),
            found_no_room: false,
            wanted_since: now,
            outstanding: 0,
            counts: ModelStats::default(),
            last_used: now,
            known_bytes: None,
            needs: OnceCell::new(),
        }
    }

    pub(super) fn set(&mut self, state: ModelState, reason: impl Into<String>) {
        self.state = state;
        self.reason = reason.into();
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { name: self.installed.name.clone(), version: self.installed.version.clone(), directory: self.installed.directory.clone() }
    }

    /// It was used just now.
    pub(super) fn touch(&mut self) {
        self.last_used = Instant::now();
    }

    /// Another version is installed now.
    pub(super) fn forget_size(&mut self) {
        self.known_bytes = None;
        self.needs = OnceCell::new();
    }

    /// The installed version is the one that answers.
    fn is_up_to_date(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| *serving.version == *self.installed.version)
    }

    /// What it will take in memory: what it took, or is told to by the head of a language model's file, or took in its check, or at
    /// least what its file does.
    fn expected_bytes(&self) -> u64 {
        let needs = || self.needs().map(|needs| needs.total());
        let checked = || hearth_models::check::memory_bytes(&self.installed.directory);
        self.known_bytes.or_else(needs).or_else(checked).unwrap_or(self.installed.size.file_bytes)
    }

    /// What it needs, if it is a language model whose file can be read.
    fn needs(&self) -> Option<Needs> {
        *self.needs.get_or_init(|| Needs::of(&self.installed.directory).ok().flatten())
    }

    fn describe(&self) -> ModelInfo {
        let (installed, manifest) = (&self.installed, &self.installed.manifest);
        let serving = self.serving.as_ref();
        let model = serving.map(|s| &s.model);
        ModelInfo {
            name: installed.name.clone(),
            version: installed.version.clone(),
            versions: installed.versions.clone(),
            description: manifest.description.clone(),
            task: task_name(&manifest.task).into(),
            licence: manifest.licence.clone(),
            origin: manifest.origin.clone(),
            state: self.state,
            reason: self.reason.clone(),
            pinned: self.pinned,
            inputs: model.map_or_else(|| manifest.inputs.clone(), |m| m.inputs().to_vec()),
            outputs: model.map_or_else(|| manifest.outputs.clone(), |m| m.outputs().to_vec()),
            size: installed.size,
            memory_bytes: model.map_or(0, |m| m.memory_bytes()),
            longest_node_us: serving.map_or(0, |s| s.told_longest_node.as_micros() as u64),
            points: serving.map_or_else(Vec::new, |s| s.points.published().to_vec()),
        }
    }
}

impl Serving {
    /// A model fresh from disk, on a board of `threads` threads.
    pub(super) fn new(wanted: &Wanted, fresh: Fresh, threads: u32) -> Serving {
        Serving {
            version: wanted.version.as_str().into(),
            points: Points::new(fresh.model.max_batch(), threads, &fresh.points),
            unsaved: false,
            mark: Mark::model(&wanted.name, &wanted.version),
            sample: fresh.sample,
            model: fresh.model,
            told_longest_node: Duration::ZERO,
        }
    }

    /// What the scheduler has to know of it.
    pub(super) fn profile(&self) -> Arc<Profile> {
        let delay_ms = self.model.manifest().batch.max_delay_ms;
        Arc::new(Profile {
            max_batch: self.model.max_batch(),
            max_delay: Duration::try_from_secs_f64(delay_ms / 1e3).unwrap_or_default(),
            points: self.points.published().to_vec(),
            conversations: self.model.language().is_some(),
        })
    }
}

fn task_name(task: &Task) -> &'static str {
    match task {
        Task::Tensor {} => "tensor",
        Task::Classify { .. } => "classify",
        Task::Regress { .. } => "regress",
        Task::Anomaly { .. } => "anomaly",
        Task::Detect(_) => "detect",
        Task::Embed(_) => "embed",
        Task::Chat(_) => "chat",
    }
}

/// What to do about a model that wants to be loaded.
pub(super) enum Verdict {
    /// Load it; these leave first.
    Load(Wanted, Vec<ModelName>),
    /// It can never fit: it needs so many bytes, of which at most so many can be had.
    Refuse { model: ModelName, needed: u64, available: u64 },
}

/// Every installed model.
pub(super) struct Catalog {
    pub(super) slots: BTreeMap<ModelName, Slot>,
    pub(super) memory: MemoryBudget,
    /// Models that are loaded even if they need more than that.
    overcommit: Vec<ModelName>,
    /// What the loader is at.
    pub(super) loading: Option<Wanted>,
    /// What wants to be loaded, in order.
    queue: VecDeque<ModelName>,
}

impl Catalog {
    pub(super) fn new(memory: MemoryBudget, overcommit: Vec<ModelName>) -> Catalog {
        Catalog { slots: BTreeMap::new(), memory, overcommit, loading: None, queue: VecDeque::new() }
    }

    /// A model that was not there before.
    pub(super) fn insert(&mut self, installed: Installed) -> &mut Slot {
        self.slots.entry(installed.name.clone()).or_insert(Slot::new(installed))
    }

    /// This model shall be loaded when there is room.
    pub(super) fn want(&mut self, model: ModelName) {
        if let Some(slot) = self.slots.get_mut(&model)
            && !self.queue.contains(&model)
        {
            slot.wanted_since = Instant::now();
            self.queue.push_back(model);
        }
    }

    /// This model need not be loaded.
    pub(super) fn unwant(&mut self, model: &ModelName) {
        self.queue.retain(|queued| queued != model);
    }

    /// Whether a model is on its way, or waits to be.
    pub(super) fn is_loading(&self) -> bool {
        self.loading.is_some() || !self.queue.is_empty()
    }

    /// The next model to load, or to refuse; none while the loader is busy, nothing is wanted, or there is no room yet.
    pub(super) fn next_load(&mut self, now: Instant) -> Option<Verdict> {
        if self.loading.is_some() || self.queue.is_empty() {
            return None;
        }
        let slots = &self.slots;
        self.queue.retain(|model| slots.get(model).is_some_and(|slot| !slot.is_up_to_date()));
        for index in 0..self.queue.len() {
            let slot = &self.slots[&self.queue[index]];
            let needed = slot.expected_bytes();
            let room = self.room(&slot.installed.name, needed, now.duration_since(slot.wanted_since) > TURN);
            let verdict = match room {
                Room::After(leave) => Verdict::Load(slot.wanted(), leave),
                Room::Never { available } => Verdict::Refuse { model: slot.installed.name.clone(), needed, available },
                Room::Later => continue,
            };
            self.queue.remove(index);
            return Some(verdict);
        }
        None
    }

    /// What this model needs and could have at most, in bytes, where it can never be loaded.
    pub(super) fn never_fits(&self, model: &ModelName) -> Option<(u64, u64)> {
        let needed = self.slots.get(model)?.expected_bytes();
        match self.room(model, needed, false) {
            Room::Never { available } => Some((needed, available)),
            Room::After(_) | Room::Later => None,
        }
    }

    /// Who has to leave for a model that was loaded and takes `bytes`; what was found is remembered.
    pub(super) fn room_for_loaded(&mut self, model: &ModelName, bytes: u64) -> Room {
        if let Some(slot) = self.slots.get_mut(model) {
            slot.known_bytes = Some(bytes);
        }
        self.room(model, bytes, false)
    }

    fn room(&self, model: &ModelName, needed: u64, take_turns: bool) -> Room {
        let residents: Vec<Resident> = self
            .slots
            .values()
            .filter_map(|slot| {
                let serving = slot.serving.as_ref()?;
                Some(Resident {
                    name: &slot.installed.name,
                    bytes: serving.model.memory_bytes(),
                    // An old version makes room for its successor, pinned or not.
                    pinned: slot.pinned && slot.installed.name != *model,
                    // Whoever else holds it runs it.
                    running: Arc::strong_count(&serving.model) > 1,
                    has_work: slot.outstanding > 0,
                    last_used: slot.last_used,
                })
            })
            .collect();
        match make_room(self.memory.bytes, needed, &residents, take_turns) {
            // It gets all that there is, and the system finds the rest.
            Room::Never { available } if self.overcommit.contains(model) => make_room(self.memory.bytes, available, &residents, take_turns),
            room => room,
        }
    }

    /// Memory the loaded models hold, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.slots.values().filter_map(|slot| slot.serving.as_ref()).map(|serving| serving.model.memory_bytes()).sum()
    }

    /// What is told of the models.
    pub(super) fn describe(&self) -> Vec<ModelInfo> {
        self.slots.values().map(Slot::describe).collect()
    }

    /// What is told of what each has done.
    pub(super) fn stats(&self) -> BTreeMap<ModelName, ModelStats> {
        let stats = |slot: &Slot| ModelStats { waiting: slot.outstanding as u64, ..slot.counts.clone() };
        self.slots.iter().map(|(name, slot)| (name.clone(), stats(slot))).collect()
    }

    /// Where to count what a model does; none where it is not installed any more.
    pub(super) fn counts(&mut self, model: &ModelName) -> Option<&mut ModelStats> {
        Some(&mut self.slots.get_mut(model)?.counts)
    }

    /// A request for this model came.
    pub(super) fn begin(&mut self, model: &ModelName) {
        if let Some(slot) = self.slots.get_mut(model) {
            slot.outstanding += 1;
        }
    }

    /// A request for this model is over.
    pub(super) fn end(&mut self, model: &ModelName) {
        if let Some(slot) = self.slots.get_mut(model) {
            // A model that was removed and installed again has requests that it never saw begin.
            slot.outstanding = slot.outstanding.saturating_sub(1);
            slot.touch();
        }
    }

    /// Models in memory that are not pinned and have no work, and since when.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&ModelName, Instant)> {
        self.slots.iter().filter(|(_, s)| s.serving.is_some() && !s.pinned && s.outstanding == 0).map(|(name, s)| (name, s.last_used))
    }

    fn serving(&self, model: &ModelName) -> Option<&Serving> {
        self.slots.get(model)?.serving.as_ref()
    }

    fn serving_mut(&mut self, model: &ModelName) -> Option<&mut Serving> {
        self.slots.get_mut(model)?.serving.as_mut()
    }

    /// Whether a model is installed that is a language model.
    pub(super) fn chats(&self, model: &ModelName) -> bool {
        self.slots.get(model).is_some_and(|slot| matches!(slot.installed.manifest.task, Task::Chat(_)))
    }

    /// What a language model needs in memory.
    pub(super) fn needs(&self, model: &ModelName) -> Option<Needs> {
        self.slots.get(model)?.needs()
    }

    /// A model that is in memory, its version, and its mark in the flight record.
    pub(super) fn loaded_model(&self, model: &ModelName) -> Option<(Arc<Model>, Arc<str>, Mark)> {
        self.serving(model).map(|s| (s.model.clone(), s.version.clone(), s.mark))
    }

    /// The profile of a model that is in memory.
    pub(super) fn profile(&self, model: &ModelName) -> Option<Arc<Profile>> {
        self.serving(model).map(Serving::profile)
    }

    /// The longest node of this model so far took so long. True when that is news.
    pub(super) fn saw_node(&mut self, model: &ModelName, longest: Duration) -> bool {
        let Some(serving) = self.serving_mut(model) else { return false };
        if longest <= serving.told_longest_node.mul_f64(NODE_GROWTH) {
            return false;
        }
        serving.told_longest_node = longest;
        true
    }

    /// A step of this model was served. True when its points are news.
    pub(super) fn served(&mut self, model: &ModelName, shape: Shape, took: Duration) -> bool {
        let news = self.serving_mut(model).is_some_and(|s| s.points.served(shape, took));
        self.note_unsaved(model, news)
    }

    /// A measuring run of this model took so long. True when its points are news.
    pub(super) fn measured(&mut self, model: &ModelName, shape: Shape, took: Duration, cpu: Duration) -> bool {
        let news = self.serving_mut(model).is_some_and(|s| s.points.measured(shape, took, cpu));
        self.note_unsaved(model, news)
    }

    fn note_unsaved(&mut self, model: &ModelName, news: bool) -> bool {
        if let Some(serving) = self.serving_mut(model) {
            serving.unsaved |= news;
        }
        news
    }

    /// Its sample is of no use.
    pub(super) fn cannot_measure(&mut self, model: &ModelName) {
        if let Some(serving) = self.serving_mut(model) {
            serving.sample = None;
        }
    }

    /// What to measure next within these bounds.
    pub(super) fn to_measure(&self, batch: u32, threads: u32) -> Option<(ModelName, Shape, Payload)> {
        self.slots.iter().find_map(|(name, slot)| {
            let serving = slot.serving.as_ref()?;
            let sample = serving.sample.clone()?;
            Some((name.clone(), serving.points.next(batch, threads)?, sample))
        })
    }

    /// Whether there is anything to measure within these bounds.
    pub(super) fn has_to_measure(&self, batch: u32, threads: u32) -> bool {
        let open = |s: &Serving| s.sample.is_some() && s.points.next(batch, threads).is_some();
        self.slots.values().any(|slot| slot.serving.as_ref().is_some_and(open))
    }
}

//! How models come and go: loaded on demand, at boot or for good, put out when idle or for others' sake, replaced by
//! another version, quarantined. The step loop's part of it; the reading from disk is the loader's.

use super::catalog::{Serving, Slot, Verdict};
use super::flight::Mark;
use super::loader::{self, Chore, Loaded};
use super::memory::{Room, mib};
use super::step_loop::StepLoop;
use crate::scheduler::{Event, Readiness};
use hearth_api::{Fault, ModelName, ModelState};
use hearth_models::language::Needs;
use hearth_models::{Installed, StoreError};
use std::time::Instant;
use tokio::sync::oneshot;

/// Deaths of the daemon after which the model version that was at work in all of them is not used any more.
const DEATHS_TO_QUARANTINE: u32 = 3;

impl StepLoop {
    /// Puts versions that were at work in too many deaths in quarantine; the store goes back to the previous one.
    pub(super) fn quarantine(&mut self) -> Result<(), StoreError> {
        for installed in self.store.list()? {
            let (name, version) = (&installed.name, &installed.version);
            for mark in [Mark::model(name, version), Mark::load(name, version)] {
                if self.flight.deaths(|| mark) >= DEATHS_TO_QUARANTINE {
                    tracing::error!(model = %name, version, "the version was at work in three deaths of the daemon and goes into quarantine");
                    self.store.quarantine(name, version)?;
                    self.flight.clear(mark);
                }
            }
        }
        Ok(())
    }

    /// What is pinned or preloaded begins to load, the pinned first.
    pub(super) fn preload(&mut self) {
        self.load_pinned();
        if self.settings.preload {
            let all: Vec<ModelName> = self.catalog.slots.keys().cloned().collect();
            all.iter().for_each(|model| self.want_available(model));
        }
    }

    /// The configuration pins these models now; pins set by hand stay.
    pub(super) fn set_pinned(&mut self, pinned: Vec<ModelName>) {
        let was = std::mem::replace(&mut self.settings.pinned, pinned);
        for (name, slot) in &mut self.catalog.slots {
            slot.pinned = self.settings.pinned.contains(name) || (slot.pinned && !was.contains(name));
        }
        self.look_for_room_again();
        self.load_pinned();
        self.models_changed = true;
    }

    fn load_pinned(&mut self) {
        for model in self.settings.pinned.clone() {
            match self.catalog.slots.contains_key(&model) {
                true => self.want_available(&model),
                false => tracing::warn!(%model, "a pinned model is not installed"),
            }
        }
    }

    fn want_available(&mut self, model: &ModelName) {
        if self.catalog.slots.get(model).is_some_and(|slot| slot.state == ModelState::Available) {
            self.want(model);
        }
    }

    /// Loads a model for whoever asks, now or, where it is in memory, at once.
    pub(super) fn load(&mut self, model: ModelName, pin: bool, done: oneshot::Sender<Result<(), Fault>>) {
        let Some(slot) = self.catalog.slots.get_mut(&model) else {
            // Whoever asked may have gone; so below.
            let _ = done.send(Err(self.unknown(&model)));
            return;
        };
        slot.pinned |= pin;
        self.models_changed = true;
        match slot.state {
            ModelState::Ready => {
                let _ = done.send(Ok(()));
            }
            ModelState::Quarantined => {
                let _ = done.send(Err(Fault::model_failed(slot.reason.clone())));
            }
            ModelState::Available | ModelState::Loading | ModelState::Failed => {
                slot.waiters.push(done);
                self.want(&model);
            }
        }
    }

    /// Unpins a model and takes it out of memory. A step that runs it holds it until it is over.
    pub(super) fn unload(&mut self, model: &ModelName) -> Result<(), Fault> {
        let Some(slot) = self.catalog.slots.get_mut(model) else { return Err(self.unknown(model)) };
        slot.pinned = false;
        self.put_out(model);
        self.look_for_room_again();
        Ok(())
    }

    /// The store holds these models now.
    pub(super) fn installed(&mut self, installed: Vec<Installed>) {
        let gone: Vec<ModelName> = self.catalog.slots.keys().filter(|name| !installed.iter().any(|i| i.name == **name)).cloned().collect();
        for model in gone {
            self.put_out(&model);
            self.catalog.slots.remove(&model);
            self.tell(Event::Model(model, Readiness::Removed));
        }
        for installed in installed {
            let name = installed.name.clone();
            let pinned = self.settings.pinned.contains(&name);
            match self.catalog.slots.get_mut(&name) {
                None => {
                    self.catalog.insert(installed).pinned = pinned;
                    self.now_available(&name);
                }
                Some(slot) => {
                    let same = slot.installed.version == installed.version && slot.installed.quarantined == installed.quarantined;
                    if slot.installed.manifest != installed.manifest {
                        // By hand, perhaps, to have it need less.
                        slot.forget_size();
                    }
                    slot.installed = installed;
                    if !same {
                        self.changed_version(&name);
                    }
                }
            }
        }
        self.look_for_room_again();
        self.models_changed = true;
    }

    /// Another version of an installed model became active.
    fn changed_version(&mut self, model: &ModelName) {
        let Some(slot) = self.catalog.slots.get_mut(model) else { return };
        slot.forget_size();
        match slot.state {
            // The old version answers until the new one is loaded, or waits for it.
            ModelState::Ready | ModelState::Loading if !slot.installed.quarantined => self.catalog.want(model.clone()),
            _ => {
                self.put_out(model);
                self.now_available(model);
            }
        }
    }

    /// A model is installed and not in memory; or it is in quarantine.
    fn now_available(&mut self, model: &ModelName) {
        let Some(slot) = self.catalog.slots.get_mut(model) else { return };
        let readiness = if slot.installed.quarantined {
            let reason = format!(
                "version {} of {model} is in quarantine: it was at work when the daemon died, three times; activate it again to give it another try",
                slot.installed.version
            );
            slot.set(ModelState::Quarantined, reason.clone());
            Readiness::Failed(Fault::model_failed(reason))
        } else {
            slot.set(ModelState::Available, "");
            Readiness::Available
        };
        let available = matches!(readiness, Readiness::Available);
        self.models_changed = true;
        self.tell(Event::Model(model.clone(), readiness));
        // Whoever installed it is told now, not whoever asks it first.
        if let Some((needed, most)) = self.catalog.never_fits(model).filter(|_| available) {
            self.no_room(model, needed, most);
        }
    }

    /// This model shall be loaded, and whoever waits for it waits on.
    pub(super) fn want(&mut self, model: &ModelName) {
        self.catalog.want(model.clone());
        let Some(slot) = self.catalog.slots.get_mut(model) else { return };
        if matches!(slot.state, ModelState::Available | ModelState::Failed) {
            slot.set(ModelState::Loading, "");
            self.models_changed = true;
            self.tell(Event::Model(model.clone(), Readiness::Loading));
        }
    }

    /// Starts the next load and puts idle models out, where it is time.
    pub(super) fn look_after_models(&mut self, now: Instant) {
        while let Some(verdict) = self.catalog.next_load(now) {
            match verdict {
                Verdict::Load(wanted, leave) => {
                    leave.iter().for_each(|model| self.put_out(model));
                    self.want(&wanted.name);
                    self.catalog.unwant(&wanted.name);
                    self.flight.begin_load(Mark::load(&wanted.name, &wanted.version));
                    self.catalog.loading = Some(wanted.clone());
                    self.chore(Chore::Load(wanted));
                }
                Verdict::Refuse { model, needed, available } => self.no_room(&model, needed, available),
            }
        }
        if let Some(idle_unload) = self.settings.idle_unload {
            let idle: Vec<ModelName> =
                self.catalog.idle().filter(|(_, since)| *since + idle_unload <= now).map(|(name, _)| name.clone()).collect();
            idle.iter().for_each(|model| self.put_out(model));
        }
    }

    /// When the next idle model is put out.
    pub(super) fn next_unload(&self) -> Option<Instant> {
        let idle_unload = self.settings.idle_unload?;
        self.catalog.idle().map(|(_, since)| since + idle_unload).min()
    }

    /// The loader is done with a model.
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        let Loaded { wanted, result } = loaded;
        self.flight.end_load();
        self.catalog.loading = None;
        let name = &wanted.name;
        let awaited = |slot: &Slot| slot.wanted() == wanted && matches!(slot.state, ModelState::Loading | ModelState::Ready);
        if !self.catalog.slots.get(name).is_some_and(awaited) {
            // It was removed, put out or replaced meanwhile.
            if let Ok(fresh) = result {
                self.chore(Chore::Free(fresh.model));
            }
            if self.catalog.slots.get(name).is_some_and(|slot| slot.state == ModelState::Loading) {
                self.catalog.want(name.clone());
            }
            return;
        }
        let fresh = match result {
            Ok(fresh) => fresh,
            Err(fault) => return self.failed(name, fault),
        };
        let bytes = fresh.model.memory_bytes();
        match self.catalog.room_for_loaded(name, bytes) {
            Room::After(leave) => {
                leave.iter().filter(|model| *model != name).for_each(|model| self.put_out(model));
                self.ready(name, Serving::new(&wanted, fresh, self.pool.threads() as u32));
            }
            Room::Later => {
                // Larger than its file let expect; now that its size is known it waits for room.
                self.chore(Chore::Free(fresh.model));
                self.catalog.want(name.clone());
            }
            Room::Never { available } => {
                self.chore(Chore::Free(fresh.model));
                self.no_room(name, bytes, available);
            }
        }
    }

    fn ready(&mut self, model: &ModelName, serving: Serving) {
        self.save_points_of(model);
        let Some(slot) = self.catalog.slots.get_mut(model) else { return };
        tracing::info!(%model, version = %serving.version, memory = %mib(serving.model.memory_bytes()), "the model is ready");
        let old = slot.serving.replace(serving);
        slot.set(ModelState::Ready, "");
        slot.touch();
        slot.waiters.drain(..).for_each(|waiter| {
            let _ = waiter.send(Ok(()));
        });
        if let Some(old) = old {
            self.chore(Chore::Free(old.model));
        }
        self.tell_profile(model);
    }

    /// Tells the scheduler and the watchers what is known of a loaded model.
    pub(super) fn tell_profile(&mut self, model: &ModelName) {
        self.models_changed = true;
        if let Some(profile) = self.catalog.profile(model) {
            self.tell(Event::Model(model.clone(), Readiness::Ready(profile)));
        }
    }

    fn no_room(&mut self, model: &ModelName, needed: u64, available: u64) {
        let mend = self.catalog.needs(model).map_or_else(String::new, |needs| mend(model, &needs, available));
        let fault = Fault::model_failed(format!(
            "{model} needs {} of memory and can have {}: the models' budget is {}, pinned models keep the rest{mend}",
            mib(needed),
            mib(available),
            self.catalog.memory
        ));
        self.failed(model, fault.with_limit("models_memory_bytes", available));
        if let Some(slot) = self.catalog.slots.get_mut(model) {
            slot.found_no_room = true;
        }
    }

    fn failed(&mut self, model: &ModelName, fault: Fault) {
        let Some(slot) = self.catalog.slots.get_mut(model) else { return };
        tracing::warn!(%model, %fault, "the model cannot be loaded");
        slot.waiters.drain(..).for_each(|waiter| {
            let _ = waiter.send(Err(fault.clone()));
        });
        self.models_changed = true;
        if let Some(old) = &slot.serving {
            slot.reason = format!("{}; version {} still answers", fault.message, old.version);
            return;
        }
        slot.set(ModelState::Failed, fault.message.clone());
        self.tell(Event::Model(model.clone(), Readiness::Failed(fault)));
    }

    /// Pins or budget changed: what found no room may look again.
    fn look_for_room_again(&mut self) {
        let hopeful: Vec<ModelName> =
            self.catalog.slots.iter().filter(|(_, s)| s.found_no_room && s.state == ModelState::Failed).map(|(n, _)| n.clone()).collect();
        for model in hopeful {
            if self.catalog.never_fits(&model).is_none() {
                self.now_available(&model);
            }
        }
    }

    /// Takes a model out of memory, and out of the queue of what is to be loaded. Requests that wait load it again.
    fn put_out(&mut self, model: &ModelName) {
        self.save_points_of(model);
        self.catalog.unwant(model);
        let Some(slot) = self.catalog.slots.get_mut(model) else { return };
        slot.waiters.drain(..).for_each(|waiter| {
            let _ = waiter.send(Err(Fault::cancelled(format!("{model} was unloaded before it was ready"))));
        });
        let serving = slot.serving.take();
        if serving.is_some() || slot.state == ModelState::Loading {
            self.now_available(model);
        }
        if let Some(serving) = serving {
            tracing::info!(%model, "the model leaves memory");
            self.chore(Chore::Free(serving.model));
        }
    }

    fn save_points_of(&mut self, model: &ModelName) {
        let Some(serving) = self.catalog.slots.get_mut(model).and_then(|slot| slot.serving.as_mut()) else { return };
        if std::mem::take(&mut serving.unsaved) {
            let (version, points) = (serving.version.to_string(), serving.points.published().to_vec());
            self.chore(Chore::SavePoints { model: model.clone(), version, points });
        }
    }

    /// Saves what was measured, here and now: the loader may be busy, and the daemon ends.
    pub(super) fn save_points(&mut self) {
        for (model, slot) in &mut self.catalog.slots {
            if let Some(serving) = slot.serving.as_mut().filter(|s| s.unsaved) {
                serving.unsaved = false;
                loader::save_points(&self.store, model, &serving.version, serving.points.published());
            }
        }
    }

    fn chore(&self, chore: Chore) {
        if self.loader.send(chore).is_err() {
            tracing::error!("the loader is gone; the daemon must be restarted");
        }
    }

    fn unknown(&self, model: &ModelName) -> Fault {
        Fault::unknown_model(model, self.catalog.slots.keys())
    }
}

/// What a language model needs that finds no room in so many bytes, what would fit, and how it is loaded all the same.
fn mend(model: &ModelName, needs: &Needs, available: u64) -> String {
    let fits = match needs.tokens_within(available) {
        Some(tokens) => format!("context = {tokens} and cache = {tokens} in [task] of its manifest would fit"),
        None => "no context would make it fit: a smaller model, or the same in fewer bits a weight".into(),
    };
    format!(
        ". It needs {} for its weights, {} for the keys and values of {} tokens and {} to compute with; {fits}. To load it all the same, \
         raise models.memory_mb, or name it in models.overcommit = [\"{model}\"]: its weights are then read from disk again and again",
        mib(needs.weights),
        mib(needs.cache),
        needs.tokens,
        mib(needs.scratch)
    )
}

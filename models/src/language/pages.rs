//! Who holds which page of the cache of keys and values, and which pages hold what again and again: equal beginnings of
//! conversations share their pages, while they run and after; of the page in which they part, each has a copy. Keeps books only; the
//! memory is `kernels`'.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A page: its place in the pool, and its how-manieth content it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Content {
    page: u32,
    generation: u64,
}

/// What a full page holds: these tokens, after what the page before it holds.
type Key = (Option<Content>, Box<[u32]>);

/// The books on a pool of pages, whose memory is reached by handles `P`.
#[derive(Debug)]
pub(crate) struct Pages<P> {
    /// Tokens of a page.
    size: usize,
    free: Vec<u32>,
    books: Vec<Book<P>>,
    /// Pages whose content is known, held or not, by what they follow.
    known: HashMap<Option<Content>, Vec<u32>>,
    /// Known pages that nobody holds, the longest unused first.
    idle: BTreeMap<u64, u32>,
    clock: u64,
}

/// What is known of one page.
#[derive(Debug)]
struct Book<P> {
    /// The page itself, where nobody holds it, and a copy of it from when it is known on: then nobody writes to it any more.
    handle: Option<P>,
    holders: u32,
    generation: u64,
    key: Option<Key>,
    idle_since: u64,
}

/// Pages that a sequence holds, in order; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<P> {
    pages: Vec<u32>,
    /// Shared with the step that computes, so that no page is held twice: that would look as if two sequences wrote to it.
    handles: Arc<Vec<P>>,
    shared: Arc<Mutex<Pages<P>>>,
}

impl<P> Pages<P> {
    /// Books on pages of `size` tokens.
    pub(crate) fn new(handles: Vec<P>, size: usize) -> Arc<Mutex<Pages<P>>> {
        let free = (0..handles.len() as u32).rev().collect();
        let book = |handle| Book { handle: Some(handle), holders: 0, generation: 0, key: None, idle_since: 0 };
        let books = handles.into_iter().map(book).collect();
        Arc::new(Mutex::new(Pages { size, free, books, known: HashMap::new(), idle: BTreeMap::new(), clock: 0 }))
    }

    /// A page for one holder alone.
    fn take(&mut self) -> Option<(u32, P)> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let (_, page) = self.idle.pop_first()?;
                let book = &mut self.books[page as usize];
                if let Some((before, _)) = book.key.take()
                    && let Entry::Occupied(mut after) = self.known.entry(before)
                {
                    after.get_mut().retain(|known| *known != page);
                    if after.get().is_empty() {
                        after.remove();
                    }
                }
                book.generation += 1;
                page
            }
        };
        let book = &mut self.books[page as usize];
        book.holders = 1;
        Some((page, book.handle.take()?))
    }

    /// One more holder of a page that is known.
    fn share(&mut self, page: u32) -> Option<P>
    where
        P: Clone,
    {
        let book = &mut self.books[page as usize];
        let handle = book.handle.clone()?;
        book.holders += 1;
        if book.holders == 1 {
            self.idle.remove(&book.idle_since);
        }
        Some(handle)
    }

    /// A page for one holder alone that holds what this one does, which `copy` sees to.
    fn take_copy(&mut self, page: u32, copy: &dyn Fn(&P, &P)) -> Option<(u32, P)>
    where
        P: Clone,
    {
        // Held meanwhile, lest it be the one that is taken.
        let handle = self.share(page)?;
        let taken = self.take();
        if let Some((_, taken)) = &taken {
            copy(&handle, taken);
        }
        self.release(page, handle);
        taken
    }

    /// The known page after this content that begins most like `tokens`, and in how many tokens.
    fn alike(&self, before: Option<Content>, tokens: &[u32]) -> Option<(u32, usize)> {
        let known = self.known.get(&before)?.iter();
        let alike = known.filter_map(|&page| {
            let (_, block) = self.books[page as usize].key.as_ref()?;
            Some((page, block.iter().zip(tokens).take_while(|(a, b)| a == b).count()))
        });
        alike.max_by_key(|(_, equal)| *equal).filter(|(_, equal)| *equal > 0)
    }

    fn release(&mut self, page: u32, handle: P) {
        self.clock += 1;
        let book = &mut self.books[page as usize];
        book.holders -= 1;
        if book.holders > 0 {
            return;
        }
        if book.key.is_some() {
            book.idle_since = self.clock;
            self.idle.insert(self.clock, page);
        } else {
            book.generation += 1;
            book.handle = Some(handle);
            self.free.push(page);
        }
    }

    fn content(&self, page: u32) -> Content {
        Content { page, generation: self.books[page as usize].generation }
    }
}

fn lock<P>(pages: &Mutex<Pages<P>>) -> MutexGuard<'_, Pages<P>> {
    // The books are whole between any two statements that could panic.
    pages.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: Clone> Held<P> {
    /// None yet.
    pub(crate) fn new(shared: &Arc<Mutex<Pages<P>>>) -> Held<P> {
        Held { pages: Vec::new(), handles: Arc::default(), shared: shared.clone() }
    }

    /// The pages, in the order of the tokens.
    pub(crate) fn pages(&self) -> &Arc<Vec<P>> {
        &self.handles
    }

    /// Of a sequence that holds nothing yet: takes part in the pages that hold the begin of `tokens`, has `copy` copy the one that holds
    /// only some of what follows, from the first page to the second, and says how many tokens it has now: never the last one, which has
    /// to be computed for what comes after it.
    pub(crate) fn find(&mut self, tokens: &[u32], copy: &dyn Fn(&P, &P)) -> usize {
        debug_assert!(self.pages.is_empty(), "a sequence looks before it computes");
        let mut pages = lock(&self.shared);
        let tokens = &tokens[..tokens.len().saturating_sub(1)];
        let (mut before, mut found) = (None, 0);
        while let Some((page, equal)) = pages.alike(before, &tokens[found..]) {
            let whole = equal == pages.size;
            let taken = if whole { pages.share(page).map(|handle| (page, handle)) } else { pages.take_copy(page, copy) };
            let Some((page, handle)) = taken else { break };
            self.pages.push(page);
            Arc::make_mut(&mut self.handles).push(handle);
            found += equal;
            if !whole {
                break;
            }
            before = Some(pages.content(page));
        }
        found
    }

    /// Takes pages until so many tokens have room; false, with those that could be had, where the pool has no more.
    pub(crate) fn grow(&mut self, tokens: usize) -> bool {
        let mut pages = lock(&self.shared);
        while self.pages.len() * pages.size < tokens {
            match pages.take() {
                Some((page, handle)) => {
                    self.pages.push(page);
                    Arc::make_mut(&mut self.handles).push(handle);
                }
                None => return false,
            }
        }
        true
    }

    /// Tells what the full pages among the first `computed` tokens hold, so that others find them.
    pub(crate) fn publish(&self, tokens: &[u32], computed: usize) {
        let mut pages = lock(&self.shared);
        let size = pages.size;
        let mut before = None;
        for ((&page, handle), block) in self.pages.iter().zip(&*self.handles).zip(tokens[..computed].chunks_exact(size)) {
            // Somebody may have computed the same meanwhile: then theirs is found, and this page is only this sequence's.
            let known = || pages.alike(before, block).is_some_and(|(_, equal)| equal == size);
            if pages.books[page as usize].key.is_none() && !known() {
                pages.known.entry(before).or_default().push(page);
                let book = &mut pages.books[page as usize];
                (book.key, book.handle) = (Some((before, block.into())), Some(handle.clone()));
            }
            before = Some(pages.content(page));
        }
    }
}

impl<P> Held<P> {
    /// Gives all pages back.
    pub(crate) fn release(&mut self) {
        let mut pages = lock(&self.shared);
        // The last first: what is left of a conversation is used from its begin.
        // No step runs while a sequence gives its pages back.
        let handles = std::mem::take(&mut self.handles);
        let handles = Arc::try_unwrap(handles).unwrap_or_else(|_| unreachable!("a step holds pages only while it runs"));
        self.pages.drain(..).zip(handles).rev().for_each(|(page, handle)| pages.release(page, handle));
    }
}

impl<P> Drop for Held<P> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    /// Books on pages that are called by their places.
    fn pages(count: u32, size: usize) -> Arc<Mutex<Pages<u32>>> {
        Pages::new((0..count).collect(), size)
    }

    /// Pages that anyone could have now.
    fn available(pages: &Arc<Mutex<Pages<u32>>>) -> usize {
        let pages = lock(pages);
        pages.free.len() + pages.idle.len()
    }

    /// How many tokens a sequence would find.
    fn find(shared: &Arc<Mutex<Pages<u32>>>, tokens: &[u32]) -> usize {
        Held::new(shared).find(tokens, &|_, _| ())
    }

    /// A sequence that has computed all its tokens.
    fn computed(shared: &Arc<Mutex<Pages<u32>>>, tokens: &[u32]) -> (Held<u32>, usize) {
        let mut held = Held::new(shared);
        let found = held.find(tokens, &|_, _| ());
        assert!(held.grow(tokens.len()));
        held.publish(tokens, tokens.len());
        (held, found)
    }

    #[test]
    fn equal_begins_share_their_whole_pages_and_copy_the_one_in_which_they_part() {
        let shared = pages(8, 4);
        let (one, found) = computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((found, one.pages().len()), (0, 3));
        let (two, found) = computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 10, 11]);
        assert_eq!(found, 8);
        assert_eq!(one.pages()[..2], two.pages()[..2]);
        assert_ne!(one.pages()[2], two.pages()[2]);
        let (_, found) = computed(&shared, &[1, 2, 3, 4, 6, 6, 7, 8, 10]);
        assert_eq!(found, 4, "a page is the same only after the same");
        let copied = RefCell::new(Vec::new());
        let mut three = Held::new(&shared);
        let found = three.find(&[1, 2, 3, 4, 5, 6, 9, 9], &|from, to| copied.borrow_mut().push((*from, *to)));
        assert_eq!((found, three.pages()[0]), (6, one.pages()[0]));
        assert_eq!(*copied.borrow(), [(one.pages()[1], three.pages()[1])]);
    }

    #[test]
    fn the_last_token_is_always_computed() {
        let shared = pages(8, 4);
        let (_one, _) = computed(&shared, &[1, 2, 3, 4]);
        assert_eq!(find(&shared, &[1, 2, 3, 4]), 3);
        assert_eq!(find(&shared, &[1, 2, 3, 4, 5]), 4);
        assert_eq!(find(&shared, &[]), 0);
    }

    #[test]
    fn what_was_said_is_found_again_until_its_room_is_needed() {
        let shared = pages(3, 4);
        drop(computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 9]));
        let (again, found) = computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((found, available(&shared)), (8, 0));
        drop(again);
        // The end of a conversation leaves before its begin does.
        let (other, _) = computed(&shared, &[20, 21, 22, 23, 24]);
        assert_eq!(find(&shared, &[1, 2, 3, 4, 5]), 4);
        drop(other);
        let (_all, _) = computed(&shared, &[30, 31, 32, 33, 34, 35, 36, 37, 38, 39]);
        assert_eq!(find(&shared, &[1, 2, 3, 4, 5]), 0);
    }

    #[test]
    fn a_full_pool_gives_what_it_has() {
        let shared = pages(2, 4);
        let (_one, _) = computed(&shared, &[1, 2, 3]);
        let mut two = Held::new(&shared);
        assert!(!two.grow(9));
        assert_eq!(two.pages().len(), 1);
        two.release();
        assert_eq!(available(&shared), 1);
    }

    proptest! {
        #[test]
        fn no_page_is_lost_nor_held_by_two_who_differ(sequences in prop::collection::vec(prop::collection::vec(0u32..3, 1..20), 1..30)) {
            let shared = pages(12, 3);
            let memory = RefCell::new(vec![[9; 3]; 12]);
            let mut running: Vec<(Vec<u32>, Held<u32>)> = Vec::new();
            for tokens in sequences {
                let mut held = Held::new(&shared);
                let found = held.find(&tokens, &|from, to| {
                    let mut memory = memory.borrow_mut();
                    memory[*to as usize] = memory[*from as usize];
                });
                while !held.grow(tokens.len()) {
                    prop_assert!(!running.is_empty(), "12 pages of 3 are enough for one of 20");
                    running.remove(0);
                }
                for (at, token) in tokens.iter().enumerate().skip(found) {
                    memory.borrow_mut()[held.pages()[at / 3] as usize][at % 3] = *token;
                }
                held.publish(&tokens, tokens.len());
                running.push((tokens, held));
                for (tokens, held) in &running {
                    let memory = memory.borrow();
                    let holds = |at: usize| memory[held.pages()[at / 3] as usize][at % 3];
                    prop_assert!((0..tokens.len()).all(|at| holds(at) == tokens[at]), "another wrote over it");
                }
                for (at, (tokens, held)) in running.iter().enumerate() {
                    for (others, other) in &running[..at] {
                        for (page, block) in held.pages().iter().enumerate() {
                            if let Some(same) = other.pages().iter().position(|other| other == block) {
                                prop_assert_eq!(page, same);
                                prop_assert_eq!(&tokens[..3 * page + 3], &others[..3 * page + 3]);
                            }
                        }
                    }
                }
            }
            running.clear();
            prop_assert_eq!(available(&shared), 12);
        }
    }
}

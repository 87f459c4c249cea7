//! Who holds which page of the cache of keys and values, and which pages hold what again and again: equal beginnings of
//! conversations share their pages, while they run and after. Keeps books only; the memory is `kernels`'.

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
    /// Pages whose content is known, held or not.
    known: HashMap<Key, u32>,
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
                if let Some(key) = book.key.take() {
                    self.known.remove(&key);
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

    /// Of a sequence that holds nothing yet: takes part in the pages that hold the begin of `tokens`, and says how many tokens that
    /// are: whole pages, and never the last token, which has to be computed for what comes after it.
    pub(crate) fn find(&mut self, tokens: &[u32]) -> usize {
        debug_assert!(self.pages.is_empty(), "a sequence looks before it computes");
        let mut pages = lock(&self.shared);
        let size = pages.size;
        let mut before = None;
        for block in tokens[..tokens.len().saturating_sub(1)].chunks_exact(size) {
            let key = (before, Box::from(block));
            let Some(&page) = pages.known.get(&key) else { break };
            let Some(handle) = pages.share(page) else { break };
            before = Some(pages.content(page));
            self.pages.push(page);
            Arc::make_mut(&mut self.handles).push(handle);
        }
        self.pages.len() * size
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
            if pages.books[page as usize].key.is_none() {
                let key: Key = (before, block.into());
                // Somebody may have computed the same meanwhile: then theirs is found, and this page is only this sequence's.
                if !pages.known.contains_key(&key) {
                    pages.known.insert(key.clone(), page);
                    let book = &mut pages.books[page as usize];
                    (book.key, book.handle) = (Some(key), Some(handle.clone()));
                }
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

    /// Books on pages that are called by their places.
    fn pages(count: u32, size: usize) -> Arc<Mutex<Pages<u32>>> {
        Pages::new((0..count).collect(), size)
    }

    /// Pages that anyone could have now.
    fn available(pages: &Arc<Mutex<Pages<u32>>>) -> usize {
        let pages = lock(pages);
        pages.free.len() + pages.idle.len()
    }

    /// A sequence that has computed all its tokens.
    fn computed(shared: &Arc<Mutex<Pages<u32>>>, tokens: &[u32]) -> (Held<u32>, usize) {
        let mut held = Held::new(shared);
        let found = held.find(tokens);
        assert!(held.grow(tokens.len()));
        held.publish(tokens, tokens.len());
        (held, found)
    }

    #[test]
    fn equal_begins_share_their_whole_pages() {
        let shared = pages(8, 4);
        let (one, found) = computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((found, one.pages().len()), (0, 3));
        let (two, found) = computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 10, 11]);
        assert_eq!(found, 8);
        assert_eq!(one.pages()[..2], two.pages()[..2]);
        assert_ne!(one.pages()[2], two.pages()[2]);
        let (_, found) = computed(&shared, &[1, 2, 3, 4, 6, 6, 7, 8, 10]);
        assert_eq!(found, 4, "a page is the same only after the same");
    }

    #[test]
    fn the_last_token_is_always_computed() {
        let shared = pages(8, 4);
        let (_one, _) = computed(&shared, &[1, 2, 3, 4]);
        assert_eq!(Held::new(&shared).find(&[1, 2, 3, 4]), 0);
        assert_eq!(Held::new(&shared).find(&[1, 2, 3, 4, 5]), 4);
        assert_eq!(Held::new(&shared).find(&[]), 0);
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
        assert_eq!(Held::new(&shared).find(&[1, 2, 3, 4, 5]), 4);
        drop(other);
        let (_all, _) = computed(&shared, &[30, 31, 32, 33, 34, 35, 36, 37, 38, 39]);
        assert_eq!(Held::new(&shared).find(&[1, 2, 3, 4, 5]), 0);
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
            let mut running: Vec<(Vec<u32>, Held<u32>)> = Vec::new();
            for tokens in sequences {
                let mut held = Held::new(&shared);
                held.find(&tokens);
                while !held.grow(tokens.len()) {
                    prop_assert!(!running.is_empty(), "12 pages of 3 are enough for one of 20");
                    running.remove(0);
                }
                held.publish(&tokens, tokens.len());
                running.push((tokens, held));
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

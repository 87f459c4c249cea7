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

/// The books on a pool of pages.
#[derive(Debug)]
pub(crate) struct Pages {
    /// Tokens of a page.
    size: usize,
    free: Vec<u32>,
    books: Vec<Book>,
    /// Pages whose content is known, held or not.
    known: HashMap<Key, u32>,
    /// Known pages that nobody holds, the longest unused first.
    idle: BTreeMap<u64, u32>,
    clock: u64,
}

/// What is known of one page.
#[derive(Debug, Default)]
struct Book {
    holders: u32,
    generation: u64,
    key: Option<Key>,
    idle_since: u64,
}

/// Pages that a sequence holds, in order; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pages: Vec<u32>,
    shared: Arc<Mutex<Pages>>,
}

impl Pages {
    /// Books on `count` pages of `size` tokens.
    pub(crate) fn new(count: usize, size: usize) -> Arc<Mutex<Pages>> {
        let books = (0..count).map(|_| Book::default()).collect();
        let free = (0..count as u32).rev().collect();
        Arc::new(Mutex::new(Pages { size, free, books, known: HashMap::new(), idle: BTreeMap::new(), clock: 0 }))
    }

    /// Pages that could be had now.
    fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    fn take(&mut self) -> Option<u32> {
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
        self.books[page as usize].holders = 1;
        Some(page)
    }

    fn share(&mut self, page: u32) {
        let book = &mut self.books[page as usize];
        book.holders += 1;
        if book.holders == 1 {
            self.idle.remove(&book.idle_since);
        }
    }

    fn release(&mut self, page: u32) {
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
            self.free.push(page);
        }
    }

    fn content(&self, page: u32) -> Content {
        Content { page, generation: self.books[page as usize].generation }
    }
}

fn lock(pages: &Mutex<Pages>) -> MutexGuard<'_, Pages> {
    // The books are whole between any two statements that could panic.
    pages.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// None yet.
    pub(crate) fn new(shared: &Arc<Mutex<Pages>>) -> Held {
        Held { pages: Vec::new(), shared: shared.clone() }
    }

    /// The pages, in the order of the tokens.
    pub(crate) fn pages(&self) -> &[u32] {
        &self.pages
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
            pages.share(page);
            before = Some(pages.content(page));
            self.pages.push(page);
        }
        self.pages.len() * size
    }

    /// Takes pages until so many tokens have room; false, with those that could be had, where the pool has no more.
    pub(crate) fn grow(&mut self, tokens: usize) -> bool {
        let mut pages = lock(&self.shared);
        while self.pages.len() * pages.size < tokens {
            match pages.take() {
                Some(page) => self.pages.push(page),
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
        for (&page, block) in self.pages.iter().zip(tokens[..computed].chunks_exact(size)) {
            if pages.books[page as usize].key.is_none() {
                let key: Key = (before, block.into());
                // Somebody may have computed the same meanwhile: then theirs is found, and this page is only this sequence's.
                if !pages.known.contains_key(&key) {
                    pages.known.insert(key.clone(), page);
                    pages.books[page as usize].key = Some(key);
                }
            }
            before = Some(pages.content(page));
        }
    }

    /// Gives all pages back.
    pub(crate) fn release(&mut self) {
        let mut pages = lock(&self.shared);
        // The last first: what is left of a conversation is used from its begin.
        self.pages.drain(..).rev().for_each(|page| pages.release(page));
    }

    /// Pages that anyone could have now.
    #[cfg(test)]
    fn available(&self) -> usize {
        lock(&self.shared).available()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sequence that has computed all its tokens.
    fn computed(shared: &Arc<Mutex<Pages>>, tokens: &[u32]) -> (Held, usize) {
        let mut held = Held::new(shared);
        let found = held.find(tokens);
        assert!(held.grow(tokens.len()));
        held.publish(tokens, tokens.len());
        (held, found)
    }

    #[test]
    fn equal_begins_share_their_whole_pages() {
        let shared = Pages::new(8, 4);
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
        let shared = Pages::new(8, 4);
        let (_one, _) = computed(&shared, &[1, 2, 3, 4]);
        assert_eq!(Held::new(&shared).find(&[1, 2, 3, 4]), 0);
        assert_eq!(Held::new(&shared).find(&[1, 2, 3, 4, 5]), 4);
        assert_eq!(Held::new(&shared).find(&[]), 0);
    }

    #[test]
    fn what_was_said_is_found_again_until_its_room_is_needed() {
        let shared = Pages::new(3, 4);
        drop(computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 9]));
        let (again, found) = computed(&shared, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((found, again.available()), (8, 0));
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
        let shared = Pages::new(2, 4);
        let (_one, _) = computed(&shared, &[1, 2, 3]);
        let mut two = Held::new(&shared);
        assert!(!two.grow(9));
        assert_eq!(two.pages().len(), 1);
        two.release();
        assert_eq!(two.available(), 1);
    }

    proptest! {
        #[test]
        fn no_page_is_lost_nor_held_by_two_who_differ(sequences in prop::collection::vec(prop::collection::vec(0u32..3, 1..20), 1..30)) {
            let shared = Pages::new(12, 3);
            let mut running: Vec<(Vec<u32>, Held)> = Vec::new();
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
            prop_assert_eq!(lock(&shared).available(), 12);
        }
    }
}

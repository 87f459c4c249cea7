//! Pages: counted, shared, copied before they are written.

use super::*;

fn pool(pages: usize) -> KvPool {
    KvPool::new(KvShape { layers: 2, kv_heads: 2, key_width: 3, values: Values::Apart(5), pages, element: Element::Single })
}

/// Writes `rows` tokens from `start` on, with keys and values of `value`.
fn write(kv: &KvPool, layer: usize, pages: &[Page], start: usize, rows: usize, value: f32) {
    let batch = [Sequence { pages, start, rows }];
    kv.write(InstructionSet::best(), layer, &batch, &vec![value; rows * 6], &vec![-value; rows * 10]);
}

/// The first key and value of a token in both heads.
fn read(kv: &KvPool, layer: usize, page: &Page, slot: usize) -> [f32; 4] {
    let memory = kv.layer(layer);
    let Memory::Single(memory) = &*memory else { panic!("the pool holds f32") };
    let [first, second] = [0, 1].map(|head| kv.shape.head_start(kv.index(page), head));
    let values = 3 * PAGE + 8 * slot;
    [first + slot, first + values, second + slot, second + values].map(|at| memory.as_slice()[at])
}

#[test]
fn a_page_is_held_until_its_last_clone_is_gone() {
    let kv = pool(2);
    let first = kv.take().unwrap();
    let shared = first.clone();
    let second = kv.take().unwrap();
    assert!(kv.take().is_none(), "both pages are held");
    drop(first);
    assert_eq!(kv.free_pages(), 0, "a clone holds it");
    let number = kv.index(&shared);
    drop(shared);
    assert_eq!(kv.free_pages(), 1);
    assert_eq!(kv.index(&kv.take().unwrap()), number);
    drop(second);
    assert_eq!(kv.free_pages(), 2);
}

#[test]
fn a_page_is_copied_in_all_layers_and_then_written_alone() {
    let kv = pool(3);
    let (original, copy) = (kv.take().unwrap(), kv.take().unwrap());
    write(&kv, 0, std::slice::from_ref(&original), 0, 20, 1.0);
    write(&kv, 1, std::slice::from_ref(&original), 0, 20, 2.0);
    kv.copy(&original, &copy);
    write(&kv, 0, std::slice::from_ref(&copy), 19, 1, 9.0);
    for (page, last) in [(&original, 1.0), (&copy, 9.0)] {
        assert_eq!(read(&kv, 0, page, 18), [1.0, -1.0, 1.0, -1.0]);
        assert_eq!(read(&kv, 0, page, 19), [last, -last, last, -last]);
        assert_eq!(read(&kv, 1, page, 19), [2.0, -2.0, 2.0, -2.0]);
    }
}

#[test]
#[should_panic(expected = "KV pool: a page that is shared is not written")]
fn a_shared_page_takes_no_copy() {
    let kv = pool(2);
    let (original, copy) = (kv.take().unwrap(), kv.take().unwrap());
    let _shared = copy.clone();
    kv.copy(&original, &copy);
}

#[test]
fn tokens_lie_where_their_positions_say() {
    let kv = pool(3);
    let pages: Vec<Page> = (0..2).map(|_| kv.take().unwrap()).collect();
    write(&kv, 1, &pages, 0, 30, 3.0);
    write(&kv, 1, &pages, 30, 5, 4.0);
    assert_eq!(read(&kv, 1, &pages[0], 29)[0], 3.0);
    assert_eq!(read(&kv, 1, &pages[0], 30)[0], 4.0);
    assert_eq!(read(&kv, 1, &pages[1], 2), [4.0, -4.0, 4.0, -4.0]);
    assert_eq!(read(&kv, 1, &pages[1], 3)[0], 0.0);
    assert_eq!(read(&kv, 0, &pages[0], 0)[0], 0.0, "the other layer is as it was");
}

#[test]
fn bytes_are_those_of_all_pages() {
    // Two layers, two heads, 32 tokens, 3 values of a key, 5 of a value in room for 8, 4 bytes.
    assert_eq!(pool(7).bytes(), 7 * 2 * 2 * 32 * (3 + 8) * 4);
    let latent = KvShape { layers: 3, kv_heads: 1, key_width: 576, values: Values::InKeys(512), pages: 2, element: Element::Half };
    assert_eq!(KvPool::new(latent).bytes(), 2 * 3 * 32 * 576 * 2);
}

#[test]
#[should_panic(expected = "position 3 is in a page that is shared; it takes a copy of it")]
fn a_shared_page_is_not_written() {
    let kv = pool(1);
    let page = kv.take().unwrap();
    let pages = [page.clone()];
    write(&kv, 0, &pages, 3, 1, 1.0);
}

#[test]
#[should_panic(expected = "KV pool: position 32 of 1 pages")]
fn a_token_without_a_page_is_refused() {
    let kv = pool(1);
    write(&kv, 0, &[kv.take().unwrap()], 31, 2, 1.0);
}

#[test]
#[should_panic(expected = "KV pool: a page of another pool")]
fn a_page_of_another_pool_is_refused() {
    write(&pool(1), 0, &[pool(1).take().unwrap()], 0, 1, 1.0);
}

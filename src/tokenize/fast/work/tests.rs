use super::*;

/// A word becomes its length and its first byte.
struct Lengths;

impl Model for Lengths {
    fn word(&self, word: &[u8], work: &mut Work) {
        let start = work.ids.len();
        work.ids.extend([word.len() as u32, word[0].into()]);
        work.cache.put(word, &work.ids[start..]);
    }
}

fn drained(work: &mut Work) -> Vec<Vec<u32>> {
    let mut texts = Vec::new();
    let all: Result<(), ()> = work.drain(|[ids]| {
        texts.push(ids.to_vec());
        Ok(())
    });
    all.unwrap();
    texts
}

#[test]
fn texts_get_their_ids_wherever_they_are_settled() {
    let words: [&[u8]; 4] = [b"a", b"fifteen letters", b"more than fifteen", b""];
    for settled_after in 0..12 {
        let mut work = Work::default();
        let (mut step, mut texts) = (0, Vec::new());
        for text in 0..3 {
            work.begin();
            for (index, word) in words.iter().enumerate() {
                assert!(work.least() >= index.min(3), "{settled_after}");
                work.push(word);
                if step == settled_after {
                    work.settle(&Lengths);
                    assert_eq!(work.least(), 2 * (index + 1).min(3));
                }
                step += 1;
            }
            work.push_id(text);
            work.end();
            texts.extend(drained(&mut work));
        }
        work.settle(&Lengths);
        texts.extend(drained(&mut work));
        let expected = |text| vec![1, 97, 15, 102, 17, 109, text];
        assert_eq!(texts, [expected(0), expected(1), expected(2)]);
    }
}

#[test]
fn pairs_wait_for_their_second_text() {
    let mut work = Work::default();
    let mut pairs = Vec::new();
    for text in 0..5 {
        work.begin();
        work.push_id(text);
        work.end();
        let each = |[first, second]: [&[u32]; 2]| {
            pairs.push((first[0], second[0]));
            Ok::<_, ()>(())
        };
        work.drain(each).unwrap();
    }
    assert_eq!((pairs, work.ended()), (vec![(0, 1), (2, 3)], 1));
}

#[test]
fn a_huge_text_leaves_no_memory_behind() {
    let mut work = Work::default();
    work.push(b"a");
    for id in 0..4 * KEPT as u32 {
        work.push_id(id);
        work.end();
    }
    work.push(&vec![b'a'; 4 * KEPT]);
    work.settle(&Lengths);
    assert!(work.ids.capacity() > 4 * KEPT);
    work.clear();
    let queue = &work.queue;
    let kept = [work.ids.capacity(), work.ends.capacity(), queue.long.capacity()];
    assert!(kept.iter().all(|&kept| kept <= KEPT), "{kept:?}");
    assert!(queue.entries.capacity() <= KEPT / 16);
}

#[test]
fn a_section_is_taken_back_and_no_other() {
    for before in [true, false] {
        let mut work = Work::default();
        work.begin();
        if before {
            work.push(b"kept");
        }
        work.mark();
        work.push(b"taken back");
        assert_eq!(work.least(), 1 + usize::from(before));
        work.settle(&Lengths);
        work.back_to_mark();
        work.push(b"b");
        work.end();
        work.settle(&Lengths);
        let kept = if before { vec![4, 107, 1, 98] } else { vec![1, 98] };
        assert_eq!(drained(&mut work), [kept]);
    }
}

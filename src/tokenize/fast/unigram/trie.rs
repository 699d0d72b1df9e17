//! The pieces of a vocabulary as a double array over characters.
//!
//! Characters have codes, the most frequent the smallest, so that a step costs one look at one node whatever the
//! script, and a node holds all that is known of the piece that ends there.

use super::super::super::memory::ask_for_huge_pages;

/// No piece ends at a node.
const NO_ID: u32 = (1 << ID_BITS) - 1;
const ID_BITS: u32 = 24;
const BASE_BITS: u32 = 24;
/// Places that are tried before all that are free before them are given up.
const TRIES: usize = 256;

/// Sixteen bytes, so that four share a cache line.
#[derive(Clone, Copy)]
pub(super) struct Node {
    /// From the lowest bits: the code that leads here, the id, where the children's codes count from.
    ///
    /// No two nodes have children that count from the same place. So the code tells whose child a node is.
    link: u64,
    score: f64,
}

impl Node {
    const FREE: Self = Self { link: (NO_ID as u64) << 16, score: 0.0 };

    #[inline]
    fn code(self) -> u16 {
        self.link as u16
    }

    /// The id and the score of the piece that ends here.
    #[inline]
    pub(super) fn piece(self) -> Option<(u32, f64)> {
        let id = (self.link >> 16) as u32 & NO_ID;
        (id != NO_ID).then_some((id, self.score))
    }

    /// Where the children's codes count from.
    #[inline]
    pub(super) fn children(self) -> Option<usize> {
        let base = (self.link >> (16 + ID_BITS)) as usize;
        (base != 0).then_some(base)
    }
}

pub(super) struct Trie {
    /// By code point, 0 for a character that no piece has.
    codes: Box<[u16]>,
    nodes: Box<[Node]>,
    /// Characters of the longest piece.
    longest: usize,
}

impl std::fmt::Debug for Trie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trie").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Trie {
    /// `None` where there are more pieces or characters than nodes can tell apart.
    pub(super) fn new(pieces: &[(&str, f64)]) -> Option<Self> {
        if pieces.len() >= NO_ID as usize {
            return None;
        }
        let codes = codes(pieces)?;
        let mut text = Vec::new();
        let mut keys = Vec::with_capacity(pieces.len());
        for (id, (piece, _)) in pieces.iter().enumerate() {
            let start = text.len();
            text.extend(piece.chars().map(|c| codes[c as usize]));
            keys.push(Key::new(&text, start, id as u32));
        }
        let longest = keys.iter().map(|key| key.length as usize).max()?;
        // Of equal pieces the last counts, as upstream.
        keys.sort_unstable_by(|a, b| {
            let rest = || a.codes(&text).cmp(b.codes(&text)).then(a.id.cmp(&b.id));
            a.head.cmp(&b.head).then_with(rest)
        });
        // In the order of the keys, so that all of them are read from the first to the last at each depth.
        let mut sorted = Vec::with_capacity(text.len());
        for key in &mut keys {
            let start = sorted.len() as u32;
            sorted.extend_from_slice(key.codes(&text));
            key.start = start;
        }
        let mut nodes: Vec<Node> = Vec::with_capacity(text.len());
        ask_for_huge_pages(nodes.spare_capacity_mut());
        let builder = Builder { nodes, ..Builder::default() };
        Some(Self { codes, nodes: builder.build(&keys, &sorted, pieces)?, longest })
    }

    /// How many characters the longest piece has.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The code of a character, 0 for one that no piece has.
    #[inline]
    pub(super) fn code(&self, c: char) -> u16 {
        self.codes.get(c as usize).copied().unwrap_or_default()
    }

    /// The node that a code leads to from a node whose children count from `base`, which is 0 for the root.
    ///
    /// Code 0 leads nowhere: to no node, or to one that is not in use.
    #[inline]
    pub(super) fn child(&self, base: usize, code: u16) -> Option<Node> {
        self.nodes.get(base + usize::from(code)).copied().filter(|node| node.code() == code)
    }

    /// The id of the piece that `codes` are.
    pub(super) fn id(&self, codes: impl Iterator<Item = u16>) -> Option<u32> {
        let mut base = Some(0);
        let mut last = None;
        for code in codes {
            let node = self.child(base?, code)?;
            (base, last) = (node.children(), node.piece());
        }
        last.map(|(id, _)| id)
    }
}

/// A piece as codes, and the first eight of them as one number, by which most are told apart.
struct Key {
    head: u128,
    start: u32,
    length: u32,
    id: u32,
}

impl Key {
    fn new(text: &[u16], start: usize, id: u32) -> Self {
        let codes = &text[start..];
        let head = (0..8).fold(0, |head, at| {
            head << 16 | u128::from(codes.get(at).copied().unwrap_or_default())
        });
        Self { head, start: start as u32, length: codes.len() as u32, id }
    }

    fn codes<'t>(&self, text: &'t [u16]) -> &'t [u16] {
        &text[self.start as usize..][..self.length as usize]
    }
}

/// Codes for all characters of the pieces, from 1 for the most frequent.
fn codes(pieces: &[(&str, f64)]) -> Option<Box<[u16]>> {
    let mut counts = vec![0u32; 0x11_0000];
    let mut last = 0;
    for c in pieces.iter().flat_map(|(piece, _)| piece.chars()) {
        counts[c as usize] += 1;
        last = last.max(c as usize);
    }
    let mut used: Vec<usize> = (0..=last).filter(|&c| counts[c] > 0).collect();
    used.sort_unstable_by_key(|&c| (std::cmp::Reverse(counts[c]), c));
    let mut codes = vec![0; last + 1];
    for (code, c) in (1..).zip(used) {
        codes[c] = u16::try_from(code).ok()?;
    }
    Some(codes.into())
}

/// A double array in the making.
#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    /// One bit for each node that is in use.
    taken: Vec<u64>,
    /// One bit for each place that some node's children count from.
    bases: Vec<u64>,
    /// Where to look for free nodes from: those before are few.
    from: usize,
}

/// Keys that begin with the same codes, and the node that these lead to.
struct Branch {
    node: usize,
    depth: usize,
    keys: std::ops::Range<usize>,
}

impl Builder {
    fn build(mut self, keys: &[Key], text: &[u16], pieces: &[(&str, f64)]) -> Option<Box<[Node]>> {
        self.take(0);
        let mut branches = vec![Branch { node: 0, depth: 0, keys: 0..keys.len() }];
        let mut children = Vec::new();
        // Depth first, so that the nodes of one piece stand close together.
        while let Some(Branch { node, depth, keys: range }) = branches.pop() {
            children.clear();
            Self::children(&keys[range.clone()], text, depth, &mut children);
            let Some(&(first, _)) = children.first() else { continue };
            let base = if depth == 0 { 0 } else { self.base(first, &children)? };
            self.nodes[node].link |= (base as u64) << (16 + ID_BITS);
            let mut end = range.end;
            // The last child is put on the pile first.
            for &(code, count) in children.iter().rev() {
                let range = end - count..end;
                end = range.start;
                let node = base + usize::from(code);
                self.take(node);
                let keys = &keys[range.clone()];
                let ends = keys.partition_point(|key| key.length as usize == depth + 1);
                let id = keys[..ends].last().map(|key| key.id);
                self.nodes[node] = Node {
                    link: u64::from(code) | u64::from(id.unwrap_or(NO_ID)) << 16,
                    score: id.map_or(0.0, |id| pieces[id as usize].1),
                };
                if ends < count {
                    branches.push(Branch { node, depth: depth + 1, keys: range });
                }
            }
        }
        self.nodes.truncate(self.taken.len() * 64);
        Some(self.nodes.into())
    }

    /// Lists the codes that follow the first `depth` of `keys`, and how many keys each has.
    fn children(keys: &[Key], text: &[u16], depth: usize, children: &mut Vec<(u16, usize)>) {
        for key in keys {
            let Some(&code) = key.codes(text).get(depth) else { continue };
            match children.last_mut() {
                Some((last, count)) if *last == code => *count += 1,
                _ => children.push((code, 1)),
            }
        }
    }

    /// Where children with these codes can count from, `first` being the smallest: 64 places are tried at once.
    fn base(&mut self, first: u16, children: &[(u16, usize)]) -> Option<usize> {
        let first = usize::from(first);
        let start = self.from.max(first + 1) - first;
        for base in (start..1 << BASE_BITS).step_by(64) {
            let free = |places: u64, &(code, _): &(u16, usize)| {
                let free = places & !window(&self.taken, base + usize::from(code));
                if free == 0 { None } else { Some(free) }
            };
            let Some(places) = children.iter().try_fold(!window(&self.bases, base), free) else {
                continue;
            };
            let base = base + places.trailing_zeros() as usize;
            if base - start > TRIES {
                self.from = base + first;
            }
            set(&mut self.bases, base);
            return (base < 1 << BASE_BITS).then_some(base);
        }
        None
    }

    fn take(&mut self, node: usize) {
        set(&mut self.taken, node);
        if node >= self.nodes.len() {
            self.nodes.resize((node + 1).next_multiple_of(4096), Node::FREE);
        }
    }
}

/// The 64 bits from `at` on.
#[inline]
fn window(bits: &[u64], at: usize) -> u64 {
    let word = |index: usize| bits.get(index).copied().unwrap_or_default();
    let (low, high) = (word(at / 64), word(at / 64 + 1));
    low >> (at % 64) | high << 1 << (63 - at % 64)
}

fn set(bits: &mut Vec<u64>, at: usize) {
    if at / 64 >= bits.len() {
        bits.resize(at / 64 + 1, 0);
    }
    bits[at / 64] |= 1 << (at % 64);
}

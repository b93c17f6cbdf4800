//! Inputs for an ordinary test run: the committed seeds, and the same arbitrary changes of them each
//! time.

use std::path::Path;

/// The longest input, in bytes.
const INPUT_BYTES_MAX: usize = 4_096;

/// Words that mean something to one of the targets.
const WORDS: [&[u8]; 16] = [
    b"\n## Question\n",
    b"\n## Options Considered\n- a\n- b\n",
    b"Priority: P0\n",
    b"\"signal\":",
    b"\"epoch\":0,",
    b"\\u0000",
    b".git",
    b"git~1",
    b"../",
    b"\xe2\x80\x8c",
    b"\xff\xfe",
    b"\x1b[2J",
    b"#[test]\nfn a() {}\n",
    b"```rust\n",
    b"<script>",
    b"{{",
];

/// Calls `run` with every seed in `folder`, and then with `count` inputs made of them.
pub(crate) fn each(folder: &Path, count: usize, run: impl Fn(&[u8])) {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut places: Vec<_> = std::fs::read_dir(folder)
        .expect("the seeds are there")
        .map(|it| it.expect("a seed").path())
        // What a fuzzer keeps for itself is named by a hash.
        .filter(|it| it.file_name().is_some_and(|name| name.len() < 40))
        .collect();
    places.sort();
    for place in places {
        seeds.push(std::fs::read(&place).expect("a readable seed"));
    }
    assert!(!seeds.is_empty(), "{} holds no seed", folder.display());
    seeds.iter().for_each(|it| run(it));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..count {
        run(&changed(&seeds, &mut random));
    }
}

fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 => input.truncate(at),
            1 => input.insert(at, random.byte()),
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            3 => {
                let word = WORDS[random.below(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                input.splice(at..at, other[from..].iter().copied());
            }
            _ => {
                let until = at + random.below(input.len() + 1 - at);
                input.drain(at..until);
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

/// Steps of `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count.max(1)).expect("a count fits");
        usize::try_from(self.next() % count).expect("less than a count fits")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

//! Contents that a capture has just kept, for the judgement that follows: what was in memory a
//! moment ago is not read again. A matter of speed alone; what is not here is in the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use domain::Digest;

use crate::remembered::lock;

/// The most bytes that are held, of all sessions together. What is over is read from the store.
const HELD_BYTES_MAX: usize = 64 << 20;

/// A content in memory.
pub(crate) type Content = Arc<Vec<u8>>;

/// The contents that wait to be judged.
#[derive(Default)]
pub(crate) struct Fresh(Mutex<Held>);

#[derive(Default)]
struct Held {
    bytes: usize,
    contents: HashMap<Digest, Content>,
}

impl fmt::Debug for Fresh {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fresh").finish_non_exhaustive()
    }
}

impl Fresh {
    /// Holds contents that the store has, until they are judged.
    pub(crate) fn hold(&self, kept: Vec<(Digest, Vec<u8>)>) {
        let mut held = lock(&self.0);
        let bytes = kept.iter().map(|(_, it)| it.len());
        if bytes.fold(held.bytes, usize::saturating_add) > HELD_BYTES_MAX {
            // What has not been judged by now may never be.
            *held = Held::default();
        }
        for (digest, content) in kept {
            let length = content.len();
            if held.bytes.saturating_add(length) <= HELD_BYTES_MAX
                && held.contents.insert(digest, Arc::new(content)).is_none()
            {
                held.bytes += length;
            }
        }
    }

    /// Returns a content that is held.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Content> {
        lock(&self.0).contents.get(digest).map(Arc::clone)
    }

    /// Lets go of these contents: they have been judged.
    pub(crate) fn release<'a>(&self, digests: impl Iterator<Item = &'a Digest>) {
        let mut held = lock(&self.0);
        for digest in digests {
            if let Some(content) = held.contents.remove(digest) {
                held.bytes -= content.len();
            }
        }
        if held.contents.is_empty() {
            // Not the room for the most that ever waited.
            held.contents = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(number: u8, length: usize) -> (Digest, Vec<u8>) {
        (Digest::from_bytes([number; 32]), vec![number; length])
    }

    #[test]
    fn what_is_held_is_bounded_and_let_go() {
        let fresh = Fresh::default();
        let (small, large) = (named(1, 10), named(2, HELD_BYTES_MAX));
        let digests = [small.0, large.0];
        fresh.hold(vec![small.clone(), large.clone()]);
        assert_eq!(*fresh.get(&digests[0]).unwrap(), small.1);
        assert!(fresh.get(&digests[1]).is_none(), "over the bound");
        fresh.release(digests.iter());
        assert!(fresh.get(&digests[0]).is_none());
        fresh.hold(vec![large.clone(), large]);
        assert!(fresh.get(&digests[1]).is_some(), "all the room is back");
        fresh.hold(vec![small.clone()]);
        assert!(fresh.get(&digests[1]).is_none(), "the older one makes room");
        assert_eq!(*fresh.get(&digests[0]).unwrap(), small.1);
    }
}

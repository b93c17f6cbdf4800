//! What every artifact store keeps to, one function per rule. [`crate::artifacts_contract`] makes
//! a test of each.
#![expect(clippy::unwrap_used, reason = "a contract suite is made of tests")]

pub mod collection;

use std::sync::Arc;

use domain::Digest;
use ports::artifacts::{ARTIFACT_BYTES_MAX, Collector, Error};

/// Opens the same store each time it is called: once more is another process, or a restart.
pub type Open<'a> = &'a dyn Fn() -> Arc<dyn Collector>;

/// Makes one test of each rule. The argument is called once per test with the clock that tells the
/// store when something is put, and returns a closure that opens one fresh store, again and again.
#[macro_export]
macro_rules! artifacts_contract {
    ($make:expr) => {
        $crate::artifacts_contract! { @rules $make;
            what_is_put_is_read_back
            the_digest_is_blake3
            putting_twice_is_putting_once
            a_batch_answers_in_order
            a_large_batch_is_kept
            a_batch_of_all_sizes_is_kept
            what_was_never_put_is_missing
            what_is_too_large_keeps_its_batch_out
            the_list_is_sorted_and_whole
            what_is_removed_is_gone_and_can_come_back
            another_handle_sees_everything
            what_one_handle_removed_another_puts_again
            threads_put_the_same_and_lose_nothing
        }
        $crate::artifacts_contract! { @collection $make;
            only_what_is_old_and_unwanted_is_collected
            what_is_collectable_is_told_and_stays
            a_put_makes_young_again
            another_handles_put_makes_young_again
            what_another_handle_collected_is_put_again
            what_is_left_of_a_batch_is_whole
            the_empty_artifact_goes_alone
            what_a_put_returned_outlives_a_collection_at_the_same_time
        }
    };
    (@rules $make:expr; $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let open = $make($crate::clock::FakeClock::default());
            $crate::artifacts::contract::$rule(&open);
        }
    )*};
    (@collection $make:expr; $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            let clock = $crate::clock::FakeClock::default();
            let open = $make(clock.clone());
            $crate::artifacts::contract::collection::$rule(&open, &clock);
        }
    )*};
}

/// Empty, small and large blobs come back byte for byte.
pub fn what_is_put_is_read_back(open: Open<'_>) {
    let store = open();
    let large: Vec<u8> = (0..3_000_000_u32).map(|it| it.to_le_bytes()[1]).collect();
    for blob in [&b""[..], b"x", b"\0\xff\n", &large] {
        let digest = store.put(blob).unwrap();
        assert_eq!(store.get(&digest).unwrap(), blob);
        assert!(store.contains(&digest).unwrap());
    }
}

/// The digest is the well-known one, so that others can name what they look for.
pub fn the_digest_is_blake3(open: Open<'_>) {
    let empty = "b3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(open().put(b"").unwrap().to_string(), empty);
}

/// A blob that is there is not stored again.
pub fn putting_twice_is_putting_once(open: Open<'_>) {
    let store = open();
    let digest = store.put(b"same").unwrap();
    assert_eq!(store.put(b"same").unwrap(), digest);
    assert_eq!(
        store.put_all(&[b"same", b"same"]).unwrap(),
        [digest, digest]
    );
    assert_eq!(store.list().unwrap(), [digest]);
}

/// Digests come in the order of the blobs, stored before or not, repeated or not.
pub fn a_batch_answers_in_order(open: Open<'_>) {
    let store = open();
    let b = store.put(b"b").unwrap();
    let answer = store.put_all(&[b"c", b"b", b"a", b"c"]).unwrap();
    assert_eq!(answer[1], b);
    assert_eq!(answer[0], answer[3]);
    for (digest, blob) in answer.iter().zip([b"c", b"b", b"a", b"c"]) {
        assert_eq!(store.get(digest).unwrap(), blob);
    }
    assert_eq!(store.put_all(&[]).unwrap(), []);
}

/// A batch may hold more blobs than a process has file descriptors to spare.
pub fn a_large_batch_is_kept(open: Open<'_>) {
    let store = open();
    let blobs: Vec<Vec<u8>> = (0..300_u32).map(|it| it.to_le_bytes().to_vec()).collect();
    let borrowed: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let digests = store.put_all(&borrowed).unwrap();
    assert_eq!(store.list().unwrap().len(), 300);
    for (digest, blob) in digests.iter().zip(&blobs) {
        assert_eq!(&store.get(digest).unwrap(), blob);
    }
}

/// Sizes around every bound that a store may have, in one batch and beside each other.
pub fn a_batch_of_all_sizes_is_kept(open: Open<'_>) {
    let store = open();
    let sizes = [
        0, 1, 43, 4_095, 4_096, 65_537, 262_143, 262_144, 262_145, 2_000_000,
    ];
    let blobs: Vec<Vec<u8>> = (1_u8..)
        .zip(sizes)
        .map(|(fill, size)| vec![fill; size])
        .collect();
    let borrowed: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let digests = store.put_all(&borrowed).unwrap();
    let other = open();
    for (digest, blob) in digests.iter().zip(&blobs) {
        assert_eq!(&store.get(digest).unwrap(), blob);
        assert!(other.contains(digest).unwrap());
        assert_eq!(&other.get(digest).unwrap(), blob);
    }
    assert_eq!(store.list().unwrap().len(), sizes.len());
}

/// Nothing is invented.
pub fn what_was_never_put_is_missing(open: Open<'_>) {
    let store = open();
    let digest = Digest::from_bytes([7; 32]);
    assert!(!store.contains(&digest).unwrap());
    assert!(matches!(store.get(&digest), Err(Error::Missing(it)) if it == digest));
    assert_eq!(store.list().unwrap(), []);
}

/// A blob over the limit is refused before anything of its batch is stored.
pub fn what_is_too_large_keeps_its_batch_out(open: Open<'_>) {
    let store = open();
    let limit = usize::try_from(ARTIFACT_BYTES_MAX).unwrap();
    let answer = store.put_all(&[b"small", &vec![0; limit + 1]]);
    assert!(
        matches!(answer, Err(Error::TooLarge { bytes, max }) if bytes == max + 1),
        "{answer:?}"
    );
    assert_eq!(store.list().unwrap(), []);
}

/// The list holds every digest once, in order.
pub fn the_list_is_sorted_and_whole(open: Open<'_>) {
    let store = open();
    let mut digests = store.put_all(&[b"1", b"2", b"3", b"4", b"5"]).unwrap();
    digests.sort();
    assert_eq!(store.list().unwrap(), digests);
}

/// Removal takes what is named, tolerates what is not there, and can be undone by putting.
pub fn what_is_removed_is_gone_and_can_come_back(open: Open<'_>) {
    let store = open();
    let digests = store.put_all(&[b"keep", b"drop"]).unwrap();
    let unknown = Digest::from_bytes([9; 32]);
    store.remove(&[digests[1], unknown]).unwrap();
    store.remove(&[digests[1]]).unwrap();
    store.remove(&[]).unwrap();
    assert_eq!(store.list().unwrap(), [digests[0]]);
    assert!(matches!(store.get(&digests[1]), Err(Error::Missing(_))));
    assert_eq!(store.put(b"drop").unwrap(), digests[1]);
    assert_eq!(store.get(&digests[1]).unwrap(), b"drop");
}

/// What one handle keeps, another reads.
pub fn another_handle_sees_everything(open: Open<'_>) {
    let (one, other) = (open(), open());
    let digest = one.put(b"shared").unwrap();
    assert_eq!(other.get(&digest).unwrap(), b"shared");
    drop((one, other));
    assert_eq!(open().list().unwrap(), [digest]);
}

/// A handle that knew of an artifact does not believe it is there after another removed it.
pub fn what_one_handle_removed_another_puts_again(open: Open<'_>) {
    let (one, other) = (open(), open());
    for blob in [&b"small"[..], &[7; 400_000]] {
        let digest = one.put(blob).unwrap();
        assert_eq!(other.get(&digest).unwrap(), blob);
        other.remove(&[digest]).unwrap();
        assert!(!one.contains(&digest).unwrap());
        assert!(matches!(one.get(&digest), Err(Error::Missing(_))));
        assert_eq!(one.put(blob).unwrap(), digest);
        assert_eq!(other.get(&digest).unwrap(), blob);
        assert_eq!(open().get(&digest).unwrap(), blob);
    }
}

/// Threads that put the same blobs at once disturb nobody.
pub fn threads_put_the_same_and_lose_nothing(open: Open<'_>) {
    let store = open();
    std::thread::scope(|scope| {
        for worker in 0..8_u8 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..10_u8 {
                    let own = [worker, round];
                    let digests = store.put_all(&[&[round], &own]).unwrap();
                    assert_eq!(store.get(&digests[0]).unwrap(), [round]);
                    assert_eq!(store.get(&digests[1]).unwrap(), own);
                }
            });
        }
    });
    assert_eq!(store.list().unwrap().len(), 10 + 80);
}

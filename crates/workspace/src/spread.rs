//! Work on many things, spread over the processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ports::workspaces::Error;

/// The most threads that work at once.
const THREADS_MAX: usize = 8;

/// How many things a thread takes at a time. Less than two portions are not worth a thread.
const PORTION: usize = 64;

/// As many things take a thread's time when each is looked up and not read.
const CHEAP_PORTION: usize = 512;

/// Returns what `each` makes of every item, in their order, or the first fault in that order.
pub(crate) fn over<'a, T: Sync, R: Send>(
    items: &'a [T],
    each: impl Fn(&'a T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    by_portions(items, PORTION, each)
}

/// As [`over`], for what is done in a few microseconds.
pub(crate) fn over_cheap<'a, T: Sync, R: Send>(
    items: &'a [T],
    each: impl Fn(&'a T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    by_portions(items, CHEAP_PORTION, each)
}

fn by_portions<'a, T: Sync, R: Send>(
    items: &'a [T],
    portion: usize,
    each: impl Fn(&'a T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let portions = items.len().div_ceil(portion);
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX)
        .min(portions);
    if threads < 2 {
        return items.iter().map(each).collect();
    }
    let next = AtomicUsize::new(0);
    let made = Mutex::new(Vec::with_capacity(portions));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(taken) = items.chunks(portion).nth(at) else {
                return;
            };
            let result: Result<Vec<R>, Error> = taken.iter().map(&each).collect();
            if result.is_err() {
                // Nobody begins anything after this; what comes before is under way.
                next.store(portions, Ordering::Relaxed);
            }
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_unstable_by_key(|(at, _)| *at);
    let mut all = Vec::with_capacity(items.len());
    for (_, portion) in made {
        all.append(&mut portion?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(number: usize) -> Error {
        Error::Unusable(number.to_string())
    }

    #[test]
    fn the_order_stays() {
        for length in [0, 1, 63, 64, 65, 1_000] {
            let items: Vec<usize> = (0..length).collect();
            let doubled = over(&items, |it| Ok(it * 2)).unwrap();
            assert!(doubled.iter().copied().eq((0..length).map(|it| it * 2)));
        }
    }

    #[test]
    fn the_first_fault_is_told() {
        let items: Vec<usize> = (0..1_000).collect();
        for first in [0, 100, 999] {
            let told = over(
                &items,
                |it| {
                    if *it < first { Ok(()) } else { Err(fault(*it)) }
                },
            );
            assert_eq!(told.unwrap_err().to_string(), fault(first).to_string());
        }
    }
}

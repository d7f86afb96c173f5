//! Work on several threads whose results are taken in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

/// Results that may wait for one before them, for each thread.
const WAITING: usize = 2;

/// Does `work` on every item, on the threads of rayon's pool, and hands the results to `take` in order of the items. After an
/// error nothing more is begun. Not to be called on a thread of that pool.
///
/// # Errors
/// The first error of `take`.
pub(crate) fn in_order<T: Sync, R: Send, E>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let threads = rayon::current_num_threads().min(items.len().max(1));
    let next = AtomicUsize::new(0);
    let (sender, results) = sync_channel(threads * WAITING);
    let (next, work) = (&next, &work);
    rayon::in_place_scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(move |_| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    // Nobody listens any more after an error.
                    if sender.send((at, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        // Owned here, so that threads that still send find nobody and end.
        let results = results;
        for (at, result) in &results {
            early.insert(at, result);
            while let Some(result) = early.remove(&wanted) {
                take(result)?;
                wanted += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_ends_the_work() {
        let items: Vec<u64> = (0..500).collect();
        let slow_first = |item: &u64| {
            std::thread::sleep(std::time::Duration::from_micros(500 - item));
            item * 2
        };
        let mut taken = Vec::new();
        let all: Result<(), ()> = in_order(&items, slow_first, |result| {
            taken.push(result);
            Ok(())
        });
        assert_eq!((all, taken), (Ok(()), items.iter().map(|item| item * 2).collect()));
        let refused = in_order(&items, slow_first, |result| if result == 20 { Err("no") } else { Ok(()) });
        assert_eq!(refused, Err("no"));
        assert_eq!(in_order(&[], slow_first, |_| Err("no result")), Ok(()));
    }
}

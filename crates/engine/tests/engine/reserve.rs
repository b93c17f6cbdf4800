//! The reserve: on a full disk it is given up for what must be on record, and for nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use domain::work::Ending;
use palisade_engine::recorder::Error;
use palisade_engine::{answers, steering};
use ports::machine::Reserve;
use testkit::log::{Fault, MemoryLog};

use super::house::{House, good};

/// A reserve whose giving up makes room in a log.
struct FakeReserve {
    log: MemoryLog,
    is_held: AtomicBool,
    renewed: AtomicU64,
}

impl Reserve for FakeReserve {
    fn held(&self) -> u64 {
        u64::from(self.is_held.load(Ordering::SeqCst))
    }

    fn wanted(&self) -> u64 {
        1
    }

    fn release(&self) -> Result<bool, ports::machine::Error> {
        let was_held = self.is_held.swap(false, Ordering::SeqCst);
        if was_held {
            self.log.heal();
        }
        Ok(was_held)
    }

    fn renew(&self) -> Result<bool, ports::machine::Error> {
        self.is_held.store(true, Ordering::SeqCst);
        self.renewed.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }
}

fn reserve(house: &House) -> Arc<FakeReserve> {
    Arc::new(FakeReserve {
        log: house.log.clone(),
        is_held: AtomicBool::new(true),
        renewed: AtomicU64::new(0),
    })
}

#[test]
fn a_work_is_stopped_on_a_full_disk_and_what_is_not_vital_takes_nothing() {
    let house = House::new(good);
    let work = house.submit("# T\n");
    let reserve = reserve(&house);
    let recorder = house
        .recorder()
        .with_reserve(Arc::clone(&reserve) as Arc<_>);
    house.log.fail_after(0, Fault::DiskFull);
    let refused = steering::request_checkpoint(&recorder, work);
    assert!(refused.is_err(), "{refused:?}");
    let failed = recorder.write_output(
        domain::SessionId::from_bits(1),
        0,
        domain::output::Stream::Out,
        "talk".to_owned(),
    );
    assert!(
        matches!(failed, Err(Error::Log(ports::log::Error::DiskFull))),
        "{failed:?}"
    );
    assert_eq!(reserve.held(), 1, "talk is not worth it");
    answers::stop(&recorder, work, "the disk is full").unwrap();
    assert_eq!(reserve.held(), 0);
    assert!(matches!(house.ending(work), Some(Ending::Canceled { .. })));
    // Without one, a full disk is what it was before.
    house.log.fail_after(0, Fault::DiskFull);
    let other = house.recorder();
    let failed = answers::stop(&other, work, "again");
    assert!(failed.is_err(), "{failed:?}");
}

#[test]
fn an_engine_on_a_full_disk_gives_it_up_and_takes_it_back() {
    use palisade_engine::coordinator::Coordinator;
    let house = House::new(good);
    let work = house.submit("# T\n");
    let reserve = reserve(&house);
    let recorder = house
        .recorder()
        .with_reserve(Arc::clone(&reserve) as Arc<_>);
    // The lease is the first that an engine records.
    house.log.fail_after(0, Fault::DiskFull);
    let coordinator = Coordinator::new(&recorder, &house.settings);
    let rest = coordinator.run(|| {}).unwrap();
    assert!(rest.errors.is_empty(), "{rest:?}");
    assert!(reserve.renewed.load(Ordering::SeqCst) > 1);
    assert_eq!(reserve.held(), 1, "it is taken back");
    assert_eq!(house.promote(work)["src/lib.txt"], "new\n");
}

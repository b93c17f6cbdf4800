//! What must hold of any line that an agent writes to its channel.

use agents::signal_line::{PRIORITIES, decode, encode};
use domain::agent::Signal;

/// Reads one line, and holds what was understood against what was said.
pub(crate) fn run(line: &[u8]) {
    for own in [0, 7, u64::MAX] {
        let Ok((epoch, signal)) = decode(line, own) else {
            continue;
        };
        assert_eq!(epoch, own, "another life's signal was taken");
        if let Signal::Ask { priority, .. } = &signal {
            assert!(PRIORITIES.contains(&priority.as_str()), "{priority:?}");
        }
        let words: usize = words(&signal).iter().map(|it| it.len()).sum();
        assert!(words <= line.len() + 2, "more was understood than was said");
        let again = encode(Some(epoch), &signal).expect("what was read can be written");
        assert_eq!(again.matches('\n').count(), 1, "one signal is one line");
        let read = decode(again.trim_end().as_bytes(), own).expect("what was written can be read");
        assert_eq!(read, (epoch, signal), "a signal changed on its way");
        assert!(
            decode(again.as_bytes(), own.wrapping_add(1)).is_err(),
            "another life's signal was taken"
        );
    }
}

/// Returns everything in a signal that comes from the agent; the default priority aside.
fn words(signal: &Signal) -> Vec<&str> {
    match signal {
        Signal::Progress { text } => vec![text],
        Signal::Ask { report, priority } => vec![report, priority],
        Signal::Finding {
            file, rule, text, ..
        } => vec![file, rule, text],
        Signal::Acknowledge { text, .. } => vec![text],
        // The arguments are written anew.
        Signal::ProposeAction { action, why, .. } => vec![action, why],
        Signal::Done { summary } => vec![summary],
        Signal::Refuse { detail, .. } => vec![detail],
        Signal::Fail { reason } => vec![reason],
    }
}

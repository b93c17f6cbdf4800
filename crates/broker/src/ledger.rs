//! The ledger: who may take how much, who has, and what is reserved meanwhile.
//!
//! A session draws on four accounts at once: its own and those of its work, goal and day. What it may
//! take is reserved from them when it opens. Without a cap of its own it reserves a part, and more as
//! it needs it, so that one session does not keep all others of its goal waiting.

use std::collections::BTreeMap;

use domain::usage::{Amount, Cap, ModelUsage, Money, Usage};
use domain::{GoalId, SessionId, WorkId};
use ports::models::{Before, Caps};

/// A session without a cap of its own reserves one in so many of what is left.
const PART: u64 = 4;

/// The least that is worth reserving in parts.
const PART_TOKENS_MIN: u64 = 50_000;

/// The same in money.
const PART_MONEY_MIN: Money = Money(250_000);

/// All accounts.
#[derive(Debug, Default)]
pub struct Ledger {
    taken: BTreeMap<Account, Amount>,
    sessions: BTreeMap<SessionId, Entry>,
}

/// What is drawn on beside a session's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Account {
    Work(WorkId),
    Goal(GoalId),
    Day(u64),
}

#[derive(Debug)]
struct Entry {
    accounts: [(Account, Cap); 3],
    own: Cap,
    /// What is reserved for it, together with what it took.
    allowance: Cap,
    taken: Amount,
    /// What its calls under way have taken, as far as is known.
    pending: BTreeMap<u64, Amount>,
    used: BTreeMap<(String, String), Usage>,
    is_open: bool,
}

/// Whose sessions a session belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Its work.
    pub work: WorkId,
    /// Its goal.
    pub goal: GoalId,
    /// The day it opened on, counted from 1970.
    pub day: u64,
}

impl Ledger {
    /// Opens a session's account and reserves what it may take.
    ///
    /// # Errors
    /// Which budget leaves nothing.
    pub fn open(
        &mut self,
        session: SessionId,
        owner: Owner,
        caps: &Caps,
        before: &Before,
    ) -> Result<(), String> {
        let accounts = [
            (Account::Work(owner.work), caps.work),
            (Account::Goal(owner.goal), caps.goal),
            (Account::Day(owner.day), caps.day),
        ];
        for ((account, _), known) in accounts.iter().zip([before.work, before.goal, before.day]) {
            let taken = self.taken.entry(*account).or_default();
            taken.tokens = taken.tokens.max(known.tokens);
            taken.money = taken.money.max(known.money);
        }
        let past = self.sessions.remove(&session);
        let (taken, used) = past.map(|it| (it.taken, it.used)).unwrap_or_default();
        self.sessions.insert(
            session,
            Entry {
                accounts,
                own: caps.session,
                allowance: Cap {
                    tokens: Some(taken.tokens),
                    money: Some(taken.money),
                },
                taken,
                pending: BTreeMap::new(),
                used,
                is_open: true,
            },
        );
        self.extend(session);
        let over = self.over(session);
        if over.is_some() {
            self.close(session);
        }
        over.map_or(Ok(()), Err)
    }

    /// Returns whether the session is open.
    #[must_use]
    pub fn is_open(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|it| it.is_open)
    }

    /// Forgets a session; what it took stays with its work, goal and day.
    pub fn forget(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Returns how many sessions are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.sessions.values().filter(|it| it.is_open).count()
    }

    /// Notes what a call under way has taken so far, and returns which budget is used up.
    pub fn pending(&mut self, session: SessionId, call: u64, amount: Amount) -> Option<String> {
        let entry = self.sessions.get_mut(&session)?;
        entry.pending.insert(call, amount);
        if entry.allowance.reached(entry.sum()).is_some() {
            self.extend(session);
        }
        self.over(session)
    }

    /// Notes what a call has taken in the end, and returns which budget is used up.
    pub fn settle(
        &mut self,
        session: SessionId,
        call: u64,
        by: &(String, String),
        usage: Usage,
    ) -> Option<String> {
        let entry = self.sessions.get_mut(&session)?;
        entry.pending.remove(&call);
        entry.taken = entry.taken.plus(usage.amount());
        let used = entry.used.entry(by.clone()).or_default();
        *used = used.plus(usage);
        let accounts = entry.accounts;
        for (account, _) in accounts {
            let taken = self.taken.entry(account).or_default();
            *taken = taken.plus(usage.amount());
        }
        let entry = self.sessions.get(&session)?;
        if entry.allowance.reached(entry.sum()).is_some() && entry.is_open {
            self.extend(session);
        }
        self.over(session)
    }

    /// Gives back what a session did not take.
    pub fn close(&mut self, session: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.is_open = false;
        }
    }

    /// Returns what each model took of a session.
    #[must_use]
    pub fn used(&self, session: SessionId) -> Option<Vec<ModelUsage>> {
        let entry = self.sessions.get(&session)?;
        let used = entry
            .used
            .iter()
            .map(|((provider, model), usage)| ModelUsage {
                provider: provider.clone(),
                model: model.clone(),
                usage: *usage,
            });
        Some(used.collect())
    }

    /// Returns whether money is bounded for a session.
    #[must_use]
    pub fn counts_money(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|it| {
            let shared = it.accounts.iter().any(|(_, cap)| cap.money.is_some());
            shared || it.own.money.is_some()
        })
    }

    /// Reserves more for a session, as far as its budgets allow.
    fn extend(&mut self, session: SessionId) {
        let Some(entry) = self.sessions.get(&session) else {
            return;
        };
        let sum = entry.sum();
        let left = self.left(session, entry);
        let more = |own: Option<u64>, sum: u64, left: Option<u64>, least: u64| match (own, left) {
            (None, None) => None,
            (Some(own), None) => Some(own),
            (Some(own), Some(left)) => Some(own.min(sum.saturating_add(left))),
            (None, Some(left)) => {
                let part = (left / PART).max(least).min(left);
                Some(sum.saturating_add(part))
            }
        };
        let allowance = Cap {
            tokens: more(entry.own.tokens, sum.tokens, left.tokens, PART_TOKENS_MIN),
            money: more(
                entry.own.money.map(|it| it.0),
                sum.money.0,
                left.money.map(|it| it.0),
                PART_MONEY_MIN.0,
            )
            .map(Money),
        };
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.allowance = allowance;
        }
    }

    /// Returns what all shared accounts leave a session, beyond what it and others have.
    fn left(&self, session: SessionId, entry: &Entry) -> Cap {
        let own_pending = entry.pending_sum();
        let mut left = Cap::default();
        for (account, cap) in &entry.accounts {
            let others = self.reserved(*account, session);
            let taken = self.taken.get(account).copied().unwrap_or_default();
            left = left.and(&cap.left(taken.plus(others).plus(own_pending)));
        }
        left
    }

    /// Returns what is reserved from an account by all sessions but one.
    fn reserved(&self, account: Account, but: SessionId) -> Amount {
        let others = self.sessions.iter().filter(|(id, entry)| {
            **id != but && entry.is_open && entry.accounts.iter().any(|(it, _)| *it == account)
        });
        others.fold(Amount::default(), |sum, (_, entry)| {
            let reserved = Amount {
                tokens: entry.allowance.tokens.unwrap_or(0),
                money: entry.allowance.money.unwrap_or_default(),
            };
            let open = reserved.minus(entry.taken);
            let pending = entry.pending_sum();
            sum.plus(Amount {
                tokens: open.tokens.max(pending.tokens),
                money: open.money.max(pending.money),
            })
        })
    }

    /// Returns which budget is used up, in words.
    fn over(&self, session: SessionId) -> Option<String> {
        let entry = self.sessions.get(&session)?;
        let reached = entry.allowance.reached(entry.sum())?;
        if let Some(reached) = entry.own.reached(entry.sum()) {
            return Some(format!("the session's: {reached}"));
        }
        for (account, cap) in &entry.accounts {
            let others = self.reserved(*account, session);
            let taken = self.taken.get(account).copied().unwrap_or_default();
            let all = taken.plus(others).plus(entry.pending_sum());
            if let Some(reached) = cap.reached(all) {
                let whose = match account {
                    Account::Work(_) => "the work's",
                    Account::Goal(_) => "the goal's",
                    Account::Day(_) => "the day's",
                };
                return Some(format!("{whose}: {reached} or reserved"));
            }
        }
        Some(format!("what was reserved: {reached}"))
    }
}

impl Entry {
    fn pending_sum(&self) -> Amount {
        self.pending
            .values()
            .fold(Amount::default(), |sum, it| sum.plus(*it))
    }

    fn sum(&self) -> Amount {
        self.taken.plus(self.pending_sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::usage::Tokens;

    fn session(number: u128) -> SessionId {
        SessionId::from_bits(number)
    }

    fn owner(work: u128) -> Owner {
        Owner {
            work: WorkId::from_bits(work),
            goal: GoalId::from_bits(1),
            day: 20_000,
        }
    }

    fn tokens(count: u64) -> Cap {
        Cap {
            tokens: Some(count),
            money: None,
        }
    }

    fn usage(count: u64) -> Usage {
        Usage {
            calls: 1,
            tokens: Tokens {
                output: count,
                ..Tokens::default()
            },
            ..Usage::default()
        }
    }

    fn by() -> (String, String) {
        ("p".to_owned(), "m".to_owned())
    }

    fn caps(session: u64, work: u64, goal: u64) -> Caps {
        Caps {
            session: tokens(session),
            work: tokens(work),
            goal: tokens(goal),
            day: Cap::default(),
        }
    }

    #[test]
    fn a_session_stops_at_its_own_cap() {
        let mut ledger = Ledger::default();
        let none = Before::default();
        ledger
            .open(session(1), owner(1), &caps(100, 1_000, 1_000), &none)
            .unwrap();
        let pending = |it| Amount {
            tokens: it,
            ..Amount::default()
        };
        assert_eq!(ledger.pending(session(1), 1, pending(99)), None);
        let over = ledger.pending(session(1), 1, pending(100)).unwrap();
        assert_eq!(over, "the session's: 100 of 100 tokens are used");
        assert!(ledger.settle(session(1), 1, &by(), usage(60)).is_none());
        assert!(ledger.settle(session(1), 2, &by(), usage(40)).is_some());
        assert_eq!(ledger.used(session(1)).unwrap()[0].usage.calls, 2);
    }

    #[test]
    fn what_one_session_reserves_another_cannot_take() {
        let mut ledger = Ledger::default();
        let none = Before::default();
        ledger
            .open(session(1), owner(1), &caps(80, 1_000, 100), &none)
            .unwrap();
        ledger
            .open(session(2), owner(2), &caps(80, 1_000, 100), &none)
            .unwrap();
        let over = ledger.settle(session(2), 1, &by(), usage(20)).unwrap();
        assert!(over.starts_with("the goal's: "), "{over}");
        let refused = ledger.open(session(3), owner(3), &caps(80, 1_000, 100), &none);
        assert!(refused.unwrap_err().starts_with("the goal's: 100 of 100"));
        // What is given back is there for the next.
        ledger.close(session(1));
        ledger
            .open(session(3), owner(3), &caps(80, 1_000, 100), &none)
            .unwrap();
    }

    #[test]
    fn without_a_cap_of_its_own_a_session_reserves_in_parts() {
        let mut ledger = Ledger::default();
        let shared = Caps {
            goal: tokens(1_000_000),
            ..Caps::default()
        };
        for number in 1..=4 {
            ledger
                .open(session(number), owner(number), &shared, &Before::default())
                .unwrap();
        }
        // One alone may take all that the others do not hold: 1,000,000 less 250,000, 187,500 and
        // 140,625.
        let mut taken = 10_000;
        while ledger.settle(session(4), 1, &by(), usage(10_000)).is_none() {
            taken += 10_000;
        }
        assert_eq!(taken, 430_000);
    }

    #[test]
    fn what_the_log_knows_counts() {
        let mut ledger = Ledger::default();
        let before = Before {
            work: Amount {
                tokens: 990,
                ..Amount::default()
            },
            ..Before::default()
        };
        ledger
            .open(session(1), owner(1), &caps(100, 1_000, 5_000), &before)
            .unwrap();
        let over = ledger.settle(session(1), 1, &by(), usage(10)).unwrap();
        assert!(over.starts_with("the work's: 1000 of 1000"), "{over}");
        let refused = ledger.open(session(2), owner(1), &caps(100, 1_000, 5_000), &before);
        assert!(refused.is_err());
    }
}
